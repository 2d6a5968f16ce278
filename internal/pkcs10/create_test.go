package pkcs10

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"reflect"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

func everything(t testing.TB) Attributes {
	return Attributes{
		ChallengePassword: "c2VjcmV0+/==", Linked: true,
		ChangeSubject: &ChangeSubject{Subject: tlv(0x30, rdn(t, "new")), SubjectAlt: tlv(0x30, tlv(0x82, []byte("new.example")))},
		Capabilities: []Capability{
			{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, nil},
			{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, []byte{5, 0}},
		},
		DecryptKeyIdentifier: []byte("line-1"), AsymmetricDecryptKeyIdentifier: []byte{1, 2, 3},
	}
}

// Go, OpenSSL and our own parser read what Create makes, with each kind of key,
// and its signature verifies.
func TestCreate(t *testing.T) {
	template := &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "device-1"}, DNSNames: []string{"device-1.example"},
		SignatureAlgorithm: x509.SHA512WithRSA, // of another key: does not count
	}
	for kind, algorithm := range map[string]x509.SignatureAlgorithm{
		"P-256": x509.ECDSAWithSHA256, "P-384": x509.ECDSAWithSHA384, "P-521": x509.ECDSAWithSHA512, "RSA-2048": x509.SHA256WithRSA,
	} {
		want := everything(t)
		der, err := Create(template, want, pkitest.Key(t, kind))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if got, err := ParseAttributes(der); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil || csr.CheckSignature() != nil {
			t.Fatalf("%s: %v, %v", kind, err, csr.CheckSignature())
		}
		if csr.Subject.CommonName != "device-1" || len(csr.DNSNames) != 1 || csr.SignatureAlgorithm != algorithm {
			t.Errorf("%s: %v %v %v", kind, csr.Subject, csr.DNSNames, csr.SignatureAlgorithm)
		}
		out := pkitest.OpenSSL(t, "req", "-inform", "DER", "-in", pkitest.WriteFile(t, "req.der", der), "-noout", "-text", "-verify")
		for _, line := range []string{"verify OK", "CN = device-1", "DNS:device-1.example", "challengePassword        :c2VjcmV0+/==", "S/MIME Capabilities"} {
			if !strings.Contains(out, line) {
				t.Errorf("%s: no %q in\n%s", kind, line, out)
			}
		}
		// A DER SET: OpenSSL encodes the same values to the same bytes.
		name := pkitest.WriteFile(t, "again.der", nil)
		pkitest.OpenSSL(t, "req", "-inform", "DER", "-in", pkitest.WriteFile(t, "req.der", der), "-outform", "DER", "-out", name)
		if !bytes.Equal(pkitest.ReadFile(t, name), der) {
			t.Errorf("%s: OpenSSL writes other bytes", kind)
		}
	}
	// The text need not fit a PrintableString, and may be empty.
	for _, text := range []string{"größe_*", ""} {
		der, err := Create(template, Attributes{ChallengePassword: text, Linked: true}, pkitest.Key(t, "P-256"))
		if a, err2 := ParseAttributes(der); err != nil || err2 != nil || a.ChallengePassword != text || !a.Linked {
			t.Errorf("%q: %+v, %v, %v", text, a, err, err2)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device-1"}}
	if _, err := Create(template, Attributes{}, edwards); err == nil {
		t.Error("Ed25519: made")
	}
	for name, a := range map[string]Attributes{
		"long password":       {Linked: true, ChallengePassword: strings.Repeat("x", 256)},
		"not UTF-8":           {Linked: true, ChallengePassword: "\xff"},
		"no change":           {ChangeSubject: &ChangeSubject{}},
		"subject is no Name":  {ChangeSubject: &ChangeSubject{Subject: []byte{5, 0}}},
		"names are no names":  {ChangeSubject: &ChangeSubject{SubjectAlt: []byte{5, 0}}},
		"empty identifier":    {DecryptKeyIdentifier: []byte{}},
		"algorithm without":   {Capabilities: []Capability{{}}},
		"parameters no DER":   {Capabilities: []Capability{{asn1.ObjectIdentifier{1, 2, 3}, []byte{1, 2}}}},
		"identifier too long": {AsymmetricDecryptKeyIdentifier: bytes.Repeat([]byte{1}, 257)},
	} {
		if der, err := Create(template, a, pkitest.Key(t, "P-256")); err == nil || der != nil {
			t.Errorf("%s: %x, %v", name, der, err)
		}
	}
}
