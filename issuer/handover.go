package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

const (
	// mostHandovers bounds the certificates that wait for one target at once. They hold
	// no place among MaxInFlight, so that a cloud that is away keeps neither others from
	// enrolling nor another cloud's devices from renewing; what is beyond the bound is
	// refused at once.
	mostHandovers = 256
	// handoverTimeout bounds the wait for all targets: a device waits for it with an
	// open connection.
	handoverTimeout = 10 * time.Second
	// handoverAgain is when a device whose certificate could not be handed over asks
	// again: often enough to be let in soon after an outage, and far less often than
	// the outage costs calls.
	handoverAgain = 30 * time.Second
)

// Handover says which clouds must take a certificate before its device gets it. The
// zero value is for none. Its functions are called concurrently.
type Handover struct {
	// Targets names the targets that let devices of such a certificate in by exactly the
	// certificates that they have been told of. It is asked of every certificate that is
	// about to be answered: no I/O.
	Targets func(ledger.Certificate) []string
	// Take makes a target take a certificate, also when it is one that a repeated
	// request got before. An error keeps it back for now: the requester is told to
	// repeat its request. It must end with its context.
	Take func(ctx context.Context, target string, c ledger.Certificate) error
}

// handOver makes sure that the certificate of an answer works where the device goes
// with it before the device has it: a device that has put its old certificate away for
// one that a cloud does not know yet is locked out. That can only happen to a device
// that has another one in force, whoever asked for either: what the first one, and one
// after those that expired or were revoked, is good for is told by the outbox alone.
//
// The certificate is recorded and stays valid whatever the clouds say. The same request
// finds it again (Intent.Repeat), and costs nothing twice.
func (ra *RA) handOver(ctx context.Context, answer Answer) error {
	if ra.Handover.Targets == nil {
		return nil
	}
	record, err := ra.Ledger.Certificate(ctx, answer.Serial)
	if err != nil {
		return unavailable("ledger", "the server cannot read its records at the moment", fmt.Errorf("looking up certificate %s: %w", answer.Serial, err))
	}
	if record.Purpose != ledger.ForDevice {
		return nil
	}
	targets := ra.Handover.Targets(record)
	if len(targets) == 0 {
		return nil
	}
	replaces, err := ra.replaces(ctx, record)
	if err != nil {
		return unavailable("ledger", "the server cannot read its records at the moment", err)
	}
	if !replaces {
		return nil
	}
	if err = ra.tellTargets(ctx, targets, record); err == nil {
		return nil
	}
	return &Refusal{
		Kind: Unavailable, Rule: "cloud", RetryAfter: handoverAgain,
		Text:    "the cloud that this device connects to cannot be told of the new certificate at the moment; keep the old one and repeat the same request",
		Subject: record.Subject, Device: record.Device, Key: record.Key,
		Err: fmt.Errorf("handing over certificate %s: %w", answer.Serial, err),
	}
}

// replaces reports whether the device of a certificate has another one in force.
func (ra *RA) replaces(ctx context.Context, c ledger.Certificate) (bool, error) {
	// Of any two, one is another.
	page, err := ra.Ledger.Certificates(ctx, ledger.Query{Device: c.Device, Purpose: ledger.ForDevice, State: ledger.Valid, ExpiresAfter: ra.Now(), Limit: 2})
	if err != nil {
		return false, fmt.Errorf("looking up the certificates of device %q: %w", c.Device, err)
	}
	return slices.ContainsFunc(page.Certificates, func(other ledger.Certificate) bool { return other.Serial != c.Serial }), nil
}

// tellTargets has all of the targets take a certificate, and waits for them.
func (ra *RA) tellTargets(ctx context.Context, targets []string, c ledger.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, handoverTimeout)
	defer cancel()
	errs := make([]error, len(targets))
	var wait sync.WaitGroup
	for i, target := range targets {
		if !ra.handovers.enter(target) {
			errs[i] = fmt.Errorf("as many certificates wait for target %q as may", target)
			continue
		}
		wait.Go(func() {
			defer ra.handovers.leave(target)
			errs[i] = ra.Handover.Take(ctx, target, c)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// places counts what waits for each target. The zero value is ready.
type places struct {
	mu    sync.Mutex
	taken map[string]int
}

// enter takes a place; false if there is none left.
func (p *places) enter(target string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken == nil {
		p.taken = make(map[string]int)
	}
	if p.taken[target] >= mostHandovers {
		return false
	}
	p.taken[target]++
	return true
}

func (p *places) leave(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[target]--
}
