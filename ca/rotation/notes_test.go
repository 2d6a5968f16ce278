package rotation_test

import (
	"maps"
	"slices"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestNotesTakenOver: a second rotation to the root that an earlier one has left knows who has its
// anchors, from when they are given out; not who was given the path, nor who was waived. It makes
// no difference where it is cut off.
func TestNotesTakenOver(t *testing.T) {
	for _, spec := range []rotation.Spec{rootSpec(), emergency(rootSpec()), issuingSpec()} {
		w := newWorld(t)
		first := w.plan(spec)
		w.forward(first, rotation.Switched)
		w.rollback(first)
		device := func(name string, class ledger.AnchorClass) ledger.AnchorDevice {
			d := ledger.AnchorDevice{AnchorNote: ledger.AnchorNote{Device: name}, Class: class}
			if class == ledger.AnchorMoved || class == ledger.AnchorTrusts || name == "d7" {
				d.Trusts, d.How = start, "fetched"
			}
			if class == ledger.AnchorMoved {
				d.Chains = start
			}
			return d
		}
		w.devices[first] = []ledger.AnchorDevice{device("d1", ledger.AnchorMoved), device("d2", ledger.AnchorTrusts), device("d3", ledger.AnchorLeft),
			device("d4", ledger.AnchorTrusts), device("d5", ledger.AnchorTrusts), device("d6", ledger.AnchorWaived), device("d7", ledger.AnchorWaived)}
		second := w.plan(spec)
		w.forward(second, rotation.CloudActiveBoth)
		if len(w.noted) > 0 {
			t.Errorf("noted before the anchors are given out: %v", w.noted)
		}
		var want []string
		if spec.Kind == ledger.RotateRoot {
			for _, name := range []string{"d1", "d2", "d4", "d5", "d7"} {
				want = append(want, second+" "+name)
			}
		}
		w.cut(func(w *world) { w.forward(second, rotation.Distributing) }, func(w *world, how string) {
			if got := slices.Sorted(maps.Keys(w.noted)); !slices.Equal(got, want) {
				t.Errorf("%s, %s: noted %q, want %q", spec.Kind, how, got, want)
			}
			for _, n := range w.noted {
				if !n.Trusts.Equal(start) || n.How != "fetched" {
					t.Errorf("noted as %+v", n)
				}
			}
		})
	}
}
