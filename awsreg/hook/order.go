package hook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// orderOf finds the work order of a claim certificate and refuses one that is not
// open at this time.
func orderOf(ctx context.Context, t Table, claimID string, now time.Time) (Order, error) {
	claim, err := t.claim(ctx, claimID)
	if errors.Is(err, ErrUnknown) {
		return Order{}, refusal(UnknownClaim, claimID, "it is no claim certificate of a work order")
	}
	if err != nil {
		return Order{}, err
	}
	order, err := t.order(ctx, claim.Order)
	if errors.Is(err, ErrUnknown) {
		return Order{}, refusal(NotInManifest, claimID, "its work order %q has not been pushed", cut(claim.Order))
	}
	if err != nil {
		return Order{}, err
	}
	switch {
	case order.State != openState:
		return Order{}, refusal(OrderClosed, claimID, "work order %q is %s", order.ID, cut(order.State))
	case now.Before(order.NotBefore):
		return Order{}, refusal(OrderClosed, claimID, "work order %q begins at %s", order.ID, order.NotBefore.Format(time.RFC3339))
	case !now.Before(order.NotAfter):
		return Order{}, refusal(OrderClosed, claimID, "work order %q ended at %s", order.ID, order.NotAfter.Format(time.RFC3339))
	case order.Quantity < 1:
		return Order{}, refusal(OrderFull, claimID, "work order %q is for %d devices", order.ID, order.Quantity)
	}
	return order, nil
}

// openState is that of an order whose claims may ask, as in ledger.OrderOpen.
const openState = "open"

// admits refuses a device that an order is not for.
func admits(ctx context.Context, t Table, order Order, device, claimID string) error {
	if err := order.inRanges(device, claimID); err != nil {
		return err
	}
	if !order.Listed {
		return nil
	}
	expected, err := t.expected(ctx, device)
	switch {
	case errors.Is(err, ErrUnknown):
		return refusal(WrongDevice, claimID, "device %q is on no list of a work order", cut(device))
	case err != nil:
		return err
	case expected != order.ID:
		return refusal(WrongDevice, claimID, "device %q is on the list of work order %q, and not of %q", cut(device), cut(expected), order.ID)
	}
	return nil
}

func (o Order) inRanges(device, claimID string) error {
	for _, text := range o.Ranges {
		in, err := inRange(text, device)
		if err != nil {
			return fmt.Errorf("work order %q: %w", o.ID, err)
		}
		if in {
			return nil
		}
	}
	if len(o.Ranges) > 0 {
		return refusal(WrongDevice, claimID, "device %q is outside of the ranges of work order %q", cut(device), o.ID)
	}
	return nil
}

// thingOf is the name of a device's thing, or a refusal of an identifier that is
// none or that AWS would not take.
func (t Template) thingOf(device, claimID string) (string, error) {
	thing := t.Prefix + device
	switch {
	case !ValidDevice(device):
		return "", refusal(WrongDevice, claimID, "%q is no identifier of a device: 1 to 64 letters, digits and . _ : -, beginning and ending with a letter or digit", cut(device))
	case !ValidThing(thing):
		return "", refusal(WrongDevice, claimID, "AWS refuses %q as the name of a thing: it takes 1 to 128 letters, digits and : _ -", cut(thing))
	}
	return thing, nil
}

// unheld refuses a device that is held or retired.
func unheld(ctx context.Context, t Table, thing, device, certificateID string) error {
	held, err := t.Held(ctx, thing, device)
	if held && err == nil {
		err = refusal(Held, certificateID, "device %q is held or retired: release it with mintmark device release", cut(device))
	}
	return err
}

// unrevoked refuses a certificate with the mark of a revocation. It is asked last,
// so that a revocation is seen as late as possible.
func unrevoked(ctx context.Context, t Table, certificateID string) error {
	is, err := t.revoked(ctx, certificateID)
	if is && err == nil {
		err = refusal(IsRevoked, certificateID, "mintmark has revoked it")
	}
	return err
}
