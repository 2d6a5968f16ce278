package issuer_test

import (
	"context"
	"crypto"
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestRevokedAuthority revokes the certificate of an issuing CA: nothing is
// issued under it any more, also after a restart.
func TestRevokedAuthority(t *testing.T) {
	l, keys := newLedger(t), newKeys(t)
	open := func() *issuer.RA { return newRA(t, l, func(c *issuer.Config) { c.Keys = keys }) }
	ra := withHierarchy(t, open())
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	issuing, err := ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(issuing.Certificate().SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	for _, ra := range []*issuer.RA{ra, open()} {
		var refusal *issuer.Refusal
		if _, err := enroll(t.Context(), t, ra, pkitest.NewKey(t), "device-2"); !errors.As(err, &refusal) || refusal.Rule != "issuer-revoked" {
			t.Errorf("under a revoked CA: %v", err)
		}
		if ra.Usable("device", "issuing") == nil {
			t.Error("a revoked CA counts as usable")
		}
		// The root is not below it.
		if err := ra.Usable("device", "root"); err != nil {
			t.Error(err)
		}
	}
}

// TestExpiredAuthority asks an expired CA for certificates that may outlive
// it: notAfter does not stop them.
func TestExpiredAuthority(t *testing.T) {
	now := time.Now()
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
		c.Now = func() time.Time { return now }
		c.EpochTTL = 100 * 365 * 24 * time.Hour
		c.Profiles["idevid"] = profile(t, "idevid", issuer.ProfileConfig{Preset: "device", OutliveIssuer: true, NoExpiry: true})
	}))
	ask := func() error {
		_, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "idevid", Issuer: "issuing", Requester: admin,
			CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-" + now.Format("2006")})})
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	now = now.AddDate(11, 0, 0)
	var refusal *issuer.Refusal
	if err := ask(); !errors.As(err, &refusal) || refusal.Rule != "issuer-lifetime" {
		t.Errorf("under an expired CA: %v", err)
	}
}

// away is a key store that has lost its keys.
type away struct {
	issuer.KeyStore
	gone bool
}

func (a *away) Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	if a.gone {
		return nil, errors.New("the token does not answer")
	}
	return a.KeyStore.Signer(ctx, uri, want)
}

// TestKeyAwayCostsNoSerial asks again and again for what cannot be signed: no
// serial number is spent on it, which the CRL would have to list for years.
func TestKeyAwayCostsNoSerial(t *testing.T) {
	l := newLedger(t)
	keys := &away{KeyStore: newKeys(t)}
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Keys = keys }))
	keys.gone = true
	key := pkitest.NewKey(t)
	for range 3 {
		var refusal *issuer.Refusal
		if _, err := enroll(t.Context(), t, ra, key, "device-1"); !errors.As(err, &refusal) || refusal.Rule != "signer" {
			t.Errorf("without the key: %v", err)
		}
	}
	if states := count(t, l); len(states) != 0 {
		t.Errorf("recorded %v", states)
	}
	// Nor is a key left behind by a CA that cannot be certified.
	spec := issuer.AuthoritySpec{Spec: ca.Spec{Name: "line-2", Subject: pkix.Name{CommonName: "Line 2"}, Validity: time.Hour}, Key: ca.P256, Issuer: "root"}
	fresh := newRA(t, l, func(c *issuer.Config) { c.Keys = keys })
	if _, err := fresh.CreateAuthority(t.Context(), spec, admin); err == nil {
		t.Fatal("certified without the root's key")
	}
	keys.gone = false
	if _, err := fresh.CreateAuthority(t.Context(), spec, admin); err != nil {
		t.Errorf("once the key is back: %v", err)
	}
}

// TestPatternIsWhole takes a pattern whose parentheses end the group that
// holds it to all of a value.
func TestPatternIsWhole(t *testing.T) {
	for _, pattern := range []string{`press-[0-9]+)|(?:x`, `a)|(b`, `)(`} {
		_, err := issuer.NewProfile("device", issuer.ProfileConfig{Preset: "device", Subject: map[string]issuer.Attribute{"commonName": {Pattern: pattern}}}, "")
		if err == nil {
			t.Errorf("took the pattern %s", pattern)
		}
	}
}

// late is a ledger whose Finish succeeds after its caller was told otherwise.
type late struct {
	ledger.Ledger
	voids int
}

func (l *late) Finish(ctx context.Context, issued []ledger.Issued) ([]error, error) {
	if refusals, err := l.Ledger.Finish(ctx, issued); err != nil || refusals[0] != nil {
		return refusals, err
	}
	return nil, context.DeadlineExceeded
}

func (l *late) Void(ctx context.Context, serial ledger.Serial, now time.Time) error {
	l.voids++
	return l.Ledger.Void(ctx, serial, now)
}

// TestLateFinish loses the answer of step 9: what is valid after all is not
// tried to be voided for ever, and the device gets it when it asks again.
func TestLateFinish(t *testing.T) {
	store, keys := newLedger(t), newKeys(t)
	withHierarchy(t, newRA(t, store, func(c *issuer.Config) { c.Keys = keys }))
	l := &late{Ledger: store}
	ra := newRA(t, l, func(c *issuer.Config) { c.Keys = keys })
	first, second := pkitest.NewKey(t), pkitest.NewKey(t)
	if _, err := enroll(t.Context(), t, ra, first, "device-1"); err == nil {
		t.Fatal("a certificate left without the answer of step 9")
	}
	if _, err := enroll(t.Context(), t, ra, second, "device-2"); err == nil {
		t.Fatal("a certificate left without the answer of step 9")
	}
	if l.voids != 2 {
		t.Errorf("%d attempts to void two serials that are valid", l.voids)
	}
	if answer := mustEnroll(t, ra, first, "device-1"); !answer.Prior {
		t.Error("the repeated request got another certificate")
	}
}
