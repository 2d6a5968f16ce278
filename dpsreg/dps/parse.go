package dps

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// parseGroup reads a group; id is what was asked for, empty for any.
func parseGroup(raw json.RawMessage, id string) (Group, error) {
	var g Group
	if err := json.Unmarshal(raw, &g); err != nil {
		return Group{}, fmt.Errorf("reading an enrollment group: %w", err)
	}
	if err := sameID("an enrollment group", g.ID, id); err != nil {
		return Group{}, err
	}
	g.raw = raw
	return g, nil
}

// parseEnrollment reads an individual enrollment.
func parseEnrollment(raw json.RawMessage, id string) (Enrollment, error) {
	var e Enrollment
	if err := json.Unmarshal(raw, &e); err != nil {
		return Enrollment{}, fmt.Errorf("reading an individual enrollment: %w", err)
	}
	if err := sameID("an individual enrollment", e.RegistrationID, id); err != nil {
		return Enrollment{}, err
	}
	if string(e.Information) == "null" {
		e.Information = nil
	}
	e.raw = raw
	return e, nil
}

func parseRegistration(raw json.RawMessage, id string) (RegistrationState, error) {
	var s RegistrationState
	if err := json.Unmarshal(raw, &s); err != nil {
		return RegistrationState{}, fmt.Errorf("reading a registration: %w", err)
	}
	return s, sameID("a registration", s.RegistrationID, id)
}

// sameID refuses what is not the thing that was asked for: acting on it would change
// another. Ids do not differ by case.
func sameID(what, got, want string) error {
	switch {
	case got == "":
		return errors.New(what + " in the answer has no id")
	case want != "" && !strings.EqualFold(got, want):
		return fmt.Errorf("the answer is about %s %q, asked was for %q", strings.TrimPrefix(strings.TrimPrefix(what, "an "), "a "), got, want)
	}
	return nil
}
