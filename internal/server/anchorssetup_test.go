package server

import (
	"encoding/json"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// turning is a rotation that is moved from state to state by the registration authority's
// own steps, without clouds, gates and signatures, which package ca/rotation tests.
type turning struct {
	s    *Server
	r    ledger.Rotation
	spec rotation.Spec
}

// turn plans a rotation of a state directory's root, or of its issuing CA.
func turn(t *testing.T, s *Server, kind ledger.RotationKind, edit ...func(*rotation.Spec)) *turning {
	t.Helper()
	w := &turning{s: s, spec: rotation.Spec{Kind: kind, Old: "root", New: "root2", Gates: rotation.Gates{Officers: 2}}}
	if kind == ledger.RotateIssuing {
		w.spec.Old, w.spec.New = "issuing", "issuing2"
	}
	for _, e := range edit {
		e(&w.spec)
	}
	now := s.ra.Now()
	w.r = ledger.Rotation{
		ID: "turn-" + string(kind), Kind: kind, Old: w.spec.Old, New: w.spec.New, Emergency: w.spec.Emergency, Canary: w.spec.Canary, At: now, Actor: "test",
	}
	plan, err := json.Marshal(rotation.Plan{Version: 1, ID: w.r.ID, Spec: w.spec, Made: now.UTC().Truncate(time.Second), Affected: []string{"issuing"}})
	if err != nil {
		t.Fatal(err)
	}
	w.r.Plan = plan
	w.enter(t, rotation.Planned)
	return w
}

// enter records a state and has the server serve by it.
func (w *turning) enter(t *testing.T, state rotation.State) {
	t.Helper()
	w.r.State, w.r.Since = string(state), w.s.ra.Now()
	w.put(t)
}

func (w *turning) put(t *testing.T) {
	t.Helper()
	w.r.Version++
	entry := ledger.RotationEntry{At: w.s.ra.Now(), Actor: "test", State: w.r.State, Step: "enter", Event: "done"}
	if err := w.s.ledger.PutRotation(t.Context(), w.r, entry, rotation.State(w.r.State).Over()); err != nil {
		t.Fatal(err)
	}
	if err := w.s.ra.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// to goes through all states up to the last one that is named.
func (w *turning) to(t *testing.T, last rotation.State) {
	t.Helper()
	for at := rotation.State(w.r.State); at != last; {
		at = at.Next()
		w.into(t, at)
	}
}

func (w *turning) into(t *testing.T, state rotation.State) {
	t.Helper()
	by := w.s.ra.Rotations()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("into %s: %v", state, err)
		}
	}
	switch state {
	case rotation.KeyGenerated:
		check(by.Make(t.Context(), w.r, w.spec))
	case rotation.Certified:
		twins, err := by.Certify(t.Context(), w.r, w.spec)
		check(err)
		w.r.Twins = twins
	case rotation.Distributing:
		check(by.Distribute(t.Context(), w.r))
	case rotation.Canaried:
		w.r.Issue = ledger.IssueCanary
	case rotation.Switched:
		w.r.Issue = ledger.IssueNew
		w.put(t)
		check(by.Adopt(t.Context(), w.r))
	case rotation.TrustRemoved:
		check(by.EndBridges(t.Context(), w.r))
	}
	w.enter(t, state)
}
