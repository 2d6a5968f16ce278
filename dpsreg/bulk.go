package dpsreg

import (
	"context"
	"fmt"

	"mintmark/dpsreg/dps"
)

// Bulk returns the individual enrollments that devices should have at a target, as Deliver
// makes them where there is none: for a service that this server does not reach, by the bulk
// operation of whoever does. They are marked as mintmark's, so that a server that reaches it later
// goes on with them. A device that is to have none, or is kept out at the moment, is left out. It
// makes no call.
func (ds *Devices) Bulk(ctx context.Context, t Target, devices []string) ([]dps.Enrollment, error) {
	list := []dps.Enrollment{}
	of := make(map[string]string) // whose a registration id is
	for _, id := range devices {
		d, err := ds.standing(ctx, t, id)
		if err != nil {
			return nil, err
		}
		for _, w := range d.wants {
			if w.Kind != wantPinned {
				continue
			}
			if w.RegistrationID == "" {
				return nil, fmt.Errorf("device %q: %w", id, errNoRegistrationID)
			}
			if other := of[w.RegistrationID]; other != "" {
				return nil, fmt.Errorf("device %q: %w", id, sameName(w, other))
			}
			of[w.RegistrationID] = id
			next, err := d.decide(w, nil)
			if err != nil {
				return nil, fmt.Errorf("device %q: %w", id, err)
			}
			list = append(list, next.enrollment)
		}
	}
	return list, nil
}
