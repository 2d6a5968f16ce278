package cms

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

func signedBy(t testing.TB, kind string) (party, []byte) {
	t.Helper()
	p := newParty(t, kind)
	der, err := Sign(Signed{ContentType: AsymmetricKeyPackage, Content: []byte("the content"), Signer: p.certificate, SigningTime: time.Now()}, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return p, der
}

func TestSigned(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, kind := range []string{"P-256", "P-384", "P-521", "RSA-2048"} {
		p, extra := newParty(t, kind), newCertificate(t, "CA")
		for _, when := range []time.Time{{}, at, time.Date(2051, 1, 1, 0, 0, 0, 0, time.UTC)} {
			der, err := Sign(Signed{ContentType: AsymmetricKeyPackage, Content: []byte("x"), Signer: p.certificate, Certificates: []*x509.Certificate{extra, p.certificate}, SigningTime: when}, p.key)
			if err != nil {
				t.Fatal(err)
			}
			wrapped, err := ContentInfo(SignedData, der)
			if err != nil {
				t.Fatal(err)
			}
			for _, message := range [][]byte{der, wrapped} {
				s, err := Verify(message)
				if err != nil || !s.ContentType.Equal(AsymmetricKeyPackage) || string(s.Content) != "x" || !s.Signer.Equal(p.certificate) || len(s.Certificates) != 2 || !s.SigningTime.Equal(when) {
					t.Errorf("%s: %+v, %v", kind, s, err)
				}
			}
		}
	}
	_, edwards, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(Signed{ContentType: Data, Signer: newCertificate(t, "x")}, edwards); err == nil {
		t.Error("Ed25519 signed")
	}
}

// Nothing that was signed can be changed, byte by byte.
func TestVerifyRefusesChanges(t *testing.T) {
	for _, kind := range []string{"P-256", "RSA-2048"} {
		p, der := signedBy(t, kind)
		certificate := bytes.Index(der, p.certificate.Raw)
		for i := range der {
			if i >= certificate && i < certificate+len(p.certificate.Raw) {
				continue // who signed is for the caller to judge
			}
			changed := bytes.Clone(der)
			changed[i] ^= 1
			s, err := Verify(changed)
			if err == nil && (string(s.Content) != "the content" || !s.ContentType.Equal(AsymmetricKeyPackage)) {
				t.Errorf("%s: changed at %d: %+v", kind, i, s)
			}
			if err != nil && s != nil {
				t.Errorf("%s: %v with a result", kind, err)
			}
		}
		for _, part := range []string{"the content", "P-256"} {
			if i := bytes.Index(der, []byte(part)); part == "the content" && i >= 0 {
				changed := bytes.Clone(der)
				changed[i] ^= 1
				if _, err := Verify(changed); err == nil || !strings.Contains(err.Error(), "digest") {
					t.Errorf("%s: content changed: %v", kind, err)
				}
			}
		}
		changed := bytes.Clone(der)
		changed[len(changed)-1] ^= 1
		if _, err := Verify(changed); err == nil || !strings.Contains(err.Error(), "does not verify") {
			t.Errorf("%s: signature changed: %v", kind, err)
		}
	}
}

// What OpenSSL can write and Verify does not take.
func TestVerifyRefuses(t *testing.T) {
	dir := t.TempDir()
	parties := newParties(t, "RSA-2048", "P-256")
	write(t, dir, parties)
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("input"), []byte("content"))
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no signed attributes": {[]string{"-nodetach", "-noattr"}, "no signed attributes"},
		"no certificate":       {[]string{"-nodetach", "-nocerts"}, "certificates"},
		"no content":           {nil, "no content"},
		"SHA-1":                {[]string{"-nodetach", "-md", "sha1"}, "weak digest"},
		"two signers":          {[]string{"-nodetach", "-signer", at("RSA-2048.pem"), "-inkey", at("RSA-2048.key.pem")}, "exactly one signer"},
		"PSS":                  {nil, ""},
	} {
		args := append([]string{"cms", "-sign", "-binary", "-in", at("input"), "-outform", "DER", "-out", at("message"), "-signer", at("P-256.pem"), "-inkey", at("P-256.key.pem")}, c.args...)
		if name == "PSS" {
			args = []string{"cms", "-sign", "-nodetach", "-binary", "-in", at("input"), "-outform", "DER", "-out", at("message"), "-signer", at("RSA-2048.pem"), "-inkey", at("RSA-2048.key.pem"), "-keyopt", "rsa_padding_mode:pss"}
			c.want = "unknown signature algorithm"
		}
		pkitest.OpenSSL(t, args...)
		if s, err := Verify(read(t, dir, "message")); err == nil || s != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	for name, message := range map[string][]byte{"nothing": nil, "text": []byte("<html>"), "empty": {0x30, 0}, "certs-only": func() []byte {
		der, err := CertsOnly([]*x509.Certificate{parties["P-256"].certificate})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}()} {
		if s, err := Verify(message); err == nil || s != nil {
			t.Errorf("%s: verified", name)
		}
	}
}

// cacerts of a label whose clients present what they got as their chain.
func TestCertsOnlyInOrder(t *testing.T) {
	list := []*x509.Certificate{newCertificate(t, "issuing"), newCertificate(t, "intermediate, with a longer name"), newCertificate(t, "root")}
	backwards := slices.Clone(list)
	slices.Reverse(backwards)
	for _, order := range [][]*x509.Certificate{list, backwards} {
		der, err := CertsOnlyInOrder(append(slices.Clone(order), order[0]))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseCertsOnly(der)
		if err != nil || !slices.EqualFunc(parsed, order, (*x509.Certificate).Equal) {
			t.Errorf("%v, %v", names(parsed), err)
		}
		file := filepath.Join(t.TempDir(), "message")
		put(t, file, der)
		out := pkitest.OpenSSL(t, "pkcs7", "-inform", "DER", "-in", file, "-print_certs", "-noout")
		last := -1
		for _, c := range order {
			i := strings.Index(out, "subject=CN = "+strings.ReplaceAll(c.Subject.CommonName, ",", "\\,"))
			if i < 0 {
				i = strings.Index(out, c.Subject.CommonName)
			}
			if i <= last {
				t.Errorf("another order in\n%s", out)
			}
			last = i
		}
	}
	if _, err := CertsOnlyInOrder(nil); err == nil {
		t.Error("no certificates: encoded")
	}
	if _, err := CertsOnlyInOrder([]*x509.Certificate{{}}); err == nil {
		t.Error("a certificate without DER: encoded")
	}
}

// What verifies was signed by a certificate in the message, and nothing comes
// with an error.
func FuzzVerify(f *testing.F) {
	for _, kind := range []string{"P-256", "P-384", "P-521", "RSA-2048"} {
		_, der := signedBy(f, kind)
		f.Add(der)
		wrapped, err := ContentInfo(SignedData, der)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wrapped)
	}
	f.Add([]byte{0x30, 0x80, 2, 1, 1, 0x31, 0, 0, 0})
	f.Fuzz(func(t *testing.T, ber []byte) {
		s, err := Verify(ber)
		if err != nil {
			if s != nil {
				t.Fatalf("%+v with %v", s, err)
			}
			return
		}
		if s.Signer == nil || !slices.ContainsFunc(s.Certificates, s.Signer.Equal) || s.ContentType.Equal(asn1.ObjectIdentifier{}) {
			t.Fatalf("%+v", s)
		}
	})
}
