package dpsreg

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mintmark/internal/ledger"
)

// handoverTimeout bounds a Handover: a device waits for it with an open connection.
const handoverTimeout = 10 * time.Second

// Handover makes a target take a renewed certificate before the device gets it: an
// individual enrollment pins the certificate, so the new one is written to the second
// slot beside the one that the device holds. A nil error says that DPS has it. It may
// be called again for the same certificate. Every error is for now: the same call may
// succeed later. It takes no longer than 10 s.
//
// It is for renewals. A device that has no certificate yet loses nothing by waiting for
// its task.
func (ds *Devices) Handover(ctx context.Context, t Target, c ledger.Certificate) error {
	if !t.Enrolled(c) {
		return nil
	}
	all, err := newestFirst([]ledger.Certificate{c})
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return fmt.Errorf("certificate %s is %s", c.Serial, c.State)
	case all[0].id == "":
		return nil // it could not register before either
	}
	ctx, cancel := context.WithTimeout(urgent(ctx), handoverTimeout)
	defer cancel()
	s, err := ds.conn.session(t)
	if err != nil {
		return err
	}
	o, err := ds.settleOne(ctx, s, c.Device, all[0].id, false)
	if err != nil {
		return fmt.Errorf("DPS target %q: device %q: %w", t.Name, c.Device, err)
	}
	if w := o.now[0]; w.Kind != wantPinned || !slices.ContainsFunc(w.Certificates, func(in ledger.Certificate) bool { return in.Serial == c.Serial }) {
		why := "newer ones have taken its place"
		if w.Kind == wantBlocked {
			why = "the device is " + w.Reason
		}
		return fmt.Errorf("DPS target %q: device %q: certificate %s does not let it in: %s", t.Name, c.Device, c.Serial, why)
	}
	return nil
}
