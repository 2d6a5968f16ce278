package edge

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRefused: each input that cannot work is refused, in words that say which.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	slot := uint64(1)
	est := func(c *Config) { *c = w.est() }
	pkcs11 := func(c *Config) { *c = w.pkcs11() }
	for _, test := range []struct {
		want string
		base func(*Config)
		with func(*Config)
	}{
		{"upper case", nil, func(c *Config) { c.RegistrationID = "Press-0042" }},
		{"registration id \"\"", nil, func(c *Config) { c.RegistrationID = "" }},
		{"1 to 64", nil, func(c *Config) { c.RegistrationID = "press 42" }},
		{"1 to 64", nil, func(c *Config) { c.RegistrationID = "press." }},
		{"1 to 64", nil, func(c *Config) { c.RegistrationID = strings.Repeat("a", 65) }},
		{"1 to 64", nil, func(c *Config) { c.RegistrationID = "press$(reboot)" }},
		{"1 to 64", nil, func(c *Config) { c.RegistrationID = "press\n[edge_ca]" }},
		{"id scope", nil, func(c *Config) { c.IDScope = "" }},
		{"id scope", nil, func(c *Config) { c.IDScope = "0ne/1" }},
		{"hostname", nil, func(c *Config) { c.Hostname = "-gateway" }},
		{"hostname", nil, func(c *Config) { c.Hostname = strings.Repeat("a", 64) }},
		{"none of Dynamic", nil, func(c *Config) { c.Reprovisioning = "dynamic" }},
		{"not https", nil, func(c *Config) { c.GlobalEndpoint = "http://dps.example.org" }},
		{"has a path", nil, func(c *Config) { c.GlobalEndpoint = "https://dps.example.org/x" }},
		{"is no URL", nil, func(c *Config) { c.GlobalEndpoint = "dps.example.org" }},
		{"no identity is given", nil, func(c *Config) { c.Identity = "" }},
		{"none of file, est and pkcs11", nil, func(c *Config) { c.Identity = "tpm" }},
		{"nothing comes by it", nil, func(c *Config) { c.Enroll.User = "line-a" }},
		{"nothing comes by it", nil, func(c *Config) { c.Renew.Threshold = 50 }},

		{"needs the device's certificate", nil, func(c *Config) { c.Chain = nil }},
		{"no certificate in PEM", nil, func(c *Config) { c.Chain = []byte("hello") }},
		{"more than", nil, func(c *Config) { c.Chain = bytes.Repeat([]byte("a"), maxPEM+1) }},
		{"private key in the file", nil, func(c *Config) { c.Chain = append(w.leaf.keyPEM(t), c.Chain...) }},
		{"there is a X509 CRL", nil, func(c *Config) {
			c.Chain = append([]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), c.Chain...)
		}},
		{"parsing certificate 1", nil, func(c *Config) { c.Chain = []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n") }},
		{"the registration id", nil, func(c *Config) { c.RegistrationID = "press-0043" }},
		{"without its CAs", nil, func(c *Config) { c.Chain = w.leaf.pem() }},
		{"out of order", nil, func(c *Config) { c.Chain = encode(w.leaf.cert, w.root.cert, w.issuing.cert) }},
		{"is a CA's", nil, func(c *Config) { c.Chain = encode(w.issuing.cert, w.root.cert) }},
		{"no clientAuth", nil, func(c *Config) {
			server := issue(t, device, w.issuing, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
			c.Chain = encode(server.cert, w.issuing.cert, w.root.cert)
		}},
		{"expired at", nil, func(c *Config) { c.Chain = encode(issue(t, device, w.issuing, expired).cert, w.issuing.cert) }},
		{"is no JSON", nil, func(c *Config) { c.Payload = []byte("{") }},
		{"DPS takes", nil, func(c *Config) { c.Payload = bytes.Repeat([]byte(" "), maxPayload+1) }},
		{"is no CA", nil, func(c *Config) { c.TrustBundle = w.leaf.pem() }},
		{"expired at", nil, func(c *Config) { c.TrustBundle = issue(t, "Old", nil, isCA, expired).pem() }},

		{"comes without a certificate", est, func(c *Config) { c.Chain = w.chain() }},
		{"needs the URL of its label", est, func(c *Config) { c.Enroll.URL = "" }},
		{"not https", est, func(c *Config) { c.Enroll.URL = "http://ca.example.org/.well-known/est/edge" }},
		{"/.well-known/est/LABEL", est, func(c *Config) { c.Enroll.URL = "https://ca.example.org/est" }},
		{"/.well-known/est/LABEL", est, func(c *Config) { c.Enroll.URL += "/simpleenroll" }},
		{"more than host and path", est, func(c *Config) { c.Enroll.URL = "https://user:pass@ca.example.org/.well-known/est/edge" }},
		{"more than host and path", est, func(c *Config) { c.Enroll.URL += "?x=1" }},
		{"same label", est, func(c *Config) { c.EdgeCA = c.Enroll.URL + "/" }},
		{"at most 50", est, func(c *Config) { c.RegistrationID, c.EdgeCA = strings.Repeat("a", 51), edgeCALabel }},
		{"needs the trust anchors", est, func(c *Config) { c.Enroll.Trust = nil }},
		{"is no CA", est, func(c *Config) { c.Enroll.Trust = w.leaf.pem() }},
		{"exclude each other", est, func(c *Config) { c.Enroll.Certificate = w.leaf.pem() }},
		{"needs a user", est, func(c *Config) { c.Enroll.Bootstrap = nil }},
		{"as a colon", est, func(c *Config) { c.Enroll.User = "a:b" }},
		{"as a colon", est, func(c *Config) { c.Enroll.User = "a\nb" }},
		{"is a CA's", est, func(c *Config) { c.Enroll.Bootstrap = w.root.pem() }},
		{"expired at", est, func(c *Config) { c.Enroll.Bootstrap = issue(t, device, w.root, expired).pem() }},
		{"private key in the file", est, func(c *Config) { c.Enroll.Bootstrap = append(c.Enroll.Bootstrap, w.bootstrap.keyPEM(t)...) }},
		{"must not renew", est, func(c *Config) { c.Individual, c.Renew.Threshold = true, 50 }},
		{"1 to 99", est, func(c *Config) { c.Renew.Threshold = 100 }},
		{"1 to 99", est, func(c *Config) { c.Renew.Retry = -1 }},
		{"has expired", est, func(c *Config) { c.Renew = Renew{Threshold: 90, Retry: 20} }},
		{"there is no such certificate", est, func(c *Config) {
			c.Enroll.Bootstrap, c.Enroll.User = nil, "line-a"
			c.Token = Token{Library: "/usr/lib/p11.so", Label: "a", BootstrapObject: "b"}
		}},
		{"the identity is by file", nil, func(c *Config) { c.EdgeCA, c.Enroll = edgeCALabel, w.est().Enroll }},

		{"needs the token", nil, func(c *Config) { c.Identity = ByPKCS11 }},
		{"label of its key there", pkcs11, func(c *Config) { c.Token.Object = "" }},
		{"the identity is by file", pkcs11, func(c *Config) { c.Identity = ByFile }},
		{"path of its PKCS #11 library", pkcs11, func(c *Config) { c.Token.Library = "" }},
		{"no absolute path", pkcs11, func(c *Config) { c.Token.Library = "softhsm.so" }},
		{"by its label or by its slot", pkcs11, func(c *Config) { c.Token.Slot = &slot }},
		{"by its label or by its slot", pkcs11, func(c *Config) { c.Token.Label = "" }},
		{"1 to 32", pkcs11, func(c *Config) { c.Token.Label = "a\nb" }},
		{"1 to 32", pkcs11, func(c *Config) { c.Token.Label = strings.Repeat("a", 33) }},
		{"1 to 128", pkcs11, func(c *Config) { c.Token.Object = "a\x00b" }},
	} {
		c := w.file()
		if test.base != nil {
			test.base(&c)
		}
		test.with(&c)
		files, err := Files(c)
		switch {
		case err == nil:
			t.Errorf("taken, although: %s", test.want)
		case !strings.Contains(err.Error(), test.want):
			t.Errorf("%q does not say %q", err, test.want)
		case files != nil:
			t.Errorf("%q, and yet there are files", err)
		}
	}
}

// TestWrite: the directory is new or empty, and holds nothing secret.
func TestWrite(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "device")
	files, err := Write(dir, w.est())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.Stat(f.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode().Perm() != f.Mode {
			t.Errorf("%s has mode %v, want %v", f.Name, info.Mode(), f.Mode)
		}
		if bytes.Contains(f.Data, []byte("PRIVATE KEY-----\n")) {
			t.Errorf("%s holds a private key", f.Name)
		}
	}
	if _, err := Write(dir, w.est()); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("written over: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other")
	bad := w.est()
	bad.IDScope = ""
	if _, err := Write(other, bad); err == nil {
		t.Error("a configuration that is refused was written")
	}
	if _, err := os.Stat(other); !os.IsNotExist(err) {
		t.Errorf("something was left behind: %v", err)
	}
}
