package station

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// shell is a device behind programs, with openssl.
func shell(t testing.TB, dir string) CommandsConfig {
	pkitest.Tool(t, "openssl")
	pkitest.Tool(t, "sh")
	return CommandsConfig{
		dir:      dir,
		Identify: []string{"sh", "-c", "cat id 2>/dev/null || exit 75"},
		Request:  []string{"sh", "-c", `[ -f key.pem ] || openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl req -new -key key.pem -subj "/CN=$MINTMARK_DEVICE"`},
		Install:  []string{"sh", "-c", `cat >cert.new && cp "$MINTMARK_FILES/roots.pem" roots.pem && mv cert.new cert.pem`},
		Verify:   []string{"sh", "-c", `[ -f cert.pem ] || exit 69; openssl dgst -sha256 -sign key.pem >sig && openssl x509 -in cert.pem -noout -fingerprint -sha256 && base64 <sig`},
	}
}

func TestCommands(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	c := shell(t, dir)
	b.change = func(o *Options) { o.Device, o.Roots, o.Verify = NewCommands(c), true, ByProof }
	if err := os.WriteFile(filepath.Join(dir, "id"), []byte("SN-001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := b.run(1); err != nil || s.Done != 1 {
		t.Fatalf("%+v, %v\n%s", s, err, b.said())
	}
	if l := b.lines()[0]; l.Verified != ByProof {
		t.Errorf("recorded: %+v", l)
	}
	pkitest.OpenSSL(t, "verify", "-CAfile", filepath.Join(dir, "roots.pem"), "-untrusted", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "cert.pem"))
	if s, err := b.run(1); err != nil || s.Again != 1 {
		t.Errorf("again: %+v, %v\n%s", s, err, b.said())
	}
}

// TestVerifyNone: without a program that verifies, a device that comes again gets the same
// certificate again.
func TestVerifyNone(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	c := shell(t, dir)
	c.Identify, c.Verify = []string{"echo", "SN-001"}, nil
	b.change = func(o *Options) { o.Device, o.Roots, o.Verify = NewCommands(c), true, ByNothing }
	if s, err := b.run(1); err != nil || s.Done != 1 {
		t.Fatalf("%+v, %v\n%s", s, err, b.said())
	}
	if s, err := b.run(1); err != nil || s.Again != 1 || len(b.ca.issued) != 1 {
		t.Errorf("again: %+v, %v\n%s", s, err, b.said())
	}
}

// TestKeygenChanged: a station that was told to make keys makes none for a device whose
// own request waits.
func TestKeygenChanged(t *testing.T) {
	b := newBench(t)
	d := newDevice(t, "SN-001")
	d.refuses = "full"
	b.at(d)
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	d.refuses = ""
	b.change = func(o *Options) { o.Keygen = "P-256" }
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	b.provisioned(d)
}

// TestOneFile: what is no request is said before anything is asked.
func TestOneFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.csr")
	for _, body := range []string{"", "hello", strings.Repeat("a", maxRequest+1)} {
		if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewFile(name, "out", nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%d bytes: %v", len(body), err)
		}
		if _, err := NewFile("-", "out", strings.NewReader(body)); err == nil || !strings.Contains(err.Error(), "standard input") {
			t.Errorf("%d bytes of standard input: %v", len(body), err)
		}
	}
	if _, err := NewFile(name+".none", "out", nil); !os.IsNotExist(errors.Unwrap(err)) {
		t.Errorf("no file: %v", err)
	}
}

// TestCommandsFail: what programs do wrong, and what is said of it.
func TestCommandsFail(t *testing.T) {
	sh := func(text string) []string { return []string{"sh", "-c", text} }
	for _, test := range []struct {
		name string
		set  func(*CommandsConfig)
		want string
	}{
		{"request fails", func(c *CommandsConfig) { c.Request = sh("echo no power >&2; exit 4") }, "ended with 4: no power"},
		{"too much", func(c *CommandsConfig) { c.Request = sh("yes") }, "more than 65536 bytes"},
		{"too slow", func(c *CommandsConfig) { c.Request = sh("sleep 60 & sleep 60") }, "in time"},
		{"no program", func(c *CommandsConfig) { c.Request = []string{"/nonexistent/x"} }, "no such file"},
		{"no request", func(c *CommandsConfig) { c.Request = sh("echo hello") }, "parsing the certification request"},
		{"another's request", func(c *CommandsConfig) {
			c.Request = sh("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=other 2>/dev/null")
		}, "says that it is SN-001"},
		{"install fails", func(c *CommandsConfig) { c.Install = sh("exit 1") }, "putting the certificate into the device"},
		{"another certificate", func(c *CommandsConfig) { c.Verify = sh("printf '%064d\n' 0") }, "the device holds the certificate"},
		{"nonsense", func(c *CommandsConfig) { c.Verify = sh("echo fine") }, "not the SHA-256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			dir := t.TempDir()
			c := shell(t, dir)
			test.set(&c)
			b.change = func(o *Options) {
				o.Device, o.Roots = NewCommands(c), true
				if test.name == "too slow" {
					o.Limits.Request = 100 * time.Millisecond
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "id"), []byte("SN-001\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := b.run(1)
			if err != nil || s.Failed != 1 || !strings.Contains(b.said(), test.want) {
				t.Errorf("%+v, %v: said %s, want %q", s, err, b.said(), test.want)
			}
			if lines := b.lines(); len(lines) != 1 || !strings.Contains(lines[0].Reason, test.want) {
				t.Errorf("recorded: %+v", lines)
			}
		})
	}
}

// TestFiles: requests in one folder, chains out of another.
func TestFiles(t *testing.T) {
	b := newBench(t)
	in, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	var err error
	b.change = func(o *Options) {
		if o.Device, err = NewFiles(in, out, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"SN-001", "SN-002"} {
		e := sampleEntry(t, name)
		if err := os.WriteFile(filepath.Join(in, name+".csr"), e.CSR, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(in, "broken.csr"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.ca.fail = func(asked int) error { return status{503, "", 0} }
	if s, err := b.run(0); err != nil || s.Waiting != 2 || s.Failed != 1 {
		t.Fatalf("%+v, %v\n%s", s, err, b.said())
	}
	if l := b.lines()[0]; l.Device != "file broken.csr" || l.Result != Failed {
		t.Errorf("recorded: %+v", l)
	}
	b.ca.fail = nil
	if s, err := b.run(0); err != nil || s.Done != 2 {
		t.Fatalf("%+v, %v\n%s", s, err, b.said())
	}
	if s, err := b.run(0); err != nil || s.Done+s.Again+s.Failed != 0 {
		t.Errorf("%+v, %v\n%s", s, err, b.said())
	}
	for _, name := range []string{"SN-001.csr.done", "SN-002.csr.done", "broken.csr.failed"} {
		if _, err := os.Stat(filepath.Join(in, name)); err != nil {
			t.Error(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(b.ca.root)
	list, err := parsePEM(pkitest.ReadFile(t, filepath.Join(out, "SN-001.pem")))
	if err != nil || len(list) != 2 || list[0].Subject.CommonName != "SN-001" {
		t.Errorf("%v, %v", list, err)
	}
}
