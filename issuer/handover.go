package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	// mostHandovers bounds the renewals that wait for Handover at once. They hold no
	// place among MaxInFlight, so that a cloud that is away does not keep others from
	// enrolling; what is beyond the bound is refused at once.
	mostHandovers = 256
	// handoverAgain is when a device whose certificate could not be handed over asks
	// again: often enough to be let in soon after an outage, and far less often than
	// the outage costs calls.
	handoverAgain = 30 * time.Second
)

// handOver makes sure that the certificate of an answer works where the device goes
// with it before the device has it: a device that has put its old certificate away for
// one that a cloud does not know yet is locked out. That can only happen to a device
// that has one: first certificates are told by the outbox alone.
//
// The certificate is recorded and stays valid whatever Handover says. The same request
// finds it again (Intent.Repeat), and costs nothing twice.
func (ra *RA) handOver(ctx context.Context, r Request, answer Answer) error {
	if ra.Handover == nil || r.Requester.Bootstrap() && !r.Represents {
		return nil
	}
	record, err := ra.Ledger.Certificate(ctx, answer.Serial)
	if err != nil {
		return unavailable("ledger", "the server cannot read its records at the moment", fmt.Errorf("looking up certificate %s: %w", answer.Serial, err))
	}
	if record.Purpose != ledger.ForDevice {
		return nil
	}
	select {
	case ra.handovers <- struct{}{}:
		defer func() { <-ra.handovers }()
		err = ra.Handover(ctx, record)
	default:
		err = errors.New("as many renewals wait for the clouds as may")
	}
	if err == nil {
		return nil
	}
	return &Refusal{
		Kind: Unavailable, Rule: "cloud", RetryAfter: handoverAgain,
		Text:    "the cloud that this device connects to cannot be told of the new certificate at the moment; keep the old one and repeat the same request",
		Subject: record.Subject, Device: record.Device, Key: record.Key,
		Err: fmt.Errorf("handing over certificate %s: %w", answer.Serial, err),
	}
}
