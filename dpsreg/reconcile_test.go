package dpsreg_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/ledger"
)

func sorted(list []dpsreg.Finding) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.Device+": "+f.What)
	}
	slices.Sort(out)
	return out
}

// TestReconcile lets everything drift that can, repairs it, and finds nothing the next
// time.
func TestReconcile(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	target.Enrollments[0].DeviceID = "hub-${device}"
	var devices []device
	names := []string{"changed", "deleted", "disabled", "held", "never-told", "reslotted", "unblocked"}
	for _, name := range names {
		devices = append(devices, w.issue("line", name, ofProfile("pinned")))
	}
	group, upper := w.issue("line", "group"), w.issue("line", "Upper Case", ofProfile("pinned"), func(c *ledger.Certificate) { c.Device = "Upper Case" })
	_ = upper
	told := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "never-told" })
	w.tell(target, told...)
	states := make(map[string]dps.RegistrationState)
	for _, d := range append(devices, group) {
		if d.Device == "never-told" {
			continue
		}
		state, err := w.register(d)
		w.ok(err)
		states[d.Device] = state
	}
	if id := states["changed"].DeviceID; id != "hub-changed" {
		t.Errorf("the device id is %q", id)
	}
	w.hold("group", ledger.Held)
	w.tell(target, "group")
	w.hold("held", ledger.Held)
	w.hold("unblocked", ledger.Held)
	w.tell(target, "held", "unblocked")

	operator := func(id string, change func(*dps.Enrollment)) {
		e := w.enrollment(id)
		change(e)
		_, err := w.dps().PutEnrollment(t.Context(), *e)
		w.ok(err)
	}
	operator("changed", func(e *dps.Enrollment) { e.Capabilities.Edge, e.Twin.Tags["device"] = false, "other" })
	w.remove("deleted")
	operator("disabled", func(e *dps.Enrollment) { e.Status = dps.Disabled })
	w.remove("group")
	operator("reslotted", func(e *dps.Enrollment) { e.Attestation.X509 = ptr(clientSlots(devices[0])) })
	operator("held", func(e *dps.Enrollment) { e.Status = dps.Enabled })
	w.hold("unblocked", ledger.Expected) // and nobody was told
	identity, err := w.hub(secondHub).Device(t.Context(), "hub-held")
	w.ok(err)
	_, err = w.hub(secondHub).SetStatus(t.Context(), identity, "enabled", "")
	w.ok(err)
	// What another made, and what a ledger made that this one does not know.
	stranger := w.certify("line", "stranger")
	w.operator("stranger", clientSlots(stranger))
	w.operator("lost", clientSlots(stranger), func(e *dps.Enrollment) {
		e.Information = json.RawMessage(`{"mintmark":"pinned","mintmarkDevice":"Lost One"}`)
	})

	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	want := []string{
		"changed: IoT Edge false instead of true, initial twin",
		"deleted: made",
		"group: disabled (held)",
		"held: disabled (held); disabled at " + secondHub,
		"never-told: made",
		"reslotted: certificates",
		"unblocked: enabled at " + secondHub + "; enabled",
	}
	if got := sorted(drift.Repaired); !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("repaired:\n%s\nwanted:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	left := sorted(drift.Left)
	if len(left) != 3 || !strings.Contains(left[0], "Lost One: enrollment \"lost\" is mintmark's, and the ledger has no certificate") ||
		!strings.Contains(left[1], "Upper Case: repairing it failed") || !strings.Contains(left[2], "disabled: somebody disabled it at Azure") {
		t.Errorf("left:\n%s", strings.Join(left, "\n"))
	}
	if !reflect.DeepEqual(drift.Unknown, []string{"stranger"}) || drift.UnknownCount != 1 || len(drift.Promoted) > 0 || drift.Devices != 9 || drift.Target != "factory" {
		t.Errorf("%+v", drift)
	}
	w.want(w.enrollment("changed"), "pinned", dps.Enabled, "0 -", devices[0])
	w.want(w.enrollment("reslotted"), "pinned", dps.Enabled, "0 -", devices[5])
	w.want(w.enrollment("never-told"), "pinned", dps.Enabled, "0 -", devices[4])
	w.want(w.enrollment("disabled"), "pinned", dps.Disabled, "0 -", devices[2])
	w.want(w.enrollment("unblocked"), "pinned", dps.Enabled, "0 -", devices[6])
	w.atHub(secondHub, "hub-unblocked", "enabled", "")
	w.atHub(secondHub, "hub-held", "disabled", "mintmark: held")
	w.atHub(states["group"].AssignedHub, "group", "disabled", "mintmark: held")
	w.shutOut(group)
	w.shutOut(devices[3])
	if w.enrollment("stranger") == nil || w.enrollment("lost") == nil {
		t.Error("what is not ours was deleted")
	}

	state, calls := w.state(), len(w.sim.Calls())
	again, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(again.Repaired)+len(again.Promoted) > 0 || len(again.Left) != 3 {
		t.Errorf("the second time: %+v", again)
	}
	if w.state() != state {
		t.Error("the second time changes something")
	}
	if made := w.sim.Calls()[calls:]; slices.ContainsFunc(made, func(call string) bool { return strings.Contains(call, "put") || strings.Contains(call, "bulk") }) {
		t.Errorf("%v", made)
	}
}

func ptr[T any](v T) *T { return &v }

// TestReconcileSettled: what is as it should be costs a listing and nothing more.
func TestReconcileSettled(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	for i := range 120 {
		w.issue("line", fmt.Sprintf("pump-%03d", i), ofProfile("pinned"))
	}
	if n, err := w.devices().TellAll(t.Context(), target); n != 120 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	calls := len(w.sim.Calls())
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if drift.Devices != 120 || len(drift.Repaired)+len(drift.Left)+drift.UnknownCount > 0 {
		t.Errorf("%+v", drift)
	}
	made := slices.DeleteFunc(slices.Clone(w.sim.Calls()[calls:]), func(call string) bool { return !strings.HasPrefix(call, "enrollments.") })
	if len(made) != 2 {
		t.Errorf("%v", made)
	}
	if n, err := w.devices().TellAll(t.Context(), target); n != 0 || err != nil {
		t.Errorf("telling all once more: %d, %v", n, err)
	}
}

// TestReconcileFails: it returns what it has done, and TellAll names what failed and tells
// the rest.
func TestReconcileFails(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	for i := range 12 {
		w.issue("line", fmt.Sprintf("bad %d", i), ofProfile("pinned"))
	}
	w.issue("line", "good", ofProfile("pinned"))
	n, err := w.devices().TellAll(t.Context(), target)
	if n != 1 || err == nil || !strings.Contains(err.Error(), `device "bad 0"`) || !strings.Contains(err.Error(), "and 2 more") {
		t.Errorf("%d, %v", n, err)
	}
	w.enrollment("good")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.devices().Reconcile(ctx, target); err == nil {
		t.Error("it ran without time")
	}
	w.sim.Inject(dpssim.Fault{Operation: "enrollments.query", Status: 403, Code: 403001})
	drift, err := w.devices().Reconcile(t.Context(), target)
	if err == nil || drift.Target != "factory" || drift.At.IsZero() {
		t.Errorf("%+v, %v", drift, err)
	}
}

// TestReconcileBounds: lists have the first thousand, and say how many more there are.
func TestReconcileBounds(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	stranger := w.certify("line", "stranger")
	for from := 0; from < 1010; from += dps.MaxBulk {
		var list []dps.Enrollment
		for i := from; i < from+dps.MaxBulk; i++ {
			e := dps.Enrollment{RegistrationID: fmt.Sprintf("x-%04d", i), Attestation: dps.Attestation{Type: "x509", X509: ptr(clientSlots(stranger))}}
			list = append(list, e)
			e.RegistrationID, e.Information = fmt.Sprintf("y-%04d", i), json.RawMessage(`{"mintmark":"pinned"}`)
			list = append(list, e)
		}
		for chunk := range slices.Chunk(list, dps.MaxBulk) {
			refused, err := w.dps().Bulk(t.Context(), dps.BulkCreate, chunk)
			w.ok(err)
			if len(refused) > 0 {
				t.Fatal(refused)
			}
		}
	}
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Unknown) != 1000 || drift.UnknownCount != 1010 || len(drift.Left) != 1001 || drift.Left[1000].What != "and 10 more" {
		t.Errorf("%d of %d unknown, %d left, the last %+v", len(drift.Unknown), drift.UnknownCount, len(drift.Left), drift.Left[len(drift.Left)-1])
	}
}
