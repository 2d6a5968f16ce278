package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mintmark/ca/ceremony"
)

// pinLine is an input of a ceremony file, with the digest behind its name or on the next line.
var pinLine = regexp.MustCompile(`((?:key|file):\s+([A-Za-z0-9][\w./-]*)(?:,|\n)\s*sha256:\s+)("[^"]*"|[0-9a-f]+)`)

// pin fills in the digests of the inputs as they are in dir, as people do who were told them.
func pin(t testing.TB, text, dir string) string {
	t.Helper()
	return pinLine.ReplaceAllStringFunc(text, func(found string) string {
		m := pinLine.FindStringSubmatch(found)
		sum, err := inputDigest(filepath.Join(dir, m[2]))
		if err != nil {
			t.Fatal(err)
		}
		return m[1] + sum
	})
}

// inputDigest is the digest by which a ceremony file names an input.
func inputDigest(name string) (string, error) {
	content, err := os.ReadFile(name)
	if block, _ := pem.Decode(content); block != nil && block.Type == "PUBLIC KEY" {
		content = block.Bytes
	}
	return fmt.Sprintf("%x", sha256.Sum256(content)), err
}

// ceremonyRoom is a folder with the officers' keys and a passphrase.
type ceremonyRoom struct {
	dir string
	n   int
}

func newCeremonyRoom(t testing.TB) *ceremonyRoom {
	t.Helper()
	r := &ceremonyRoom{dir: t.TempDir()}
	for _, name := range []string{"alice", "bob"} {
		r.do(t, "officer", "key", "--out", r.path(name+".key"))
	}
	r.write(t, "passphrase", "correct horse battery staple\n", 0o400)
	return r
}

func (r *ceremonyRoom) path(name string) string { return filepath.Join(r.dir, name) }

func (r *ceremonyRoom) write(t testing.TB, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(r.path(name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// do runs a command line in this process, which must succeed.
func (r *ceremonyRoom) do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := r.try(t, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func (r *ceremonyRoom) try(t testing.TB, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, &app{in: strings.NewReader(""), out: &out, err: &out})
	return out.String(), err
}

// hold holds the ceremony of a file, and returns its folder.
func (r *ceremonyRoom) hold(t testing.TB, text string) (folder, out string, err error) {
	t.Helper()
	text = strings.Replace(pin(t, text, r.dir), "network: none", "network: allowed", 1) // this process has one
	r.n++
	name := fmt.Sprintf("ceremony-%d", r.n)
	r.write(t, name+".yaml", text, 0o644)
	out, err = r.try(t, "ceremony", "run", r.path(name+".yaml"), "--keys", r.path("keys"), "--out", r.path(name), "--passphrase-file", r.path("passphrase"),
		"--officer", "alice="+r.path("alice.key"), "--officer", "bob="+r.path("bob.key"), "--hash", fmt.Sprintf("%x", sha256.Sum256([]byte(text))))
	return r.path(name), out, err
}

func (r *ceremonyRoom) mustHold(t testing.TB, text string) string {
	t.Helper()
	folder, out, err := r.hold(t, text)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return folder
}

// example is an example of today.
func example(t testing.TB, kind string) string {
	t.Helper()
	text, err := exampleCeremony(kind, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// take copies an output of a ceremony to where the next one finds it.
func (r *ceremonyRoom) take(t testing.TB, folder, output, name string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, "outputs", output))
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, name, string(content), 0o644)
}

// TestCeremonyExamples holds every example, one after the other, as somebody would who starts from
// them, and verifies what each leaves.
func TestCeremonyExamples(t *testing.T) {
	r := newCeremonyRoom(t)
	verify := func(folder string) {
		t.Helper()
		out := r.do(t, "ceremony", "verify", folder, "--officer", "alice="+r.path("alice.pub"), "--officer", "bob="+r.path("bob.pub"))
		if !strings.HasSuffix(out, "nothing is wrong\n") {
			t.Errorf("%s: %s", folder, out)
		}
	}
	root := r.mustHold(t, example(t, "root"))
	verify(root)
	r.take(t, root, "root.crt.pem", "root.crt.pem")
	r.take(t, root, "root.crl", "root-1.crl")

	state := filepath.Join(t.TempDir(), "factory")
	r.do(t, "init", "--bare", "--dir", state, "--name", "localhost")
	r.do(t, "ca", "csr", "--name", "issuing2", "--organization", "Example Works", "--common-name", "Example Works Issuing CA 2", "--path-len", "0",
		"--out", r.path("issuing2.csr"), "--dir", state)
	issuing := r.mustHold(t, example(t, "issuing"))
	verify(issuing)
	verify(r.mustHold(t, example(t, "crl")))

	// Another root, with the names that the example of a cross-certificate has.
	other := strings.NewReplacer("root.pem", "new.pem", "root.crt.pem", "new.crt.pem").Replace(example(t, "root"))
	r.take(t, r.mustHold(t, other), "new.crt.pem", "new.crt.pem")
	r.take(t, root, "root.crt.pem", "old.crt.pem")
	if err := os.Rename(r.path("keys/root.pem"), r.path("keys/old.pem")); err != nil {
		t.Fatal(err)
	}
	verify(r.mustHold(t, example(t, "cross")))

	certificate, err := readCertificates(r.path("old.crt.pem"))
	if err != nil {
		t.Fatal(err)
	}
	destroy := strings.Replace(example(t, "destroy"), `sha256: ""
      confirm`, fmt.Sprintf("sha256: %x\n      confirm", sha256.Sum256(certificate[0].RawSubjectPublicKeyInfo)), 1)
	verify(r.mustHold(t, destroy))
	if _, err := os.Stat(r.path("keys/old.pem")); !os.IsNotExist(err) {
		t.Errorf("the key that was destroyed is there: %v", err)
	}
}

// TestCeremonyRefused: what the command line itself refuses, and that nothing is made then.
func TestCeremonyRefused(t *testing.T) {
	r := newCeremonyRoom(t)
	text := strings.Replace(pin(t, example(t, "root"), r.dir), "network: none", "network: allowed", 1)
	r.write(t, "root.yaml", text, 0o644)
	r.write(t, "short", "seven77\n", 0o400)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	alice, bob := "alice="+r.path("alice.key"), "bob="+r.path("bob.key")
	good := []string{"--keys", r.path("keys"), "--out", r.path("out"), "--passphrase-file", r.path("passphrase"), "--hash", sum, "--officer", alice, "--officer", bob}
	for _, c := range []struct {
		name string
		args []string
		text string
	}{
		{"no folder", []string{"--hash", sum}, "--out is required"},
		{"no keys", []string{"--out", r.path("out"), "--hash", sum, "--officer", alice, "--officer", bob}, "--keys is required"},
		{"nobody to type", []string{"--out", r.path("out"), "--keys", r.path("keys"), "--passphrase-file", r.path("passphrase"), "--officer", alice, "--officer", bob}, "nobody can be asked"},
		{"wrong hash", append([]string{}, append(good, "--hash", strings.Repeat("0", 64))...), "is not the hash of the ceremony file"},
		{"one officer", []string{"--keys", r.path("keys"), "--out", r.path("out"), "--passphrase-file", r.path("passphrase"), "--hash", sum, "--officer", alice}, "the ceremony needs 2"},
		{"an officer twice", append(append([]string{}, good...), "--officer", alice), "is there twice"},
		{"a stranger", append(append([]string{}, good...), "--officer", "carol="+r.path("alice.key")), "carol"},
		{"no key", append(append([]string{}, good...), "--officer", "carol"), "not NAME=KEY"},
		{"a public key", append(append([]string{}, good...), "--officer", "carol="+r.path("alice.pub")), "officer \"carol\""},
		{"another's key", []string{"--keys", r.path("keys"), "--out", r.path("out"), "--passphrase-file", r.path("passphrase"), "--hash", sum, "--officer", "alice=" + r.path("bob.key"), "--officer", bob}, "alice"},
		{"a PIN for nothing", append(append([]string{}, good...), "--pin-file", "root="+r.path("passphrase")), "no token \"root\""},
		{"a PIN without a token", append(append([]string{}, good...), "--pin-file", r.path("passphrase")), "not TOKEN=FILE"},
		{"a folder that is there, before the hash is asked for", []string{"--keys", r.path("keys"), "--out", r.dir, "--passphrase-file", r.path("passphrase"), "--officer", alice, "--officer", bob}, "so name another (--out)"},
		{"one officer, before the hash is asked for", []string{"--keys", r.path("keys"), "--out", r.path("out"), "--passphrase-file", r.path("passphrase"), "--officer", alice}, "1 officer present, and the ceremony needs 2"},
		{"a short passphrase", append(append([]string{}, good...), "--passphrase-file", r.path("short")), "shorter than 8 characters: nothing was done"},
		{"a passphrase that is not there", append(append([]string{}, good...), "--passphrase-file", r.path("none")), "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := r.try(t, append([]string{"ceremony", "run", r.path("root.yaml")}, c.args...)...)
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %q\n%s", err, c.text, out)
			}
			for _, made := range []string{"out", "keys"} {
				if _, err := os.Stat(r.path(made)); !os.IsNotExist(err) {
					t.Errorf("%s is there: %v", made, err)
				}
			}
		})
	}
	if out, err := r.try(t, append([]string{"ceremony", "run", r.path("root.yaml")}, good...)...); err != nil {
		t.Errorf("what is right is refused: %v\n%s", err, out)
	}
	if out, err := r.try(t, append([]string{"ceremony", "run", r.path("root.yaml")}, good...)...); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("held twice: %v\n%s", err, out)
	}
	// Who verifies knows what was signed off, and how many had to sign.
	for _, c := range []struct {
		text string
		args []string
	}{
		{"finding  ceremony.yaml: its SHA-256 is " + sum, []string{"--hash", strings.Repeat("0", 64)}},
		{"finding  2 officers signed, and you demand 3", []string{"--threshold", "3"}},
		{"checked  that is the hash that you gave", []string{"--hash", ceremony.Groups(sum), "--threshold", "2"}},
	} {
		out, err := r.try(t, append([]string{"ceremony", "verify", r.path("out")}, c.args...)...)
		if !strings.Contains(out, c.text) || (err != nil) != strings.HasPrefix(c.text, "finding") {
			t.Errorf("verify %q: %v, want %q\n%s", c.args, err, c.text, out)
		}
	}
	for _, args := range [][]string{
		{"ceremony", "example", "nothing"},
		{"ceremony", "verify", r.path("root.yaml")},
		{"ceremony", "verify", r.path("out"), "--hash", ""},
		{"ceremony", "verify", r.path("out"), "--hash", sum[:60]},
		{"ceremony", "verify", r.path("out"), "--hash", "not a hash"},
		{"ceremony", "verify", r.path("out"), "--threshold", "0"},
	} {
		if _, err := r.try(t, args...); exitCode(err) != 2 {
			t.Errorf("%v: %v", args, err)
		}
	}
	for _, args := range [][]string{{"ceremony", "check", r.path("none.yaml")}, {"ceremony", "check", r.dir}, {"ceremony", "verify", r.path("none")}} {
		if _, err := r.try(t, args...); exitCode(err) != 1 {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestReadHash types hashes as people do.
func TestReadHash(t *testing.T) {
	sum := fmt.Sprintf("%064x", new(big.Int).Lsh(big.NewInt(0xabcdef), 200))
	for name, typed := range map[string]string{
		"one line":  sum + "\n",
		"groups":    ceremony.Groups(sum) + "\n",
		"capitals":  strings.ToUpper(sum) + "\r\n",
		"by fours":  regexp.MustCompile(`....`).ReplaceAllString(sum, "$0\n"),
		"and a PIN": ceremony.Groups(sum) + "\nnext\n",
	} {
		if got, err := readHash(bufio.NewReader(strings.NewReader(typed))); err != nil || got != sum {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}
	for name, typed := range map[string]string{"short": sum[:60] + "\n\n", "long": sum + "00\n", "ends": sum[:10]} {
		if got, err := readHash(bufio.NewReader(strings.NewReader(typed))); err != nil || got == sum {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}
	if _, err := readHash(bufio.NewReader(strings.NewReader(""))); err == nil {
		t.Error("nothing was typed, and that is no error")
	}
}
