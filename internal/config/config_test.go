package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// good is a configuration with one of everything.
const good = `
server: line-1
public_url: http://ca.example:8080
tls: {issuer: issuing, profile: server, names: [localhost]}
profiles:
  device: {preset: device, validity: 730d, backdate: 24h}
  provisioned: {preset: aws-jitp, subject: {commonName: {pattern: "[a-z]+"}}}
  server: {preset: server}
labels:
  - name: ""
    profile: device
    issuer: issuing
    authorize: trusted
    passwords: [{user: factory, sha256: "` + hash + `"}]
    own: [device]
aws:
  targets:
    - name: a
      account_id: "123456789012"
      region: eu-central-1
      cas:
        - {issuer: jitr, mode: DEFAULT, use: jitr}
        - {issuer: jitp, mode: DEFAULT, use: jitp, jitp: {profile: provisioned, role_arn: "arn:aws:iam::123456789012:role/x", policy: p}}
      jitr: {function: "arn:aws:lambda:eu-central-1:123456789012:function:f", policy: p}
      manifest: {max_age: 2d}
`

const hash = "0000000000000000000000000000000000000000000000000000000000000001"

func TestParse(t *testing.T) {
	c, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if c.Profiles["device"].Validity != 730*24*time.Hour || *c.Profiles["device"].Backdate != 24*time.Hour {
		t.Errorf("durations: %v %v", c.Profiles["device"].Validity, *c.Profiles["device"].Backdate)
	}
	if c.Listen.EST != ":8443" || c.CRL.Lifetime != 7*24*time.Hour || c.AWS.Targets[0].Manifest.MaxAge != 48*time.Hour {
		t.Errorf("defaults: %+v", c)
	}
}

// TestRefused: each mistake is refused with a text that names the key.
func TestRefused(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown key", "server: line-1", "sever: line-1", "sever"},
		{"unknown key below", "validity: 730d", "validty: 730d", "validty"},
		{"key twice", "server: line-1", "server: line-1\nserver: line-2", "server"},
		{"bad duration", "730d", "two years", "90d, 36h or 15m"},
		{"huge duration", "730d", "99999999d", "100 years"},
		{"server name", "line-1", "Line 1", "server:"},
		{"https CRL address", "http://ca.example:8080", "https://ca.example", "public_url:"},
		{"no server certificate", "tls: {issuer: issuing, profile: server, names: [localhost]}", "", "tls:"},
		{"device profile for the server", "profile: server, names", "profile: device, names", "tls.profile"},
		{"profile that is not there", "profile: device\n    issuer", "profile: other\n    issuer", "labels[0].profile"},
		{"server profile for devices", "profile: device\n    issuer", "profile: server\n    issuer", "labels[0].profile"},
		{"label with a slash", `name: ""`, "name: a/b", "labels[0].name"},
		{"label that is an operation", `name: ""`, "name: simpleenroll", "labels[0].name"},
		{"unknown rule", "trusted", "anybody", "labels[0].authorize"},
		{"short hash", hash, "00", "passwords[0].sha256"},
		{"the example's hash", hash, strings.Repeat("0", 64), "passwords[0].sha256"},
		{"server name with a space", "[localhost]", "[\"a b\"]", "tls.names[0]"},
		{"user with a colon", "user: factory", `user: "a:b"`, "passwords[0].user"},
		{"nobody can enroll", "    passwords: [{user: factory, sha256: \"" + hash + "\"}]\n    own: [device]\n", "", "labels[0]"},
		{"account id", `"123456789012"` + "\n", `"12345"` + "\n", "account_id"},
		{"mode", "{issuer: jitr, mode: DEFAULT", "{issuer: jitr, mode: default", "cas[0].mode"},
		{"JITR and JITP at once", "mode: DEFAULT, use: jitr}", "mode: DEFAULT, use: jitr, jitp: {profile: provisioned}}", "cas[0].jitp"},
		{"JITR without a landing", "      jitr: {function", "      # {function", "jitr"},
		{"JITP with a device profile", "jitp: {profile: provisioned", "jitp: {profile: device", "jitp.profile"},
		{"not YAML", good, "{", "reading"},
	} {
		if !strings.Contains(good, test.old) {
			t.Fatalf("%s: the good configuration has no %q", test.name, test.old)
		}
		_, err := Parse([]byte(strings.Replace(good, test.old, test.new, 1)))
		if err == nil {
			t.Errorf("%s: accepted", test.name)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the text does not name %q: %v", test.name, test.want, err)
		}
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "mintmark init") {
		t.Errorf("no file: %v", err)
	}
	path := filepath.Join(dir, File)
	if err := os.WriteFile(path, []byte("sever: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "sever") {
		t.Errorf("bad file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(cloud))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if (c == nil) == (err == nil) {
			t.Error("neither a configuration nor an error, or both")
		}
	})
}
