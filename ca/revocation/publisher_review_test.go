package revocation_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/ca/revocation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// numbers is a ledger of revocations that counts the numbers it gives away.
type numbers struct {
	ledger.Revocations
	entries []ledger.CRLEntry
	taken   int64
	stored  *ledger.CRL
}

func (n *numbers) RevocationsSince(context.Context) (map[ledger.CRLName]int, error) { return nil, nil }

func (n *numbers) LatestCRL(context.Context, string, int) (ledger.CRL, error) {
	if n.stored == nil {
		return ledger.CRL{}, ledger.ErrNotFound
	}
	return *n.stored, nil
}

func (n *numbers) CRLs(context.Context) ([]ledger.CRL, error) {
	if n.stored == nil {
		return nil, nil
	}
	return []ledger.CRL{*n.stored}, nil
}

func (n *numbers) NextCRL(context.Context, ledger.Fence, string, int, time.Time, time.Duration) (ledger.CRLWork, error) {
	n.taken++
	return ledger.CRLWork{Number: n.taken, Entries: n.entries}, nil
}

func (n *numbers) PutCRL(_ context.Context, _ ledger.Fence, crl ledger.CRL) error {
	n.stored = &crl
	return nil
}

// newPublisher publishes for a root of one day.
func newPublisher(t *testing.T, l *numbers, now func() time.Time, keyless bool) *revocation.Publisher {
	t.Helper()
	key := pkitest.NewKey(t)
	template, err := ca.Spec{Subject: pkix.Name{CommonName: "Root"}, Validity: 24 * time.Hour}.Template(big.NewInt(4711), now())
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := ca.PrepareRoot(template, key)
	if err != nil {
		t.Fatal(err)
	}
	prepared.Recorded()
	certificate, err := prepared.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config := ca.Config{Name: "root", Certificate: certificate}
	if !keyless {
		config.Signer = func(context.Context) (crypto.Signer, error) { return key, nil }
	}
	authority, err := ca.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return revocation.New(revocation.Config{
		Ledger: l, Authorities: func() []*ca.Authority { return []*ca.Authority{authority} },
		Period: time.Hour, Lifetime: 4 * time.Hour, Now: now, Logger: slog.New(slog.DiscardHandler),
	})
}

// TestKeylessTakesNoNumber runs the schedule for an authority whose key is
// elsewhere.
func TestKeylessTakesNoNumber(t *testing.T) {
	l := &numbers{}
	p := newPublisher(t, l, time.Now, true)
	if err := p.PublishDue(t.Context(), ledger.Fence{}); err != nil {
		t.Error(err)
	}
	if err := p.Publish(t.Context(), ledger.Fence{}, p.Authorities()[0]); !errors.Is(err, ca.ErrNoSigner) {
		t.Errorf("published without a key: %v", err)
	}
	if l.taken != 0 {
		t.Errorf("%d CRL numbers taken", l.taken)
	}
}

// TestExpiredAuthorityIsLeftAlone runs the schedule past the end of the
// authority: there is no CRL to be signed, and that is no failure.
func TestExpiredAuthorityIsLeftAlone(t *testing.T) {
	l, now := &numbers{}, time.Now()
	p := newPublisher(t, l, func() time.Time { return now }, false)
	if err := p.PublishDue(t.Context(), ledger.Fence{}); err != nil || l.taken != 1 {
		t.Fatalf("%d numbers taken: %v", l.taken, err)
	}
	now = now.AddDate(0, 0, 2)
	if err := p.PublishDue(t.Context(), ledger.Fence{}); err != nil || l.taken != 1 {
		t.Errorf("%d numbers taken: %v", l.taken, err)
	}
}

// TestRevocationAhead publishes what was revoked by a clock that was set back
// since, or in the second after the CRL's thisUpdate.
func TestRevocationAhead(t *testing.T) {
	now := time.Now()
	l := &numbers{entries: []ledger.CRLEntry{{Serial: "12", At: now.Add(time.Hour)}, {Serial: "13", At: now.Add(-time.Hour)}}}
	p := newPublisher(t, l, func() time.Time { return now }, false)
	if err := p.PublishDue(t.Context(), ledger.Fence{}); err != nil {
		t.Fatal(err)
	}
	crl, err := x509.ParseRevocationList(l.stored.DER)
	if err != nil {
		t.Fatal(err)
	}
	if len(crl.RevokedCertificateEntries) != 2 || crl.RevokedCertificateEntries[0].RevocationTime.After(crl.ThisUpdate) {
		t.Errorf("entries %v", crl.RevokedCertificateEntries)
	}
}
