package rotation_test

import (
	"context"
	"testing"

	"mintmark/ca/rotation"
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
