package ceremony

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/pkitest"
)

// prepare parses and prepares the file with one thing changed.
func (r *room) prepare(t *testing.T, cfg Config, old, new string) (*Plan, error) {
	t.Helper()
	good := r.text(everything)
	if !strings.Contains(good, old) {
		t.Fatalf("the good file has no %q", old)
	}
	f, err := Parse([]byte(strings.Replace(good, old, new, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return Prepare(background, f, cfg)
}

// TestDryRun holds that a dry run needs no key and makes nothing, and that its words
// have what those present must compare.
func TestDryRun(t *testing.T) {
	r := newRoom(t)
	cfg := r.config(t, nil)
	cfg.Officers = nil
	cfg.Networks = func() ([]string, error) { return []string{"eth0"}, nil }
	before, err := os.ReadDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.prepare(t, cfg, "", "")
	if err != nil {
		t.Fatal(err)
	}
	words := p.Words()
	for _, want := range []string{
		indent(Groups(p.File.Hash())), "at least 2 of these", "alice, key " + r.vars["alice"], r.vars["line3.csr"],
		"a new P-384 at softkms:path=keys/root.pem", `"CN=Mint Works Root 2,O=Mint Works"`, "2026-12-01T09:00:00Z to 2046-12-01T09:00:00Z",
		"0a5b, 2026-11-30T00:00:00Z, keyCompromise", "destroy a key, for good", "this machine has a network (eth0): the ceremony will be refused on it", hexHash(r.old.Certificate().Raw),
		"below it    0 more CA certificates at most", "number 4, whose revocations (1) are all here",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("the words lack %q:\n%s", want, words)
		}
	}
	after, err := os.ReadDir(r.dir)
	if err != nil || len(after) != len(before) {
		t.Errorf("the dry run left something: %d files, then %d (%v)", len(before), len(after), err)
	}
	if _, err := os.Lstat(cfg.Folder); err == nil {
		t.Error("the dry run made the folder")
	}
	if _, err := p.Run(background, p.File.Hash()); err == nil {
		t.Error("it ran without officers and keys")
	}
}

// TestTokenWords holds that those present see what of a token the file waives, and where
// its PIN comes from.
func TestTokenWords(t *testing.T) {
	r := newRoom(t)
	p, err := r.prepare(t, r.config(t, nil), "authorities:", `tokens:
  - name: vault
    uri: pkcs11:module-path=/usr/lib/x.so;token=vault
    pin: {file: pin.txt}
    spare: {uri: "pkcs11:module-path=/usr/lib/y.so;token=second", pin: {operators: 3}}
    accept: [CKA_EXTRACTABLE, CKA_DECRYPT]
  - {name: typed, uri: "pkcs11:module-path=/usr/lib/x.so;token=typed"}
  - {name: pad, uri: "pkcs11:module-path=/usr/lib/x.so;token=pad", pin: {pad: true}, accept: [CKA_LOCAL]}
  - {name: given, uri: "pkcs11:module-path=/usr/lib/x.so;token=given", pin: {credential: vault-pin}}
authorities:`)
	if err != nil {
		t.Fatal(err)
	}
	_, words, _ := strings.Cut(p.Words(), "\nToken")
	words, _, _ = strings.Cut("\nToken"+words, "\nAuthority")
	for _, want := range []string{
		`
Token vault: pkcs11:module-path=/usr/lib/x.so;token=vault
  PIN         from the file "pin.txt"
  spare       pkcs11:module-path=/usr/lib/y.so;token=second
  PIN         typed by 3 people, each a part
  accepts     CKA_EXTRACTABLE, CKA_DECRYPT: not held against a key
`, "token=typed\n  PIN         typed by one person\n", "token=pad\n  PIN         entered at the token\n", "token=given\n  PIN         from the credential \"vault-pin\"\n",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("the words lack %q:\n%s", want, words)
		}
	}
	var warned []string
	for _, w := range p.Warnings {
		if strings.Contains(w, "CKA_") {
			warned = append(warned, w)
		}
	}
	if len(warned) != 1 || warned[0] != `token "vault": keys that can leave the token are accepted (CKA_EXTRACTABLE)` {
		t.Errorf("the warnings are %q", p.Warnings)
	}
}

// TestWordsShow holds that what does not come from the file does nothing to the screen
// either.
func TestWordsShow(t *testing.T) {
	r := newRoom(t)
	cfg := r.config(t, nil)
	cfg.Networks = func() ([]string, error) { return []string{"eth\x1b[2J0"}, nil }
	p, err := r.prepare(t, cfg, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if words := p.Words(); strings.Contains(words, "\x1b") || !strings.Contains(words, "eth\uFFFD[2J0") {
		t.Errorf("a name that clears the screen is in the words:\n%q", words)
	}
}

// TestPrepareRefuses changes one thing of the file in each row.
func TestPrepareRefuses(t *testing.T) {
	r := newRoom(t)
	cfg := r.config(t, nil)
	for _, c := range []struct{ name, old, new, want string }{
		{"input missing", "file: line3.csr", "file: line4.csr", "line4.csr is not beside the ceremony file: copy it there"},
		{"input changed", r.vars["line3.csr"], strings.Repeat("0f", 32), "the SHA-256 of the file is " + r.vars["line3.csr"]},
		{"digest missing", ", sha256: " + r.vars["line3.csr"], "", "sha256 is missing: that of the file is " + r.vars["line3.csr"]},
		{"officer's digest missing", ", sha256: " + r.vars["bob"], "", "that of the key is " + r.vars["bob"]},
		{"another officer's key", "key: bob.pub", "key: carol.pub", "the SHA-256 of the key in carol.pub"},
		{"officer's key is no key", "key: bob.pub", "key: old-root.pem", "not PUBLIC KEY"},
		{"request is no request", r.text("request: {file: line3.csr, sha256: ${line3.csr}}"), r.text("request: {file: alice.pub, sha256: ${alice.pub}}"), "CERTIFICATE REQUEST"},
		{"authority is no certificate", r.text("{file: old-root.pem, sha256: ${old-root.pem}}"), r.text("{file: alice.pub, sha256: ${alice.pub}}"), "CERTIFICATE"},
		{"CRL is no CRL", r.text("{file: old.crl, sha256: ${old.crl}}"), r.text("{file: alice.pub, sha256: ${alice.pub}}"), "X509 CRL"},
		{"another subject", "common_name: Line 3}", "common_name: Line 4}", "the subject of the request is"},
		{"less of the subject", "{organization: Mint Works, common_name: Line 3}", "{common_name: Line 3}", "the subject of the request is"},
		{"another algorithm", "algorithm: P-256", "algorithm: P-384", "the key is P-256, not P-384"},
		{"another path length", "path_length: 0", "path_length: 1", "asks for another basicConstraints"},
		{"constraints not asked for, over a request", "path_length: 0", "path_length: 0\n      permit: {dns: [\"no dots at all !\"]}", ""},
		{"outlives its issuer", "until: 2036-12-01T09:00:00Z", "until: 2046-12-01T09:00:01Z", "would outlive its issuer"},
		{"begins before its issuer", "from: 2026-12-01T09:00:00Z\n      until: 2036", "from: 2026-12-01T08:59:59Z\n      until: 2036", "is before that of its issuer"},
		{"ended already", "from: 2026-12-01T09:00:00Z\n      until: 2046-12-01T09:00:00Z", "from: 2020-12-01T09:00:00Z\n      until: 2026-12-01T09:00:00Z", "2026-12-01T09:00:00Z"},
		{"no room below the root", "algorithm: P-384\n", "algorithm: P-384\n      path_length: 0\n", "path length"},
		{"cross-certificate that outlives", "of: old-root\n      from: 2026-12-01T09:00:00Z\n      until: 2031-12-01T09:00:00Z", "of: old-root\n      from: 2026-12-01T09:00:00Z\n      until: 2032-12-01T09:00:00Z", "after that of the own certificate"},
		{"cross-certificate that outlives its issuer", "of: root\n      from: 2026-12-01T09:00:00Z\n      until: 2031-12-01T09:00:00Z", "of: root\n      from: 2026-12-01T09:00:00Z\n      until: 2032-12-01T09:00:00Z", "would outlive its issuer"},
		{"cross-certificate before its subject", "of: root\n      from: 2026-12-01T09:00:00Z", "of: root\n      from: 2026-11-01T09:00:00Z", "is before that of"},
		{"URL", "http://pki.example.com/crl/root.crl", "pki.example.com/root.crl", "URL"},
		{"name too long", "common_name: Mint Works Root 2", "common_name: " + strings.Repeat("x", 65), "lint"},
		{"CRL number does not rise", "number: 5", "number: 4", "is not higher"},
		{"CRL number falls", "number: 5", "number: 3", "is not higher"},
		{"CRL entry missing", "        - {serial: \"1234\", revoked: 2025-12-01T09:30:00Z, reason: superseded}\n", "", "missing in the new one"},
		{"CRL entry of another date", "revoked: 2025-12-01T09:30:00Z", "revoked: 2025-12-01T09:30:01Z", "was revoked at"},
		{"CRL entry of another reason", "reason: superseded", "reason: keyCompromise", "was revoked at"},
		{"CRL older than the last", "this_update: 2026-12-01T09:00:00Z\n      next_update: 2031", "this_update: 2026-05-01T09:00:00Z\n      next_update: 2031", ""},
		{"CRL of another authority", "by: old-root\n      number: 5", "by: root\n      number: 5", "it is one of"},
		{"CRL that has ended", "this_update: 2026-12-01T09:00:00Z\n      next_update: 2027-12-01T09:00:00Z", "this_update: 2025-12-01T09:00:00Z\n      next_update: 2026-12-01T09:00:00Z", "in the past"},
	} {
		good := r.text(everything)
		if !strings.Contains(good, c.old) {
			t.Errorf("%s: the good file has no %q", c.name, c.old)
			continue
		}
		f, err := Parse([]byte(strings.Replace(good, c.old, c.new, 1)))
		if err == nil {
			_, err = Prepare(background, f, cfg)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestRequestRefused brings another request in each row.
func TestRequestRefused(t *testing.T) {
	subject := pkix.Name{Organization: []string{"Mint Works"}, CommonName: "Line 3"}
	r := newRoom(t)
	good := issuingRequest(t, r.online)
	request := func(template x509.CertificateRequest, key crypto.Signer) []byte {
		template.Subject = subject
		der, err := x509.CreateCertificateRequest(nil, &template, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	weak, err := rsa.GenerateKey(nil, 1024)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(good)
	broken[len(broken)-1] ^= 1
	for _, c := range []struct {
		name string
		csr  []byte
		file string
		want string
	}{
		{"signature", broken, everything, "proves that its maker has the key"},
		{"weak key", request(x509.CertificateRequest{}, weak), everything, "RSA modulus of 1024 bits"},
		{"not DER", []byte{0x30, 1}, everything, "parsing the certification request"},
		{"alternative names", request(x509.CertificateRequest{DNSNames: []string{"line3.example.com"}}, r.online), everything, "the certificate would not have"},
		{"no CA asked for", request(x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: oidBasicConstraints, Critical: true, Value: []byte{0x30, 0}}}}, r.online), everything, "asks for another basicConstraints"},
		{"key identifier of its own", request(x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: oidSubjectKeyID, Value: append([]byte{4, 20}, make([]byte, 20)...)}}}, r.online), everything, "asks for another subjectKeyIdentifier"},
		{"key of its issuer", request(x509.CertificateRequest{}, r.oldKey), strings.NewReplacer("      by: root\n      request", "      by: old-root\n      request", "algorithm: P-256", "algorithm: RSA-2048", "until: 2036", "until: 2030").Replace(everything), "that of its issuer"},
	} {
		r.file(t, "line3.csr", c.csr)
		f, err := Parse([]byte(r.text(c.file)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Prepare(background, f, r.config(t, nil)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}

	// A request without extensions leaves them to the file, and one in PEM of the old
	// name is one as well. A key identifier is kept where the file says so.
	r.file(t, "line3.csr", pkitest.PEM("NEW CERTIFICATE REQUEST", request(x509.CertificateRequest{}, r.online)))
	cfg := r.config(t, nil)
	p, err := r.prepare(t, cfg, "path_length: 0", "path_length: 0\n      key_id: 000102030405060708090a0b0c0d0e0f10111213")
	if err != nil {
		t.Fatal(err)
	}
	if id := p.built[1].certificate.Certificate().SubjectKeyId; len(id) != 20 || id[19] != 0x13 {
		t.Errorf("the key identifier is %x", id)
	}
}

// TestPrepareInputs has inputs that are not what they seem.
func TestPrepareInputs(t *testing.T) {
	r := newRoom(t)
	outside := pkitest.WriteFile(t, "line3.csr", pkitest.ReadFile(t, filepath.Join(r.dir, "line3.csr")))
	replace := func(make func(name string) error) {
		name := filepath.Join(r.dir, "line3.csr")
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := make(name); err != nil {
			t.Fatal(err)
		}
	}
	refuse := func(name, want string) {
		t.Helper()
		if _, err := r.prepare(t, r.config(t, nil), "", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	replace(func(name string) error { return os.Symlink(outside, name) })
	refuse("link out of the folder", "line3.csr")
	replace(func(name string) error { return os.Mkdir(name, 0o755) })
	refuse("directory", "not a regular file")
	replace(func(name string) error {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Truncate(maxInput + 1)
	})
	refuse("huge file", "larger than")
	replace(func(name string) error {
		return os.WriteFile(name, append(pkitest.ReadFile(t, outside), "and more\n"...), 0o644)
	})
	r.vars["line3.csr"] = hexHash(pkitest.ReadFile(t, filepath.Join(r.dir, "line3.csr")))
	refuse("text behind it", "something else than PEM")

	cfg := r.config(t, nil)
	cfg.Inputs = filepath.Join(r.dir, "nowhere")
	f, err := Parse([]byte(r.text(everything)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(background, f, cfg); err == nil {
		t.Error("a folder that is not there was not missed")
	}
	canceled, cancel := context.WithCancel(background)
	cancel()
	r = newRoom(t)
	f, err = Parse([]byte(r.text(everything)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(canceled, f, r.config(t, nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestCrossRefuses cross-certifies what cannot be.
func TestCrossRefuses(t *testing.T) {
	r := newRoom(t)
	// A root with a policy, and one that has the key of the old one.
	policy, err := x509.ParseOID("1.2.3.4")
	if err != nil {
		t.Fatal(err)
	}
	make := func(key crypto.Signer, mend func(*x509.Certificate)) []byte {
		template, err := ca.Spec{Name: "x", Subject: pkix.Name{CommonName: "Another Root"}, NotAfter: testNow.AddDate(9, 0, 0)}.Template(big.NewInt(5), testNow.Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		mend(template)
		p, err := ca.PrepareRoot(template, key)
		if err != nil {
			t.Fatal(err)
		}
		p.Recorded()
		cert, err := p.Issue(background)
		if err != nil {
			t.Fatal(err)
		}
		return pkitest.PEM("CERTIFICATE", cert.Raw)
	}
	file := head + `authorities:
  - name: old-root
    certificates: {file: old-root.pem, sha256: ${old-root.pem}}
    key: softkms:path=keys/old.pem
  - name: other
    certificates: {file: other.pem, sha256: ${other.pem}}
steps:
  - name: cross
    cross:
      by: old-root
      of: other
      from: 2026-12-01T09:00:00Z
      until: 2030-12-01T09:00:00Z
      path_length: 3
      outputs: {certificate: c.pem, chain: d.pem}
`
	key := pkitest.Key(t, "P-256")
	for _, c := range []struct {
		name, want string
		pem        []byte
	}{
		{"same key", "are the same key", make(r.oldKey, func(*x509.Certificate) {})},
		{"an extension", "would lose", make(key, func(c *x509.Certificate) { c.Policies = []x509.OID{policy} })},
		{"wider", "is more than that of", make(key, func(c *x509.Certificate) { c.MaxPathLen = 2 })},
		{"good", "", make(key, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} })},
	} {
		r.file(t, "other.pem", c.pem)
		f, err := Parse([]byte(r.text(file)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Prepare(background, f, r.config(t, nil))
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else if cert := p.built[0].certificate.Certificate(); cert.MaxPathLen != 3 || len(cert.PermittedDNSDomains) != 1 {
				t.Errorf("%s: path length %d, constraints %q", c.name, cert.MaxPathLen, cert.PermittedDNSDomains)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestInterfaces holds that the interfaces of this machine can be listed; loopback is
// none of them.
func TestInterfaces(t *testing.T) {
	names, err := interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name == "lo" {
			t.Error("loopback is taken for a network")
		}
	}
}
