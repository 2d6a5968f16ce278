package rotation_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestTwoMovers: another server moves the same rotation between any two lines of the first
// one. The first is told so, and nothing is done twice that may not be.
func TestTwoMovers(t *testing.T) {
	for _, kind := range kinds {
		id, at := way(t, kind.spec())
		for _, state := range rotation.States[:len(rotation.States)-1] {
			want := at[state.Next()].snapshot(id)
			for line := 1; ; line++ {
				w := at[state].clone()
				w.now = w.now.Add(100 * day)
				w.counts = map[ledger.AnchorClass]int{ledger.AnchorMoved: 10}
				if state.Next().Signed() {
					must(t, w.sign(id, state.Next(), "alice"))
					must(t, w.sign(id, state.Next(), "bob"))
				}
				told := 0
				_, err := w.machine().Run(context.Background(), id, state.Next(), "alice", func(ledger.RotationEntry) {
					if told++; told == line {
						if _, err := w.machine().Run(context.Background(), id, state.Next(), "bob", nil); err != nil {
							t.Errorf("%s from %s, the second mover at line %d: %v", kind.name, state, line, err)
						}
					}
				})
				if told < line {
					break // there are no more lines
				}
				w.restart()
				// After the last line there is nothing left that could be in the way.
				if last := w.journal[id][len(w.journal[id])-1]; !errors.Is(err, ledger.ErrStale) && last.Actor != "alice" {
					t.Errorf("%s from %s, line %d: the first mover was not told: %v", kind.name, state, line, err)
				}
				w.check(id)
				if got := w.snapshot(id); got != want || t.Failed() {
					t.Fatalf("%s from %s, line %d: it ended as\n%s\nwant\n%s", kind.name, state, line, got, want)
				}
			}
		}
	}
}

// TestFailure: why a step failed stands in the journal, and the next run begins with it.
func TestFailure(t *testing.T) {
	ctx := context.Background()
	w, id := ready(t, rootSpec(), rotation.Approved)
	w.broken["b"] = errors.New("the token is gone")
	_, err := w.machine().Run(ctx, id, "", "alice", nil)
	if err == nil || !strings.Contains(err.Error(), "KEY_GENERATED, make: b does not sign: the token is gone") {
		t.Fatalf("%v", err)
	}
	last := w.journal[id][len(w.journal[id])-1]
	if last.Event != "failed" || last.Step != "make" || last.State != "KEY_GENERATED" || !strings.Contains(last.Text, "the token is gone") || w.get(id).State != "APPROVED" {
		t.Errorf("%+v in %s", last, w.get(id).State)
	}
	w.broken = nil
	w.forward(id, rotation.Archived)
	w.check(id)
}

// TestCloudFails: one cloud that fails does not keep the others from being done, and the
// state is not entered.
func TestCloudFails(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name  string
		spoil func(c *cloud)
		says  string
	}{
		{"it does not do what it says", func(c *cloud) { c.stuck = true }, "not as it should be afterwards: update ca b"},
		{"it refuses", func(c *cloud) { c.refuses = map[rotation.Stage]bool{rotation.StageCutOff: true} }, "not as it should be afterwards: refuse ca slot (25 of 25 are taken)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, id := ready(t, emergency(rootSpec()), rotation.Planned, "alice", "bob")
			c.spoil(w.clouds[0])
			_, err := w.machine().Run(ctx, id, "", "alice", nil)
			if err == nil || !strings.Contains(err.Error(), "aws/line-a cut-off: "+"it is "+c.says) {
				t.Fatalf("%v", err)
			}
			if w.clouds[1].stage != rotation.StageCutOff || w.get(id).State != "PLANNED" || w.made {
				t.Errorf("the other cloud is at %s, the rotation in %s", w.clouds[1].stage, w.get(id).State)
			}
			w.clouds[0].stuck, w.clouds[0].refuses = false, nil
			w.forward(id, rotation.Archived)
			w.check(id)
		})
	}
}

// TestCloudBeforeTheRest: where a cloud fails, what comes behind it is not done.
func TestCloudBeforeTheRest(t *testing.T) {
	w, id := ready(t, emergency(rootSpec()), rotation.Draining, "alice", "bob")
	w.clouds[0].stuck = true
	if _, err := w.machine().Run(context.Background(), id, "", "alice", nil); err == nil {
		t.Fatal("it went on")
	}
	if w.clouds[1].stage != rotation.StageOldInactive || !w.given || w.revoked {
		t.Errorf("%s, given %t, revoked %t", w.clouds[1].stage, w.given, w.revoked)
	}
	w.check(id)
}

// TestForget: what was only planned is taken back without a cloud, and what was begun there
// is not.
func TestForget(t *testing.T) {
	for _, c := range []struct {
		spec rotation.Spec
		at   rotation.State
	}{{rootSpec(), rotation.PathsVerified}, {emergency(issuingSpec()), rotation.Planned}} {
		var officers []string
		if c.at == rotation.Planned {
			officers = []string{"alice", "bob"}
		}
		w, id := ready(t, c.spec, c.at, officers...)
		half := w.clone()
		w.rollback(id)
		for _, cloud := range w.clouds {
			if len(cloud.advanced) != 0 {
				t.Errorf("%s was asked for %s", cloud.name, cloud.advanced)
			}
		}
		half.clouds[1].stuck = true
		if _, err := half.machine().Run(context.Background(), id, "", "alice", nil); err == nil {
			t.Fatal("it went on")
		}
		half.clouds[1].stuck = false
		half.rollback(id)
		half.isBack(id, c.spec, false)
		half.check(id)
	}
}

// TestKeptBefore: what an earlier rotation to the same CA has left with devices is not taken
// away by the next one, neither on its way nor when that is taken back too.
func TestKeptBefore(t *testing.T) {
	for _, spec := range []rotation.Spec{rootSpec(), issuingSpec(), emergency(rootSpec())} {
		w := newWorld(t)
		first := w.plan(spec)
		w.forward(first, rotation.Canaried)
		w.counts = counts{ledger.AnchorTrusts: 3}
		w.rollback(first)
		w.isBack(first, spec, true)
		w.counts = counts{ledger.AnchorLeft: 1000} // notes are of one rotation
		for _, c := range w.clouds {
			c.advanced = nil
		}
		second := w.plan(spec)
		if p := rotation.StageOf(*w.get(second)); p != rotation.StageBoth && !spec.Emergency {
			t.Errorf("the second one begins at %s", p)
		}
		for _, state := range rotation.States[:8] {
			w.forward(second, state)
			half := w.clone()
			half.rollback(second)
			half.check(second)
			half.isBack(second, spec, true)
		}
		for _, c := range w.clouds {
			for _, stage := range c.advanced {
				if stage != rotation.StageBoth {
					t.Errorf("%s was taken to %s", c.name, stage)
				}
			}
		}
		w.forward(second, rotation.Archived)
		w.check(second)
	}
}

// TestAbsent: a target that has nothing of the rotation is left alone.
func TestAbsent(t *testing.T) {
	w := newWorld(t)
	w.clouds[1].absent = true
	id := w.plan(rootSpec())
	w.forward(id, rotation.Archived)
	w.check(id)
	if w.clouds[1].stage != rotation.StageBefore || len(w.clouds[1].advanced) != 0 || w.clouds[0].stage != rotation.StageOldRemoved {
		t.Errorf("%+v", w.clouds[1].advanced)
	}
}

// TestCeremony: what is made elsewhere is waited for, and brought.
func TestCeremony(t *testing.T) {
	ctx := context.Background()
	w, id := ready(t, rootSpec(), rotation.Approved)
	w.broken["b"] = rotation.ErrElsewhere
	w.ceremony = &rotation.Waiting{What: "the root b", Name: "rotation.yaml", Ceremony: []byte("ceremony: 1")}
	certificate, err := x509.ParseCertificate(twin())
	must(t, err)
	brought := []*x509.Certificate{certificate}
	for _, state := range []rotation.State{rotation.Approved, rotation.KeyGenerated} {
		result := w.blocked(id, state, "the root b")
		if result.Waiting == nil || string(result.Waiting.Ceremony) != "ceremony: 1" || result.Next != state.Next() || result.Counts[ledger.AnchorLeft] != 1000 {
			t.Errorf("%+v", result)
		}
		if last := w.journal[id][len(w.journal[id])-1]; last.Event != "note" || !strings.Contains(last.Text, "waits for a ceremony: the root b") {
			t.Errorf("the journal says %+v", last)
		}
		words, err := w.machine().Bring(ctx, id, brought, "carol")
		if err != nil || !slices.Equal(words, []string{"the new root"}) {
			t.Fatalf("%q, %v", words, err)
		}
		if last := w.journal[id][len(w.journal[id])-1]; last.Event != "done" || last.Step != "bring" || last.Actor != "carol" || last.Text != "the new root" {
			t.Errorf("the journal says %+v", last)
		}
	}
	w.forward(id, rotation.Certified)
	_, err = w.machine().Bring(ctx, id, brought, "carol")
	rule(t, err, "rotation-state", "CERTIFIED")
	w.forward(id, rotation.Archived)
	w.check(id)
}

// TestBringRefused: only what was asked for, when it was.
func TestBringRefused(t *testing.T) {
	ctx := context.Background()
	certificate, err := x509.ParseCertificate(twin())
	must(t, err)
	one := []*x509.Certificate{certificate}
	w, id := ready(t, rootSpec(), rotation.Planned)
	_, err = w.machine().Bring(ctx, id, one, "carol")
	rule(t, err, "rotation-state", "PLANNED")
	w.forward(id, rotation.Approved)
	_, err = w.machine().Bring(ctx, id, nil, "carol")
	rule(t, err, "rotation-spec")
	_, err = w.machine().Bring(ctx, id, slices.Repeat(one, 1001), "carol")
	rule(t, err, "rotation-spec")
	if _, err := w.machine().Pause(ctx, id, "wait", "bob"); err != nil {
		t.Fatal(err)
	}
	_, err = w.machine().Bring(ctx, id, one, "carol")
	rule(t, err, "rotation-state", "paused")
	if w.brought != 0 {
		t.Error("something was brought")
	}
}

// TestIssuingKeyElsewhere: an issuing CA's key must sign, here.
func TestIssuingKeyElsewhere(t *testing.T) {
	w, id := ready(t, issuingSpec(), rotation.Approved)
	w.broken["b"] = fmt.Errorf("no: %w", rotation.ErrElsewhere)
	if _, err := w.machine().Run(context.Background(), id, "", "alice", nil); err == nil || w.get(id).State != "APPROVED" {
		t.Errorf("it goes to %s: %v", w.get(id).State, err)
	}
}

// TestReadBack: before the old CA is shut the new one signs, once more.
func TestReadBack(t *testing.T) {
	w, id := ready(t, rootSpec(), rotation.Switched)
	w.broken["b"] = errors.New("the token is gone")
	if _, err := w.machine().Run(context.Background(), id, "", "alice", nil); err == nil || w.get(id).State != "SWITCHED" || w.clouds[0].stage != rotation.StageBoth {
		t.Errorf("it goes to %s, %s: %v", w.get(id).State, w.clouds[0].stage, err)
	}
}

// TestGone: a caller who has gone is not waited for, and why stands in the journal.
func TestGone(t *testing.T) {
	w, id := ready(t, rootSpec(), rotation.Approved)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := w.machine().Run(ctx, id, "", "alice", func(e ledger.RotationEntry) {
		if e.Step == "certify" && e.Event == "done" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || w.get(id).State != string(rotation.Certified) {
		t.Errorf("%s, %v", w.get(id).State, err)
	}
	w.forward(id, rotation.Archived)
	w.check(id)
}

// TestUnknown: nothing is done to what is not there.
func TestUnknown(t *testing.T) {
	ctx := context.Background()
	m := newWorld(t).machine()
	_, run := m.Run(ctx, "x", "", "alice", nil)
	_, status := m.Status(ctx, "x")
	_, pause := m.Pause(ctx, "x", "why", "alice")
	_, rollback := m.Rollback(ctx, "x", "why", "alice", nil)
	_, bring := m.Bring(ctx, "x", nil, "alice")
	for name, err := range map[string]error{"run": run, "status": status, "pause": pause, "rollback": rollback, "bring": bring} {
		if !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStates: the order, and what is said of each.
func TestStates(t *testing.T) {
	for i, s := range rotation.States {
		last := i == len(rotation.States)-1
		if (s.Next() == "") != last || !last && s.Next() != rotation.States[i+1] {
			t.Errorf("after %s comes %q", s, s.Next())
		}
		if s.Over() != (s == rotation.Archived) || s.Frees() != s.From(rotation.TrustRemoved) {
			t.Errorf("%s: over %t, frees %t", s, s.Over(), s.Frees())
		}
	}
	if !rotation.RolledBack.Over() || !rotation.RolledBack.Frees() || rotation.RolledBack.Next() != "" || rotation.State("x").Next() != "" || rotation.State("x").Frees() {
		t.Error("side states")
	}
	if !slices.IsSorted(rotation.Rules) {
		t.Error("the rules are not in order")
	}
}
