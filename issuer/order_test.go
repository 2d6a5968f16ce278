package issuer_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// picky is a ledger over a database that takes only what is text to it, as
// PostgreSQL does.
type picky struct{ ledger.Ledger }

func (p picky) Order(ctx context.Context, id string) (ledger.Order, error) {
	if !utf8.ValidString(id) || strings.Contains(id, "\x00") || len(id) > 1000 {
		return ledger.Order{}, errors.New("invalid byte sequence")
	}
	return p.Ledger.Order(ctx, id)
}

func TestOrderCredential(t *testing.T) {
	l := newLedger(t)
	ra := newRA(t, picky{l}, nil)
	good := order(t, l, "wo-1", nil)
	order(t, l, "no-secret", func(o *ledger.Order) { o.Secret = [32]byte{} })
	order(t, l, "early", func(o *ledger.Order) { o.NotBefore = time.Now().Add(30 * time.Minute) })
	order(t, l, "expired", func(o *ledger.Order) { o.NotAfter = time.Now().Add(-time.Minute) })
	order(t, l, "closed", nil)
	move(t, l, "closed", ledger.OrderClosed)
	order(t, l, "killed", nil)
	move(t, l, "killed", ledger.OrderKilled)

	got, err := ra.OrderCredential(t.Context(), "line", "wo-1", "secret of wo-1")
	if err != nil || got.ID != good.ID || got.Quantity != good.Quantity {
		t.Fatalf("%+v, %v", got, err)
	}
	// Strangers learn nothing: one refusal for whatever is wrong, and no order.
	var told issuer.Refusal
	for name, credential := range map[string][2]string{
		"wrong secret":          {"wo-1", "secret of wo-2"},
		"no secret given":       {"wo-1", ""},
		"its hash":              {"wo-1", string(good.Secret[:])},
		"unknown order":         {"wo-2", "secret of wo-2"},
		"nobody":                {"", ""},
		"an order without one":  {"no-secret", ""},
		"without one, of zeros": {"no-secret", strings.Repeat("\x00", 32)},
		"killed":                {"killed", "secret of killed"},
		"killed, wrong":         {"killed", "wrong"},
		"closed, wrong":         {"closed", "wrong"},
		"expired, wrong":        {"expired", "wrong"},
		"NUL":                   {"wo-1\x00", "secret of wo-1"},
		"not UTF-8":             {"wo-1\xff", "secret of wo-1"},
		"endless":               {strings.Repeat("w", 1<<16), "x"},
	} {
		got, err := ra.OrderCredential(t.Context(), "line", credential[0], credential[1])
		t.Log(name)
		refusal := wantRefused(t, err, issuer.Unauthenticated, "credential")
		if told.Text == "" {
			told = *refusal
		}
		if refusal.Text != told.Text || got.ID != "" {
			t.Errorf("order %q, told %q", got.ID, refusal.Text)
		}
		if unknown := got.ID == "" && errors.Is(err, ledger.ErrNotFound); unknown != (name == "unknown order" || name == "nobody" || name == "NUL" || name == "not UTF-8" || name == "endless") {
			t.Errorf("known to the log: %v", !unknown)
		}
	}
	// With the right secret it is told what is wrong.
	for id, rule := range map[string]string{"early": "order-early", "expired": "order-expired", "closed": "order-closed"} {
		got, err := ra.OrderCredential(t.Context(), "line", id, "secret of "+id)
		wantRefused(t, err, issuer.Forbidden, rule)
		if got.ID != id {
			t.Errorf("order %q beside the refusal, want %q", got.ID, id)
		}
	}
	_, err = ra.OrderCredential(t.Context(), "other", "wo-1", "secret of wo-1")
	wantRefused(t, err, issuer.Forbidden, "order-label")

	// A new secret takes the place of the old one.
	fresh := sha256.Sum256([]byte("fresh"))
	if _, err := l.ChangeOrder(t.Context(), "wo-1", ledger.OrderChange{Secret: &fresh}, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := ra.OrderCredential(t.Context(), "line", "wo-1", "fresh"); err != nil {
		t.Error(err)
	}
	_, err = ra.OrderCredential(t.Context(), "line", "wo-1", "secret of wo-1")
	wantRefused(t, err, issuer.Unauthenticated, "credential")

	// A ledger that cannot answer is nobody's wrong secret.
	l.Close()
	var refusal *issuer.Refusal
	if _, err := ra.OrderCredential(t.Context(), "line", "wo-1", "fresh"); err == nil || errors.As(err, &refusal) {
		t.Errorf("without a ledger: %v", err)
	}
}

func TestClaimOrder(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withNamed(t)))
	claims := make(map[string]issuer.Answer)
	for _, id := range []string{"wo-1", "closed", "killed", "early", "revoked"} {
		wo := order(t, l, id, func(o *ledger.Order) {
			if id == "early" {
				o.NotBefore = time.Now().Add(30 * time.Minute)
			}
		})
		answer, err := ra.EnrollClaim(t.Context(), wo, "issuing", "claim", csr(t, pkitest.NewKey(t), id), admin)
		if err != nil {
			t.Fatal(err)
		}
		claims[id] = answer
	}
	move(t, l, "closed", ledger.OrderClosed)
	move(t, l, "killed", ledger.OrderKilled)
	for id, rule := range map[string]string{"closed": "order-closed", "killed": "order-killed", "early": "order-early"} {
		record, err := ra.Holder(t.Context(), claims[id].Certificate)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ra.ClaimOrder(t.Context(), "line", record)
		wantRefused(t, err, issuer.Forbidden, rule)
	}
	record, err := ra.Holder(t.Context(), claims["wo-1"].Certificate)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ra.ClaimOrder(t.Context(), "other", record)
	wantRefused(t, err, issuer.Forbidden, "order-label")
	_, err = ra.ClaimOrder(t.Context(), "line", ledger.Certificate{Purpose: ledger.ForClaim, Order: "nowhere"})
	wantRefused(t, err, issuer.Forbidden, "order-unknown")
	// The claims of an order are revoked with it.
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Order: "revoked"}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	_, err = ra.Holder(t.Context(), claims["revoked"].Certificate)
	wantRefused(t, err, issuer.Forbidden, "certificate-revoked")
}
