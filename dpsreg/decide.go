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
func (d standing) decide(w Want, there *dps.Enrollment) (step, error) {
	if there == nil {
		switch w.Kind {
		case Pinned:
			return d.pin(w, dps.Enrollment{}, mark{})
		case Blocked:
			return d.makeBlocked(w)
		}
		return step{}, nil
	}
	switch m := markOf(*there); m.kind {
	case markPinned, markBlocked:
		switch w.Kind {
		case Pinned:
			return d.pin(w, *there, m)
		case Blocked:
			return d.block(w, *there, m)
		case Kept:
			return d.unblock(w, *there, m)
		}
		return step{do: remove, enrollment: *there, what: "deleted"}, nil
	case markDisabled:
		if w.Kind == Blocked {
			return d.blockForeign(w, *there)
		}
		return giveBack(*there)
	}
	switch w.Kind {
	case Pinned:
		return step{}, d.pinForeign(w, *there)
	case Blocked:
		return d.blockForeign(w, *there)
	}
	return step{}, nil
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
