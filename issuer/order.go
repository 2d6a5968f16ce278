package issuer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"mintmark/internal/ledger"
)

// OrderCredential authenticates by the secret of a work order at an EST label:
// the user is the order's ID. An unknown order, a wrong secret and a killed
// order get the same refusal, of kind Unauthenticated, in the same way. With
// the right secret the order is returned, also beside the refusals that then
// say what is wrong: order-label, order-closed, order-early, order-expired.
// Errors that are not *Refusal are internal.
func (ra *RA) OrderCredential(ctx context.Context, label, user, secret string) (ledger.Order, error) {
	sum := sha256.Sum256([]byte(secret))
	if len(user) > 64 || !utf8.ValidString(user) || strings.ContainsRune(user, 0) {
		user = "" // not every database takes such a text, and none has it
	}
	order, err := ra.Ledger.Order(ctx, user)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return ledger.Order{}, fmt.Errorf("looking up a work order: %w", err)
	}
	// An order that does not exist or has no secret is compared, too: with zeros,
	// which no secret hashes to.
	right := subtle.ConstantTimeCompare(sum[:], order.Secret[:]) == 1
	if !right || order.State == ledger.OrderKilled {
		refusal := refuse(Unauthenticated, "credential", "unknown work order or wrong secret")
		if refusal.Err = err; right {
			refusal.Err = &ledger.OrderError{Order: order.ID, Why: "killed"}
		}
		return ledger.Order{}, refusal
	}
	return order, ra.takes(order, label)
}

// ClaimOrder finds the work order of a claim certificate that Holder has
// authenticated at an EST label. Refusals say what is wrong with it.
func (ra *RA) ClaimOrder(ctx context.Context, label string, claim ledger.Certificate) (ledger.Order, error) {
	order, err := ra.Ledger.Order(ctx, claim.Order)
	if errors.Is(err, ledger.ErrNotFound) {
		return ledger.Order{}, refuseOrder("unknown", claim.Order)
	}
	if err != nil {
		return ledger.Order{}, fmt.Errorf("looking up work order %q: %w", claim.Order, err)
	}
	return order, ra.takes(order, label)
}

// takes says why the credential of an order is not taken at a label now, or
// nil. It spares the work on what the ledger would refuse in step 6, where it
// is decided.
func (ra *RA) takes(order ledger.Order, label string) error {
	now := ra.Now()
	switch {
	case order.Label != label:
		return refuseLabel(order)
	case order.State == ledger.OrderKilled:
		return refuseOrder("killed", order.ID)
	case order.State != ledger.OrderOpen:
		return refuseOrder("closed", order.ID)
	case now.Before(order.NotBefore):
		return refuseOrder("early", order.ID)
	case !now.Before(order.NotAfter):
		return refuseOrder("expired", order.ID)
	}
	return nil
}

func refuseLabel(order ledger.Order) *Refusal {
	return refuse(Forbidden, "order-label", "the credential of work order %q is taken at the label %q only", order.ID, order.Label)
}
