package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/internal/cms"
	"mintmark/issuer"
)

// generating is the fixture's authority with keys of its own making.
type generating struct{ *authority }

func (g generating) GenerateKey(_ context.Context, _ issuer.Request, like crypto.PublicKey) (crypto.Signer, error) {
	if _, ok := like.(*rsa.PublicKey); ok {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func (g generating) Enroll(ctx context.Context, r issuer.Request) (issuer.Answer, error) {
	if r.Generated == nil {
		return g.authority.Enroll(ctx, r)
	}
	template := &x509.Certificate{SerialNumber: newSerial(), Subject: named("generated"), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, g.issuing.certificate, r.Generated, g.issuing.key)
	if err != nil {
		return issuer.Answer{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return issuer.Answer{Certificate: certificate}, err
}

var sharedKey = bytes.Repeat([]byte{7}, 32)

// servedKeygen serves label keys, which encrypts, and label plain, which need
// not.
func servedKeygen(t *testing.T) *fixture {
	f := newHandler(t, withLabels(
		Label{Name: "keys", Passwords: goodPasswords(), Own: []string{"device"}, Keygen: &Keygen{SymmetricKeys: map[string][]byte{"hall-2": sharedKey}}},
		Label{Name: "plain", Passwords: goodPasswords(), Own: []string{"device"}, Keygen: &Keygen{Plain: true}},
	), func(f *fixture, c *Config) {
		c.Authority = generating{f.authority}
		signer := f.authority.root.server(t)
		c.Signer = func() (*tls.Certificate, error) { return signer, nil }
	})
	f.serve(t)
	return f
}

// holder is a device's certificate for which something can be encrypted.
func holder(t *testing.T, f *fixture, key crypto.Signer) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: named("press"), SubjectKeyId: []byte{1, 2, 3},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	certificate := sign(t, f.authority.issuing, template, key.Public())
	f.authority.remember(certificate, "device", nil)
	return &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}
}

// TestClientKeygen has our server make keys, in every way that it encrypts.
func TestClientKeygen(t *testing.T) {
	f := servedKeygen(t)
	request := Request{Template: &x509.CertificateRequest{Subject: named("press")}, Link: LinkAuto}
	check := func(name string, g *Generated, err error, signed bool) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if g.Certificate.Subject.CommonName != "generated" || (g.Signer != nil) != signed {
			t.Errorf("%s: %v, signer %v", name, g.Certificate.Subject, g.Signer)
		}
		if public, ok := g.Key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(g.Certificate.PublicKey) {
			t.Errorf("%s: not the key of the certificate", name)
		}
	}
	g, err := f.client("plain", nil, true).ServerKeygen(t.Context(), request, nil)
	check("plain", g, err, false)
	g, err = f.client("keys", nil, true).ServerKeygen(t.Context(), request, &Recipient{Key: sharedKey, Identifier: []byte("hall-2")})
	check("symmetric", g, err, true)
	if _, err = f.client("keys", nil, true).ServerKeygen(t.Context(), request, &Recipient{Key: bytes.Repeat([]byte{8}, 32), Identifier: []byte("hall-2")}); !errors.Is(err, cms.ErrDecrypt) {
		t.Errorf("another symmetric key: %v", err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-256": newKey(t), "P-384": p384, "RSA": rsaKey} {
		certificate := holder(t, f, key)
		to := &Recipient{Key: key, Identifier: certificate.Leaf.SubjectKeyId}
		like := request
		like.Key = key // RSA asks for RSA
		g, err = f.client("keys", certificate, false).ServerKeygen(t.Context(), like, to)
		check(name, g, err, true)
		if _, isRSA := key.Public().(*rsa.PublicKey); err == nil && isRSA {
			if _, got := g.Key.(*rsa.PrivateKey); !got {
				t.Errorf("%s: a %T was made", name, g.Key)
			}
		}
		to.Key = map[bool]crypto.Signer{true: newKey(t), false: rsaKey}[name != "RSA"]
		if name == "RSA" {
			continue
		}
		if _, err = f.client("keys", certificate, false).ServerKeygen(t.Context(), like, to); !errors.Is(err, cms.ErrDecrypt) && !strings.Contains(err.Error(), "keygen-algorithms") {
			t.Errorf("%s: another key: %v", name, err)
		}
	}
	// A server that encrypts only.
	var status *StatusError
	if _, err = f.client("keys", nil, true).ServerKeygen(t.Context(), request, nil); !errors.As(err, &status) || !strings.Contains(status.Text, "keygen-plain") {
		t.Errorf("plain, not granted: %v", err)
	}
	for name, to := range map[string]*Recipient{
		"no identifier": {Key: sharedKey}, "odd length": {Key: sharedKey[1:], Identifier: []byte("x")},
		"no key": {Identifier: []byte("x")}, "P-521": {Key: p521(t), Identifier: []byte("x")},
	} {
		if _, err := f.client("keys", nil, true).ServerKeygen(t.Context(), request, to); err == nil || errors.As(err, new(*StatusError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func p521(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestClientKeygenOddAnswers has keys come in ways that a client must not take,
// and in some that it must.
func TestClientKeygenOddAnswers(t *testing.T) {
	root, foreign := newCA(t, "Root", nil), newCA(t, "Foreign", nil)
	key, other := newKey(t), newKey(t)
	leaf := sign(t, root, &x509.Certificate{SerialNumber: newSerial(), Subject: named("made"), NotAfter: time.Now().Add(time.Hour)}, key.Public())
	certificates, err := cms.CertsOnly([]*x509.Certificate{leaf})
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	otherPKCS8, err := x509.MarshalPKCS8PrivateKey(other)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sequence := func(elements ...[]byte) []byte {
		var b cryptobyte.Builder
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(elements, nil)) })
		return b.BytesOrPanic()
	}
	signedBy := func(signer *tls.Certificate, s cms.Signed) []byte {
		s.Signer = signer.Leaf
		s.Certificates = []*x509.Certificate{signer.Leaf}
		der, err := cms.Sign(s, signer.PrivateKey.(crypto.Signer))
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	signed := func(by *testCA, s cms.Signed) []byte { return signedBy(by.server(t), s) }
	having := func(usages ...x509.ExtKeyUsage) *tls.Certificate {
		return root.device(t, named("dev"), func(c *x509.Certificate) { c.ExtKeyUsage = usages })
	}
	envelope := func(kind []int, content []byte) []byte {
		der, err := cms.Encrypt(kind, content, cms.Recipient{Key: sharedKey, Identifier: []byte("id"), Content: cms.AES256CBC, KeyEncryption: cms.AES256Wrap})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	pack := cms.Signed{ContentType: cms.AsymmetricKeyPackage, Content: sequence(pkcs8)}
	to := &Recipient{Key: sharedKey, Identifier: []byte("id")}
	for _, c := range []struct {
		name, kind string
		key        []byte
		to         *Recipient
		err        string
	}{
		{"plain", mediaTypePKCS8, pkcs8, nil, ""},
		{"plain, as libest writes it", mediaTypePKCS8, sec1, nil, ""},
		{"plain, not asked for", mediaTypePKCS8, pkcs8, to, "without encrypting it"},
		{"plain, of another certificate", mediaTypePKCS8, otherPKCS8, nil, "without a certificate for the key"},
		{"plain, no key", mediaTypePKCS8, []byte("secret in clear"), nil, "cannot be parsed"},
		{"encrypted", mediaTypeKey, envelope(cms.SignedData, signed(root, pack)), to, ""},
		{"encrypted, PKCS #8 as it is", mediaTypeKey, envelope(cms.SignedData, signed(root, cms.Signed{ContentType: cms.Data, Content: pkcs8})), to, ""},
		{"encrypted, not asked for", mediaTypeKey, envelope(cms.SignedData, signed(root, pack)), nil, "not asked for"},
		{"signed by a stranger", mediaTypeKey, envelope(cms.SignedData, signed(foreign, pack)), to, "not trusted"},
		{"signed by a device", mediaTypeKey, envelope(cms.SignedData, signedBy(having(x509.ExtKeyUsageClientAuth), pack)), to, "for clients only"},
		{"signed by one with any use", mediaTypeKey, envelope(cms.SignedData, signedBy(having(), pack)), to, ""},
		{"signed by a server that is a client, too", mediaTypeKey, envelope(cms.SignedData, signedBy(having(x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth), pack)), to, ""},
		{"signed by the CA", mediaTypeKey, envelope(cms.SignedData, signedBy(&tls.Certificate{Leaf: root.certificate, PrivateKey: root.key}, pack)), to, ""},
		{"not signed", mediaTypeKey, envelope(cms.AsymmetricKeyPackage, pack.Content), to, "not signed"},
		{"two keys", mediaTypeKey, envelope(cms.SignedData, signed(root, cms.Signed{ContentType: cms.AsymmetricKeyPackage, Content: sequence(pkcs8, otherPKCS8)})), to, "more than one"},
		{"no package", mediaTypeKey, envelope(cms.SignedData, signed(root, cms.Signed{ContentType: cms.AsymmetricKeyPackage, Content: []byte{5, 0}})), to, "malformed"},
		{"of another certificate", mediaTypeKey, envelope(cms.SignedData, signed(root, cms.Signed{ContentType: cms.AsymmetricKeyPackage, Content: sequence(otherPKCS8)})), to, "without a certificate for the key"},
		{"not enveloped", mediaTypeKey, signed(root, pack), to, "enveloped"},
	} {
		body := encodeKeygen(c.kind, c.key, certificates, "")
		client := answers(t, 200, map[string]string{"Content-Type": body.contentType}, string(body.body))
		client.RootCAs.AddCert(root.certificate)
		g, err := client.ServerKeygen(t.Context(), Request{Template: &x509.CertificateRequest{Subject: named("made")}, Link: LinkNever}, c.to)
		switch {
		case c.err == "" && (err != nil || !key.Equal(g.Key) || !g.Certificate.Equal(leaf)):
			t.Errorf("%s: %v", c.name, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || g != nil):
			t.Errorf("%s: error %v, want %q", c.name, err, c.err)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: the error quotes the key: %v", c.name, err)
		}
	}
}

func TestClientCMC(t *testing.T) {
	answer := base64.StdEncoding.EncodeToString([]byte{0x30, 3, 2, 1, 1})
	cmc := map[string]string{"Content-Type": "application/pkcs7-mime; smime-type=CMC-response"}
	for _, c := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		answer bool
		err    string
	}{
		{"answered", 200, cmc, answer, true, ""},
		{"refused in CMC", 400, cmc, answer, true, "400"},
		{"refused in words", 400, map[string]string{"Content-Type": "text/plain"}, "no", false, `"no"`},
		{"not implemented", 501, nil, "", false, "501"},
		{"refused in nothing", 400, cmc, "", false, "400"},
		{"another smime-type", 200, map[string]string{"Content-Type": "application/pkcs7-mime; smime-type=certs-only"}, answer, false, "smime-type"},
		{"empty", 200, cmc, "", false, "empty"},
		{"pending", 202, map[string]string{"Retry-After": "5"}, "", false, "pending"},
	} {
		got, err := answers(t, c.status, c.header, c.body).FullCMC(t.Context(), []byte{0x30, 0})
		if (got != nil) != c.answer || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %x, %v", c.name, got, err)
		}
	}
}
