package dpsreg

import (
	"fmt"
	"slices"
	"strings"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

// step is what brings an individual enrollment to what it should be.
type step struct {
	do         verb
	enrollment dps.Enrollment // with the etag of what was read, but for create
	what       string         // was done, for people
	promoted   bool           // nothing was done but to change the slots' places
	note       string         // what is otherwise than wanted and stays so, for people
	again      bool           // there is more to decide once this is done
}

type verb int

const (
	leave verb = iota
	create
	update
	remove
)

// decide compares what is at DPS under a registration id, nil for nothing, with what the
// device should have there.
func (d standing) decide(w want, there *dps.Enrollment) (step, error) {
	if there == nil {
		switch w.Kind {
		case wantPinned:
			return d.pin(w, dps.Enrollment{}, mark{})
		case wantBlocked:
			return d.makeBlocked(w)
		}
		return step{}, nil
	}
	m := markOf(*there)
	if m.kind != "" && m.owner(w.RegistrationID) != d.device.ID {
		return step{}, sameName(w, m.owner(w.RegistrationID))
	}
	switch m.kind {
	case markPinned, markBlocked:
		switch w.Kind {
		case wantPinned:
			return d.pin(w, *there, m)
		case wantBlocked:
			return d.block(w, *there)
		case wantKept:
			return d.unblock(w, *there, m)
		}
		return step{do: remove, enrollment: *there, what: "deleted"}, nil
	case markDisabled:
		if w.Kind == wantBlocked {
			return d.blockForeign(w, *there)
		}
		return giveBack(*there)
	}
	switch w.Kind {
	case wantPinned:
		return step{}, pinForeign(w, *there)
	case wantBlocked:
		return d.blockForeign(w, *there)
	}
	return step{}, nil
}

// sameName is the error about an enrollment that is there for another device of ours with the
// same registration id, which a device identified by something else than its common name
// may have, and one whose name differs by case. Whatever were done about the one would be
// done to the other, so that it is a person's to decide. A device that should be kept out is
// not let in by it either: DPS asks no group.
func sameName(w want, other string) error {
	err := fmt.Errorf("individual enrollment %q is that of device %q, which has the same registration id, and is left as it is: give one of them another common name", w.RegistrationID, other)
	if w.Kind == wantBlocked {
		return fmt.Errorf("%w; this one is %s, and only that enrollment keeps it out: do not delete it, or let the other one go", err, w.Reason)
	}
	return err
}

// disabled reports whether an enrollment lets nobody in.
func disabled(e dps.Enrollment) bool { return strings.EqualFold(e.Status, dps.Disabled) }

// has reports whether one of the certificates has a thumbprint, SHA-256 in lower case.
func has(certificates []ledger.Certificate, sha256 string) bool {
	return sha256 != "" && slices.ContainsFunc(certificates, func(c ledger.Certificate) bool { return thumbprint(c) == sha256 })
}

// foreign is the error about an enrollment that is not ours and stands in the way.
func foreign(e dps.Enrollment, why string) error {
	return fmt.Errorf("individual enrollment %q is not mintmark's, and %s", e.RegistrationID, why)
}
