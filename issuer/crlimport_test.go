package issuer_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/ca/revocation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// refusedBy checks that err is a refusal by this rule that says so.
func refusedBy(t *testing.T, err error, rule, text string) {
	t.Helper()
	var refusal *issuer.Refusal
	if !errors.As(err, &refusal) || refusal.Rule != rule || !strings.Contains(refusal.Text, text) {
		t.Errorf("got %v, want a refusal by %s that says %q", err, rule, text)
	}
}

// TestImportCRL: the CRL of a root whose key is elsewhere is recorded, and the CA that it
// lists issues nothing any more.
func TestImportCRL(t *testing.T) {
	l := newLedger(t)
	ra := newRA(t, l, nil)
	root := newOffline(t, "offline", "Offline", 20, nil).imported(t, ra)
	zero := 0
	csr, err := ra.RequestAuthority(t.Context(), issuer.AuthoritySpec{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"}, PathLen: &zero}, Key: ca.P256})
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	c := root.issuing(t, "Issuing", request.PublicKey, nil)
	if _, err := ra.ImportAuthority(t.Context(), "issuing", []*x509.Certificate{root.Certificate(), c}, ""); err != nil {
		t.Fatal(err)
	}
	done, err := ra.ImportCRL(t.Context(), "offline", root.list(t, 1, nil, big.NewInt(4711)), "alice")
	if err != nil || len(done.Revoked) != 0 || done.CRL.Number != 1 {
		t.Fatalf("imported %+v, %v", done, err)
	}
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")

	second := root.list(t, 2, nil, big.NewInt(4711), c.SerialNumber)
	serial := issuer.SerialOf(c.SerialNumber)
	for range 2 { // the same one again changes nothing
		done, err = ra.ImportCRL(t.Context(), "offline", second, "alice")
		if err != nil {
			t.Fatal(err)
		}
		if latest, err := l.LatestCRL(t.Context(), "offline", 0); err != nil || !bytes.Equal(latest.DER, second) || latest.Number != 2 {
			t.Fatalf("stored is %d, %v", latest.Number, err)
		}
		if !ra.Withdrawn("issuing") || ra.Withdrawn("offline") {
			t.Error("the authority on the CRL is not the one that is withdrawn")
		}
	}
	record, err := l.Certificate(t.Context(), serial)
	if err != nil || record.State != ledger.Revoked || record.Reason != ledger.KeyCompromise || record.RevokedBy != "alice" || record.Issuer != "offline" {
		t.Errorf("recorded is %+v, %v", record, err)
	}
	_, err = enroll(t.Context(), t, ra, pkitest.NewKey(t), "device-2")
	refusedBy(t, err, "issuer-revoked", "revoked")
	// Another server on the ledger hears of it.
	if other := newRA(t, l, func(c *issuer.Config) { c.Server = "second" }); !other.Withdrawn("issuing") {
		t.Error("another server does not know")
	}
	// What is revoked does not come back under another name.
	_, err = ra.ImportAuthority(t.Context(), "again", []*x509.Certificate{root.Certificate(), c}, "")
	refusedBy(t, err, "authority-revoked", "is revoked since")
}

// TestImportCRLOfPolicyCA: a CA in the middle of a path that is no authority here is withdrawn
// with what is below it, at once.
func TestImportCRLOfPolicyCA(t *testing.T) {
	ra := newRA(t, newLedger(t), nil)
	root := newOffline(t, "offline", "Offline", 20, nil).imported(t, ra)
	csr, err := ra.RequestAuthority(t.Context(), issuer.AuthoritySpec{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"}}, Key: ca.P256})
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	key := pkitest.NewKey(t)
	middle := root.issuing(t, "Policy", key.Public(), func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false })
	policy := &offlineRoot{openAuthority(t, "policy", key, middle, root.Certificate()), key}
	c := policy.issuing(t, "Issuing", request.PublicKey, nil)
	if _, err := ra.ImportAuthority(t.Context(), "issuing", []*x509.Certificate{root.Certificate(), middle, c}, ""); err != nil {
		t.Fatal(err)
	}
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	done, err := ra.ImportCRL(t.Context(), "offline", root.list(t, 1, nil, middle.SerialNumber), "alice")
	if err != nil || !slices.Equal(done.Revoked, []ledger.Serial{issuer.SerialOf(middle.SerialNumber)}) {
		t.Fatalf("imported %+v, %v", done, err)
	}
	if !ra.Withdrawn("issuing") || ra.Withdrawn("offline") {
		t.Error("the authority below what is on the CRL is not the one that is withdrawn")
	}
	_, err = enroll(t.Context(), t, ra, pkitest.NewKey(t), "device-2")
	refusedBy(t, err, "issuer-revoked", "revoked")
}

// TestImportCRLTellsOfUnlisted: what was revoked here and is not on the root's CRL is told.
func TestImportCRLTellsOfUnlisted(t *testing.T) {
	ra := newRA(t, newLedger(t), nil)
	root := newOffline(t, "offline", "Offline", 20, nil).imported(t, ra)
	c := root.issuing(t, "Issuing", pkitest.NewKey(t).Public(), nil)
	if _, err := ra.ImportAuthority(t.Context(), "issuing", []*x509.Certificate{root.Certificate(), c}, ""); err != nil {
		t.Fatal(err)
	}
	if err := ra.RecordAuthority(t.Context(), "issuing", "alice"); err != nil {
		t.Fatal(err)
	}
	serial := issuer.SerialOf(c.SerialNumber)
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: serial}, ledger.KeyCompromise, "alice"); err != nil {
		t.Fatal(err)
	}
	done, err := ra.ImportCRL(t.Context(), "offline", root.list(t, 1, nil), "alice")
	if err != nil || !slices.Equal(done.Unlisted, []ledger.Serial{serial}) {
		t.Errorf("imported %+v, %v", done, err)
	}
	done, err = ra.ImportCRL(t.Context(), "offline", root.list(t, 2, nil, c.SerialNumber), "alice")
	if err != nil || len(done.Unlisted) != 0 || len(done.Revoked) != 0 {
		t.Errorf("imported %+v, %v", done, err)
	}
}

// TestCRLsElsewhere: who has to bring the next CRL is told months before the last one ends.
func TestCRLsElsewhere(t *testing.T) {
	var ahead time.Duration
	ra := newRA(t, newLedger(t), func(c *issuer.Config) {
		c.Now = func() time.Time { return time.Now().Add(ahead) }
		c.EpochTTL = 10 * 365 * 24 * time.Hour
	})
	root := newOffline(t, "offline", "Offline", 20, nil).imported(t, ra)
	finding := func(want string, unlisted int) {
		t.Helper()
		list, err := ra.CRLsElsewhere(t.Context())
		if err != nil || len(list) != 1 || list[0].Authority != "offline" || list[0].Unlisted != unlisted {
			t.Fatalf("found %+v, %v", list, err)
		}
		if want == "" && list[0].Finding != "" || !strings.Contains(list[0].Finding, want) {
			t.Errorf("%v ahead it says %q, want %q", ahead, list[0].Finding, want)
		}
	}
	finding("", 0) // an anchor of others, with nothing below it here
	csr, err := ra.RequestAuthority(t.Context(), issuer.AuthoritySpec{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"}}, Key: ca.P256})
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	c := root.issuing(t, "Issuing", request.PublicKey, nil)
	if _, err := ra.ImportAuthority(t.Context(), "issuing", []*x509.Certificate{root.Certificate(), c}, ""); err != nil {
		t.Fatal(err)
	}
	finding("there is no CRL", 0)
	const day = 24 * time.Hour
	if _, err := ra.ImportCRL(t.Context(), "offline", root.list(t, 1, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(365 * day) }), "alice"); err != nil {
		t.Fatal(err)
	}
	finding("", 0)
	ahead = 274 * day
	finding("", 0)
	ahead = 276 * day
	finding("in 88 days", 0)
	ahead = 366 * day
	finding("ran out", 0)
	ahead = 0
	if err := ra.RecordAuthority(t.Context(), "issuing", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(c.SerialNumber)}, ledger.KeyCompromise, "alice"); err != nil {
		t.Fatal(err)
	}
	finding("1 certificates of", 1)
}

func TestImportCRLRefused(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	root := newOffline(t, "offline", "Offline", 20, nil).imported(t, ra)
	twin := newOffline(t, "twin", "Offline", 20, nil)
	if _, err := ra.ImportCRL(t.Context(), "offline", root.list(t, 5, nil, big.NewInt(4711)), "alice"); err != nil {
		t.Fatal(err)
	}
	before, err := l.LatestCRL(t.Context(), "offline", 0)
	if err != nil {
		t.Fatal(err)
	}
	listed := big.NewInt(4711)
	extension := func(id ...int) func(*x509.RevocationList) {
		return func(c *x509.RevocationList) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier(id), Critical: true, Value: []byte{2, 1, 5}}}
		}
	}
	forged := bytes.Clone(root.list(t, 6, nil, listed))
	forged[len(forged)-3] ^= 1
	later := func(d time.Duration) func(*x509.RevocationList) {
		return func(c *x509.RevocationList) { c.ThisUpdate = time.Now().Add(d) }
	}
	for _, c := range []struct {
		name, authority string
		der             []byte
		rule, text      string
	}{
		{"nonsense", "offline", []byte("nonsense"), "crl", "parsing the CRL"},
		{"trailing bytes", "offline", append(root.list(t, 6, nil, listed), 0), "crl", "parsing the CRL"},
		{"another issuer", "offline", newOffline(t, "x", "Another", 20, nil).list(t, 6, nil, listed), "crl", "is one of"},
		{"another key of the same name", "offline", twin.list(t, 6, nil, listed), "crl", "signed by another key"},
		{"signature", "offline", forged, "crl", "was not signed by"},
		{"key is here", "root", root.list(t, 6, nil, listed), "crl-key", "the key of \"root\" is here"},
		{"early", "offline", root.list(t, 6, later(time.Hour), listed), "crl-time", "has not come yet"},
		{"run out", "offline", root.list(t, 6, func(c *x509.RevocationList) { c.NextUpdate = time.Now().Add(-time.Minute) }, listed), "crl-time", "ran out"},
		{"thisUpdate goes back", "offline", root.list(t, 7, later(-90*time.Minute), listed), "crl-time", "before that of the last one"},
		{"same number", "offline", root.list(t, 5, later(-time.Minute), listed), "crl-number", "numbers must rise"},
		{"lower number", "offline", root.list(t, 4, nil, listed), "crl-number", "numbers must rise"},
		{"huge number", "offline", root.list(t, 6, func(c *x509.RevocationList) { c.Number = new(big.Int).Lsh(big.NewInt(1), 63) }, listed), "crl", "larger than"},
		{"entry missing", "offline", root.list(t, 6, nil, big.NewInt(12)), "crl-entries", "serial number 1267 is on CRL 5"},
		{"delta", "offline", root.list(t, 6, extension(2, 5, 29, 27), listed), "crl", "critical extension 2.5.29.27"},
		{"part", "offline", root.list(t, 6, extension(2, 5, 29, 28), listed), "crl", "critical extension 2.5.29.28"},
		{"critical extension of an entry", "offline", root.list(t, 6, func(c *x509.RevocationList) {
			c.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{48, 0}}}
		}, listed), "crl", "critical extension 2.5.29.29"},
		{"revoked after thisUpdate", "offline", root.list(t, 6, func(c *x509.RevocationList) { c.RevokedCertificateEntries[0].RevocationTime = time.Now() }, listed), "crl", "after thisUpdate"},
		{"twice", "offline", root.list(t, 6, nil, listed, listed), "crl", "listed twice"},
		{"delta reason", "offline", root.list(t, 6, func(c *x509.RevocationList) { c.RevokedCertificateEntries[0].ReasonCode = 8 }, listed), "crl", "reason code 8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ra.ImportCRL(t.Context(), c.authority, c.der, "alice")
			refusedBy(t, err, c.rule, c.text)
		})
	}
	if _, err := ra.ImportCRL(t.Context(), "nobody", before.DER, "alice"); !errors.Is(err, issuer.ErrNoAuthority) {
		t.Errorf("got %v", err)
	}
	if after, err := l.LatestCRL(t.Context(), "offline", 0); err != nil || !bytes.Equal(after.DER, before.DER) {
		t.Errorf("what was refused is stored: %v", err)
	}
}

// TestImportCRLFailing: a CRL that could not be recorded, after what it revokes was, is imported
// again as if nothing had been.
func TestImportCRLFailing(t *testing.T) {
	l := &noPut{Ledger: newLedger(t)}
	ra := newRA(t, l, nil)
	root := newOffline(t, "offline", "Offline", 20, nil).imported(t, ra)
	c := root.issuing(t, "Issuing", pkitest.NewKey(t).Public(), nil)
	if _, err := ra.ImportAuthority(t.Context(), "issuing", []*x509.Certificate{root.Certificate(), c}, ""); err != nil {
		t.Fatal(err)
	}
	crl := root.list(t, 1, nil, c.SerialNumber)
	l.fails = true
	if _, err := ra.ImportCRL(t.Context(), "offline", crl, "alice"); !errors.Is(err, ledger.ErrUnavailable) || !ra.Withdrawn("issuing") {
		t.Errorf("got %v", err)
	}
	l.fails = false
	if _, err := ra.ImportCRL(t.Context(), "offline", crl, "alice"); err != nil {
		t.Error(err)
	}
	if stored, err := l.LatestCRL(t.Context(), "offline", 0); err != nil || stored.Number != 1 {
		t.Errorf("stored %d, %v", stored.Number, err)
	}
}

// noPut is a ledger that records no CRL.
type noPut struct {
	ledger.Ledger
	fails bool
}

func (l *noPut) PutCRL(ctx context.Context, fence ledger.Fence, crl ledger.CRL) error {
	if l.fails {
		return ledger.ErrUnavailable
	}
	return l.Ledger.PutCRL(ctx, fence, crl)
}

// TestImportedCRLIsLeftAlone: the schedule signs no CRL over one that was imported, and shows
// when that runs out.
func TestImportedCRLIsLeftAlone(t *testing.T) {
	l := newLedger(t)
	ra := newRA(t, l, nil)
	root := newOffline(t, "offline", "Offline", 20, nil).imported(t, ra)
	done, err := ra.ImportCRL(t.Context(), "offline", root.list(t, 1, nil), "alice")
	if err != nil {
		t.Fatal(err)
	}
	// The period of the server's own CRLs is over.
	publisher := revocation.New(revocation.Config{
		Ledger: l, Authorities: ra.Authorities, Period: time.Minute, Lifetime: time.Hour,
		Now: func() time.Time { return time.Now().Add(time.Hour) }, Logger: slog.New(slog.DiscardHandler),
	})
	fence, err := l.Acquire(t.Context(), "crl", "test", time.Now(), 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := publisher.PublishDue(t.Context(), fence); err != nil {
		t.Fatal(err)
	}
	if latest, err := l.LatestCRL(t.Context(), "offline", 0); err != nil || latest.Number != 1 {
		t.Errorf("the latest is %d, %v", latest.Number, err)
	}
	if at := nextUpdateGauge(t, publisher, "offline"); at != float64(done.CRL.NextUpdate.Unix()) {
		t.Errorf("the metric says %v, want %v", at, done.CRL.NextUpdate.Unix())
	}
}
