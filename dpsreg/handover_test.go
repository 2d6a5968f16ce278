package dpsreg_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/ledger"
)

// TestHandover renews a pinned device: the new certificate is in the second slot before
// the device has it, and in the first once the device has registered by it.
func TestHandover(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	old := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	_, err := w.register(old)
	w.ok(err)

	w.advance(time.Hour)
	renewed := w.renew(old)
	r := w.devices()
	for range 2 { // the same again, for a repeated request
		w.ok(r.Handover(t.Context(), target, renewed.Certificate))
		w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 1", old, renewed)
	}
	// Both let it in. The task that came with the certificate has nothing more to do.
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 1", old, renewed)
	w.advance(time.Hour)
	for _, d := range []device{old, renewed} {
		if _, err := w.register(d); err != nil {
			t.Fatal(err)
		}
	}
	r = w.devices() // its token is old
	drift, err := r.Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Promoted) != 1 || drift.Promoted[0] != "pump-1" || len(drift.Repaired)+len(drift.Left) > 0 {
		t.Errorf("%+v", drift)
	}
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "1 0", old, renewed)
	// The next renewal, asked for by the new one, and the first is out of force.
	w.revoke(old)
	third := w.renew(renewed)
	w.ok(r.Handover(t.Context(), target, third.Certificate))
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "1 2", old, renewed, third)
	w.advance(time.Hour)
	_, err = w.register(third)
	w.ok(err)
	w.revoke(renewed)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "2 -", old, renewed, third)
	if state, err := w.register(old); err == nil {
		t.Errorf("a revoked certificate that is in no slot lets it in: %+v", state)
	}
}

// TestHandoverMakes: an enrollment that is not there yet, or not any more, is made.
func TestHandoverMakes(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	old := w.issue("line", "pump-1", ofProfile("pinned"))
	renewed := w.renew(old)
	w.ok(w.devices().Handover(t.Context(), target, renewed.Certificate))
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 1", old, renewed)
}

// TestHandoverRefuses says why a certificate is not one that a device should get.
func TestHandoverRefuses(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	old := w.issue("line", "pump-1", ofProfile("pinned"))
	first, second := w.renew(old), w.renew(old, func(c *ledger.Certificate) { c.IssuedAt = c.IssuedAt.Add(time.Second) })
	err := w.devices().Handover(t.Context(), target, first.Certificate)
	if err == nil || !strings.Contains(err.Error(), "newer ones have taken its place") {
		t.Errorf("%v", err)
	}
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 2", old, first, second)
	w.hold("pump-1", ledger.Held)
	err = w.devices().Handover(t.Context(), target, second.Certificate)
	if err == nil || !strings.Contains(err.Error(), "the device is held") {
		t.Errorf("%v", err)
	}
	w.shutOut(second)

	stranger := w.certify("line", "stranger")
	d := w.issue("line", "pump-2", ofProfile("pinned"))
	w.operator("pump-2", clientSlots(stranger))
	if err := w.devices().Handover(t.Context(), target, d.Certificate); err == nil || !strings.Contains(err.Error(), "not mintmark's") {
		t.Errorf("%v", err)
	}
}

// TestHandoverOfOthers: what is not pinned, and what could not register anyway, costs no
// call.
func TestHandoverOfOthers(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	calls := len(w.sim.Calls())
	for _, d := range []device{
		w.issue("line", "pump-1"),
		w.issue("line", "pump 2", ofProfile("pinned")),
		w.issue("line", "pump-3", ofProfile("pinned"), func(c *ledger.Certificate) { c.Purpose = ledger.ForGateway }),
	} {
		w.ok(w.devices().Handover(t.Context(), target, d.Certificate))
	}
	if made := w.sim.Calls()[calls:]; len(made) > 0 {
		t.Errorf("%v", made)
	}
}

// TestHandoverRaces: what another changes at Azure in between is read again.
func TestHandoverRaces(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(*world, device)
		fault  dpssim.Fault
	}{
		{"another version", func(w *world, _ device) {}, dpssim.Fault{Operation: "enrollments.put", Times: 2, Status: 412, Code: 412001}},
		{"made in between", func(w *world, _ device) { w.remove("pump-1") }, dpssim.Fault{Operation: "enrollments.put", Times: 1, Status: 409, Code: 409201, AfterEffect: true}},
		{"the answer is lost", func(w *world, _ device) {}, dpssim.Fault{Operation: "enrollments.put", Times: 1, AfterEffect: true}},
		{"the call is lost", func(w *world, _ device) {}, dpssim.Fault{Operation: "enrollments.get", Times: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			target := w.pinned()
			old := w.issue("line", "pump-1", ofProfile("pinned"))
			w.tell(target, "pump-1")
			renewed := w.renew(old)
			tt.before(w, renewed)
			w.sim.Inject(tt.fault)
			w.ok(w.devices().Handover(t.Context(), target, renewed.Certificate))
			w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 1", old, renewed)
		})
	}
}

func (w *world) remove(id string) {
	w.t.Helper()
	w.ok(w.dps().DeleteEnrollment(w.t.Context(), id, w.enrollment(id).Etag))
}

// TestHandoverAway: while Azure is away it is an error, in the time that the caller has.
func TestHandoverAway(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	old := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	renewed := w.renew(old)
	w.sim.Inject(dpssim.Fault{Operation: "enrollments.put", Status: 500})
	if err := w.devices().Handover(t.Context(), target, renewed.Certificate); err == nil {
		t.Error("it was told to nobody")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.devices().Handover(ctx, target, renewed.Certificate); err == nil {
		t.Error("nobody waited for it")
	}
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 -", old, renewed)
}

// TestTasksFor: only what concerns a target is told. What is urgent has a ! here.
func TestTasksFor(t *testing.T) {
	w := newWorld(t)
	pins := dpsreg.Target{Name: "pins", Enrollments: []dpsreg.Enrollment{{Name: "pins", Profiles: []string{"pinned"}}}}
	root := dpsreg.Target{Name: "root", Groups: []dpsreg.Group{{ID: "all", Anchors: []string{"root"}}}}
	line := dpsreg.Target{Name: "line", Groups: []dpsreg.Group{{ID: "auto", Anchors: []string{"auto"}}, {ID: "line", Anchors: []string{"lone", "line"}}}}
	other := dpsreg.Target{Name: "other", Groups: []dpsreg.Group{{ID: "gone", Anchors: []string{"no such authority"}}, {ID: "two", Anchors: []string{"root2"}}}}
	all := []dpsreg.Target{pins, root, line, other}
	r := w.devices()
	boot := ledger.Certificate{Purpose: ledger.ForDevice, Device: "pump-1", Issuer: "line", Profile: "device", State: ledger.Valid, Requester: ledger.Requester{Kind: "order"}}
	for _, tt := range []struct {
		name   string
		change func(*ledger.Certificate)
		want   string
	}{
		{"bootstrapped", func(*ledger.Certificate) {}, "root! line!"},
		{"renewed by itself", func(c *ledger.Certificate) { c.Requester.Kind = "certificate" }, ""},
		{"under another root", func(c *ledger.Certificate) { c.Issuer = "line2" }, "other!"},
		{"under no CA of ours", func(c *ledger.Certificate) { c.Issuer = "unknown" }, ""},
		{"under the root itself", func(c *ledger.Certificate) { c.Issuer = "root" }, "root!"},
		{"pinned", func(c *ledger.Certificate) { c.Profile = "pinned" }, "pins root! line!"},
		{"pinned, renewed by itself", func(c *ledger.Certificate) { c.Profile, c.Requester.Kind = "pinned", "certificate" }, "pins"},
		{"revoked", func(c *ledger.Certificate) { c.State = ledger.Revoked }, "pins! root! line! other!"},
		{"revoked, renewed by itself", func(c *ledger.Certificate) { c.State, c.Requester.Kind = ledger.Revoked, "certificate" }, "pins! root! line! other!"},
		{"of a gateway", func(c *ledger.Certificate) { c.Purpose = ledger.ForGateway }, ""},
		{"of a gateway, revoked", func(c *ledger.Certificate) { c.Purpose, c.State = ledger.ForGateway, ledger.Revoked }, ""},
		{"of a server", func(c *ledger.Certificate) { c.Purpose, c.Device = ledger.ForServer, "" }, ""},
	} {
		c := boot
		tt.change(&c)
		var got []string
		for _, task := range r.TasksFor(all, c) {
			if task.Key != "device/pump-1" || string(task.Payload) != `{"id":"pump-1"}` {
				t.Errorf("%s: %+v", tt.name, task)
			}
			got = append(got, strings.Replace(strings.TrimPrefix(task.Kind, "azure/"), "/urgent", "!", 1))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if tasks := dpsreg.TasksForDevice(all, "pump-1"); len(tasks) != 4 || tasks[1].Kind != dpsreg.UrgentKind(root) {
		t.Errorf("%+v", tasks)
	}
}

// BenchmarkTasksFor is inside every enrollment.
func BenchmarkTasksFor(b *testing.B) {
	w := newWorld(b)
	targets := []dpsreg.Target{{Name: "root", Groups: []dpsreg.Group{{ID: "all", Anchors: []string{"root"}}}}}
	r := w.devices()
	c := ledger.Certificate{Purpose: ledger.ForDevice, Device: "pump-1", Issuer: "line", State: ledger.Valid, Requester: ledger.Requester{Kind: "order"}}
	b.ReportAllocs()
	for b.Loop() {
		if len(r.TasksFor(targets, c)) != 1 {
			b.Fatal("no task")
		}
	}
}

// TestHandoverBesideBulk: while thousands of enrollments wait for the service's quota, a
// renewal does not: eight bulk calls before each of its calls would be more than its time.
func TestHandoverBesideBulk(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	var old []device
	for i := range 5 {
		old = append(old, w.issue("line", fmt.Sprintf("renewing-%d", i), ofProfile("pinned")))
		w.tell(target, old[i].Device)
	}
	target.OpsPerMinute = 1000
	ds := w.devices()
	bulk, names := make([]device, 400), make([]string, 400)
	for i := range bulk {
		names[i] = fmt.Sprintf("bulk-%03d", i)
		bulk[i] = w.certify("line", names[i], ofProfile("pinned"))
	}
	w.record(bulk...)
	calls := len(w.sim.Calls())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan []error)
	go func() { done <- w.deliverIn(ctx, ds, target, names...) }()
	defer func() {
		cancel()
		if errs := <-done; !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
			t.Error("the bulk calls had ended before: nothing was shown")
		}
	}()
	inBulk := func() bool { return slices.Contains(w.sim.Calls()[calls:], "enrollments.bulk") }
	for deadline := time.Now().Add(time.Minute); !inBulk(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no bulk call is made")
		}
	}
	var wait sync.WaitGroup
	for _, d := range old {
		renewed := w.renew(d)
		wait.Go(func() {
			if err := ds.Handover(t.Context(), target, renewed.Certificate); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}
