package interop

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fence finds the blocks of docs/est.md that are to be run or configured.
var fence = regexp.MustCompile("(?s)```(yaml|sh)\n(.*?)```")

// placeholder is the hash that stands in the guide for one that est secret
// prints.
const placeholder = "5a7a6e0b7ba90b33d1d7cfa6ef8a4cc0b3a0b9e3f3e3b7c39b6e4e1e1c2f7d11"

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

// TestGuide does what docs/est.md says: all of its configuration in one server,
// and all of its commands in one shell.
func TestGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	dir := t.TempDir()
	s := build(t, dir)
	write(t, filepath.Join(dir, "line-a.secret"), "line-a:kX7dVbQ0mJ2sTz9hWq41\n")
	sum := sha256.Sum256([]byte("kX7dVbQ0mJ2sTz9hWq41"))
	var profiles, labels, script strings.Builder
	for _, block := range fence.FindAllStringSubmatch(read(t, "../../docs/est.md"), -1) {
		if block[1] == "sh" {
			script.WriteString(block[2])
			continue
		}
		head, rest, ok := strings.Cut("\n"+block[2], "\nlabels:\n")
		if !ok {
			t.Fatalf("a yaml block without labels:\n%s", block[2])
		}
		labels.WriteString(strings.ReplaceAll(rest, placeholder, hex.EncodeToString(sum[:])))
		if _, some, ok := strings.Cut(head, "\nprofiles:\n"); ok {
			profiles.WriteString(some + "\n")
		}
	}
	s.init(t, "\n"+profiles.String(), labels.String())
	s.run(t, dir, "cp", "-p", "factory/line-7.hex", ".")
	s.shell(t, dir, maker)
	s.serve(t)
	script.WriteString("ls *.pem\n")
	out := s.shell(t, dir, script.String(), "URL="+"https://"+s.address, "PATH="+filepath.Dir(s.binary)+":"+os.Getenv("PATH"))
	t.Log(out)
	for _, name := range []string{"press-0001", "valve-1", "press-0100", "SN-000042", "SN-000043", "meter-1", "press-0002", "pump-1", "tag-1"} {
		if !strings.Contains(s.mintmark(t, "device", "show", name, "--dir", s.dir), "enrolled") {
			t.Errorf("%s has no certificate", name)
		}
	}
}
