package rotation_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestWays takes every kind of rotation from its plan to its end.
func TestWays(t *testing.T) {
	both := []rotation.Stage{rotation.StageRegistered, rotation.StageBoth, rotation.StageOldQuiet, rotation.StageOldInactive, rotation.StageOldRemoved}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			w := newWorld(t)
			spec := kind.spec()
			id := w.plan(spec)
			w.forward(id, rotation.Archived)
			w.check(id)

			root := spec.Kind == ledger.RotateRoot
			adopted, twins := ledger.IssueOld, 0
			if root {
				adopted, twins = ledger.IssueNew, 2
			}
			want := fmt.Sprintf("ARCHIVED issue new kept false paused \"\" twins %d over true\nmade true certified true given false adopted %s served new at ARCHIVED revoked %t\naws/line-a old-removed\nazure/main old-removed\n",
				twins, adopted, spec.Emergency)
			for _, gate := range []string{"APPROVED", "ARCHIVED", "RETIRED", "SWITCHED", "TRUST_REMOVED"} {
				want += "signed " + gate + " alice\nsigned " + gate + " bob\n"
			}
			if got := w.snapshot(id); got != want {
				t.Errorf("it ended as\n%s\nwant\n%s", got, want)
			}
			stages := both
			if spec.Emergency {
				stages = append([]rotation.Stage{rotation.StageCutOff}, both...)
			}
			for _, c := range w.clouds {
				if !slices.Equal(c.advanced, stages) {
					t.Errorf("%s went through %s, want %s", c.name, c.advanced, stages)
				}
			}
			var entered []rotation.State
			for _, e := range w.journal[id] {
				if e.Step == "enter" {
					entered = append(entered, rotation.State(e.State))
				}
			}
			if !slices.Equal(entered, rotation.States[1:]) {
				t.Errorf("it entered %s", entered)
			}
			if result, err := w.machine().Run(context.Background(), id, "", "alice", nil); err != nil || len(result.Blocked) != 0 || result.Next != "" {
				t.Errorf("what is over runs: %+v, %v", result, err)
			}
		})
	}
}

// TestProgress: each line is told as it is written, and has its number.
func TestProgress(t *testing.T) {
	w := newWorld(t)
	id := w.plan(rootSpec())
	w.forward(id, rotation.PathsVerified)
	before := len(w.journal[id])
	var told []ledger.RotationEntry
	if _, err := w.machine().Run(context.Background(), id, rotation.Distributing, "bob", func(e ledger.RotationEntry) { told = append(told, e) }); err != nil {
		t.Fatal(err)
	}
	if written := w.journal[id][before:]; !slices.Equal(told, written) || len(told) != 13 {
		t.Errorf("told %d lines, written %d:\n%v\n%v", len(told), len(written), told, written)
	}
}

// TestTo: a rotation is taken to a state and no further.
func TestTo(t *testing.T) {
	w := newWorld(t)
	id := w.plan(rootSpec())
	for _, state := range []rotation.State{rotation.Approved, rotation.KeyGenerated, rotation.CloudRegistered} {
		w.forward(id, state)
		result, err := w.machine().Run(context.Background(), id, state, "alice", nil)
		if err != nil || result.Rotation.State != string(state) || result.Next != state.Next() || len(result.Blocked) != 0 || result.Counts[ledger.AnchorLeft] != 1000 {
			t.Errorf("to %s: %+v, %v", state, result, err)
		}
	}
	_, err := w.machine().Run(context.Background(), id, rotation.Planned, "alice", nil)
	if err != nil || w.get(id).State != string(rotation.CloudRegistered) {
		t.Errorf("it went back to %s: %v", w.get(id).State, err)
	}
	for _, state := range []rotation.State{rotation.RolledBack, "NOWHERE"} {
		_, err := w.machine().Run(context.Background(), id, state, "alice", nil)
		rule(t, err, "rotation-state", string(state))
	}
}

// TestCut has a server die, or a call fail, at every point of the whole way: before and
// after each line of the journal and each call. The one that takes over must reach the
// next state as if nothing had happened.
func TestCut(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			points := 0
			id, at := way(t, kind.spec())
			for _, state := range rotation.States[:len(rotation.States)-1] {
				if !differs(kind.spec(), state) {
					continue
				}
				want := at[state.Next()].snapshot(id)
				points += at[state].cut(func(w *world) { w.forward(id, state.Next()) }, func(w *world, how string) {
					w.check(id)
					if got := w.snapshot(id); got != want || t.Failed() {
						t.Fatalf("%s, on the way from %s: it went on as\n%s\nwant\n%s", how, state, got, want)
					}
				})
			}
			if points < 30 {
				t.Fatalf("only %d points", points)
			}
			t.Logf("%d points, each died and failed at", points)
		})
	}
}

// differs reports whether the move from a state is another one than that of a root without
// an emergency. What is the same is tried once, and again with MINTMARK_LONG=1.
func differs(spec rotation.Spec, from rotation.State) bool {
	switch {
	case os.Getenv("MINTMARK_LONG") != "", !spec.Emergency && spec.Kind == ledger.RotateRoot:
		return true
	case spec.Emergency:
		return from == rotation.Planned || from == rotation.Draining
	}
	return from == rotation.CloudActiveBoth || from == rotation.Canaried || from == rotation.Draining
}

// TestRollback takes every kind of rotation back from every state from which it can be,
// and has a server die, or a call fail, at every point of that.
func TestRollback(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			spec := kind.spec()
			id, at := way(t, spec)
			for state, w := range at {
				if state.From(rotation.TrustRemoved) {
					before := w.snapshot(id)
					_, err := w.machine().Rollback(context.Background(), id, "too late", "carol", nil)
					rule(t, err, "rotation-state", string(state))
					if after := w.snapshot(id); after != before {
						t.Errorf("a refused rollback has done something:\n%s", after)
					}
					continue
				}
				want := ""
				check := func(w *world, how string) {
					w.check(id)
					w.isBack(id, spec, state.From(rotation.Canaried))
					if want == "" {
						want = w.snapshot(id)
					}
					if got := w.snapshot(id); got != want || t.Failed() {
						t.Fatalf("from %s, %s: it ended as\n%s\nwant\n%s", state, how, got, want)
					}
				}
				clean := w.clone()
				clean.rollback(id)
				check(clean, "undisturbed")
				if clean.plan(spec) == id {
					t.Error("the next rotation has the same ID")
				}
				w.cut(func(w *world) { w.rollback(id) }, check)
			}
		})
	}
}

// TestRollbackBesideTheFirst: a device that fetches the new anchors after it was measured that none
// has them trusts nothing else, and must find them when it comes again.
func TestRollbackBesideTheFirst(t *testing.T) {
	spec := rootSpec()
	id, at := way(t, spec)
	w := at[rotation.Distributing]
	w.counts = map[ledger.AnchorClass]int{ledger.AnchorLeft: 1000}
	w.late = true
	check := func(w *world, how string) {
		w.check(id)
		if w.isBack(id, spec, true); t.Failed() {
			t.Fatalf("%s: a device is cut off", how)
		}
	}
	clean := w.clone()
	clean.rollback(id)
	check(clean, "undisturbed")
	w.cut(func(w *world) { w.rollback(id) }, check)
}

// isBack wants a rotation to be rolled back, with the new CA kept or not.
func (w *world) isBack(id string, spec rotation.Spec, kept bool) {
	w.t.Helper()
	r := w.get(id)
	given := kept && spec.Kind == ledger.RotateRoot
	stage := rotation.StageBefore
	if kept {
		stage = rotation.StageBoth
	}
	if r.State != string(rotation.RolledBack) || r.Issue != ledger.IssueOld || r.Kept != kept || r.Paused != "" || !w.over[id] {
		w.t.Errorf("the record is %s, issue %s, kept %t (want %t), paused %q", r.State, r.Issue, r.Kept, kept, r.Paused)
	}
	if w.given != given || w.adopted != ledger.IssueOld || w.served != ledger.IssueOld || w.servedAt != rotation.RolledBack || w.revoked {
		w.t.Errorf("given %t (want %t), adopted %s, served %s at %s, revoked %t", w.given, given, w.adopted, w.served, w.servedAt, w.revoked)
	}
	for _, c := range w.clouds {
		if c.stage != stage || rotation.StageOf(*r) != stage {
			w.t.Errorf("%s is at %s, the record says %s, want %s", c.name, c.stage, rotation.StageOf(*r), stage)
		}
	}
}

// TestRollbackOfHalf has a server die at every point of the way forward, and has the
// rotation taken back from there: also what was begun and not entered is undone.
func TestRollbackOfHalf(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			spec := kind.spec()
			id, at := way(t, spec)
			halves := 0
			for _, state := range rotation.States[:slices.Index(rotation.States, rotation.TrustRemoved)] {
				for i := 1; differs(spec, state); i++ {
					w := at[state].clone()
					w.crash = i
					dead := survive(func() { w.step(id, state.Next()) })
					if dead == "" {
						break
					}
					halves++
					if w.get(id).State == string(rotation.TrustRemoved) {
						continue
					}
					w.signBack(id)
					_, err := w.machine().Rollback(context.Background(), id, "half", "carol", nil)
					if slices.ContainsFunc(w.journal[id], func(e ledger.RotationEntry) bool { return e.Step == "revoke" }) {
						rule(t, err, "rotation-state", "nothing takes back")
						continue
					}
					if err != nil {
						t.Fatalf("from %s, died at %q: %v", state, dead, err)
					}
					served := slices.ContainsFunc(w.journal[id], func(e ledger.RotationEntry) bool { return e.Step == "serve new" })
					w.check(id)
					w.isBack(id, spec, served || w.counts[ledger.AnchorLeft] == 0)
					if t.Failed() {
						t.Fatalf("from %s, died at %q", state, dead)
					}
				}
			}
			if halves < 30 {
				t.Errorf("only %d halves", halves)
			}
		})
	}
}

// step is one go of forward that lets the world die.
func (w *world) step(id string, to rotation.State) {
	w.now = w.now.Add(100 * day)
	switch rotation.State(w.get(id).State) {
	case rotation.Distributing:
		w.counts = map[ledger.AnchorClass]int{ledger.AnchorTrusts: 1000}
	case rotation.Draining:
		w.counts = map[ledger.AnchorClass]int{ledger.AnchorMoved: 1000}
	}
	if to.Signed() {
		for _, officer := range []string{"alice", "bob"} {
			if err := w.sign(id, to, officer); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if _, err := w.machine().Run(context.Background(), id, to, "alice", nil); err != nil {
		w.t.Fatal(err)
	}
}

// TestKept: what a device may have of the new CA stays, and only then.
func TestKept(t *testing.T) {
	for _, c := range []struct {
		name   string
		spec   rotation.Spec
		at     rotation.State
		counts map[ledger.AnchorClass]int
		below  int
		kept   bool
	}{
		{"nobody has anything", rootSpec(), rotation.Distributing, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10, ledger.AnchorSilent: 1, ledger.AnchorNever: 1, ledger.AnchorExpired: 1}, 0, false},
		{"one trusts it", rootSpec(), rotation.Distributing, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10, ledger.AnchorTrusts: 1}, 0, true},
		{"one has moved", rootSpec(), rotation.Distributing, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10, ledger.AnchorMoved: 1}, 0, true},
		{"one was waived", rootSpec(), rotation.Distributing, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10, ledger.AnchorWaived: 1}, 0, true},
		{"one certificate by a new issuing CA", issuingSpec(), rotation.Canaried, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10}, 1, true},
		{"this server's own certificate by a new issuing CA", issuingSpec(), rotation.Canaried, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10}, -1, false},
		{"none by a new issuing CA", issuingSpec(), rotation.Canaried, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10}, 0, false},
		{"a new root certifies CAs and no devices", rootSpec(), rotation.CloudActiveBoth, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10}, 3, false},
		{"all were served by it a moment ago", rootSpec(), rotation.Switched, map[ledger.AnchorClass]int{ledger.AnchorLeft: 10}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			id := w.plan(c.spec)
			w.forward(id, c.at)
			w.counts = c.counts
			w.below["b"] = rotation.Left{Devices: max(0, c.below), Others: max(0, -c.below)}
			w.below["a"] = rotation.Left{Devices: 10, Others: 4}
			w.rollback(id)
			w.check(id)
			w.isBack(id, c.spec, c.kept)
			last := w.journal[id][len(w.journal[id])-1]
			if strings.Contains(last.Text, "stays with the clouds") != c.kept || !strings.Contains(last.Text, "the pilot failed") {
				t.Errorf("the last line says %q", last.Text)
			}
		})
	}
}

// TestLetGo: what a rollback has left of the new CA is taken away once no device has anything
// of it, and not before; cut off anywhere, the same again ends it.
func TestLetGo(t *testing.T) {
	ctx := context.Background()
	for _, spec := range []rotation.Spec{rootSpec(), issuingSpec(), emergency(issuingSpec())} {
		w := newWorld(t)
		id := w.plan(spec)
		w.forward(id, rotation.Switched)
		w.rollback(id)
		w.isBack(id, spec, true)
		w.counts = counts{ledger.AnchorLeft: 999, ledger.AnchorTrusts: 1}
		if spec.Kind == ledger.RotateRoot {
			_, err := w.machine().Rollback(ctx, id, "it is not used", "carol", nil)
			rule(t, err, "rotation-kept", "1 device has something of b")
			w.counts = counts{ledger.AnchorLeft: 1000}
		}
		if spec.Kind == ledger.RotateIssuing { // notes are of anchors, which are the same
			w.below["b"] = rotation.Left{Devices: 1, Others: 1}
			_, err := w.machine().Rollback(ctx, id, "it is not used", "carol", nil)
			rule(t, err, "rotation-kept", "1 certificate of devices")
			w.below["b"] = rotation.Left{Others: 1} // this server's own
		}
		w.isBack(id, spec, true)
		busy := w.clone()
		other := busy.plan(rootSpec())
		_, err := busy.machine().Rollback(ctx, id, "it is not used", "carol", nil)
		rule(t, err, "rotation-overlap", other)
		w.cut(func(w *world) {
			for range 100 {
				var err error
				dead := survive(func() { _, err = w.machine().Rollback(ctx, id, "it is not used", "carol", nil) })
				if dead == "" && err != nil && !w.get(id).Kept {
					return // it was done, and there is nothing to take back
				}
				if dead == "" && err == nil {
					w.restart()
					return
				}
			}
			t.Error("it was never let go")
		}, func(w *world, how string) {
			w.restart()
			w.check(id)
			w.isBack(id, spec, false)
			if t.Failed() {
				t.Fatal(how)
			}
		})
	}
}

// TestRollbackStays: a rollback that was begun is not stopped, resumed or signed for.
func TestRollbackStays(t *testing.T) {
	w := newWorld(t)
	id := w.plan(rootSpec())
	w.forward(id, rotation.Canaried)
	w.clouds[1].stuck = true
	ctx := context.Background()
	w.counts = map[ledger.AnchorClass]int{ledger.AnchorLeft: 10}
	_, err := w.machine().Rollback(ctx, id, "first reason", "carol", nil)
	if err == nil || !strings.Contains(err.Error(), "not as it should be") || !rotation.RollingBack(*w.get(id)) {
		t.Fatalf("a cloud that does not follow: %v, %+v", err, w.get(id).Paused)
	}
	if w.clouds[0].stage != rotation.StageBefore || w.served != ledger.IssueOld {
		t.Error("the rest was not taken back")
	}
	_, err = w.machine().Pause(ctx, id, "", "alice")
	rule(t, err, "rotation-rollback")
	_, err = w.machine().Pause(ctx, id, "wait", "alice")
	rule(t, err, "rotation-rollback")
	rule(t, w.sign(id, rotation.Switched, "alice"), "rotation-rollback")
	_, err = w.machine().Bring(ctx, id, nil, "alice")
	rule(t, err, "rotation-rollback")
	status, err := w.machine().Status(ctx, id)
	if err != nil || status.Next != rotation.RolledBack || len(status.Blocked) != 1 || !strings.Contains(status.Blocked[0], "first reason") || status.Counts[ledger.AnchorLeft] != 10 {
		t.Errorf("status: %+v, %v", status, err)
	}
	w.clouds[1].stuck = false
	if _, err = w.machine().Run(ctx, id, rotation.Archived, "bob", nil); err != nil {
		t.Fatal(err)
	}
	w.isBack(id, rootSpec(), false)
	_, err = w.machine().Rollback(ctx, id, "again", "carol", nil)
	rule(t, err, "rotation-state")
	if text := w.journal[id][len(w.journal[id])-1].Text; !strings.Contains(text, "first reason") {
		t.Errorf("the last line says %q", text)
	}
}

// TestReason: why is always said, in one line.
func TestReason(t *testing.T) {
	w := newWorld(t)
	id := w.plan(rootSpec())
	for _, reason := range []string{"", " ", "\x1b[2J", "a\nb", strings.Repeat("x", 1025), "being rolled back: not true"} {
		_, err := w.machine().Rollback(context.Background(), id, reason, "carol", nil)
		rule(t, err, "rotation-spec")
		if reason != "" {
			_, err := w.machine().Pause(context.Background(), id, reason, "carol")
			rule(t, err, "rotation-spec")
		}
	}
	if w.get(id).Version != 1 {
		t.Error("something was written")
	}
}
