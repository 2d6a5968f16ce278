package dpsreg

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	arm "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"

	"mintmark/internal/pkitest"
)

// FuzzReadCertificate: a certificate is read in each form in which the service may
// show it, and nothing else is.
func FuzzReadCertificate(f *testing.F) {
	key := pkitest.NewKey(f)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add([]byte(base64.StdEncoding.EncodeToString(der)))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	f.Add([]byte{0x30, 0x82})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := readCertificate(data)
		if c == nil {
			return
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		for _, form := range [][]byte{c.Raw, block, []byte(base64.StdEncoding.EncodeToString(c.Raw)), []byte(base64.StdEncoding.EncodeToString(block))} {
			if again := readCertificate(form); again == nil || !again.Equal(c) {
				t.Fatalf("not read again: %.60q", form)
			}
		}
	})
}

// TestRecognise: a CA of ours is known by its SHA-1 where DPS does not show it, and no
// other is.
func TestRecognise(t *testing.T) {
	certificate := func(name string) *x509.Certificate {
		key := pkitest.NewKey(t)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ours, theirs := certificate("ours"), certificate("theirs")
	r := &Registrar{cfg: Config{Authorities: func() []Authority { return []Authority{{Name: "root", Certificate: ours}} }}}
	for _, c := range []*x509.Certificate{ours, theirs} {
		sum := sha1.Sum(c.Raw)
		name, thumbprint := "a", strings.ToUpper(hex.EncodeToString(sum[:]))
		u, err := readUploaded(arm.CertificateResponse{Name: &name, Properties: &arm.CertificateProperties{Thumbprint: &thumbprint}})
		if err != nil {
			t.Fatal(err)
		}
		r.recognise(&u)
		if known := u.certificate != nil; known != (c == ours) {
			t.Errorf("%s: recognised %t", c.Subject, known)
		}
	}
	if _, err := readUploaded(arm.CertificateResponse{}); err == nil {
		t.Error("a certificate without a name was taken")
	}
}
