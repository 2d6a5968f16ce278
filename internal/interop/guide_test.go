package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fence finds the blocks of docs/est.md that are to be run or configured.
var fence = regexp.MustCompile("(?s)```(yaml|sh)\n(.*?)```")

// placeholder is the hash that stands in the guide for the one that est secret
// prints, and printed is where it prints it.
const placeholder = "5a7a6e0b7ba90b33d1d7cfa6ef8a4cc0b3a0b9e3f3e3b7c39b6e4e1e1c2f7d11"

var printed = regexp.MustCompile(`sha256: ([0-9a-f]{64})`)

// maker makes the device maker of the guide: a CA, the certificates of two
// devices and a CRL.
const maker = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout maker.key -subj "/O=Example Sensors/CN=Maker" -days 30 -out maker-root.pem \
	-addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
printf 'extendedKeyUsage=clientAuth\n' > idevid.ext
for n in 42 43; do
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout idevid-$n.key -subj "/O=Example Sensors/serialNumber=SN-0000$n" -out idevid.csr 2>/dev/null
	openssl x509 -req -in idevid.csr -CA maker-root.pem -CAkey maker.key -CAcreateserial -days 30 -extfile idevid.ext -out idevid-$n.pem 2>/dev/null
done
cp idevid-42.pem idevid.pem; cp idevid-42.key idevid.key
: > index.txt; echo 01 > crlnumber
printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=7\n' > ca.conf
openssl ca -config ca.conf -gencrl -cert maker-root.pem -keyfile maker.key -out maker.crl 2>/dev/null
cp maker-root.pem maker.crl factory
`

// TestGuide does what docs/est.md says: the secret is made, all of the configuration
// put into one server, and all commands run in one shell.
func TestGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	dir := t.TempDir()
	s := build(t, dir)
	path := "PATH=" + filepath.Dir(s.binary) + ":" + os.Getenv("PATH")
	var profiles, labels, script strings.Builder
	hash := ""
	for _, block := range fence.FindAllStringSubmatch(read(t, "../../docs/est.md"), -1) {
		switch {
		case block[1] == "sh" && strings.Contains(block[2], "mintmark est secret"):
			// What it prints goes into the configuration.
			found := printed.FindStringSubmatch(s.shell(t, dir, block[2], path))
			if found == nil || hash != "" {
				t.Fatalf("no hash, or a second one:\n%s", block[2])
			}
			hash = found[1]
			continue
		case block[1] == "sh":
			script.WriteString(block[2])
			continue
		}
		head, rest, ok := strings.Cut("\n"+block[2], "\nlabels:\n")
		if !ok {
			t.Fatalf("a yaml block without labels:\n%s", block[2])
		}
		labels.WriteString(rest)
		if _, some, ok := strings.Cut(head, "\nprofiles:\n"); ok {
			profiles.WriteString(some + "\n")
		}
	}
	s.init(t, "\n"+profiles.String(), strings.ReplaceAll(labels.String(), placeholder, hash))
	s.run(t, dir, "cp", "-p", "factory/line-7.hex", ".")
	s.shell(t, dir, maker)
	s.serve(t)
	script.WriteString("ls *.pem\n")
	out := s.shell(t, dir, script.String(), "URL="+"https://"+s.address, path)
	t.Log(out)
	for _, name := range []string{"line-a.secret", "valve-1.secret", "both.secret", "wo.secret"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		} else if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("the guide leaves %s with mode %v", name, info.Mode())
		}
	}
	if strings.Contains(out, "can be read by others") || strings.Contains(out, "the certificate lacks") {
		t.Error("the guide makes the client warn")
	}
	for _, name := range []string{"press-0001", "valve-1", "press-0100", "SN-000042", "SN-000043", "meter-1", "press-0002", "pump-1", "tag-1"} {
		if !strings.Contains(s.mintmark(t, "device", "show", name, "--dir", s.dir), "enrolled") {
			t.Errorf("%s has no certificate", name)
		}
	}
}
