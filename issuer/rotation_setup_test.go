package issuer_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// rotating is a rotation that the test moves as package rotation's Machine does, every step of it
// twice: the second time finds what the first has done.
type rotating struct {
	ra   *issuer.RA
	does rotation.Authorities
	spec rotation.Spec
	r    ledger.Rotation
}

var gates = rotation.Gates{Officers: 2}

// rotate examines a rotation and records it as planned.
func rotate(t testing.TB, ra *issuer.RA, spec rotation.Spec) *rotating {
	t.Helper()
	spec.Gates = gates
	x := &rotating{ra: ra, does: ra.Rotations(), spec: spec}
	found, err := x.does.Examine(t.Context(), spec)
	if err != nil || len(found.Refused) > 0 {
		t.Fatalf("examined: %q, %v", found.Refused, err)
	}
	x.spec.NewSHA256 = found.NewSHA256
	plan, err := json.Marshal(rotation.Plan{Version: 1, ID: "r-" + spec.Old + "-" + spec.New, Spec: x.spec, Made: ra.Now().UTC().Truncate(time.Second), Steps: []rotation.PlanStep{}, Affected: append([]string{}, found.Affected...)})
	if err != nil {
		t.Fatal(err)
	}
	x.r = ledger.Rotation{ID: "r-" + spec.Old + "-" + spec.New, Kind: spec.Kind, Old: spec.Old, New: spec.New, Emergency: spec.Emergency,
		Plan: plan, State: string(rotation.Planned), Canary: spec.Canary, At: ra.Now(), Actor: "test"}
	x.put(t, rotation.Planned, ledger.IssueOld)
	return x
}

// put records the rotation in a state.
func (x *rotating) put(t testing.TB, state rotation.State, issue ledger.Issue) {
	t.Helper()
	x.r.State, x.r.Issue, x.r.Since = string(state), issue, x.ra.Now()
	x.r.Version++
	entry := ledger.RotationEntry{At: x.ra.Now(), Actor: "test", State: string(state), Step: "enter", Event: "done"}
	if err := x.ra.Ledger.PutRotation(t.Context(), x.r, entry, state.Over() || state == rotation.Retired); err != nil {
		t.Fatal(err)
	}
	if err := x.does.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// to moves the rotation to a state.
func (x *rotating) to(t testing.TB, to rotation.State) {
	t.Helper()
	for _, state := range rotation.States {
		if rotation.State(x.r.State).From(state) {
			continue
		}
		x.enter(t, state)
		if state == to {
			return
		}
	}
}

func (x *rotating) enter(t testing.TB, state rotation.State) {
	t.Helper()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %s: %v", state, what, err)
		}
	}
	issue := x.r.Issue
	for range 2 {
		switch state {
		case rotation.KeyGenerated:
			must("making", x.does.Make(t.Context(), x.r, x.spec))
			must("signing", x.does.SignsNow(t.Context(), x.r.New))
		case rotation.Certified:
			before := x.r.Twins
			var err error
			x.r.Twins, err = x.does.Certify(t.Context(), x.r, x.spec)
			must("certifying", err)
			if before != nil && !slices.EqualFunc(before, x.r.Twins, func(a, b ledger.Twin) bool { return a.Authority == b.Authority && slices.Equal(a.DER, b.DER) }) {
				t.Errorf("certified twice, there are other twins")
			}
		case rotation.PathsVerified:
			_, err := x.does.VerifyPaths(t.Context(), x.r)
			must("verifying", err)
		case rotation.Distributing:
			must("distributing", x.does.Distribute(t.Context(), x.r))
		case rotation.Canaried:
			issue = ledger.IssueCanary
		case rotation.Switched:
			x.r.Issue, issue = ledger.IssueNew, ledger.IssueNew
			must("adopting", x.does.Adopt(t.Context(), x.r))
			_, err := x.does.VerifyPaths(t.Context(), x.r)
			must("verifying", err)
		case rotation.TrustRemoved:
			must("ending", x.does.EndBridges(t.Context(), x.r))
		}
	}
	x.put(t, state, issue)
}

// back takes a rotation back as Machine does.
func (x *rotating) back(t testing.TB, kept bool) {
	t.Helper()
	x.r.Kept = kept
	x.put(t, rotation.State(x.r.State), ledger.IssueOld)
	for range 2 {
		if err := x.does.Adopt(t.Context(), x.r); err != nil {
			t.Fatal(err)
		}
		if !kept {
			if err := x.does.EndBridges(t.Context(), x.r); err != nil {
				t.Fatal(err)
			}
		}
	}
	x.put(t, rotation.RolledBack, ledger.IssueOld)
}

// cas counts the certificates of CAs in the ledger.
func cas(t testing.TB, l ledger.Ledger) int {
	t.Helper()
	page, err := l.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForCA, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Certificates)
}

// clock is a clock that a test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }
