package dpsreg_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/ledger"
)

// TestThousandDevices: a thousand new pinned devices go out in a hundred calls, which
// count for no more than the thousand operations that a service takes in a minute.
func TestThousandDevices(t *testing.T) {
	const n = 1000
	w := newWorld(t, func(c *dpssim.Config) { c.Limits = &dpssim.Limits{Operations: n} })
	target := w.target() // whose own pace is as good as none: see the limiter's tests
	target.Enrollments = []dpsreg.Enrollment{{Name: "pins", Profiles: []string{"pinned"}, Shape: dpsreg.Shape{Tags: map[string]any{"device": "${device}"}}}}
	devices, names := make([]device, n), make([]string, n)
	for i := range devices {
		names[i] = fmt.Sprintf("pump-%04d", i)
		devices[i] = w.certify("line", names[i], ofProfile("pinned"))
	}
	w.record(devices...)
	r := w.devices()
	for chunk := range slices.Chunk(names, dpsreg.BatchSize) {
		for i, err := range w.deliver(r, target, chunk...) {
			if err != nil {
				t.Fatalf("%s: %v", chunk[i], err)
			}
		}
	}
	made := slices.DeleteFunc(w.sim.Calls(), func(call string) bool { return call != "enrollments.bulk" })
	if len(made) != n/dps.MaxBulk {
		t.Errorf("%d bulk calls", len(made))
	}
	if there := bytes.Count(w.sim.State(), []byte(`"mintmark"`)); there != n {
		t.Errorf("%d enrollments are there", there)
	}
	// The minute is used up: nothing but the bulk calls would have fitted.
	if _, err := w.dps().Enrollment(t.Context(), names[0]); err == nil {
		t.Error("the quota is not used up: the simulator does not count")
	}
}

// TestBulkWithOthers: of ten, those that are there already and those that the service
// refuses do not keep the others out.
func TestBulkWithOthers(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	target.Enrollments = []dpsreg.Enrollment{{Name: "pins", Profiles: []string{"pinned"}}}
	var devices []device
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprintf("pump-%d", i))
		devices = append(devices, w.issue("line", names[i], ofProfile("pinned")))
	}
	w.operator("pump-3", clientSlots(devices[3]))
	w.operator("pump-4", clientSlots(w.certify("line", "stranger")))
	w.tell(target, "pump-7")
	errs := w.deliver(w.devices(), target, names...)
	for i, err := range errs {
		if (err != nil) != (i == 4) {
			t.Errorf("%s: %v", names[i], err)
		}
		if i != 3 && i != 4 {
			w.want(w.enrollment(names[i]), "pinned", dps.Enabled, fmt.Sprint(i, " -"), devices...)
		}
	}

	// A call that fails as a whole: each of them singly, so that one that the service
	// cannot take keeps nobody else waiting for ever.
	var more []string
	for i := range 5 {
		more = append(more, fmt.Sprintf("press-%d", i))
		w.issue("line", more[i], ofProfile("pinned"))
	}
	w.sim.Inject(dpssim.Fault{Operation: "enrollments.bulk", Times: 1, Status: 400, Code: 400004})
	w.tell(target, more...)
	// One whose answer is lost: all of it is tried again, and found there.
	for i := range 5 {
		w.issue("line", fmt.Sprintf("belt-%d", i), ofProfile("pinned"))
	}
	belts := []string{"belt-0", "belt-1", "belt-2", "belt-3", "belt-4"}
	w.sim.Inject(dpssim.Fault{Operation: "enrollments.bulk", Times: 1, AfterEffect: true})
	for i, err := range w.deliver(w.devices(), target, belts...) {
		if err == nil {
			t.Errorf("%s was told without an answer", belts[i])
		}
	}
	before := w.state()
	w.tell(target, belts...)
	if w.state() != before {
		t.Error("telling again what was told changes something")
	}
}

// TestBlockedFirst: of a batch, those that are to be kept out come before all others.
func TestBlockedFirst(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	target.Enrollments = []dpsreg.Enrollment{{Name: "pins", Profiles: []string{"pinned"}}}
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("pump-%02d", i))
		w.issue("line", names[i], ofProfile("pinned"))
	}
	w.issue("line", "stolen")
	w.hold("stolen", ledger.Held)
	names = append(names, "stolen")
	calls := len(w.sim.Calls())
	w.tell(target, names...)
	made := slices.DeleteFunc(slices.Clone(w.sim.Calls()[calls:]), func(call string) bool {
		return call != "enrollments.bulk" && call != "enrollments.put"
	})
	if len(made) != 4 || made[0] != "enrollments.put" {
		t.Errorf("%v", made)
	}
}
