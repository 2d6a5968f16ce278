package adminhttp_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/pkitest"
)

// oldCA is a CA from before mintmark.
type oldCA struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newOldCA(t testing.TB) *oldCA {
	t.Helper()
	key := pkitest.NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Old CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1, 2, 3, 4},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &oldCA{certificate, key}
}

// issue makes a certificate in PEM; change may alter it.
func (o *oldCA) issue(t testing.TB, serial int64, name string, change func(*x509.Certificate)) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, o.certificate, pkitest.NewKey(t).Public(), o.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pkitest.PEM("CERTIFICATE", der))
}

// old is a world that trusts a CA from before mintmark, whose key it has not.
func old(t testing.TB) (*world, *oldCA) {
	t.Helper()
	w := open(t, nil).hierarchy(t)
	o := newOldCA(t)
	if _, err := w.client.ImportAuthority(t.Context(), "old", admin.AuthorityImport{Certificates: string(pkitest.PEM("CERTIFICATE", o.certificate.Raw))}); err != nil {
		t.Fatal(err)
	}
	return w, o
}

var asDevice = admin.CertificateImport{Profile: "device"}

func TestImportCertificates(t *testing.T) {
	w, o := old(t)
	bundle := o.issue(t, 256, "press-1", nil) + "some words between\n" + o.issue(t, 257, "press-2", nil)
	done, err := w.client.ImportCertificates(t.Context(), []byte(bundle), asDevice)
	if err != nil || done.Certificates != 2 || done.New != 2 {
		t.Fatalf("imported %+v, %v", done, err)
	}
	c, err := w.client.Certificate(t.Context(), "0100")
	if err != nil || c.State != "valid" || c.Device != "press-1" || c.Issuer != "old" || c.Profile != "device" || c.Purpose != "device" || c.Requester.Name != "local:tester" || !strings.Contains(bundle, c.PEM) {
		t.Errorf("recorded %+v, %v", c, err)
	}
	d, err := w.client.Device(t.Context(), "press-1")
	if err != nil || d.State != admin.Enrolled || d.Current != "0100" || d.Count != 1 {
		t.Errorf("press-1 is %+v, %v", d, err)
	}
	// Another key for such a device is a clone, as for one of our own.
	_, err = w.client.Issue(t.Context(), admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, "press-1")})
	refused(t, err, http.StatusConflict, "clone")

	// The same again, with one more.
	done, err = w.client.ImportCertificates(t.Context(), []byte(bundle+o.issue(t, 258, "press-3", nil)), asDevice)
	if err != nil || done.Certificates != 3 || done.New != 1 {
		t.Errorf("imported %+v, %v", done, err)
	}

	// The device is where the profile does not have it.
	serialNumber := o.issue(t, 259, "Press", func(c *x509.Certificate) { c.Subject.SerialNumber = "press-4" })
	if _, err = w.client.ImportCertificates(t.Context(), []byte(serialNumber), admin.CertificateImport{Profile: "device", Device: "serialNumber"}); err != nil {
		t.Error(err)
	}
	if d, err = w.client.Device(t.Context(), "press-4"); err != nil || d.Count != 1 {
		t.Errorf("press-4 is %+v, %v", d, err)
	}
}

func TestImportCertificatesRefused(t *testing.T) {
	w, o := old(t)
	deny := func(content string, i admin.CertificateImport, status int, rule, want string) {
		t.Helper()
		_, err := w.client.ImportCertificates(t.Context(), []byte(content), i)
		refused(t, err, status, rule)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if page, err := w.client.Devices(t.Context(), admin.DeviceQuery{}); err != nil || len(page.Devices) > 0 {
			t.Errorf("there are devices %+v, %v", page.Devices, err)
		}
	}
	good := o.issue(t, 256, "press-1", nil)
	other := newOldCA(t)
	wrong := func(text, want string) {
		t.Helper()
		deny(good+text, asDevice, http.StatusConflict, "certificates", "nothing was imported:\ncertificate 2: "+want)
	}
	wrong(other.issue(t, 257, "press-2", nil), `no authority here has signed it (its issuer is "CN=Old CA")`)
	wrong(o.issue(t, 256, "press-2", nil), "it has the serial number of certificate 1")
	wrong(good, "it has the serial number of certificate 1")
	wrong(o.issue(t, 257, "press 2", nil), `commonName "press 2" does not match the pattern of profile device`)
	wrong(o.issue(t, 257, "", nil), "its subject has 0 values for commonName")
	wrong(o.issue(t, 257, "press-2", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "it has expired on ")
	wrong(o.issue(t, 257, "press-2", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "it is a CA's")
	wrong("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "it cannot be read")

	deny("", asDevice, http.StatusBadRequest, "certificates", "holds no certificate")
	deny(good+string(pkitest.PEM("PRIVATE KEY", []byte("x"))), asDevice, http.StatusBadRequest, "certificates", `what follows certificate 1 is a "PRIVATE KEY"`)
	deny(good+"-----BEGIN CERTIFICATE-----\n", asDevice, http.StatusBadRequest, "certificates", "what follows certificate 1 begins as PEM and is none")
	deny(good, admin.CertificateImport{Profile: "x"}, http.StatusNotFound, "profile", "no such profile")
	deny(good, admin.CertificateImport{Profile: "claim"}, http.StatusNotFound, "profile", "no such profile")
	deny(good, admin.CertificateImport{Profile: "device", Device: "organization"}, http.StatusBadRequest, "query", "is none of commonName, serialNumber")

	// A serial number that another certificate has, be it of a CA.
	issued := w.issue(t, "press-9")
	n, _ := new(big.Int).SetString(issued.Certificate.Serial, 16)
	clash := o.issue(t, 1, "press-2", func(c *x509.Certificate) { c.SerialNumber = n })
	_, err := w.client.ImportCertificates(t.Context(), []byte(good+clash), asDevice)
	if refused(t, err, http.StatusConflict, "certificates"); !strings.Contains(err.Error(), "certificate 2: serial number "+issued.Certificate.Serial+" is recorded for another certificate") {
		t.Error(err)
	}
	if _, err := w.client.Device(t.Context(), "press-1"); !admin.IsNotFound(err) {
		t.Errorf("press-1 of a refused file: %v", err)
	}

	many := new(bytes.Buffer)
	for i := range 30 {
		many.WriteString(o.issue(t, int64(300+i), fmt.Sprintf("press %d", i), nil))
	}
	_, err = w.client.ImportCertificates(t.Context(), many.Bytes(), asDevice)
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 22 || !slices.Contains(lines, "and perhaps more: reading stopped here") {
		t.Errorf("got %d lines: %v", len(lines), err)
	}
}

// FuzzImportCertificates: whatever the file holds, it is recorded whole or
// refused in words.
func FuzzImportCertificates(f *testing.F) {
	w, o := old(f)
	one := o.issue(f, 256, "press-1", nil)
	f.Add([]byte(one))
	f.Add([]byte(one + one))
	f.Add([]byte(one + "-----BEGIN"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		_, err := w.client.ImportCertificates(t.Context(), content, asDevice)
		if err != nil && strings.Contains(err.Error(), "internal error") {
			t.Error(err)
		}
	})
}
