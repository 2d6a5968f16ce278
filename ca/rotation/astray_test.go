package rotation_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"mintmark/ca/rotation"
)

// TestAstray: a target of the plan that the configuration has no more is missed in every state
// until nothing is done at clouds any more: nobody signs, nothing moves, and the words say which one it
// is. Once it is back, all goes on.
func TestAstray(t *testing.T) {
	for _, kind := range kinds[:2] {
		for name, c := range map[string]struct {
			lose  func(w *world) func()
			words string
		}{
			"without the target": {func(w *world) func() {
				clouds := w.clouds
				w.clouds = clouds[1:]
				return func() { w.clouds = clouds }
			}, "aws/line-a is in the plan, and the configuration names it no more: put it back into mintmark.yaml until the rotation is in state RETIRED"},
			"without its CA": {func(w *world) func() {
				w.clouds[0].absent = true
				return func() { w.clouds[0].absent = false }
			}, "aws/line-a takes part with CA a, and the configuration names that there no more"},
		} {
			for _, at := range rotation.States[:len(rotation.States)-2] {
				t.Run(kind.name+" "+name+" "+string(at), func(t *testing.T) {
					w, id := ready(t, kind.spec(), at)
					before := w.snapshot(id)
					back := c.lose(w)
					w.misses(id, at, c.words)
					if at.Next().Signed() {
						if err := w.sign(id, at.Next(), "alice"); err == nil || !strings.Contains(err.Error(), c.words) {
							t.Errorf("signed: %v", err)
						}
					}
					back()
					if after := w.snapshot(id); after != before {
						t.Errorf("something was done:\n%s\n%s", before, after)
					}
					w.forward(id, at.Next())
				})
			}
		}
	}
}

// misses wants a rotation to stay in a state, with these words among what it misses.
func (w *world) misses(id string, at rotation.State, words string) {
	w.t.Helper()
	result, err := w.machine().Run(context.Background(), id, "", "alice", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if missing := strings.Join(result.Blocked, "\n"); rotation.State(result.Rotation.State) != at || !strings.Contains(missing, words) {
		w.t.Errorf("in %s, blocked by %q; want %s, blocked by %q", result.Rotation.State, missing, at, words)
	}
}

// TestAstrayAtTheEnd: what waits for the last certificate to expire asks no cloud.
func TestAstrayAtTheEnd(t *testing.T) {
	w, id := ready(t, issuingSpec(), rotation.Retired)
	w.clouds = nil
	w.forward(id, rotation.Archived)
}

// TestAstrayEmergency: one target that is gone does not keep an emergency from shutting the old CA
// out of the others; it is not past that until all are.
func TestAstrayEmergency(t *testing.T) {
	w, id := ready(t, emergency(issuingSpec()), rotation.Planned, "alice", "bob")
	clouds := w.clouds
	w.clouds = clouds[1:]
	_, err := w.machine().Run(context.Background(), id, rotation.Approved, "alice", nil)
	if err == nil || !strings.Contains(err.Error(), "aws/line-a is in the plan, and the configuration names it no more") {
		t.Errorf("run: %v", err)
	}
	if clouds[1].stage != rotation.StageCutOff || w.get(id).State != string(rotation.Planned) {
		t.Errorf("the other target is at %s, the rotation in %s", clouds[1].stage, w.get(id).State)
	}
	w.clouds = clouds
	w.forward(id, rotation.Draining)
	w.clouds = clouds[1:]
	w.misses(id, rotation.Draining, "aws/line-a is in the plan")
}

// TestAstrayBack: taking back is not held up by a target that was given up, and the journal says
// that it was left as it is.
func TestAstrayBack(t *testing.T) {
	w, id := ready(t, issuingSpec(), rotation.CloudActiveBoth)
	clouds := w.clouds
	w.clouds = clouds[1:]
	result, err := w.machine().Rollback(context.Background(), id, "the account is closed", "alice", nil)
	if err != nil || result.Rotation.State != string(rotation.RolledBack) {
		t.Fatalf("rolled back: %s, %v", result.Rotation.State, err)
	}
	if clouds[1].stage != rotation.StageBefore {
		t.Errorf("the other target is at %s", clouds[1].stage)
	}
	said := func(text string) bool {
		for _, e := range w.journal[id] {
			if e.Step == "aws/line-a before" && e.Event == "done" && strings.Contains(e.Text, text) {
				return true
			}
		}
		return false
	}
	if !said("left as it is: aws/line-a is in the plan, and the configuration names it no more") {
		t.Errorf("the journal does not say that a target was left: %+v", w.journal[id])
	}
}

// TestTargetsOfEarlierPlan: a plan without a list of targets has those of its steps.
func TestTargetsOfEarlierPlan(t *testing.T) {
	w := newWorld(t)
	r := w.get(w.plan(issuingSpec()))
	plan, err := rotation.ParsePlan(r.Plan)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Targets) != 2 || !plan.Takes("aws/line-a", "CA a") || plan.Takes("aws/line-a", "CA c") || plan.Takes("aws/other", "CA a") {
		t.Errorf("the plan takes along %+v", plan.Targets)
	}
	plan.Targets = nil
	if !plan.Takes("aws/line-a", "CA a") || !plan.Takes("azure/main", "CA c") || plan.Takes("aws/other", "CA a") || plan.Takes("est", "") {
		t.Errorf("by its steps it takes along something else")
	}
	if !slices.ContainsFunc(plan.Steps, func(s rotation.PlanStep) bool {
		return slices.ContainsFunc(s.Changes, func(c rotation.PlanChange) bool { return c.Where == "azure/main" })
	}) {
		t.Error("no step is about azure/main")
	}
}
