package issuer

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"mintmark/internal/ledger"
)

const (
	// maxWaiting bounds the refusals that wait to be written, maxBatch those of
	// one write. At one write per refusalPace a flood of them costs the ledger
	// no more than one line of devices does; what is beyond is dropped.
	maxWaiting  = 4096
	maxBatch    = 256
	refusalPace = 250 * time.Millisecond
)

// Refused puts a refusal on record, soon: it does not wait, and drops and
// counts what comes faster than KeepRefusals can write. Server and time are
// filled in. Enroll, EnrollClaim and EnrollOfficer record what they refuse by
// themselves (Refusal.Recorded); this is for what was refused before one of
// them was asked. Internal errors are no refusals.
func (ra *RA) Refused(r ledger.Refused) {
	r.Server = ra.Server
	if r.At.IsZero() {
		r.At = ra.Now()
	}
	// Strangers write this.
	for _, field := range []struct {
		text *string
		most int
	}{{&r.Operation, 64}, {&r.Label, 64}, {&r.Profile, 64}, {&r.Order, 64}, {&r.Device, 128}, {&r.Requester.Name, 128}, {&r.Subject, 512}, {&r.Text, 1024}} {
		*field.text = clip(*field.text, field.most)
	}
	select {
	case ra.refusals <- r:
	default:
		ra.metrics.dropped.Inc()
	}
}

// clip makes a text safe to record and to show: at most so many bytes of UTF-8,
// without control characters, which not every database takes, and without what
// turns the direction of a line or ends it.
func clip(text string, most int) string {
	if len(text) > most {
		text = strings.Clone(text[:most]) // and let go of the rest
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// recordRefusal records what Enroll refuses. A client that went away was
// refused nothing, and neither was one whose request waits.
func (ra *RA) recordRefusal(ctx context.Context, r Request, err error) {
	var refusal *Refusal
	if errors.As(err, &refusal) && refusal.Kind == Pending {
		refusal.Recorded = true
		return
	}
	if errors.As(err, &refusal) && !(ctx.Err() != nil && errors.Is(err, ctx.Err())) {
		ra.refused(r, refusal)
	}
}

func (ra *RA) refused(r Request, refusal *Refusal) {
	refusal.Recorded = true
	device := refusal.Device
	if device == "" {
		device = r.Device
	}
	ra.Refused(ledger.Refused{
		Operation: r.Operation, Label: r.Label, Profile: r.Profile, Order: r.Order, Rule: refusal.Rule, Text: refusal.Text,
		Device: device, Subject: refusal.Subject, Key: refusal.Key, Requester: r.Requester,
	})
}

// KeepRefusals writes refusals to the ledger until ctx ends, and then those
// that still wait.
func (ra *RA) KeepRefusals(ctx context.Context) {
	ticker := time.NewTicker(refusalPace)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			ra.writeRefusals(ctx)
		case <-ctx.Done():
			for ra.writeRefusals(ctx) {
			}
			return
		}
	}
}

// writeRefusals writes one batch of what waits, and reports whether there may
// be more. While the ledger cannot write, they wait.
func (ra *RA) writeRefusals(ctx context.Context) (more bool) {
	if ra.Ledger.Health() != nil {
		return false
	}
	var batch []ledger.Refused
	for waiting := len(ra.refusals); waiting > 0 && len(batch) < maxBatch; waiting-- {
		batch = append(batch, <-ra.refusals)
	}
	if len(batch) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	if err := ra.Ledger.Refuse(ctx, batch, ra.Config.KeepRefusals); err != nil {
		ra.metrics.dropped.Add(float64(len(batch)))
		ra.log.Warn("recording refusals", "count", len(batch), "error", err)
		return false
	}
	return len(batch) == maxBatch
}
