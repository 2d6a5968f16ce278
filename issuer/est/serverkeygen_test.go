package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"mintmark/internal/cms"
	"mintmark/internal/pkcs10"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// serverKeygenFixture is a server over the real registration authority, with labels
// that make keys.
type serverKeygenFixture struct {
	*orderFixture
	maker  *testCA
	made   atomic.Int32 // keys that the authority was asked for
	asked  atomic.Int32 // certificates that it was asked for
	signer *tls.Certificate
}

// counted counts what reaches the authority.
type countedAuthority struct {
	Authority
	f *serverKeygenFixture
}

func (c countedAuthority) GenerateKey(ctx context.Context, r issuer.Request, like crypto.PublicKey) (crypto.Signer, error) {
	c.f.made.Add(1)
	return c.Authority.GenerateKey(ctx, r, like)
}

func (c countedAuthority) Enroll(ctx context.Context, r issuer.Request) (issuer.Answer, error) {
	c.f.asked.Add(1)
	return c.Authority.Enroll(ctx, r)
}

// symmetric is the key that server and devices share.
var symmetric = bytes.Repeat([]byte{0x5a}, 32)

func newServerKeygenFixture(t *testing.T) *serverKeygenFixture {
	t.Helper()
	f := &serverKeygenFixture{orderFixture: newOrderFixture(t), maker: newCA(t, "Maker CA", nil)}
	f.signer = f.authority.root.server(t)
	makers := x509.NewCertPool()
	makers.AddCert(f.maker.certificate)
	base := Label{Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Own: []string{"device"}, Passwords: goodPasswords(), SecondKey: issuer.AllowSecondKey}
	with := func(name string, keygen *Keygen) Label {
		l := base
		l.Name, l.Keygen, l.Maker = name, keygen, &Maker{Roots: makers, Device: "commonName"}
		return l
	}
	var err error
	f.handler, err = NewHandler(Config{
		Authority: countedAuthority{f.ra, f},
		Labels: []Label{
			with("off", nil),
			with("plain", &Keygen{Plain: true}),
			with("keygen", &Keygen{SymmetricKeys: map[string][]byte{"line-16": symmetric[:16], "line-24": symmetric[:24], "line-32": symmetric}}),
		},
		Signer: func() (*tls.Certificate, error) { return f.signer, nil },
		Realm:  "factory", Logger: slog.New(slog.NewTextHandler(f.log, nil)), Now: f.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.serve(t)
	return f
}

// device returns a maker's certificate of that kind of key.
func (f *serverKeygenFixture) device(t *testing.T, kind string, usage x509.KeyUsage) *tls.Certificate {
	t.Helper()
	key := pkitest.Key(t, kind)
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: named("dev-1"), NotBefore: f.maker.certificate.NotBefore, NotAfter: f.maker.certificate.NotAfter,
		KeyUsage: usage, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, SubjectKeyId: []byte("key " + kind),
	}
	c := sign(t, f.maker, template, key.Public())
	return &tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

func capabilities(ids ...asn1.ObjectIdentifier) []pkcs10.Capability {
	var list []pkcs10.Capability
	for _, id := range ids {
		list = append(list, pkcs10.Capability{Algorithm: id})
	}
	return list
}

// keygen posts a request for a key.
func (f *serverKeygenFixture) keygen(t *testing.T, label string, certificate *tls.Certificate, a pkcs10.Attributes, header ...string) message {
	t.Helper()
	csr, err := pkcs10.Create(&x509.CertificateRequest{Subject: named("dev-1")}, a, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	// RFC 7030, Section 4.4.1: nobody looks at the signature.
	csr[len(csr)-1] ^= 1
	return f.raw(t, rawRequest{
		method: http.MethodPost, path: "/.well-known/est/" + label + "/serverkeygen", header: append([]string{typePKCS10}, header...),
		certificate: certificate, body: base64.StdEncoding.EncodeToString(csr),
	})
}

// parts takes an answer apart with the standard library, and holds it against
// the shape that clients need: checklist 60, 83 and 84.
func parts(t *testing.T, m message) (types []string, contents [][]byte) {
	t.Helper()
	if m.status != http.StatusOK {
		t.Fatalf("status %d: %s", m.status, m.body)
	}
	mediaType, parameters, err := mime.ParseMediaType(m.field(t, "Content-Type"))
	if err != nil || mediaType != "multipart/mixed" {
		t.Fatalf("Content-Type %q, %v", m.field(t, "Content-Type"), err)
	}
	if got := m.field(t, "Content-Length"); got != fmt.Sprint(len(m.body)) {
		t.Errorf("Content-Length %s of %d", got, len(m.body))
	}
	if strings.Contains(m.header, "Content-Transfer-Encoding") {
		t.Error("the multipart itself claims an encoding")
	}
	r := multipart.NewReader(bytes.NewReader(m.body), parameters["boundary"])
	for {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return types, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := part.Header.Get("Content-Transfer-Encoding"); got != "base64" {
			t.Errorf("part with Content-Transfer-Encoding %q", got)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		der, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil {
			t.Fatal(err)
		}
		types, contents = append(types, part.Header.Get("Content-Type")), append(contents, der)
	}
}

// issued checks the certificate of an answer against the key: checklist 62 and
// 67.
func issued(t *testing.T, certsOnly []byte, key crypto.PrivateKey) *x509.Certificate {
	t.Helper()
	list, err := cms.ParseCertsOnly(certsOnly)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d certificates, %v", len(list), err)
	}
	public := key.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool })
	if !public.Equal(list[0].PublicKey) || list[0].Subject.CommonName != "dev-1" {
		t.Fatalf("the certificate of %v is not of the key", list[0].Subject)
	}
	return list[0]
}

// Checklist 57 to 62 and 67: plain keys, where a label says so.
func TestKeygenPlain(t *testing.T) {
	f := newServerKeygenFixture(t)
	if m := f.keygen(t, "off", nil, pkcs10.Attributes{}, basic(goodUser, goodSecret)); m.status != http.StatusNotImplemented {
		t.Errorf("57: a label without keygen answers %d", m.status)
	}
	if m := f.keygen(t, "plain", nil, pkcs10.Attributes{}); m.status != http.StatusUnauthorized {
		t.Errorf("58: nobody gets %d", m.status)
	}
	if m := f.keygen(t, "plain", nil, pkcs10.Attributes{}, basic(goodUser, "wrong")); m.status != http.StatusUnauthorized {
		t.Errorf("58: a wrong password gets %d", m.status)
	}
	if f.made.Load() != 0 || f.asked.Load() != 0 {
		t.Errorf("%d keys were made for nobody", f.made.Load())
	}
	m := f.keygen(t, "plain", nil, pkcs10.Attributes{}, basic(goodUser, goodSecret))
	types, contents := parts(t, m)
	if len(types) != 2 || types[0] != "application/pkcs8" || types[1] != "application/pkcs7-mime; smime-type=certs-only" {
		t.Fatalf("parts %q", types)
	}
	key, err := x509.ParsePKCS8PrivateKey(contents[0])
	if err != nil {
		t.Fatal(err)
	}
	issued(t, contents[1], key)
	other, err := x509.ParsePKCS8PrivateKey(second(t, f.keygen(t, "plain", nil, pkcs10.Attributes{}, basic(goodUser, goodSecret), "User-Agent: libest 3.2.0")))
	if err != nil || key.(*ecdsa.PrivateKey).Equal(other) {
		t.Errorf("the same key twice, or none: %v", err)
	}
	if text := base64.StdEncoding.EncodeToString(contents[0]); strings.Contains(f.log.String(), text[40:80]) || strings.Contains(f.log.String(), hex.EncodeToString(contents[0])[80:120]) {
		t.Error("the key is in the log")
	}
	if !strings.Contains(f.log.String(), "key_encryption=none") {
		t.Error("the log does not say that the key was plain")
	}
}

// second reads the key of an answer whose base64 is wrapped for libest.
func second(t *testing.T, m message) []byte {
	t.Helper()
	for line := range strings.Lines(string(m.body)) {
		if n := len(strings.TrimRight(line, "\r\n")); n > 76 {
			t.Errorf("a line of %d characters for libest", n)
		}
	}
	a, err := parseKeygen(m.field(t, "Content-Type"), m.body)
	if err != nil {
		t.Fatal(err)
	}
	return a.key
}

// Checklist 63 and 64: OpenSSL opens what each kind of recipient gets, and our
// client does.
func TestKeygenEncrypted(t *testing.T) {
	f := newServerKeygenFixture(t)
	sha256OAEP := pkcs10.Capability{Algorithm: cms.RSAOAEP, Parameters: oaepSHA256}
	wrapped := func(id asn1.ObjectIdentifier) []byte {
		der, err := asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: id})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for name, c := range map[string]struct {
		kind  string // of the TLS certificate's key; empty for the shared key
		key   string // identifier of the shared key
		offer []pkcs10.Capability
		want  []string // in what OpenSSL prints
	}{
		"OAEP":            {"RSA-2048", "", append(capabilities(cms.RSAEncryption, cms.AES128CBC), sha256OAEP), []string{"d.ktri", "rsaesOaep", "aes-128-cbc", "subjectKeyIdentifier"}},
		"v1.5":            {"RSA-2048", "", capabilities(cms.AES256CBC, cms.RSAEncryption), []string{"d.ktri", "rsaEncryption", "aes-256-cbc"}},
		"OAEP is SHA-1":   {"RSA-2048", "", append(capabilities(cms.AES256CBC, cms.RSAEncryption), pkcs10.Capability{Algorithm: cms.RSAOAEP, Parameters: []byte{0x30, 0}}), []string{"d.ktri", "rsaEncryption"}},
		"P-256":           {"P-256", "", append(capabilities(cms.AES128CBC), pkcs10.Capability{Algorithm: cms.ECDHSHA256, Parameters: wrapped(cms.AES128Wrap)}), []string{"d.kari", "dhSinglePass-stdDH-sha256kdf-scheme", "id-aes128-wrap"[3:]}},
		"P-384":           {"P-384", "", append(capabilities(cms.AES128CBC, cms.AES256CBC), pkcs10.Capability{Algorithm: cms.ECDHSHA256, Parameters: wrapped(cms.AES128Wrap)}, pkcs10.Capability{Algorithm: cms.ECDHSHA384, Parameters: wrapped(cms.AES256Wrap)}), []string{"d.kari", "dhSinglePass-stdDH-sha384kdf-scheme", "aes-256-cbc"}},
		"P-256, loose":    {"P-256", "", capabilities(cms.AES128Wrap, cms.ECDHSHA256, cms.AES192CBC), []string{"d.kari", "aes-192-cbc"}},
		"AES-128":         {"", "line-16", capabilities(cms.AES128CBC, cms.AES128Wrap), []string{"d.kekri", "aes-128-cbc"}},
		"AES-192":         {"", "line-24", capabilities(cms.AES128CBC, cms.AES256CBC, cms.AES256Wrap, cms.AES192Wrap), []string{"d.kekri", "aes-256-cbc"}},
		"AES-256":         {"", "line-32", capabilities(cms.AES256CBC, cms.AES256Wrap), []string{"d.kekri", "aes-256-cbc"}},
		"unknown offered": {"", "line-32", append(capabilities(asn1.ObjectIdentifier{1, 2, 3}), capabilities(cms.AES256CBC, cms.AES256Wrap)...), []string{"d.kekri"}},
	} {
		var certificate *tls.Certificate
		var opens any = symmetric
		a, header := pkcs10.Attributes{Capabilities: c.offer}, []string(nil)
		if c.kind != "" {
			certificate = f.device(t, c.kind, x509.KeyUsageDigitalSignature|map[bool]x509.KeyUsage{true: x509.KeyUsageKeyEncipherment, false: x509.KeyUsageKeyAgreement}[c.kind[0] == 'R'])
			a.AsymmetricDecryptKeyIdentifier, opens = certificate.Leaf.SubjectKeyId, certificate.PrivateKey
		} else {
			a.DecryptKeyIdentifier, header = []byte(c.key), []string{basic(goodUser, goodSecret)}
			opens = f.handler.labels["keygen"].Keygen.SymmetricKeys[c.key]
		}
		types, contents := parts(t, f.keygen(t, "keygen", certificate, a, header...))
		if len(types) != 2 || types[0] != "application/pkcs7-mime; smime-type=server-generated-key" || types[1] != mediaTypeCertsOnly {
			t.Fatalf("%s: parts %q", name, types)
		}
		key := f.openSSL(t, name, contents[0], opens, c.key, c.want)
		issued(t, contents[1], key)
	}
	// Our client, with the identifiers that are derived from a key.
	for kind, usage := range map[string]x509.KeyUsage{"RSA-2048": 0, "P-256": 0, "P-384": x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement} {
		certificate := f.device(t, kind, usage)
		hashes := sha1.Sum(publicBits(t, certificate.Leaf))
		for _, id := range [][]byte{certificate.Leaf.SubjectKeyId, hashes[:]} {
			g, err := f.client("keygen", certificate, false).ServerKeygen(t.Context(), Request{Template: &x509.CertificateRequest{Subject: named("dev-1")}}, &Recipient{Key: certificate.PrivateKey, Identifier: id})
			if err != nil {
				t.Errorf("%s: %v", kind, err)
				continue
			}
			if g.Certificate.Subject.CommonName != "dev-1" || !bytes.Equal(g.Signer.Raw, f.signer.Certificate[0]) {
				t.Errorf("%s: %v signed by %v", kind, g.Certificate.Subject, g.Signer)
			}
		}
	}
}

func publicBits(t *testing.T, c *x509.Certificate) []byte {
	t.Helper()
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil {
		t.Fatal(err)
	}
	return info.Key.Bytes
}

// openSSL decrypts a private key and verifies who signed it.
func (f *serverKeygenFixture) openSSL(t *testing.T, name string, enveloped []byte, opens any, identifier string, want []string) crypto.PrivateKey {
	t.Helper()
	dir := t.TempDir()
	put := func(file string, content []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	message, signed := put("enveloped", enveloped), filepath.Join(dir, "signed")
	out := pkitest.OpenSSL(t, "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", message)
	for _, text := range append(want, "contentType: pkcs7-signedData") {
		if !strings.Contains(out, text) {
			t.Errorf("%s: no %q in\n%s", name, text, out)
		}
	}
	args := []string{"cms", "-decrypt", "-binary", "-inform", "DER", "-in", message, "-out", signed}
	if secret, ok := opens.([]byte); ok {
		args = append(args, "-secretkey", hex.EncodeToString(secret), "-secretkeyid", hex.EncodeToString([]byte(identifier)))
	} else {
		der, err := x509.MarshalPKCS8PrivateKey(opens)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "-inkey", put("key.pem", pkitest.PEM("PRIVATE KEY", der)))
	}
	pkitest.OpenSSL(t, args...)
	info, err := cms.ContentInfo(cms.SignedData, pkitest.ReadFile(t, signed))
	if err != nil {
		t.Fatal(err)
	}
	pkitest.OpenSSL(t, "cms", "-verify", "-binary", "-inform", "DER", "-in", put("info", info), "-purpose", "any",
		"-CAfile", put("root.pem", pkitest.PEM("CERTIFICATE", f.authority.root.certificate.Raw)), "-out", filepath.Join(dir, "package"))
	private, err := onlyKey(pkitest.ReadFile(t, filepath.Join(dir, "package")))
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Checklist 65 and 66: whatever cannot be encrypted as the client asks is
// refused, before there is a key or a certificate; never is a plain key the answer.
func TestKeygenRefuses(t *testing.T) {
	f := newServerKeygenFixture(t)
	rsaKey := f.device(t, "RSA-2048", x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment)
	all := capabilities(cms.AES128CBC, cms.AES256CBC, cms.RSAOAEP, cms.RSAEncryption, cms.ECDHSHA256, cms.ECDHSHA384, cms.AES128Wrap, cms.AES192Wrap, cms.AES256Wrap)
	password := basic(goodUser, goodSecret)
	mine := func(c *tls.Certificate, offer ...pkcs10.Capability) pkcs10.Attributes {
		return pkcs10.Attributes{AsymmetricDecryptKeyIdentifier: c.Leaf.SubjectKeyId, Capabilities: offer}
	}
	shared := func(id string, offer ...pkcs10.Capability) pkcs10.Attributes {
		return pkcs10.Attributes{DecryptKeyIdentifier: []byte(id), Capabilities: offer}
	}
	own := f.enrolled(t)
	p384 := f.device(t, "P-384", x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement)
	for name, c := range map[string]struct {
		label       string
		certificate *tls.Certificate
		attributes  pkcs10.Attributes
		rule        string
	}{
		"no encryption asked for":          {"keygen", rsaKey, pkcs10.Attributes{}, "keygen-plain"},
		"unknown symmetric key":            {"keygen", nil, shared("line-9", all...), "keygen-key"},
		"unknown symmetric key, plain":     {"plain", nil, shared("line-9", all...), "keygen-key"},
		"both kinds of key":                {"keygen", rsaKey, pkcs10.Attributes{DecryptKeyIdentifier: []byte("line-32"), AsymmetricDecryptKeyIdentifier: rsaKey.Leaf.SubjectKeyId, Capabilities: all}, "keygen-key"},
		"another's key":                    {"keygen", rsaKey, pkcs10.Attributes{AsymmetricDecryptKeyIdentifier: []byte("other"), Capabilities: all}, "keygen-key"},
		"another's key, plain":             {"plain", rsaKey, pkcs10.Attributes{AsymmetricDecryptKeyIdentifier: []byte("other"), Capabilities: all}, "keygen-key"},
		"a password has no key":            {"keygen", nil, mine(rsaKey, all...), "keygen-key"},
		"a foreign certificate beside":     {"keygen", newCA(t, "Stranger", nil).device(t, named("dev-1"), func(c *x509.Certificate) { c.SubjectKeyId = []byte("k"); c.KeyUsage = 0 }), pkcs10.Attributes{AsymmetricDecryptKeyIdentifier: []byte("k"), Capabilities: all}, "keygen-key"},
		"no capabilities":                  {"keygen", rsaKey, mine(rsaKey), "keygen-algorithms"},
		"no capabilities, plain":           {"plain", rsaKey, mine(rsaKey), "keygen-algorithms"},
		"no capabilities, symmetric":       {"keygen", nil, shared("line-32"), "keygen-algorithms"},
		"no transport":                     {"keygen", rsaKey, mine(rsaKey, capabilities(cms.AES256CBC, cms.ECDHSHA256, cms.AES256Wrap)...), "keygen-algorithms"},
		"no cipher":                        {"keygen", rsaKey, mine(rsaKey, capabilities(cms.RSAOAEP, cms.AES256Wrap)...), "keygen-algorithms"},
		"triple DES":                       {"keygen", rsaKey, mine(rsaKey, capabilities(cms.RSAOAEP, asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7})...), "keygen-algorithms"},
		"66: weaker than P-384":            {"keygen", p384, mine(p384, capabilities(cms.AES128CBC, cms.ECDHSHA384, cms.AES256Wrap)...), "keygen-algorithms"},
		"66: wrap weaker than P-384":       {"keygen", p384, mine(p384, capabilities(cms.AES256CBC, cms.ECDHSHA384, cms.AES128Wrap)...), "keygen-algorithms"},
		"66: weaker than AES-256":          {"keygen", nil, shared("line-32", capabilities(cms.AES128CBC, cms.AES256Wrap)...), "keygen-algorithms"},
		"wrap of another length":           {"keygen", nil, shared("line-16", capabilities(cms.AES256CBC, cms.AES256Wrap)...), "keygen-algorithms"},
		"P-521":                            {"keygen", f.device(t, "P-521", 0), pkcs10.Attributes{AsymmetricDecryptKeyIdentifier: []byte("key P-521"), Capabilities: all}, "keygen-algorithms"},
		"RSA key for signatures only":      {"keygen", f.device(t, "RSA-2048", x509.KeyUsageDigitalSignature), mine(rsaKey, all...), "keygen-key-usage"},
		"own certificate, signatures only": {"keygen", own, pkcs10.Attributes{AsymmetricDecryptKeyIdentifier: own.Leaf.SubjectKeyId, Capabilities: all}, "keygen-key-usage"},
	} {
		made, asked := f.made.Load(), f.asked.Load()
		header := []string{password}
		m := f.keygen(t, c.label, c.certificate, c.attributes, header...)
		if want := "refused by rule " + c.rule + ": "; m.status != http.StatusBadRequest || !strings.HasPrefix(string(m.body), want) {
			t.Errorf("%s: %d %s", name, m.status, m.body)
		}
		if strings.HasPrefix(name, "no capabilities") && !strings.Contains(string(m.body), "lacks the SMIMECapabilities") {
			t.Errorf("%s: %s", name, m.body)
		}
		if f.made.Load() != made || f.asked.Load() != asked {
			t.Errorf("%s: a key was made or a certificate asked for", name)
		}
	}
	// What is no certification request costs no key either; nor does a signer
	// that is not there cost a certificate.
	made := f.made.Load()
	m := f.raw(t, rawRequest{method: http.MethodPost, path: "/.well-known/est/plain/serverkeygen", header: []string{typePKCS10, password}, body: "MAA="})
	if m.status != http.StatusBadRequest || f.made.Load() != made {
		t.Errorf("no request: %d %s", m.status, m.body)
	}
	f.signer = &tls.Certificate{}
	asked := f.asked.Load()
	m = f.keygen(t, "keygen", nil, shared("line-32", all...), password)
	if m.status != http.StatusInternalServerError || f.asked.Load() != asked {
		t.Errorf("no signer: %d %s", m.status, m.body)
	}
}

// enrolled returns a certificate of ours, as enrollment issues them.
func (f *serverKeygenFixture) enrolled(t *testing.T) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	m := f.raw(t, rawRequest{
		method: http.MethodPost, path: "/.well-known/est/keygen/simpleenroll", header: []string{typePKCS10, basic(goodUser, goodSecret)},
		body: base64.StdEncoding.EncodeToString(newCSR(t, key, "dev-1")),
	})
	c := m.certificates(t)[0]
	return &tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

// A key that was wiped does not sign, nor is it the key that it was.
func TestWipe(t *testing.T) {
	ec := newKey(t)
	was := ec.D.Bytes()
	wipe(ec)
	if ec.D.Sign() != 0 && bytes.Equal(ec.D.Bytes(), was) {
		t.Error("the EC key is there")
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	d, p := key.D.Bytes(), key.Primes[0].Bytes()
	wipe(key)
	if bytes.Equal(key.D.Bytes(), d) || bytes.Equal(key.Primes[0].Bytes(), p) {
		t.Error("the RSA key is there")
	}
}

// fullcmc and whatever a label does not offer: checklist 14.
func TestNotOffered(t *testing.T) {
	f := newFixture(t)
	for _, op := range []string{"fullcmc", "serverkeygen"} {
		m := f.raw(t, rawRequest{method: http.MethodPost, path: "/.well-known/est/" + op, header: []string{"Content-Type: application/pkcs7-mime; smime-type=CMC-request", basic(goodUser, goodSecret)}, body: "MAA="})
		if m.status != http.StatusNotImplemented || !strings.Contains(string(m.body), "this server does not offer "+op) {
			t.Errorf("%s: %d %s", op, m.status, m.body)
		}
		if got := m.field(t, "Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("%s: Content-Type %q", op, got)
		}
	}
}
