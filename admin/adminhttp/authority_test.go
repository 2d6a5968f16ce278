package adminhttp_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

func parse(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM in %q", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCreateAuthority(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	zero := 0
	end := time.Now().AddDate(5, 0, 0).UTC().Truncate(time.Second)
	a, err := w.client.CreateAuthority(t.Context(), admin.AuthoritySpec{
		Name: "line-2", Issuer: "root", Key: "P-384", NotAfter: &end, PathLen: &zero,
		Subject: admin.Name{CommonName: "Line 2", Organization: "Example", Country: "DE"},
		Permit:  admin.Names{DNS: []string{"line2.example"}, IP: []string{"192.0.2.0/24"}},
		Exclude: admin.Names{Email: []string{"example.org"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.State != admin.Ready || a.Key != "P-384" || a.Root || a.Warning != "" || !a.NotAfter.Equal(end) || *a.PathLen != 0 {
		t.Errorf("made %+v", a)
	}
	if a.CRL == nil || a.CRL.Number == 0 {
		t.Error("the new authority has no CRL")
	}
	c := parse(t, a.Certificate)
	if err := c.CheckSignatureFrom(parse(t, a.Chain)); err != nil {
		t.Error(err)
	}
	if c.PermittedDNSDomains[0] != "line2.example" || c.PermittedIPRanges[0].String() != "192.0.2.0/24" || c.ExcludedEmailAddresses[0] != "example.org" {
		t.Errorf("name constraints: %v %v %v", c.PermittedDNSDomains, c.PermittedIPRanges, c.ExcludedEmailAddresses)
	}
	crl, err := w.client.CRL(t.Context(), "line-2")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(crl.Content))
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(c); err != nil {
		t.Error(err)
	}
	next, err := w.client.PublishCRL(t.Context(), "line-2")
	if err != nil {
		t.Fatal(err)
	}
	if next.Number <= crl.Number {
		t.Errorf("CRL number went from %d to %d", crl.Number, next.Number)
	}
}

func TestRefuseAuthority(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	year := int64(365 * 86400)
	subject := admin.Name{CommonName: "x"}
	past := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name   string
		spec   admin.AuthoritySpec
		status int
		rule   string
	}{
		{"taken", admin.AuthoritySpec{Name: "root", Subject: subject, ValiditySeconds: year}, 409, "authority-exists"},
		{"path in the name", admin.AuthoritySpec{Name: "../root", Subject: subject, ValiditySeconds: year}, 400, "authority-name"},
		{"no name", admin.AuthoritySpec{Subject: subject, ValiditySeconds: year}, 400, "authority-name"},
		{"no subject", admin.AuthoritySpec{Name: "x", ValiditySeconds: year}, 400, "authority-spec"},
		{"no validity", admin.AuthoritySpec{Name: "x", Subject: subject}, 400, "authority-spec"},
		{"negative validity", admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: -1}, 400, "authority-spec"},
		{"overflowing validity", admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: 1 << 62}, 400, "authority-spec"},
		{"in the past", admin.AuthoritySpec{Name: "x", Subject: subject, NotAfter: &past}, 400, "authority-spec"},
		{"key type", admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: year, Key: "DSA"}, 400, "authority-spec"},
		{"country", admin.AuthoritySpec{Name: "x", Subject: admin.Name{Country: "de"}, ValiditySeconds: year}, 400, "authority-spec"},
		{"control character", admin.AuthoritySpec{Name: "x", Subject: admin.Name{CommonName: "a\x00b"}, ValiditySeconds: year}, 400, "authority-spec"},
		{"IP range", admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: year, Permit: admin.Names{IP: []string{"10.0.0.1"}}}, 400, "authority-spec"},
		{"unknown issuer", admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: year, Issuer: "nobody"}, 404, "authority"},
		{"outlives its issuer", admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: 30 * year, Issuer: "root"}, 409, "issuer-lifetime"},
		{"unknown key store", admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: year, KeyURI: "vault:x"}, 400, "key-uri"},
		{"key of another", admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: year, KeyURI: "softkms:path=keys/root.pem"}, 409, "key-exists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.client.CreateAuthority(t.Context(), c.spec)
			refused(t, err, c.status, c.rule)
		})
	}
	if list, err := w.client.Authorities(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("there are %d authorities, %v", len(list), err)
	}
	// None of them left a key in the way.
	if _, err := w.client.CreateAuthority(t.Context(), admin.AuthoritySpec{Name: "x", Subject: subject, ValiditySeconds: year}); err != nil {
		t.Error(err)
	}
}

func TestWarning(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	issued := w.issue(t, "press-1")
	w.noCRL.Store(true)
	a, err := w.client.CreateAuthority(t.Context(), admin.AuthoritySpec{Name: "x", Subject: admin.Name{CommonName: "x"}, ValiditySeconds: 86400})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(a.Warning, "CRL") {
		t.Errorf("the CRL failed, and the warning is %q", a.Warning)
	}
	revoked, err := w.client.Revoke(t.Context(), admin.Revocation{Serial: issued.Certificate.Serial})
	if err != nil {
		t.Fatal(err)
	}
	if len(revoked.Serials) != 1 || !strings.Contains(revoked.Warning, "CRL of issuing") {
		t.Errorf("the CRL failed, and the answer is %+v", revoked)
	}
}

// TestWarningOfOthers says who signs the CRL where this server does not: another
// one that has the job, or whoever has the CA's key.
func TestWarningOfOthers(t *testing.T) {
	for want, cause := range map[string]error{
		"another server signs the CRL of issuing":             fmt.Errorf("taking the lease: %w", ledger.ErrBusy),
		"the key of issuing is not here: whoever has it must": fmt.Errorf("signing: %w", ca.ErrNoSigner),
	} {
		w := open(t, func(c *adminhttp.Config) {
			c.PublishCRL = func(context.Context, string) error { return cause }
		}).hierarchy(t)
		issued := w.issue(t, "press-1")
		revoked, err := w.client.Revoke(t.Context(), admin.Revocation{Serial: issued.Certificate.Serial})
		if err != nil || !strings.Contains(revoked.Warning, want) {
			t.Errorf("%v: %+v, %v", cause, revoked, err)
		}
	}
}

func TestImportAuthority(t *testing.T) {
	w := open(t, nil)
	spec := admin.AuthoritySpec{Name: "line-3", Subject: admin.Name{CommonName: "Line 3"}}
	request, err := w.client.RequestAuthority(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.client.CreateAuthority(t.Context(), admin.AuthoritySpec{Name: "line-3", Subject: spec.Subject, ValiditySeconds: 86400})
	refused(t, err, http.StatusConflict, "authority-waits")
	_, err = w.client.RequestAuthority(t.Context(), admin.AuthoritySpec{Name: "line-4", Subject: spec.Subject, Issuer: "root"})
	refused(t, err, http.StatusBadRequest, "authority-spec")
	_, err = w.client.CRL(t.Context(), "line-3")
	refused(t, err, http.StatusNotFound, "authority")

	// The root is elsewhere: here.
	key := pkitest.NewKey(t)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Offline Root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	rootPEM := string(pkitest.PEM("CERTIFICATE", der))
	root = parse(t, rootPEM)
	block, _ := pem.Decode([]byte(request.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: csr.Subject, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: root.KeyUsage,
	}, root, csr.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	lone := string(pkitest.PEM("CERTIFICATE", der))

	for _, c := range []struct {
		name, certificates string
		status             int
		rule               string
	}{
		{"empty", "", 400, "authority-bundle"},
		{"without its root", lone, 400, "authority-bundle"},
		{"another's", rootPEM, 409, "key-mismatch"},
		{"a key", request.CSR, 400, "authority-bundle"},
		{"not DER", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 400, "authority-bundle"},
		{"too many", strings.Repeat(rootPEM, 17), 400, "authority-bundle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.client.ImportAuthority(t.Context(), "line-3", admin.AuthorityImport{Certificates: c.certificates})
			refused(t, err, c.status, c.rule)
		})
	}
	a, err := w.client.ImportAuthority(t.Context(), "line-3", admin.AuthorityImport{Certificates: rootPEM + lone})
	if err != nil {
		t.Fatal(err)
	}
	if a.State != admin.Ready || a.CRL == nil {
		t.Errorf("imported %+v", a)
	}
	anchor, err := w.client.ImportAuthority(t.Context(), "offline", admin.AuthorityImport{Certificates: rootPEM})
	if err != nil {
		t.Fatal(err)
	}
	if anchor.State != admin.Anchor || anchor.Warning != "" || !anchor.Root {
		t.Errorf("imported %+v", anchor)
	}
	_, err = w.client.PublishCRL(t.Context(), "offline")
	refused(t, err, http.StatusConflict, "key-elsewhere")
}
