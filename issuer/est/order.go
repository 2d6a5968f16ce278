package est

import (
	"errors"
	"net/http"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// byOrder authenticates by the secret of a work order, in HTTP Basic with the
// order's ID as user. An unknown order, a wrong secret and a killed order get
// the same 401 as any wrong password; what is wrong with the order says only
// the answer to whoever has its secret.
func (h *Handler) byOrder(x *exchange, user, secret string) (identity, error) {
	order, err := h.authority.OrderCredential(x.r.Context(), x.label.Name, user, secret)
	var refusal *issuer.Refusal
	if err != nil && !errors.As(err, &refusal) {
		return identity{}, err
	}
	known := !errors.Is(err, ledger.ErrNotFound)
	right := err == nil || refusal.Kind != issuer.Unauthenticated
	x.who = ledger.Requester{Kind: "order", Name: shorten(user), Address: x.peer}
	if known {
		x.order = user
	}
	// The right secret of an order that was killed is no guess, and must not lock
	// out the order that its line gets next. The answer is that to a wrong one.
	var dead *ledger.OrderError
	if errors.As(err, &dead) && !right {
		f := fail(http.StatusUnauthorized, ruleCredential, "unknown user or wrong password")
		f.err = refusal.Err
		return identity{}, f
	}
	if f := h.attempt(x, user, known, right); f != nil {
		if refusal != nil {
			f.err = refusal.Err
		}
		return identity{}, f
	}
	if err != nil {
		return identity{}, err
	}
	return identity{requester: x.who, order: order.ID}, nil
}

// byClaim authenticates by the claim certificate of a work order, which
// enrolls devices and is none itself: it never renews, and only the label of its
// order takes it.
func (h *Handler) byClaim(x *exchange, record ledger.Certificate) (identity, error) {
	x.order = record.Order
	if x.label.Authorize != issuer.ByOrder {
		return identity{}, reject(ruleClaimLabel, "the claim certificate of a work order authenticates only at the label of that order")
	}
	if x.op == "simplereenroll" {
		return identity{}, reject(ruleClaimRenewal, "a claim certificate enrolls and cannot renew: use simpleenroll, or the certificate that was enrolled")
	}
	order, err := h.authority.ClaimOrder(x.r.Context(), x.label.Name, record)
	var refusal *issuer.Refusal
	if errors.As(err, &refusal) && refusal.Kind == issuer.Forbidden {
		f := fail(http.StatusForbidden, refusal.Rule, "%s", refusal.Text)
		f.err = refusal.Err
		return identity{}, &unacceptable{f}
	}
	if err != nil {
		return identity{}, err
	}
	return identity{requester: x.who, order: order.ID}, nil
}
