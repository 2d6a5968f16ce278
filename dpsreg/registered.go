package dpsreg

import (
	"context"
	"fmt"
	"strings"

	"mintmark/dpsreg/dps"
)

// Registered calls yield with the registration id of each device that a group of the
// target has assigned to a hub, in lower case: DPS compares them without regard to it. It
// takes a call for each page of the list; a group that is not there has none.
func (r *Registrar) Registered(ctx context.Context, t Target, group string, yield func(registrationID string) error) error {
	s, err := r.conn.session(t)
	if err != nil {
		return err
	}
	if have, err := s.getGroup(ctx, group); err != nil || have == nil {
		return err
	}
	err = s.dps.Registrations(ctx, group, func(state dps.RegistrationState) error {
		if !strings.EqualFold(state.Status, "assigned") {
			return nil
		}
		return yield(strings.ToLower(state.RegistrationID))
	})
	if err != nil {
		return fmt.Errorf("DPS target %q: listing the registrations of group %q: %w", t.Name, group, err)
	}
	return nil
}
