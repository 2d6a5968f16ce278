package dpsreg_test

import (
	"strings"
	"testing"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

// TestBulk: what somebody else gives to DPS lets devices in, is what Deliver would have made, and
// is gone on with as ours.
func TestBulk(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1", ofProfile("pinned"))
	w.issue("line", "pump-2") // comes in by a group
	w.issue("line", "pump-3", ofProfile("pinned"))
	w.hold("pump-3", ledger.Held)
	calls := len(w.sim.Calls())
	list, err := w.devices().Bulk(t.Context(), target, []string{"pump-1", "pump-2", "pump-3", "pump-4"})
	if err != nil || len(list) != 1 || len(w.sim.Calls()) != calls {
		t.Fatalf("%+v, %v, after %d calls", list, err, len(w.sim.Calls())-calls)
	}
	refused, err := w.dps().Bulk(t.Context(), dps.BulkCreate, list)
	if err != nil || len(refused) != 0 {
		t.Fatalf("%+v, %v", refused, err)
	}
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 -", d)
	if state, err := w.register(d); err != nil || state.AssignedHub != secondHub {
		t.Errorf("%+v, %v", state, err)
	}
	before := w.state()
	w.tell(target, "pump-1")
	if after := w.state(); after != before {
		t.Errorf("the server finds something to do:\n%s\n%s", before, after)
	}
	// What stands in the way of one is said.
	w.issue("line", "PUMP-1", ofProfile("pinned"))
	w.issue("line", "pump.", ofProfile("pinned"))
	lacking := target
	lacking.Enrollments = []dpsreg.Enrollment{{Name: "pins", Profiles: []string{"pinned"}, Shape: dpsreg.Shape{Tags: map[string]any{"product": "${product}"}}}}
	for _, tt := range []struct {
		target  dpsreg.Target
		devices []string
		want    string
	}{
		{target, []string{"pump-1", "PUMP-1"}, "same registration id"},
		{target, []string{"pump."}, "no registration id that DPS takes"},
		{lacking, []string{"pump-1"}, "has nothing for ${product}"},
	} {
		if list, err := w.devices().Bulk(t.Context(), tt.target, tt.devices); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %+v, %v; want %q", tt.devices, list, err, tt.want)
		}
	}
}
