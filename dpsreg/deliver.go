package dpsreg

import (
	"context"
	"errors"

	"mintmark/internal/ledger"
)

// BatchSize is how many tasks are best given to one Deliver.
const BatchSize = 500

// TaskKind is the kind of the tasks of a target.
func TaskKind(t Target) string { return "azure/" + t.Name }

// TasksFor returns what the targets must be told of a certificate that was issued or
// revoked: that something of its device changed. It makes no I/O. Only bootstrapped
// certificates of devices under a group, every certificate of a device with an
// individual enrollment, and every revocation concern a target.
func (r *Registrar) TasksFor(targets []Target, c ledger.Certificate) []ledger.Task { return nil }

// TasksForDevice returns what they must be told when a device was held, retired or
// released.
func TasksForDevice(targets []Target, device string) []ledger.Task { return nil }

// Deliver tells a target what tasks of its kind say and returns one error a task, nil
// where it is told. What a device should have is read from the ledger when it is
// told, so that tasks may come late, twice and out of order.
func (r *Registrar) Deliver(ctx context.Context, t Target, tasks []ledger.Task) []error {
	errs := make([]error, len(tasks))
	for i := range errs {
		errs[i] = errors.New("not built yet")
	}
	return errs
}

// Enrolled reports whether devices of such a certificate have an individual
// enrollment at the target. No I/O.
func (t Target) Enrolled(c ledger.Certificate) bool { return false }

// Handover makes a target take a renewed certificate before the device gets it: an
// individual enrollment pins the certificate, so the new one is written to the second
// slot beside the one that the device holds. A nil error says that DPS has it. It may
// be called again for the same certificate.
func (r *Registrar) Handover(ctx context.Context, t Target, c ledger.Certificate) error {
	return errors.New("not built yet")
}

// TellAll tells a target of every device that it should know something of, and
// returns how many. For a new target, and after a loss.
func (r *Registrar) TellAll(ctx context.Context, t Target) (int, error) {
	return 0, errors.New("not built yet")
}
