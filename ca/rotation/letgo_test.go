package rotation_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestLetGoTakenOver: what a rotation has left is the next one's, which leads to the same CA: it
// alone is let go.
func TestLetGoTakenOver(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	first := w.plan(issuingSpec())
	w.forward(first, rotation.Switched)
	w.rollback(first)
	second := w.plan(issuingSpec())
	if !w.get(second).Kept {
		t.Error("the second one does not know that the CA is at the clouds")
	}
	w.forward(second, rotation.Switched)
	w.rollback(second)
	_, err := w.machine().Rollback(ctx, first, "it is not used", "carol", nil)
	rule(t, err, "rotation-state", "was taken over by a later rotation from a to b")
	if _, err := w.machine().Rollback(ctx, second, "it is not used", "carol", nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.clouds {
		if c.stage != rotation.StageBefore {
			t.Errorf("%s is at %s", c.name, c.stage)
		}
	}
	third := w.plan(issuingSpec())
	if w.get(third).Kept {
		t.Error("what was let go counts as kept")
	}
}

// TestLetGoNotedBefore: of two rotations to one root the second was taken back before it took over
// which devices have its anchors. They keep it all the same.
func TestLetGoNotedBefore(t *testing.T) {
	ctx := context.Background()
	for _, class := range []ledger.AnchorClass{ledger.AnchorTrusts, ledger.AnchorMoved, ledger.AnchorWaived} {
		w := newWorld(t)
		first := w.plan(rootSpec())
		w.forward(first, rotation.Switched)
		w.rollback(first)
		w.counts = counts{ledger.AnchorLeft: 1000}
		w.countsOf = map[string]counts{first: {ledger.AnchorLeft: 999, class: 1}}
		second := w.plan(rootSpec())
		w.forward(second, rotation.CloudActiveBoth)
		w.rollback(second)
		_, err := w.machine().Rollback(ctx, second, "it is not used", "carol", nil)
		rule(t, err, "rotation-kept", "1 device has something of b", "mintmark rotate devices "+first)
		w.isBack(second, rootSpec(), true)
		w.countsOf[first] = counts{ledger.AnchorLeft: 1000}
		if _, err := w.machine().Rollback(ctx, second, "it is not used", "carol", nil); err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.isBack(second, rootSpec(), false)
	}
}

// TestKeptAndGone: what an earlier rotation has left at the clouds may be gone when it is rotated to
// the same CA again: somebody took it away, or letting it go was cut off. It is put there again
// before the new CA serves.
func TestKeptAndGone(t *testing.T) {
	for _, spec := range []rotation.Spec{rootSpec(), issuingSpec(), emergency(issuingSpec())} {
		w := newWorld(t)
		first := w.plan(spec)
		w.forward(first, rotation.Switched)
		w.rollback(first)
		w.countsOf = map[string]counts{first: {ledger.AnchorLeft: 1000}}
		cut := w.clone()
		cut.crash = 1
		for rotation.StageOf(*cut.get(first)) == cut.clouds[0].stage {
			cut.points, cut.crash = nil, cut.crash+1
			survive(func() { _, _ = cut.machine().Rollback(context.Background(), first, "it is not used", "carol", nil) })
		}
		if !cut.get(first).Kept {
			t.Fatal("it was let go as a whole")
		}
		cut.restart()
		second := cut.plan(spec)
		if !strings.Contains(string(cut.get(second).Plan), "an earlier rotation has left b with devices and with the clouds") {
			t.Errorf("the plan says %s", cut.get(second).Plan)
		}
		cut.forward(second, rotation.Switched)
		cut.check(second)
		for _, c := range cut.clouds {
			if c.stage != rotation.StageBoth {
				t.Errorf("%s is at %s", c.name, c.stage)
			}
		}
	}
}

// TestKeptForAnother: what the rotation of one CA has left is no reason to take for there, at the
// targets of another CA, what that is to be replaced by.
func TestKeptForAnother(t *testing.T) {
	w := newWorld(t)
	first := w.plan(issuingSpec())
	w.forward(first, rotation.Switched)
	w.rollback(first)
	w.isBack(first, issuingSpec(), true)
	spec := issuingSpec()
	spec.Old = "c"
	second := w.plan(spec)
	if r := *w.get(second); r.Kept || rotation.StageOf(r) != rotation.StageBefore {
		t.Errorf("kept %t, at %s", r.Kept, rotation.StageOf(r))
	}
}

// TestKeptInCanary: another server may serve a canary for some seconds after it was taken back, so
// that nobody can say that no device has anything of the new CA.
func TestKeptInCanary(t *testing.T) {
	nobody := issuingSpec()
	nobody.Canary = ledger.Canary{}
	for _, c := range []struct {
		spec rotation.Spec
		at   rotation.State
		kept bool
	}{{issuingSpec(), rotation.Canaried, true}, {rootSpec(), rotation.Canaried, true}, {nobody, rotation.Canaried, false}, {issuingSpec(), rotation.Distributing, false}} {
		w, id := ready(t, c.spec, c.at)
		w.counts = counts{ledger.AnchorLeft: 1000}
		m := w.server(new(leases), "alpha")
		if _, err := m.Rollback(context.Background(), id, "the pilot failed", "carol", nil); err != nil {
			t.Fatal(err)
		}
		w.isBack(id, c.spec, c.kept)
		w.now = w.now.Add(time.Minute)
		if _, err := m.Rollback(context.Background(), id, "it is not used", "carol", nil); c.kept && err != nil {
			t.Error(err)
		}
		w.restart()
		w.isBack(id, c.spec, false)
	}
}
