package dpsreg_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/ledger"
)

// pinned is a target whose line has groups and whose profile "pinned" has individual
// enrollments, as Apply makes it.
func (w *world) pinned() dpsreg.Target {
	w.t.Helper()
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}}
	target.Groups = []dpsreg.Group{{ID: "pumps", Anchors: []string{"root"}}}
	target.Enrollments = []dpsreg.Enrollment{{
		Name: "pins", Profiles: []string{"pinned"}, Shape: dpsreg.Shape{
			Edge: true, Hubs: []string{secondHub}, Allocation: dpsreg.AllocateStatic, Reprovision: dpsreg.ReprovisionReset,
			Tags:    map[string]any{"device": "${device}", "line": "${label}"},
			Desired: map[string]any{"interval": 30},
		},
	}}
	target.Hubs = []dpsreg.Hub{{Host: firstHub}, {Host: secondHub}}
	w.apply(target)
	return target
}

func ofProfile(profile string) func(*ledger.Certificate) {
	return func(c *ledger.Certificate) { c.Profile = profile }
}

// enrollment reads an individual enrollment; nil if it is not there.
func (w *world) enrollment(id string) *dps.Enrollment {
	w.t.Helper()
	e, err := w.dps().Enrollment(w.t.Context(), id)
	if isMissing(err) {
		return nil
	}
	w.ok(err)
	return &e
}

// slotsOf names what is in the slots of an enrollment by serial numbers.
func slotsOf(e *dps.Enrollment, known ...device) string {
	if e == nil || e.Attestation.X509 == nil || e.Attestation.X509.Client == nil {
		return "no slots"
	}
	name := func(c *dps.Certificate) string {
		if c == nil || c.Info == nil {
			return "-"
		}
		for i, d := range known {
			if strings.EqualFold(c.Info.SHA256, dpsreg.SHA256(d.leaf)) {
				return fmt.Sprint(i)
			}
		}
		return "?"
	}
	return name(e.Attestation.X509.Client.Primary) + " " + name(e.Attestation.X509.Client.Secondary)
}

func markText(e *dps.Enrollment) string {
	var members struct {
		Mark string `json:"mintmark"`
	}
	_ = json.Unmarshal(e.Information, &members)
	return members.Mark
}

func (w *world) want(e *dps.Enrollment, mark, status, slots string, known ...device) {
	w.t.Helper()
	if e == nil {
		w.t.Fatal("there is no enrollment")
	}
	if got := slotsOf(e, known...); markText(e) != mark || !strings.EqualFold(e.Status, status) || got != slots {
		w.t.Fatalf("mark %q, %s, slots %q; wanted %q, %s, %q", markText(e), e.Status, got, mark, status, slots)
	}
}

// TestPinnedDevice makes the enrollment of a pinned device, which registers by it.
func TestPinnedDevice(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	e := w.enrollment("pump-1")
	w.want(e, "pinned", dps.Enabled, "0 -", d)
	if e.Capabilities == nil || !e.Capabilities.Edge || e.Allocation != "static" || !slices.Equal(e.Hubs, []string{secondHub}) ||
		e.Reprovision == nil || !e.Reprovision.UpdateHub || e.Reprovision.MigrateData ||
		e.Twin == nil || e.Twin.Tags["device"] != "pump-1" || e.Twin.Tags["line"] != "line" || e.Twin.Properties.Desired["interval"] != 30.0 {
		t.Errorf("%+v", e)
	}
	state, err := w.register(d)
	if err != nil || state.AssignedHub != secondHub || state.DeviceID != "pump-1" {
		t.Fatalf("%+v, %v", state, err)
	}
	// A second telling changes nothing.
	before := w.state()
	w.tell(target, "pump-1")
	if after := w.state(); after != before {
		t.Errorf("told twice:\n%s\n%s", before, after)
	}
	// A group device has nothing of its own, also after its superseded certificate was
	// revoked.
	superseded := w.issue("line", "pump-2")
	g := w.renew(superseded)
	w.revoke(superseded)
	calls := len(w.sim.Calls())
	w.tell(target, "pump-2")
	if made := w.sim.Calls()[calls:]; len(made) > 0 || w.enrollment("pump-2") != nil {
		t.Errorf("a group device costs %v", made)
	}
	if state, err := w.register(g); err != nil || state.DeviceID != "pump-2" {
		t.Errorf("%+v, %v", state, err)
	}
}

// TestRevokedDevice walks a group device through everything that stops it and lets it go
// on.
func TestRevokedDevice(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1")
	w.tell(target, "pump-1")
	state, err := w.register(d)
	w.ok(err)
	w.atHub(state.AssignedHub, "pump-1", "enabled", "")

	w.hold("pump-1", ledger.Held)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "blocked", dps.Disabled, "0 -", d)
	w.atHub(state.AssignedHub, "pump-1", "disabled", "mintmark: held")
	w.shutOut(d)

	w.hold("pump-1", ledger.Expected)
	w.tell(target, "pump-1")
	if e := w.enrollment("pump-1"); e != nil {
		t.Errorf("released: %+v", e)
	}
	w.atHub(state.AssignedHub, "pump-1", "enabled", "")
	if _, err := w.register(d); err != nil {
		t.Errorf("released: %v", err)
	}

	// A superseded certificate leaves the device alive.
	renewed := w.renew(d)
	w.revoke(d)
	w.tell(target, "pump-1")
	if e := w.enrollment("pump-1"); e != nil {
		t.Errorf("a superseded certificate blocks: %+v", e)
	}
	if _, err := w.register(renewed); err != nil {
		t.Error(err)
	}

	// The last one does not, whichever of them it presents.
	w.revoke(renewed)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "blocked", dps.Disabled, "0 1", renewed, d)
	w.atHub(state.AssignedHub, "pump-1", "disabled", "mintmark: revoked")
	w.shutOut(renewed)
	w.shutOut(d)

	// A new certificate lets it in again.
	fresh := w.issue("line", "pump-1")
	w.tell(target, "pump-1")
	if e := w.enrollment("pump-1"); e != nil {
		t.Errorf("a new certificate: %+v", e)
	}
	w.atHub(state.AssignedHub, "pump-1", "enabled", "")
	if _, err := w.register(fresh); err != nil {
		t.Error(err)
	}

	w.hold("pump-1", ledger.Retired)
	w.tell(target, "pump-1")
	w.shutOut(fresh)
	w.atHub(state.AssignedHub, "pump-1", "disabled", "mintmark: retired")
}

// atHub checks the status of an identity.
func (w *world) atHub(host, id, status, reason string) {
	w.t.Helper()
	d, err := w.hub(host).Device(w.t.Context(), id)
	w.ok(err)
	if d.Status != status || d.StatusReason != reason {
		w.t.Errorf("%s at %s is %s (%q) instead of %s (%q)", id, host, d.Status, d.StatusReason, status, reason)
	}
}

// shutOut checks that a device is refused for its enrollment, with the documented text.
func (w *world) shutOut(d device) {
	w.t.Helper()
	if state, err := w.register(d); err == nil || !strings.Contains(err.Error(), "401002") {
		w.t.Errorf("%s is let in: %+v, %v", d.Device, state, err)
	}
}

// TestPinnedLife: hold and release of a pinned device, another's hand in between, and the
// end of its last certificate.
func TestPinnedLife(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	state, err := w.register(d)
	w.ok(err)

	w.hold("pump-1", ledger.Held)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "blocked", dps.Disabled, "0 -", d)
	w.atHub(state.AssignedHub, "pump-1", "disabled", "mintmark: held")
	w.shutOut(d)
	w.hold("pump-1", ledger.Expected)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 -", d)
	w.atHub(state.AssignedHub, "pump-1", "enabled", "")
	if _, err := w.register(d); err != nil {
		t.Error(err)
	}

	// What somebody has disabled at Azure stays so, also through hold and release.
	e := w.enrollment("pump-1")
	e.Status = dps.Disabled
	_, err = w.dps().PutEnrollment(t.Context(), *e)
	w.ok(err)
	for _, state := range []ledger.DeviceState{ledger.Held, ledger.Expected} {
		w.hold("pump-1", state)
		w.tell(target, "pump-1")
		w.want(w.enrollment("pump-1"), "pinned", dps.Disabled, "0 -", d)
	}
	e = w.enrollment("pump-1")
	e.Status = dps.Enabled
	_, err = w.dps().PutEnrollment(t.Context(), *e)
	w.ok(err)

	// Expired: it stays, and is there when the device comes back.
	w.advance(2 * 365 * 24 * time.Hour)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 -", d)
	back := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 -", back)
	if _, err := w.register(back); err != nil {
		t.Error(err)
	}
}

// TestHubOfOthers: identities that are not ours to stop, and those that another has
// stopped, are left alone.
func TestHubOfOthers(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1")
	state, err := w.register(d)
	w.ok(err)
	registry := w.hub(state.AssignedHub)
	identity, err := registry.Device(t.Context(), "pump-1")
	w.ok(err)
	_, err = registry.SetStatus(t.Context(), identity, "disabled", "stolen")
	w.ok(err)
	w.hold("pump-1", ledger.Held)
	w.tell(target, "pump-1")
	w.atHub(state.AssignedHub, "pump-1", "disabled", "stolen")
	w.hold("pump-1", ledger.Expected)
	w.tell(target, "pump-1")
	w.atHub(state.AssignedHub, "pump-1", "disabled", "stolen")

	// An identity with another's certificate, at a hub that the registration names.
	other := w.certify("line", "pump-2")
	otherState, err := w.register(other)
	w.ok(err)
	mine := w.issue("line", "pump-2")
	w.hold("pump-2", ledger.Held)
	w.tell(target, "pump-2")
	w.shutOut(mine)
	w.atHub(otherState.AssignedHub, "pump-2", "enabled", "")

	// Where DPS cannot be told, the hub is all the same.
	fourth := w.issue("line", "pump-4")
	fourthState, err := w.register(fourth)
	w.ok(err)
	w.hold("pump-4", ledger.Held)
	w.sim.Inject(dpssim.Fault{Operation: "enrollments.put", Status: 403, Code: 403001})
	if errs := w.deliver(w.devices(), target, "pump-4"); errs[0] == nil {
		t.Error("it was told to nobody")
	}
	w.atHub(fourthState.AssignedHub, "pump-4", "disabled", "mintmark: held")
	w.sim.ClearFaults()
	w.tell(target, "pump-4")
	w.shutOut(fourth)

	// A hub that is not configured is not asked.
	third := w.issue("line", "pump-3")
	thirdState, err := w.register(third)
	w.ok(err)
	target.Hubs = nil
	w.hold("pump-3", ledger.Held)
	w.tell(target, "pump-3")
	w.shutOut(third)
	w.atHub(thirdState.AssignedHub, "pump-3", "enabled", "")
}

// TestDeliverErrors: each task has its own error, and what can be told is told.
func TestDeliverErrors(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	target.Enrollments[0].Tags["mac"] = "${field.mac}"
	w.list("one", ledger.Listing{Device: "pump-1", Fields: map[string]string{"mac": "00-11"}}, ledger.Listing{Device: "pump-2"})
	for _, name := range []string{"pump-1", "pump-2", "pump 3"} {
		w.issue("line", name, ofProfile("pinned"))
	}
	tasks := dpsreg.TasksForDevice([]dpsreg.Target{target}, "pump-1")
	tasks = append(tasks, ledger.Task{Kind: dpsreg.TaskKind(target), Key: "device/pump-1", Payload: []byte(`{"id":"pump-2"}`)})
	for _, name := range []string{"pump-2", "pump 3", "nobody"} {
		tasks = append(tasks, dpsreg.TasksForDevice([]dpsreg.Target{target}, name)...)
	}
	errs := w.devices().Deliver(t.Context(), target, tasks)
	for i, want := range []string{"", "another device", "nothing for ${field.mac}", "no registration id", ""} {
		if want == "" && errs[i] != nil || want != "" && (errs[i] == nil || !strings.Contains(errs[i].Error(), want)) {
			t.Errorf("task %d: %v", i, errs[i])
		}
	}
	if e := w.enrollment("pump-1"); e == nil || e.Twin.Tags["mac"] != "00-11" {
		t.Errorf("%+v", e)
	}
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if left := sorted(drift.Left); len(left) != 2 || !strings.HasPrefix(left[0], "pump 3: ") || !strings.HasPrefix(left[1], "pump-2: ") || !strings.Contains(left[1], "nothing for ${field.mac}") {
		t.Errorf("a person is told of %v", left)
	}
	// With what it lacks, it is told at last.
	w.list("two", ledger.Listing{Device: "pump-2", Fields: map[string]string{"mac": "00-22"}})
	w.tell(target, "pump-2")
	if e := w.enrollment("pump-2"); e == nil || e.Twin.Tags["mac"] != "00-22" {
		t.Errorf("%+v", e)
	}
}

// TestNotWantedAnyMore: what was made for a device that is not pinned any more goes.
func TestNotWantedAnyMore(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	target.Enrollments = nil
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if e := w.enrollment("pump-1"); e != nil || len(drift.Repaired) != 1 || drift.Repaired[0] != (dpsreg.Finding{Device: "pump-1", What: "deleted"}) {
		t.Errorf("%+v, %+v", e, drift)
	}
	if _, err := w.register(d); err != nil {
		t.Errorf("by its group: %v", err)
	}
}

// TestRevokedOutlives: a revoked certificate that was superseded blocks its device when the
// newer one has expired, for as long as DPS would take it.
func TestRevokedOutlives(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	old := w.issue("line", "pump-1", func(c *ledger.Certificate) { c.NotAfter = c.NotBefore.Add(48 * time.Hour) })
	newer := w.renew(old, func(c *ledger.Certificate) { c.NotAfter = c.NotBefore.Add(24 * time.Hour) })
	w.revoke(old)
	w.tell(target, "pump-1")
	if _, err := w.register(newer); err != nil {
		t.Fatal(err)
	}
	w.advance(25 * time.Hour)
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Repaired) != 1 {
		t.Errorf("%+v", drift)
	}
	w.shutOut(old)
	back := w.issue("line", "pump-1")
	w.tell(target, "pump-1")
	if _, err := w.register(back); err != nil {
		t.Errorf("a new certificate does not end it: %v", err)
	}
}

// TestRevokedExpires: and no longer.
func TestRevokedExpires(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	old := w.issue("line", "pump-1", func(c *ledger.Certificate) { c.NotAfter = c.NotBefore.Add(48 * time.Hour) })
	w.renew(old, func(c *ledger.Certificate) { c.NotAfter = c.NotBefore.Add(24 * time.Hour) })
	w.revoke(old)
	w.advance(25 * time.Hour)
	w.tell(target, "pump-1")
	w.shutOut(old)
	w.advance(25 * time.Hour)
	_, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if e := w.enrollment("pump-1"); e != nil {
		t.Errorf("%+v", e)
	}
}
