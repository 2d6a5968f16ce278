package issuer_test

import (
	"crypto/x509/pkix"
	"errors"
	"sync"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestLapsedEpoch stops a request after each step, lets another server take
// over, and lets the first go on: what it was about to issue must not leave
// unless it was recorded before, and no intent of the dead epoch stays open.
func TestLapsedEpoch(t *testing.T) {
	for _, step := range []int{5, 6, 7, 8, 9} {
		l := newLedger(t)
		keys := newKeys(t)
		reached, release := make(chan struct{}), make(chan struct{})
		var armed sync.Once
		hold := false
		first := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
			c.Keys = keys
			c.Step = func(n int) {
				if hold && n == step {
					armed.Do(func() {
						close(reached)
						<-release
					})
				}
			}
		}))
		hold = true
		key := pkitest.NewKey(t)
		csr := pkitest.CSR(t, key, pkix.Name{CommonName: "device-1"})
		type outcome struct {
			answer issuer.Answer
			err    error
		}
		done := make(chan outcome, 1)
		go func() {
			answer, err := first.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: password, CSR: csr})
			done <- outcome{answer, err}
		}()
		<-reached
		second := newRA(t, l, func(c *issuer.Config) { c.Keys = keys })
		if open := count(t, l)[ledger.Open]; open != 0 {
			t.Errorf("step %d: %d intents of the dead epoch are open", step, open)
		}
		close(release)
		result := <-done
		if step < 9 {
			if result.err == nil {
				t.Errorf("step %d: a certificate left after its epoch had lapsed", step)
			}
			if valid := count(t, l)[ledger.Valid]; valid != 0 {
				t.Errorf("step %d: %d certificates recorded", step, valid)
			}
		} else {
			if result.err != nil {
				t.Errorf("step %d: %v", step, result.err)
			} else if c, err := l.Certificate(t.Context(), result.answer.Serial); err != nil || c.State != ledger.Valid {
				t.Errorf("step %d: what left is not in the ledger: %v", step, err)
			}
		}
		// The device asks again and is served.
		answer := mustEnroll(t, second, key, "device-1")
		if step == 9 && answer.Serial != result.answer.Serial {
			t.Errorf("the repeated request got another certificate")
		}
	}
}

func TestHolder(t *testing.T) {
	l := newLedger(t)
	keys := newKeys(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Keys = keys }))
	answer := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	record, err := ra.Holder(t.Context(), answer.Certificate)
	if err != nil || record.Device != "device-1" {
		t.Fatalf("our own certificate: %v", err)
	}

	// The same keys, another ledger: certificates that this ledger does not
	// know, under an authority that it does.
	other := newLedger(t)
	records, err := l.Authorities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := other.PutAuthority(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := newRA(t, other, func(c *issuer.Config) { c.Keys = keys })
	stranger := mustEnroll(t, elsewhere, pkitest.NewKey(t), "device-1")
	foreign := mustEnroll(t, withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {})), pkitest.NewKey(t), "device-1")

	pem, err := ra.Verification(t.Context(), "issuing", "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	verification := parse(t, pem)
	if life := verification.NotAfter.Sub(verification.NotBefore); life.Minutes() > 20 || verification.Subject.CommonName != "0123456789abcdef" {
		t.Errorf("verification certificate lives %v, named %s", life, verification.Subject)
	}
	if err := verification.CheckSignatureFrom(ra.Anchors("issuing")[1]); err != nil {
		t.Errorf("verification certificate: %v", err)
	}

	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: answer.Serial}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	wantRule := func(name, rule string, err error) {
		t.Helper()
		var refusal *issuer.Refusal
		if !errors.As(err, &refusal) || refusal.Rule != rule {
			t.Errorf("%s: %v, want rule %s", name, err, rule)
		}
	}
	_, err = ra.Holder(t.Context(), answer.Certificate)
	wantRule("revoked", "certificate-revoked", err)
	_, err = ra.Holder(t.Context(), stranger.Certificate)
	wantRule("unknown to the ledger", "certificate-unknown", err)
	_, err = ra.Holder(t.Context(), verification)
	wantRule("verification certificate", "certificate-purpose", err)
	// Another hierarchy with the same names: not ours, and no alarm.
	if _, err := ra.Holder(t.Context(), foreign.Certificate); !errors.Is(err, issuer.ErrForeign) {
		t.Errorf("foreign certificate: %v", err)
	}
	if got := alarms(t, ra, "certificate-unknown"); got != 1 {
		t.Errorf("%v alarms, want 1", got)
	}
}
