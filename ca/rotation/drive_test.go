package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

const day = 24 * time.Hour

// rootSpec asks for a new root, with floors and a canary.
func rootSpec() rotation.Spec {
	return rotation.Spec{Kind: ledger.RotateRoot, Old: "a", New: "b", Canary: ledger.Canary{Labels: []string{"pilot"}, Percent: 5},
		Gates: rotation.Gates{Distribute: 30 * day, Watch: 7 * day, Drain: 90 * day}}
}

func issuingSpec() rotation.Spec {
	s := rootSpec()
	s.Kind = ledger.RotateIssuing
	return s
}

func emergency(s rotation.Spec) rotation.Spec {
	s.Emergency = true
	return s
}

// kinds are the rotations that every test of a way goes through.
var kinds = []struct {
	name string
	spec func() rotation.Spec
}{
	{"root", rootSpec},
	{"issuing", issuingSpec},
	{"root emergency", func() rotation.Spec { return emergency(rootSpec()) }},
	{"issuing emergency", func() rotation.Spec { return emergency(issuingSpec()) }},
}

// plan plans, and fails the test if that is refused.
func (w *world) plan(spec rotation.Spec) string {
	w.t.Helper()
	r, _, err := w.machine().Plan(context.Background(), spec, "alice")
	if err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

// sign has an officer sign for a gate.
func (w *world) sign(id string, gate rotation.State, officer string) error {
	signature, err := access.Sign(w.keys[officer], rotation.Statement(*w.get(id), gate))
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.machine().Sign(context.Background(), id, gate, officer, signature)
	return err
}

// survive runs something that may die, and reports whether it did.
func survive(do func()) (dead string) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case died:
			dead = r.point
		default:
			panic(r)
		}
	}()
	do()
	return ""
}

// forward takes a rotation to a state as people do: they sign what is next, devices follow,
// time passes, and whatever dies or fails is begun again by another server.
func (w *world) forward(id string, to rotation.State) {
	w.t.Helper()
	for range 100 {
		r := w.get(id)
		if rotation.State(r.State).From(to) {
			w.restart()
			return
		}
		w.now = w.now.Add(100 * day)
		if r.State == string(rotation.Distributing) {
			w.counts = map[ledger.AnchorClass]int{ledger.AnchorTrusts: 1000}
		}
		if r.State == string(rotation.Draining) {
			w.counts = map[ledger.AnchorClass]int{ledger.AnchorMoved: 1000}
		}
		if next := rotation.State(r.State).Next(); next.Signed() {
			w.signBoth(id, next)
		}
		var err error
		if survive(func() { _, err = w.machine().Run(context.Background(), id, to, "alice", nil) }) == "" && err != nil && !errors.Is(err, errInjected) {
			w.t.Fatalf("running from %s: %v", r.State, err)
		}
	}
	result, err := w.machine().Status(context.Background(), id)
	w.t.Fatalf("%s was never reached: %s: %q %v", to, result.Rotation.State, result.Blocked, err)
}

// signBoth has two officers sign for a gate who have not, which may be cut off.
func (w *world) signBoth(id string, gate rotation.State) {
	w.t.Helper()
	for _, officer := range []string{"alice", "bob"} {
		if slices.ContainsFunc(w.get(id).Signatures, func(s ledger.GateSignature) bool { return s.Officer == officer && s.Gate == string(gate) }) {
			continue
		}
		var err error
		if survive(func() { err = w.sign(id, gate, officer) }) == "" && err != nil && !strings.Contains(err.Error(), errInjected.Error()) {
			w.t.Fatalf("%s signs for %s: %v", officer, gate, err)
		}
	}
}

// signBack has two officers sign for taking a rotation back, where that is asked for.
func (w *world) signBack(id string) {
	w.t.Helper()
	var status rotation.Result
	if survive(func() { status, _ = w.machine().Status(context.Background(), id) }) == "" && status.Back != nil {
		w.signBoth(id, rotation.RolledBack)
	}
}

// restart has the servers read the record: one that died after the last line serves by it
// when it is back.
func (w *world) restart() {
	w.t.Helper()
	w.crash, w.fail = 0, 0
	if err := (*authorities)(w).Refresh(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// way is one rotation in each of its states.
func way(t *testing.T, spec rotation.Spec) (id string, at map[rotation.State]*world) {
	w := newWorld(t)
	id, at = w.plan(spec), make(map[rotation.State]*world)
	for _, state := range rotation.States {
		w.forward(id, state)
		w.check(id)
		at[state] = w.clone()
	}
	return id, at
}

// cut has a clone of the world die, and another one fail, at every point that something
// passes which is done in it. check is told of each.
func (w *world) cut(do func(*world), check func(w *world, how string)) (points int) {
	clean := w.clone()
	do(clean)
	points = len(clean.points)
	for i := 1; i <= points; i++ {
		dead := w.clone()
		dead.crash = i
		do(dead)
		check(dead, fmt.Sprintf("died at %q", dead.points[i-1]))
		failed := w.clone()
		failed.fail = i
		do(failed)
		check(failed, fmt.Sprintf("failed at %q", failed.points[i-1]))
	}
	return points
}

// rollback takes a rotation back, however often that is cut off.
func (w *world) rollback(id string) {
	w.t.Helper()
	for i := range 100 {
		var err error
		w.signBack(id)
		if survive(func() {
			if i%2 == 0 || !rotation.RollingBack(*w.get(id)) {
				_, err = w.machine().Rollback(context.Background(), id, "the pilot failed", "carol", nil)
			} else { // whoever only runs it goes on with the rollback too
				_, err = w.machine().Run(context.Background(), id, "", "carol", nil)
			}
		}) == "" && err != nil && !strings.Contains(err.Error(), errInjected.Error()) && !tooFew(err) {
			w.t.Fatalf("rolling back: %v", err)
		}
		if w.get(id).State == string(rotation.RolledBack) {
			w.restart()
			return
		}
	}
	w.t.Fatalf("it never came back: %+v", w.get(id))
}

// tooFew reports whether a rollback waits for signatures, of which one was cut off.
func tooFew(err error) bool {
	var refusal *rotation.Refused
	return errors.As(err, &refusal) && refusal.Rule == "rotation-unsigned"
}

// check fails the test with what the world complains about, and where the journal is not
// what it must be.
func (w *world) check(id string) {
	w.t.Helper()
	for _, c := range w.complaints {
		w.t.Error(c)
	}
	r := w.get(id)
	journal := w.journal[id]
	if r.Version != int64(len(journal)) {
		w.t.Errorf("version %d with %d lines in the journal", r.Version, len(journal))
	}
	var begun []string
	for _, e := range journal {
		what := e.State + " " + e.Step
		// Only what shuts the old CA out in an emergency is done at several targets at a time.
		beside := e.State == string(rotation.Approved) && e.Step != "enter"
		if !beside && e.Event == "begin" {
			begun = nil
		}
		switch e.Event {
		case "begin":
			begun = append(begun, what)
		case "done":
			if e.Step != "enter" && e.Step != "plan" && !slices.Contains(begun, what) {
				w.t.Errorf("line %d: %s was done and not begun before", e.Number, what)
			}
			begun = slices.DeleteFunc(begun, func(b string) bool { return !beside || b == what })
		}
		if e.Actor == "" || e.At.IsZero() || e.State == "" || e.Step == "" {
			w.t.Errorf("line %d lacks something: %+v", e.Number, e)
		}
	}
}

// blocked runs, and wants exactly one reason why it goes no further than a state.
func (w *world) blocked(id string, at rotation.State, words ...string) rotation.Result {
	w.t.Helper()
	result, err := w.machine().Run(context.Background(), id, "", "alice", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if rotation.State(result.Rotation.State) != at || len(result.Blocked) != 1 {
		w.t.Fatalf("in %s, blocked by %q; want %s, blocked by %q", result.Rotation.State, result.Blocked, at, words)
	}
	w.says(result.Blocked[0], words...)
	return result
}

func (w *world) says(text string, words ...string) {
	w.t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			w.t.Errorf("%q does not say %q", text, word)
		}
	}
}

// rule wants a refusal by a rule.
func rule(t *testing.T, err error, rule string, words ...string) {
	t.Helper()
	var refusal *rotation.Refused
	if !errors.As(err, &refusal) || refusal.Rule != rule || !slices.Contains(rotation.Rules, rule) {
		t.Fatalf("%v: want a refusal by %s", err, rule)
	}
	for _, word := range words {
		if !strings.Contains(refusal.Error(), word) {
			t.Errorf("%q does not say %q", refusal.Error(), word)
		}
	}
}
