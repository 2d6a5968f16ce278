package bench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/issuer"
)

// What is made of a template differs from it in what two enrollments of the same kind
// differ in, and is signed by the CA.
func TestTemplate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	keyID := func(k *ecdsa.PublicKey) []byte {
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		id := sha256.Sum256(point)
		return id[:keyIDSize]
	}
	parent := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: keyID(&key.PublicKey),
	}
	enrolled := func(id []byte) sqldb.Filled {
		serial := issuer.NewSerial(now)
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: serial, Subject: pkix.Name{CommonName: "SN0000001"}, NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(2, 0, 0), SubjectKeyId: id,
		}, parent, device.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return sqldb.Filled{
			Intent: ledger.Intent{Serial: issuer.SerialOf(serial), Device: "SN0000001", Subject: "CN=SN0000001", TBS: c.RawTBSCertificate, NotBefore: c.NotBefore, NotAfter: c.NotAfter, At: now, Requester: ledger.Requester{Kind: "certificate", Name: "0a"}},
			Issued: ledger.Issued{Serial: issuer.SerialOf(serial), DER: der},
		}
	}
	good := enrolled(keyID(&device.PublicKey))
	made, err := newTemplate(good, key)
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(90*time.Minute + 300*time.Millisecond)
	seen := map[string]bool{}
	for _, name := range []string{"SN0000002", "SN9999999"} {
		got, err := made.enroll(ledger.Epoch{Server: "s", Number: 2}, name, "0b", later)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(got.Issued.DER)
		if err != nil {
			t.Fatal(err)
		}
		public := c.PublicKey.(*ecdsa.PublicKey)
		digest := sha256.Sum256(c.RawTBSCertificate)
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], c.Signature) {
			t.Error("the signature is not the CA's")
		}
		i := got.Intent
		if c.Subject.CommonName != name || i.Device != name || i.Subject != "CN="+name || issuer.SerialOf(c.SerialNumber) != i.Serial || i.Serial != got.Issued.Serial || i.Serial == good.Intent.Serial ||
			!bytes.Equal(c.RawTBSCertificate, i.TBS) || i.Key != sha256.Sum256(c.RawSubjectPublicKeyInfo) || !bytes.Equal(c.SubjectKeyId, keyID(public)) || i.Requester.Name != "0b" || i.Epoch.Number != 2 {
			t.Errorf("%+v of %s", i, name)
		}
		if !c.NotBefore.Equal(i.NotBefore) || !c.NotAfter.Equal(i.NotAfter) || !c.NotBefore.Equal(now.Add(89*time.Minute)) || c.NotAfter.Sub(c.NotBefore) != good.Intent.NotAfter.Sub(good.Intent.NotBefore) {
			t.Errorf("from %v until %v", c.NotBefore, c.NotAfter)
		}
		if len(c.Raw) < len(good.Issued.DER)-3 || len(c.Raw) > len(good.Issued.DER)+3 {
			t.Errorf("%d bytes of %d", len(c.Raw), len(good.Issued.DER))
		}
		for _, part := range []string{string(i.Serial), string(c.SubjectKeyId)} {
			if seen[part] {
				t.Errorf("%x twice", part)
			}
			seen[part] = true
		}
	}
	if _, err := made.enroll(ledger.Epoch{}, "SN1", "", later); err == nil {
		t.Error("a shorter name was taken")
	}
	bad := enrolled([]byte{1, 2, 3, 4})
	if _, err := newTemplate(bad, key); err == nil || !strings.Contains(err.Error(), "key identifier") {
		t.Errorf("with a key identifier that is no hash: %v", err)
	}
	bad = good
	bad.Intent.TBS = bad.Intent.TBS[1:]
	if _, err := newTemplate(bad, key); err == nil {
		t.Error("with another intent")
	}
	bad = good
	bad.Intent.Device = "SN0000007"
	if _, err := newTemplate(bad, key); err == nil {
		t.Error("with another name")
	}
	bad.Issued.DER = nil
	if _, err := newTemplate(bad, key); err == nil {
		t.Error("without a certificate")
	}
}
