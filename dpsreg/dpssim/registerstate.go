package dpssim

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// registrationOf returns a registration; 404 if there is none. The caller holds mu.
func (s *store) registrationOf(id string) (*registration, error) {
	r := s.registered[strings.ToLower(id)]
	if r == nil {
		return nil, notFound(codeNotFound, "Registration not found.")
	}
	return r, nil
}

func (s *Sim) getRegistration(c *dataCall) (answer, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	r, err := s.store.registrationOf(c.id)
	if err != nil {
		return answer{}, err
	}
	state := r.state
	if r.polls > 0 {
		// As the device is told: it has no hub yet.
		state.Status, state.Substatus, state.AssignedHub, state.DeviceID = "assigning", "", "", ""
	}
	return ok(state), nil
}

// deleteRegistration forgets a registration. The device at the hub stays
// (how-to-unprovision-devices).
func (s *Sim) deleteRegistration(c *dataCall) (answer, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	r, err := s.store.registrationOf(c.id)
	if err != nil {
		return answer{}, err
	}
	if c.ifMatch != "" {
		if err := matches(c.ifMatch, r.state.Etag); err != nil {
			return answer{}, err
		}
	}
	delete(s.store.registered, strings.ToLower(c.id))
	return answer{status: http.StatusNoContent}, nil
}

// dumpRegistrations is what State says of registrations.
func dumpRegistrations(all map[string]*registration) any {
	out := map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		r := all[id]
		out[id] = map[string]any{
			"status": r.state.Status, "substatus": r.state.Substatus, "hub": r.state.AssignedHub, "deviceId": r.state.DeviceID,
			"group": r.group, "thumbprint": sha256Thumbprint(r.leaf),
		}
	}
	return out
}
