package rotation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// cutOffLines are the lines of the journal about the cut-off.
func (w *world) cutOffLines(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for _, e := range w.journal[id] {
		if strings.HasSuffix(e.Step, " cut-off") {
			lines = append(lines, strings.TrimSuffix(e.Step, " cut-off")+" "+e.Event)
		}
	}
	return strings.Join(lines, ", ")
}

// TestCutOffHangs: a target that hangs holds up no other one, whose outcome is written at once. What
// failed is said by name, and the next run tries it again.
func TestCutOffHangs(t *testing.T) {
	for i, name := range []string{"aws/line-a", "azure/main"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, id := ready(t, emergency(issuingSpec()), rotation.Planned, "alice", "bob")
				hung, other := w.clouds[i], w.clouds[1-i]
				hung.hangs, hung.stuck = make(chan struct{}), true
				ended := make(chan error)
				go func() {
					_, err := w.machine().Run(context.Background(), id, rotation.Approved, "alice", nil)
					ended <- err
				}()
				synctest.Wait()
				want := "aws/line-a begin, azure/main begin, " + other.name + " done"
				if got := w.cutOffLines(id); got != want || other.stage != rotation.StageCutOff || hung.stage != rotation.StageBefore {
					t.Errorf("while %s hangs: %s is at %s, %s at %s; the journal says %q, want %q", name, other.name, other.stage, name, hung.stage, got, want)
				}
				close(hung.hangs)
				if err := <-ended; err == nil || !strings.Contains(err.Error(), "APPROVED, "+name+" cut-off: it is not as it should be afterwards") {
					t.Errorf("%v", err)
				}
				if got := w.cutOffLines(id); got != want+", "+name+" failed" || w.get(id).State != string(rotation.Planned) {
					t.Errorf("in %s, the journal says %q", w.get(id).State, got)
				}
				hung.stuck = false
				w.forward(id, rotation.Archived)
				w.check(id)
			})
		})
	}
}

// TestCutOffGone: a caller who goes away ends what hangs, and each target's outcome is written.
func TestCutOffGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id := ready(t, emergency(rootSpec()), rotation.Planned, "alice", "bob")
		for _, c := range w.clouds {
			c.hangs = make(chan struct{})
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			_, err := w.machine().Run(ctx, id, rotation.Approved, "alice", nil)
			ended <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		for _, c := range w.clouds {
			if got := w.cutOffLines(id); !strings.Contains(got, c.name+" failed") {
				t.Errorf("the journal says %q", got)
			}
			close(c.hangs)
		}
		w.forward(id, rotation.Archived)
		w.check(id)
	})
}

// TestCutOffFalls: what panics in the work on one target does so before the eyes of who asked, whose
// server has a way with that, and not before the work on the others has ended: nobody else may
// begin while one is at work.
func TestCutOffFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id := ready(t, emergency(rootSpec()), rotation.Planned, "alice", "bob")
		w.clouds[0].falls, w.clouds[1].hangs = true, make(chan struct{})
		m := w.machine()
		fell := make(chan any)
		go func() {
			defer func() { fell <- recover() }()
			_, _ = m.Run(context.Background(), id, rotation.Approved, "alice", nil)
		}()
		synctest.Wait()
		_, err := m.Run(context.Background(), id, rotation.Approved, "bob", nil)
		rule(t, err, "rotation-busy")
		close(w.clouds[1].hangs)
		if got := <-fell; got != "aws/line-a fell" {
			t.Errorf("it fell with %v", got)
		}
		w.clouds[0].falls = false
		w.forward(id, rotation.Archived)
		w.check(id)
	})
}

// TestCutOffStale: who changes the record while targets are cut off stops what comes next, and what
// has failed by then is said all the same.
func TestCutOffStale(t *testing.T) {
	w, id := ready(t, emergency(rootSpec()), rotation.Planned, "alice", "bob")
	w.clouds[0].stuck, w.clouds[1].stuck = true, true
	_, err := w.machine().Run(context.Background(), id, rotation.Approved, "alice", func(e ledger.RotationEntry) {
		if e.Step == "azure/main cut-off" && e.Event == "begin" {
			if _, err := w.machine().Pause(context.Background(), id, "stop", "bob"); err != nil {
				t.Error(err)
			}
		}
	})
	if !errors.Is(err, ledger.ErrStale) {
		t.Fatalf("%v", err)
	}
	for _, c := range w.clouds {
		if !strings.Contains(err.Error(), c.name+" cut-off: it is not as it should be") {
			t.Errorf("nothing is said of %s: %v", c.name, err)
		}
	}
	w.check(id)
}

// TestCutOffBegun: from the line that begins the cut-off at a target on, the servers hold it there,
// before the target is changed; until then, and once the rotation is in another state, its state says
// where the targets are.
func TestCutOffBegun(t *testing.T) {
	ctx := context.Background()
	w, id := ready(t, emergency(issuingSpec()), rotation.Planned, "alice", "bob")
	begun := func() []string {
		t.Helper()
		list, err := rotation.CutOffs(ctx, (*records)(w), *w.get(id))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got := begun(); len(got) != 0 {
		t.Errorf("signed, and not begun: %q", got)
	}
	w.clouds[1].stuck = true
	if _, err := w.machine().Run(ctx, id, "", "alice", nil); err == nil {
		t.Fatal("it went on")
	}
	if got := begun(); !slices.Equal(got, []string{"aws/line-a", "azure/main"}) {
		t.Errorf("begun at %q", got)
	}
	points := w.points
	at := func(name string) int { return slices.Index(points, name) }
	last := at("put APPROVED azure/main cut-off begin, after")
	read := slices.Index(points[last:], "refresh, after") + last
	for _, c := range w.clouds {
		if first := at(c.name + " cut-off, before"); last < 0 || read < last || first < read {
			t.Errorf("begun at point %d, read by the servers at %d, and %s was changed at %d", last, read, c.name, first)
		}
	}
	w.fail = len(w.points) + 1
	if _, err := rotation.CutOffs(ctx, (*records)(w), *w.get(id)); !errors.Is(err, errInjected) {
		t.Errorf("a journal that cannot be read: %v", err)
	}
	w.clouds[1].stuck = false
	back := w.clone()
	back.rollback(id)
	if got, err := rotation.CutOffs(ctx, (*records)(back), *back.get(id)); err != nil || len(got) != 0 {
		t.Errorf("taken back, it holds at %q, %v", got, err)
	}
	w.forward(id, rotation.Approved)
	if got := begun(); len(got) != 0 {
		t.Errorf("APPROVED, it is half done at %q", got)
	}
	w.check(id)
}
