// Package reconcile holds what every reconciler of mintmark produces: a plan,
// which lists exactly what will be done to the outside, in order.
//
// A plan is read by people (Render), and approved by its hash: an approval of a
// hash is an approval of these changes and no others.
package reconcile

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Action says what happens to the subject of a change.
type Action string

const (
	None   Action = "none" // as desired already
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
	Refuse Action = "refuse" // desired, but it cannot be done; After says why
	// Foreign: it is not as desired, and another owns it; After says who. It does
	// not stop the rest of the plan.
	Foreign Action = "foreign"
)

// Change is one thing that is done, or one thing that was found as desired.
type Change struct {
	Kind    string // what the subject is, for example "ca" or "topic-rule"
	Subject string // its name or identifier
	Action  Action
	// Before and After describe the state completely enough to approve it: what
	// is too long to print is named by its SHA-256.
	Before string
	After  string
	// Destructive marks a change that takes something that is in service out of
	// it, or lets in again what was shut out. Whether that needs more than one
	// person is for the caller to say.
	Destructive bool
}

// Mutates reports whether the change does anything.
func (c Change) Mutates() bool {
	return c.Action != None && c.Action != Refuse && c.Action != Foreign
}

// Plan is what one run does to one target, in order.
type Plan struct {
	Target  string
	Changes []Change
}

// Empty reports whether everything is as desired: nothing to do, nothing
// refused, and nothing that another would have to do.
func (p Plan) Empty() bool {
	for _, c := range p.Changes {
		if c.Action != None {
			return false
		}
	}
	return true
}

// Pending counts the changes that will be made.
func (p Plan) Pending() int {
	n := 0
	for _, c := range p.Changes {
		if c.Mutates() {
			n++
		}
	}
	return n
}

// Destructive reports whether a change that will be made takes something out of
// service.
func (p Plan) Destructive() bool {
	for _, c := range p.Changes {
		if c.Mutates() && c.Destructive {
			return true
		}
	}
	return false
}

// Refused lists the changes that cannot be made.
func (p Plan) Refused() []Change {
	var out []Change
	for _, c := range p.Changes {
		if c.Action == Refuse {
			out = append(out, c)
		}
	}
	return out
}

// Hash is the SHA-256 of the canonical encoding of what will be done: the
// target and every mutating change, in order. What is only reported (None,
// Refuse, Foreign) is left out, so that a plan hashes the same as long as it
// does the same.
func (p Plan) Hash() [32]byte {
	h := sha256.New()
	field(h, "mintmark plan v1")
	field(h, p.Target)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(p.Pending()))
	h.Write(n[:])
	for _, c := range p.Changes {
		if !c.Mutates() {
			continue
		}
		field(h, c.Kind)
		field(h, c.Subject)
		field(h, string(c.Action))
		field(h, c.Before)
		field(h, c.After)
	}
	var sum [32]byte
	h.Sum(sum[:0])
	return sum
}

// field writes a string behind its length, so that no two sequences of strings
// have the same encoding.
func field(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}
