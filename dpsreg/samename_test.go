package dpsreg_test

import (
	"strings"
	"testing"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

func ofDevice(id string) func(*ledger.Certificate) {
	return func(c *ledger.Certificate) { c.Device = id }
}

// namesBoth checks that a device is refused because another has its registration id.
func namesBoth(t *testing.T, err error, device, other string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), `device "`+device+`"`) || !strings.Contains(err.Error(), `device "`+other+`"`) {
		t.Errorf("the error does not name %s and %s: %v", device, other, err)
	}
}

// TestSameName: of two devices with one common name, the enrollment of the first stays
// what it is, whatever becomes of the second.
func TestSameName(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	a := w.issue("line", "pump-1", ofProfile("pinned"), ofDevice("sn-1"))
	w.tell(target, "sn-1")
	b := w.issue("line", "pump-1", ofProfile("pinned"), ofDevice("sn-2"))
	unchanged := func(what string) {
		t.Helper()
		w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 -", a, b)
		if _, err := w.register(a); err != nil {
			t.Errorf("%s: the first one is not let in: %v", what, err)
		}
		if _, err := w.register(b); err == nil {
			t.Errorf("%s: the second one is let in", what)
		}
	}
	namesBoth(t, w.deliver(w.devices(), target, "sn-2")[0], "sn-2", "sn-1")
	unchanged("told")
	renewed := w.issue("line", "pump-1", ofProfile("pinned"), ofDevice("sn-2"), func(c *ledger.Certificate) {
		c.Requester = ledger.Requester{Kind: "certificate", Name: string(b.Serial)}
	})
	namesBoth(t, w.devices().Handover(t.Context(), target, renewed.Certificate), "sn-2", "sn-1")
	unchanged("handed over")
	for range 2 {
		drift, err := w.devices().Reconcile(t.Context(), target)
		w.ok(err)
		if len(drift.Left) != 1 || drift.Left[0].Device != "sn-2" || !strings.Contains(drift.Left[0].What, `device "sn-1"`) || len(drift.Repaired) > 0 {
			t.Errorf("%+v", drift)
		}
		unchanged("compared")
	}
	w.hold("sn-2", ledger.Held)
	err := w.deliver(w.devices(), target, "sn-2")[0]
	if namesBoth(t, err, "sn-2", "sn-1"); err != nil && !strings.Contains(err.Error(), "held") {
		t.Errorf("it does not say that the device is held: %v", err)
	}
	unchanged("held")
	w.hold("sn-2", ledger.Expected)
	w.deliver(w.devices(), target, "sn-2")
	unchanged("released")

	// Both at once.
	w.issue("line", "pump-2", ofProfile("pinned"), ofDevice("sn-3"))
	w.issue("line", "pump-2", ofProfile("pinned"), ofDevice("sn-4"))
	errs := w.deliver(w.devices(), target, "sn-3", "sn-4")
	if errs[0] != nil {
		t.Error(errs[0])
	}
	namesBoth(t, errs[1], "sn-4", "sn-3")
}

// TestSameNameByCase: registration ids do not differ by case, devices of the ledger do.
func TestSameNameByCase(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	a := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	b := w.issue("line", "PUMP-1", ofProfile("pinned"))
	namesBoth(t, w.deliver(w.devices(), target, "PUMP-1")[0], "PUMP-1", "pump-1")
	w.hold("PUMP-1", ledger.Held)
	namesBoth(t, w.deliver(w.devices(), target, "PUMP-1")[0], "PUMP-1", "pump-1")
	before := w.state()
	for range 2 {
		drift, err := w.devices().Reconcile(t.Context(), target)
		w.ok(err)
		if len(drift.Left) != 1 || drift.Left[0].Device != "PUMP-1" {
			t.Errorf("%+v", drift)
		}
	}
	if w.state() != before {
		t.Error("comparing changes something")
	}
	if _, err := w.register(a); err != nil {
		t.Error(err)
	}
	w.shutOut(b)
}

// TestSameNameBlocked: with groups, the block of one keeps both out, which is all that
// DPS can do; the other's release does not undo it.
func TestSameNameBlocked(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	a, b := w.issue("line", "pump-1"), w.issue("line", "PUMP-1")
	state, err := w.register(b)
	w.ok(err)
	w.hold("PUMP-1", ledger.Held)
	w.tell(target, "PUMP-1")
	w.shutOut(b)
	w.atHub(state.AssignedHub, "pump-1", "disabled", "mintmark: held")
	for _, s := range []ledger.DeviceState{ledger.Held, ledger.Expected} {
		w.hold("pump-1", s)
		namesBoth(t, w.deliver(w.devices(), target, "pump-1")[0], "pump-1", "PUMP-1")
		w.shutOut(b)
		w.atHub(state.AssignedHub, "pump-1", "disabled", "mintmark: held")
	}
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Left) != 1 || drift.Left[0].Device != "pump-1" || !strings.Contains(drift.Left[0].What, `device "PUMP-1"`) {
		t.Errorf("%+v", drift)
	}
	w.hold("PUMP-1", ledger.Expected)
	w.tell(target, "PUMP-1")
	w.tell(target, "pump-1")
	if _, err := w.register(a); err != nil {
		t.Error(err)
	}
}

// TestSameNameForeign: what was disabled for one device, and is another's, is not enabled for
// a second one with its name.
func TestSameNameForeign(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	a := w.issue("line", "pump-1", ofDevice("sn-1"))
	w.operator("pump-1", clientSlots(a))
	w.hold("sn-1", ledger.Held)
	w.tell(target, "sn-1")
	w.want(w.enrollment("pump-1"), "disabled", dps.Disabled, "0 -", a)
	w.issue("line", "pump-1", ofDevice("sn-2"))
	w.hold("sn-2", ledger.Held)
	w.hold("sn-2", ledger.Expected)
	namesBoth(t, w.deliver(w.devices(), target, "sn-2")[0], "sn-2", "sn-1")
	w.want(w.enrollment("pump-1"), "disabled", dps.Disabled, "0 -", a)
}

// TestSameNameAtHub: an identity that was disabled for one device is not enabled for
// another, whose registration names it.
func TestSameNameAtHub(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	a := w.issue("line", "pump-1", ofDevice("sn-1"))
	state, err := w.register(a)
	w.ok(err)
	w.issue("line", "pump-1", ofDevice("sn-2"))
	w.hold("sn-2", ledger.Held)
	w.hold("sn-2", ledger.Expected)
	w.hold("sn-1", ledger.Held)
	w.tell(target, "sn-1")
	w.remove("pump-1") // by a person
	w.deliver(w.devices(), target, "sn-2")
	w.atHub(state.AssignedHub, "pump-1", "disabled", "mintmark: held")
}
