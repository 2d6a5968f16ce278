package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestPlanTooLarge: what the ledger could not keep is refused when it is planned, in words that
// say what to do, and not after every cloud was asked.
func TestPlanTooLarge(t *testing.T) {
	w := newWorld(t)
	for i := range ledger.MostPlan / 1000 {
		w.findings.Warned = append(w.findings.Warned, fmt.Sprintf("%04d %s", i, strings.Repeat("x", 1000)))
	}
	_, _, err := w.machine().Plan(context.Background(), rootSpec(), "alice")
	var refused *rotation.Refused
	if !errors.As(err, &refused) || refused.Rule != "rotation-spec" || !strings.Contains(err.Error(), "make it shorter") {
		t.Errorf("a plan of more than %d bytes: %v", ledger.MostPlan, err)
	}
	if rotations := w.journal; len(rotations) != 0 {
		t.Errorf("recorded: %v", rotations)
	}
}
