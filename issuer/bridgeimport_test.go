package issuer_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// bridge certifies another root's key as a ceremony would; change may alter the template.
func (a *offlineRoot) bridge(t testing.TB, of *x509.Certificate, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: issuer.NewSerial(time.Now()), RawSubject: of.RawSubject, SubjectKeyId: of.SubjectKeyId, AuthorityKeyId: a.Certificate().SubjectKeyId,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: of.MaxPathLen, MaxPathLenZero: of.MaxPathLenZero, KeyUsage: of.KeyUsage,
	}
	if change != nil {
		change(template)
	}
	return a.raw(t, template, of.PublicKey)
}

// TestImportedRollover: two roots whose keys are elsewhere, with the certificates that they have
// signed for each other; openssl judges what devices are given.
func TestImportedRollover(t *testing.T) {
	l := newLedger(t)
	ra := newRA(t, l, nil)
	old := newOffline(t, "old", "Offline", 10, nil).imported(t, ra)
	next := newOffline(t, "next", "Offline", 20, nil).imported(t, ra)
	zero := 0
	csr, err := ra.RequestAuthority(t.Context(), issuer.AuthoritySpec{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"}, PathLen: &zero}, Key: ca.P256})
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ra.ImportAuthority(t.Context(), "issuing", []*x509.Certificate{next.Certificate(), next.issuing(t, "Issuing", request.PublicKey, nil)}, ""); err != nil {
		t.Fatal(err)
	}
	made := issuer.BridgeFiles{OldWithNew: next.bridge(t, old.Certificate(), nil), NewWithOld: old.bridge(t, next.Certificate(), nil)}
	r, err := ra.BeginRolloverWith(t.Context(), "old", "next", false, made, admin)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.OldWithNew, made.OldWithNew.Raw) || !slices.Equal(r.NewWithOld, made.NewWithOld.Raw) {
		t.Error("other certificates are recorded")
	}
	if given := ra.Bridges("issuing"); len(given) != 4 || !given[2].Equal(made.OldWithNew) || !given[3].Equal(made.NewWithOld) {
		t.Errorf("devices are given %d certificates", len(given))
	}
	for _, c := range []*x509.Certificate{made.OldWithNew, made.NewWithOld} {
		record, err := l.Certificate(t.Context(), issuer.SerialOf(c.SerialNumber))
		if err != nil || record.State != ledger.Valid || record.Purpose != ledger.ForCA || record.Requester.Name != admin.Name {
			t.Errorf("recorded is %+v, %v", record, err)
		}
	}
	// A device that knows the old root only takes what is under the new one.
	answer := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	leaf, anchor := pemFile(t, "leaf.pem", answer.Certificate), pemFile(t, "old.pem", old.Certificate())
	pkitest.OpenSSL(t, "verify", "-x509_strict", "-no-CApath", "-CAfile", anchor, "-untrusted", pemFile(t, "chain.pem", append(answer.Chain, made.NewWithOld)...), leaf)
	pkitest.OpenSSLFails(t, "verify", "-x509_strict", "-no-CApath", "-CAfile", anchor, "-untrusted", pemFile(t, "short.pem", answer.Chain...), leaf)

	// The old root's CRL takes the bridge back.
	done, err := ra.ImportCRL(t.Context(), "old", old.list(t, 1, nil, made.NewWithOld.SerialNumber), "alice")
	if err != nil || len(done.Revoked) != 1 {
		t.Fatalf("imported %+v, %v", done, err)
	}
	if given := ra.Bridges("issuing"); slices.ContainsFunc(given, made.NewWithOld.Equal) {
		t.Error("devices are still given a certificate that is revoked")
	}
}

// TestHalfImportedRollover: the key of the new root is here, and signs its half.
func TestHalfImportedRollover(t *testing.T) {
	one := 1
	ra := newRA(t, newLedger(t), nil)
	old := newOffline(t, "old", "Root", 10, &one).imported(t, ra)
	next := create(t, ra, rootSpec("next", "Root", 20, &one))
	made := issuer.BridgeFiles{NewWithOld: old.bridge(t, next.Certificate(), nil)}
	r, err := ra.BeginRolloverWith(t.Context(), "old", "next", false, made, admin)
	if err != nil {
		t.Fatal(err)
	}
	if c := parseDER(t, r.OldWithNew); c.CheckSignatureFrom(next.Certificate()) != nil {
		t.Error("the certificate of the old root is not signed by the new one")
	}
}

func TestImportedRolloverRefused(t *testing.T) {
	two := 2
	l := newLedger(t)
	ra := newRA(t, l, nil)
	old := newOffline(t, "old", "Offline", 10, nil).imported(t, ra)
	next := newOffline(t, "next", "Offline", 20, &two).imported(t, ra)
	stranger := newOffline(t, "stranger", "Offline", 20, nil)
	good := func() issuer.BridgeFiles {
		return issuer.BridgeFiles{OldWithNew: next.bridge(t, old.Certificate(), nil), NewWithOld: old.bridge(t, next.Certificate(), nil)}
	}
	newWithOld := func(change func(*x509.Certificate)) func() issuer.BridgeFiles {
		return func() issuer.BridgeFiles {
			made := good()
			made.NewWithOld = old.bridge(t, next.Certificate(), change)
			return made
		}
	}
	forged := func() issuer.BridgeFiles {
		made := good()
		raw := slices.Clone(made.NewWithOld.Raw)
		raw[len(raw)-3] ^= 1
		made.NewWithOld = parseDER(t, raw)
		return made
	}
	gone := old.bridge(t, next.Certificate(), nil)
	if _, err := ra.ImportCRL(t.Context(), "old", old.list(t, 1, nil, gone.SerialNumber), "alice"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		made       func() issuer.BridgeFiles
		rule, text string
	}{
		{"nothing brought", func() issuer.BridgeFiles { return issuer.BridgeFiles{} }, "rollover-roots", "elsewhere"},
		{"half brought", func() issuer.BridgeFiles { return issuer.BridgeFiles{OldWithNew: good().OldWithNew} }, "rollover-roots", `root "old" is elsewhere`},
		{"the wrong way round", func() issuer.BridgeFiles {
			made := good()
			return issuer.BridgeFiles{OldWithNew: made.NewWithOld, NewWithOld: made.OldWithNew}
		}, "rollover-certificate", "certifies another key"},
		{"another key", func() issuer.BridgeFiles {
			return issuer.BridgeFiles{OldWithNew: good().OldWithNew, NewWithOld: old.bridge(t, stranger.Certificate(), nil)}
		}, "rollover-certificate", "certifies another key"},
		{"another signer of the same name", func() issuer.BridgeFiles {
			return issuer.BridgeFiles{OldWithNew: good().OldWithNew, NewWithOld: stranger.bridge(t, next.Certificate(), nil)}
		}, "rollover-certificate", "authority key identifier"},
		{"signature", forged, "rollover-certificate", "was not signed by"},
		{"subject", newWithOld(func(c *x509.Certificate) { c.RawSubject, c.Subject = nil, pkix.Name{CommonName: "offline"} }), "rollover-certificate", "its subject is"},
		{"key identifier", newWithOld(func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3, 4} }), "rollover-certificate", "subject key identifier"},
		{"no CA", newWithOld(func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.MaxPathLen = false, x509.KeyUsageDigitalSignature, 0 }), "rollover-certificate", "not a CA certificate"},
		{"key usage", newWithOld(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }), "rollover-certificate", "cRLSign"},
		{"more key usage", newWithOld(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature }), "rollover-certificate", "its key usage"},
		{"early", newWithOld(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "rollover-certificate", "it is valid from"},
		{"expired", newWithOld(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "rollover-certificate", "it is valid from"},
		{"longer than its issuer", newWithOld(func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(15, 0, 0) }), "rollover-certificate", "not within"},
		{"short path", newWithOld(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }), "rollover-certificate", "path length of 0"},
		{"long path", newWithOld(func(c *x509.Certificate) { c.MaxPathLen = 3 }), "rollover-certificate", "longer path"},
		{"any path", newWithOld(func(c *x509.Certificate) { c.MaxPathLen = -1 }), "rollover-certificate", "longer path"},
		{"name constraints", newWithOld(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
		}), "rollover-certificate", "name constraints"},
		{"extended key usage", newWithOld(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "rollover-certificate", "extended key usages"},
		{"revoked", func() issuer.BridgeFiles { return issuer.BridgeFiles{OldWithNew: good().OldWithNew, NewWithOld: gone} }, "authority-revoked", "CRL 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ra.BeginRolloverWith(t.Context(), "old", "next", false, c.made(), admin)
			refusedBy(t, err, c.rule, c.text)
		})
	}
	_, err := ra.BeginRolloverWith(t.Context(), "old", "next", true, good(), admin)
	refusedBy(t, err, "rollover-compromised", "mintmark rotate plan --old old --new next --emergency")
	// A serial number that another certificate has here.
	taken := good()
	if _, err := ra.Ledger.ImportCertificates(t.Context(), []ledger.Certificate{{
		Serial: issuer.SerialOf(taken.OldWithNew.SerialNumber), Issuer: "next", Profile: "ca", Purpose: ledger.ForCA, DER: []byte{1},
		NotBefore: time.Now(), NotAfter: time.Now(),
	}}, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	_, err = ra.BeginRolloverWith(t.Context(), "old", "next", false, taken, admin)
	refusedBy(t, err, "authority-serial", "another one is recorded")
	if list, err := ra.Rollovers(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%d rollovers run, %v", len(list), err)
	}
	if _, err := ra.BeginRolloverWith(t.Context(), "old", "next", false, good(), admin); err != nil {
		t.Errorf("what is right is refused: %v", err)
	}
}

// TestImportAuthorityRefused names what is wrong with a certificate from elsewhere.
func TestImportAuthorityRefused(t *testing.T) {
	l := newLedger(t)
	ra := newRA(t, l, nil)
	zero := 0
	root := newOffline(t, "offline", "Offline", 10, nil).imported(t, ra)
	narrow := newOffline(t, "narrow", "Narrow", 10, &zero)
	twin := newOffline(t, "twin", "Offline", 10, nil)
	csr, err := ra.RequestAuthority(t.Context(), issuer.AuthoritySpec{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"}, PathLen: &zero}, Key: ca.P256})
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	issuing := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{root.issuing(t, "Issuing", request.PublicKey, change), root.Certificate()}
	}
	gone := issuing(nil)
	if _, err := ra.ImportCRL(t.Context(), "offline", root.list(t, 1, nil, gone[0].SerialNumber), "alice"); err != nil {
		t.Fatal(err)
	}
	forged := issuing(nil)
	raw := slices.Clone(forged[0].Raw)
	raw[len(raw)-3] ^= 1
	forged[0] = parseDER(t, raw)
	betweenKey := pkitest.NewKey(t)
	between := narrow.issuing(t, "Between", betweenKey.Public(), func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = -1, false })
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Issuing"}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, between, request.PublicKey, betweenKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		made       []*x509.Certificate
		rule, text string
	}{
		{"nothing", nil, "authority-bundle", "no certificate"},
		{"without its root", issuing(nil)[:1], "authority-bundle", "missing from the bundle"},
		{"another root of the same name", []*x509.Certificate{issuing(nil)[0], twin.Certificate()}, "authority-bundle", "more than one path"},
		{"signature", forged, "authority-bundle", "more than one path"},
		{"no CA", issuing(func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), "authority-bundle", "not a CA certificate"},
		{"keyCertSign", issuing(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), "authority-bundle", "keyCertSign"},
		{"cRLSign", issuing(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }), "authority-bundle", "cRLSign"},
		{"authority key identifier", issuing(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 35}, Value: []byte{0x30, 0x06, 0x80, 0x04, 1, 2, 3, 4}}}
		}), "authority-bundle", "key identifier"},
		{"critical extension", issuing(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), "authority-bundle", "1.2.3.4"},
		{"path length", []*x509.Certificate{narrow.Certificate(), between, parseDER(t, der)}, "authority-bundle", "path length"},
		{"early", issuing(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "authority-validity", "not valid before"},
		{"expired", issuing(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "authority-validity", "expired on"},
		{"revoked", gone, "authority-revoked", "is on CRL 1"},
		{"lint", issuing(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: strings.Repeat("x", 65)} }), "authority-rules", "lint refuses it"},
		{"long serial", issuing(func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159) }), "authority-rules", "serial number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ra.ImportAuthority(t.Context(), "issuing", c.made, "")
			refusedBy(t, err, c.rule, c.text)
		})
	}
	other := []*x509.Certificate{root.issuing(t, "Issuing", pkitest.NewKey(t).Public(), nil), root.Certificate()}
	if _, err := ra.ImportAuthority(t.Context(), "issuing", other, ""); !errors.Is(err, ca.ErrKeyMismatch) {
		t.Errorf("a certificate of another key: %v", err)
	}
	if len(ra.Waiting()) != 1 {
		t.Error("the authority does not wait any more")
	}
	if _, err := ra.ImportAuthority(t.Context(), "issuing", issuing(nil), ""); err != nil {
		t.Errorf("what is right is refused: %v", err)
	}
}
