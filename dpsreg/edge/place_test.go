package edge

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mintmark/internal/pkitest"
)

// image is the file system of a device on which IoT Edge is installed. Its accounts have
// numbers of their own where the test may give files away.
type image struct {
	t    *testing.T
	root string
	dir  string // what edge-config wrote
	ids  map[string]int
}

func newImage(t *testing.T, c Config) *image {
	t.Helper()
	m := &image{t: t, root: t.TempDir(), dir: filepath.Join(t.TempDir(), "config"), ids: make(map[string]int)}
	if _, err := Write(m.dir, c); err != nil {
		t.Fatal(err)
	}
	var passwd strings.Builder
	for i, name := range []string{"root", "aziotcs", "aziotks", "aziotid"} {
		m.ids[name] = os.Getuid()
		if os.Getuid() == 0 {
			m.ids[name] = []int{0, 4001, 4002, 4003}[i]
		}
		fmt.Fprintf(&passwd, "%s:x:%d:%d::/:/bin/false\n", name, m.ids[name], os.Getgid())
	}
	if err := os.Mkdir(filepath.Join(m.root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.write(filepath.Join(m.root, "etc", "passwd"), passwd.String())
	return m
}

func (m *image) write(name, text string) string {
	m.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return name
}

// secret is a file beside the image.
func (m *image) secret(text string) string {
	m.t.Helper()
	f, err := os.CreateTemp(m.t.TempDir(), "secret")
	if err != nil {
		m.t.Fatal(err)
	}
	f.Close()
	return m.write(f.Name(), text)
}

// place runs place.sh.
func (m *image) place(args ...string) (string, error) {
	m.t.Helper()
	cmd := exec.Command("sh", append([]string{filepath.Join(m.dir, "place.sh"), "--root", m.root}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// good wants place.sh to succeed.
func (m *image) good(args ...string) {
	m.t.Helper()
	if out, err := m.place(args...); err != nil {
		m.t.Fatalf("place.sh %q: %v\n%s", args, err, out)
	}
}

// bad wants place.sh to refuse with the words, and to leave everything as it was.
func (m *image) bad(want string, args ...string) {
	m.t.Helper()
	before := m.tree()
	out, err := m.place(args...)
	if err == nil || !strings.Contains(out, want) {
		m.t.Errorf("place.sh %q: %v, %q does not say %q", args, err, out, want)
	}
	if after := m.tree(); after != before {
		m.t.Errorf("place.sh %q refused, and changed\n%s\nto\n%s", args, before, after)
	}
}

func (m *image) tree() string {
	m.t.Helper()
	return treeOf(m.t, m.root)
}

// treeOf lists all that is below root, with mode, owner and content. Directories that
// place.sh made to work in are empty.
func treeOf(t *testing.T, root string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if info.IsDir() {
			if strings.Contains(path, ".place.") {
				t.Errorf("%s was left behind", path)
			}
			return nil
		}
		var content []byte
		if info.Mode().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&list, "%s %v %d %x\n", strings.TrimPrefix(path, root), info.Mode(), info.Sys().(*syscall.Stat_t).Uid, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// has checks owner and mode of a path on the device, and returns its content.
func (m *image) has(path, owner string, mode os.FileMode) []byte {
	m.t.Helper()
	info, err := os.Stat(filepath.Join(m.root, path))
	if err != nil {
		m.t.Error(err)
		return nil
	}
	if info.Mode().Perm() != mode || int(info.Sys().(*syscall.Stat_t).Uid) != m.ids[owner] {
		m.t.Errorf("%s: mode %v and owner %d, want %v and %s", path, info.Mode().Perm(), info.Sys().(*syscall.Stat_t).Uid, mode, owner)
	}
	if info.IsDir() {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(m.root, path))
	if err != nil {
		m.t.Error(err)
	}
	return data
}

// TestPlace: everything gets to its place with the owner and mode of the vendor's page,
// again and again.
func TestPlace(t *testing.T) {
	w := newWorld(t)
	c := w.est()
	c.EdgeCA, c.Enroll.User, c.Payload, c.TrustBundle = edgeCALabel, `li"n\e`, []byte(`{"a":1}`), w.gateways.pem()
	c.Token = Token{Library: "/usr/lib/p11.so", Label: "a@PKCS11_PIN@b"}
	m := newImage(t, c)
	const password, pin = `p"a\s&s'w$o:r&d @EST_PASSWORD@`, `1 2%&?\0"`
	args := []string{"--bootstrap-key", m.secret(string(w.bootstrap.keyPEM(t))), "--password-file", m.secret(password + "\n"), "--pin-file", m.secret(pin)}
	m.good(args...)

	m.has("/var/aziot/certs", "aziotcs", 0o755)
	m.has("/var/aziot/secrets", "aziotks", 0o700)
	for _, name := range []string{"est-bootstrap-id.pem", "est-ca.pem", "trust-bundle.pem"} {
		m.has("/var/aziot/certs/"+name, "aziotcs", 0o644)
	}
	if key := m.has("/var/aziot/secrets/est-bootstrap-id.key.pem", "aziotks", 0o600); !bytes.Equal(key, w.bootstrap.keyPEM(t)) {
		t.Error("the key is another")
	}
	m.has("/etc/aziot/payload.json", "aziotid", 0o600)
	doc := parse(t, m.has("/etc/aziot/config.toml", "root", 0o600))
	if doc["cert_issuance.est.auth.password"] != password || doc["edge_ca.password"] != password || doc["edge_ca.username"] != c.Enroll.User {
		t.Errorf("the password is %q", doc["cert_issuance.est.auth.password"])
	}
	if got := doc["aziot_keys.pkcs11_base_slot"]; got != "pkcs11:token=a%40PKCS11%5FPIN%40b?pin-value=1%202%25%26%3F%5C0%22" {
		t.Errorf("the slot is %v", got)
	}
	first := m.tree()
	m.good(args...)
	if second := m.tree(); second != first {
		t.Errorf("placed again, it is\n%s\nand was\n%s", second, first)
	}

	// A password stands behind its user in the files of mintmark est secret.
	args[3] = m.secret(c.Enroll.User + ":other\n")
	m.bad("add --replace", args...)
	m.good(append(args, "--replace")...)
	if doc := parse(t, m.has("/etc/aziot/config.toml", "root", 0o600)); doc["edge_ca.password"] != "other" {
		t.Errorf("the password is %q", doc["edge_ca.password"])
	}
	if doc := parse(t, m.has("/etc/aziot/config.toml.old", "root", 0o600)); doc["edge_ca.password"] != password {
		t.Error("the old configuration is lost")
	}
}

// TestPlaceSecrets: no secret stands on the command line of any program, where others
// could read it. sh -x shows each of them.
func TestPlaceSecrets(t *testing.T) {
	w := newWorld(t)
	c := w.est()
	c.Enroll.User = "line-a"
	c.Token = Token{Library: "/usr/lib/p11.so", Label: "token"}
	m := newImage(t, c)
	out, err := exec.Command("sh", "-x", filepath.Join(m.dir, "place.sh"), "--root", m.root, "--bootstrap-key", m.secret(string(w.bootstrap.keyPEM(t))),
		"--password-file", m.secret("correct-horse"), "--pin-file", m.secret("9876543")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("mktemp")) {
		t.Fatalf("this is no trace:\n%s", out)
	}
	body := bytes.Split(w.bootstrap.keyPEM(t), []byte("\n"))[1]
	for _, secret := range [][]byte{[]byte("correct-horse"), []byte("9876543"), body} {
		if bytes.Contains(out, secret) {
			t.Errorf("%s stands in\n%s", secret, out)
		}
	}
}

// TestPlaceFile: a device with certificate and key in files.
func TestPlaceFile(t *testing.T) {
	w := newWorld(t)
	m := newImage(t, w.file())
	m.good("--identity-key", m.secret(string(w.leaf.keyPEM(t))))
	if !bytes.Equal(m.has("/var/aziot/certs/device-id.pem", "aziotcs", 0o644), w.chain()) {
		t.Error("the chain is another")
	}
	m.has("/var/aziot/secrets/device-id.key.pem", "aziotks", 0o600)
	// A key is never replaced, whoever asks.
	if err := os.Remove(filepath.Join(m.root, "/var/aziot/secrets/device-id.key.pem")); err != nil {
		t.Fatal(err)
	}
	m.write(filepath.Join(m.root, "/var/aziot/secrets/device-id.key.pem"), "another")
	m.bad("keys are never replaced", "--identity-key", m.secret(string(w.leaf.keyPEM(t))), "--replace")
}

// TestPlaceRefused: before anything is written.
func TestPlaceRefused(t *testing.T) {
	w := newWorld(t)
	m := newImage(t, w.file())
	key := m.secret(string(w.leaf.keyPEM(t)))
	m.bad("--identity-key FILE must be given")
	m.bad("needs a value", "--identity-key")
	m.bad("no option --key", "--key", key)
	m.bad("there is no file", "--identity-key", key+".not")
	m.bad("no private key in PEM", "--identity-key", m.secret("hello"))
	m.bad("is encrypted", "--identity-key", m.secret("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))
	pkitest.Tool(t, "openssl")
	m.bad("is not that of device-id.pem", "--identity-key", m.secret(string(w.issuing.keyPEM(t))))
	m.bad("that openssl reads", "--identity-key", m.secret("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	if err := os.Rename(filepath.Join(m.root, "etc/passwd"), filepath.Join(m.root, "passwd")); err != nil {
		t.Fatal(err)
	}
	m.bad("install IoT Edge first", "--identity-key", key)
	if err := os.Rename(filepath.Join(m.root, "passwd"), filepath.Join(m.root, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	// Another's certificate in the place of ours, and a link that leads elsewhere.
	certs := filepath.Join(m.root, "var/aziot/certs")
	if err := os.MkdirAll(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	m.write(filepath.Join(certs, "device-id.pem"), "another")
	m.bad("add --replace", "--identity-key", key)
	if err := os.Remove(filepath.Join(certs, "device-id.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(m.root, "etc/passwd"), filepath.Join(certs, "device-id.pem")); err != nil {
		t.Fatal(err)
	}
	m.bad("symbolic link", "--identity-key", key, "--replace")

	password := w.est()
	password.Enroll.Bootstrap, password.Enroll.User = nil, "line-a"
	p := newImage(t, password)
	p.bad("--password-file FILE must be given")
	for _, text := range []string{"", "\n", "a\tb\n", "caf\u00e9\n", "word\r\n"} {
		p.bad("printable ASCII", "--password-file", p.secret(text))
	}
	pin := newImage(t, w.pkcs11())
	pin.bad("--pin-file FILE must be given")
}

// TestPlaceLinks: nothing is written, and no secret, where a link leads: out of an image it
// leads to the machine that the image is mounted on.
func TestPlaceLinks(t *testing.T) {
	w := newWorld(t)
	password := w.est()
	password.Enroll.Bootstrap, password.Enroll.User = nil, "line-a"
	for _, link := range []string{"etc", "etc/aziot", "var", "var/aziot", "var/aziot/certs", "var/aziot/secrets", "etc/aziot/config.toml", "etc/aziot/config.toml.old"} {
		t.Run(link, func(t *testing.T) {
			m := newImage(t, password)
			m.good("--password-file", m.secret("first"))
			inside, outside := filepath.Join(m.root, link), filepath.Join(t.TempDir(), "outside")
			if strings.HasSuffix(link, ".old") {
				if err := os.Mkdir(outside, 0o700); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Rename(inside, outside); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, inside); err != nil {
				t.Fatal(err)
			}
			before := treeOf(t, outside)
			m.bad(inside+" is a symbolic link", "--replace", "--password-file", m.secret("second"))
			if after := treeOf(t, outside); after != before {
				t.Errorf("outside the image\n%s\nbecame\n%s", before, after)
			}
		})
	}
}
