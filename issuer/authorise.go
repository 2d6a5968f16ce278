package issuer

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"mintmark/internal/ledger"
	"mintmark/issuer/inventory"
)

// Rule decides what an authenticated requester may have, beyond what the
// profile allows. The zero value allows nothing.
type Rule string

const (
	// Trusted: any device that the requester vouches for.
	Trusted Rule = "trusted"
	// Inventory: the same, and the inventory lists the device.
	Inventory Rule = "inventory"
	// ByOrder: the requester has the credential of a work order, within whose
	// bounds and quota the device is; or it is the device itself, renewing.
	ByOrder Rule = "order"
)

// admission is what a rule adds to the intent, for the ledger to decide in the
// transaction of step 6.
type admission struct {
	order  string // that pays
	listed bool   // the inventory must have the device
}

// admit is the part of step 3 that the rule of the request decides by what does
// not change in between. State, window and quota of a work order, and what is
// known of the device, are the ledger's to check in step 6.
func (ra *RA) admit(ctx context.Context, r Request, p *Profile, device string) (admission, error) {
	switch {
	case r.naming != nil:
		return admission{order: r.Order}, nil // whoever names it has authorised it
	case r.Authorize != ByOrder && r.Order != "":
		return admission{}, refuse(Forbidden, "authorize", "a work order counts only where requests are authorised by work orders")
	case r.Authorize == Trusted, r.Authorize == ByWebhook:
		return admission{}, nil // the webhook is asked about what would be signed
	case r.Authorize != Inventory && r.Authorize != ByOrder:
		return admission{}, refuse(Forbidden, "authorize", "no rule authorises this request")
	case p.device == nil:
		return admission{}, refuse(Forbidden, "authorize", "profile %s is not for devices, and the rule %s is", p.Name, r.Authorize)
	case r.Authorize == Inventory:
		return admission{listed: true}, nil
	}
	renewal, err := ra.renewal(ctx, r, p)
	if err != nil {
		return admission{}, err
	}
	if renewal {
		// It costs no unit: the device has had its own.
		return admission{}, nil
	}
	switch {
	case r.Requester.Kind == "order", r.Requester.Kind == "claim", r.Requester.Kind == "admin":
	case r.Requester.Kind == "certificate" && r.Order != "":
		// A certificate says who the device is, and the order beside it pays.
	default:
		return admission{}, refuse(Forbidden, "authorize", "this needs the credential of a work order")
	}
	order, err := ra.Ledger.Order(ctx, r.Order)
	if errors.Is(err, ledger.ErrNotFound) {
		return admission{}, refuseOrder("unknown", r.Order)
	}
	if err != nil {
		return admission{}, fmt.Errorf("looking up work order %q: %w", r.Order, err)
	}
	if order.Profile != p.Name {
		return admission{}, refuse(Forbidden, "order-label", "work order %q is for profile %s, not for %s", order.ID, order.Profile, p.Name)
	}
	if r.Requester.Kind == "admin" {
		// Label and networks are where the order's credential is taken. An
		// operator comes with none and charges the order.
		order.Networks = nil
	} else if order.Label != r.Label {
		return admission{}, refuseLabel(order)
	}
	if err := inventory.Admits(order, device, r.Requester.Address); err != nil {
		var bound *inventory.NotAdmitted
		if !errors.As(err, &bound) {
			return admission{}, err
		}
		return admission{}, &Refusal{Kind: Forbidden, Rule: "order-" + bound.Rule, Text: bound.Text}
	}
	return admission{order: order.ID, listed: order.Listed}, nil
}

// renewal reports whether a request renews a certificate of the same profile. A
// certificate of another one says who the device is, and not that it was admitted to
// this.
func (ra *RA) renewal(ctx context.Context, r Request, p *Profile) (bool, error) {
	if r.Represents {
		return true, nil // represent has found what it renews, under this profile
	}
	held := r.Renews
	if held == nil {
		held = r.Holds
	}
	if held == nil || r.Requester.Kind != "certificate" {
		return false, nil
	}
	record, err := ra.Ledger.Certificate(ctx, SerialOf(held.SerialNumber))
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up certificate %s: %w", SerialOf(held.SerialNumber), err)
	}
	return record.Profile == p.Name && bytes.Equal(record.DER, held.Raw), nil
}
