package issuer_test

import (
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestThirdRoot: a rotation was taken back, and has left its new root with devices. Another one is
// planned once that is let go, and in an emergency at once: from the switch on nobody is given
// what the first one has left.
func TestThirdRoot(t *testing.T) {
	ra := smallFactory(t, newRA(t, newLedger(t), nil))
	x := rotate(t, ra, rootsSpec)
	x.to(t, rotation.Switched)
	x.back(t, true)
	if len(ra.Bridges("issuing")) == 0 {
		t.Fatal("nothing is left: this test shows nothing")
	}
	_, err := ra.EndRollover(t.Context(), "root", "root-b", admin)
	refusedBy(t, err, "rollover-rotation", "mintmark rotate rollback r-root-root-b")
	spec := rootsSpec
	spec.New = "root-c"
	found, err := ra.Rotations().Examine(t.Context(), spec)
	if said := strings.Join(found.Refused, "\n"); err != nil || !strings.Contains(said, "let that go first (mintmark rotate rollback r-root-root-b)") || strings.Contains(said, "ca rollover end") {
		t.Errorf("refused: %q, %v", found.Refused, err)
	}
	spec.Emergency = true
	found, err = ra.Rotations().Examine(t.Context(), spec)
	if err != nil || len(found.Refused) > 0 || !strings.Contains(strings.Join(found.Warned, "\n"), `has left "root-b" with devices`) {
		t.Errorf("in an emergency: refused %q, warned %q, %v", found.Refused, found.Warned, err)
	}
	y := rotate(t, ra, spec)
	y.to(t, rotation.Switched)
	if n := len(ra.Bridges("issuing")); n != 0 {
		t.Errorf("%d certificates lead to or from a root whose key is in wrong hands", n)
	}
	// What is let go is not in the way.
	x.r.Kept = false
	if err := x.does.EndBridges(t.Context(), x.r); err != nil {
		t.Fatal(err)
	}
	x.put(t, rotation.RolledBack, ledger.IssueOld)
	if list, err := ra.Rollovers(t.Context()); err != nil || len(list) != 1 || list[0].EndedAt.IsZero() {
		t.Errorf("rollovers %+v, %v", list, err)
	}
}
