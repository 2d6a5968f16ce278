package dpsreg_test

import (
	"context"
	"testing"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

// overtaken is a ledger whose readers are overtaken: what they have read is old by the
// time that they have it.
type overtaken struct {
	dpsreg.Records
	then func()
}

func (o *overtaken) Device(ctx context.Context, id string) (ledger.Device, error) {
	d, err := o.Records.Device(ctx, id)
	if then := o.then; then != nil {
		o.then = nil
		then()
	}
	return d, err
}

// TestOlderNeverOverwrites: between one process's reading of the ledger and its writing to
// Azure, the device is held and another process tells Azure. The first one must see that.
func TestOlderNeverOverwrites(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	state, err := w.register(d)
	w.ok(err)
	renewed := w.renew(d)
	hold := func() {
		w.hold("pump-1", ledger.Held)
		w.tell(target, "pump-1")
	}
	slow := &overtaken{Records: w.ledger(), then: hold}
	r := w.devicesOf(slow)
	if err := r.Handover(t.Context(), target, renewed.Certificate); err == nil {
		t.Error("a held device gets a certificate that lets it in")
	}
	w.want(w.enrollment("pump-1"), "blocked", dps.Disabled, "0 -", d)
	w.shutOut(d)

	// The other way round: it is released while somebody stops it.
	w.hold("pump-1", ledger.Expected)
	w.tell(target, "pump-1")
	w.atHub(state.AssignedHub, "pump-1", "enabled", "")
	w.hold("pump-1", ledger.Held)
	slow.then = func() {
		slow.then = func() { // the reading that follows that of the enrollment
			w.hold("pump-1", ledger.Expected)
			w.tell(target, "pump-1")
		}
	}
	for _, err := range w.deliver(r, target, "pump-1") {
		w.ok(err)
	}
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 1", d, renewed)
	w.atHub(state.AssignedHub, "pump-1", "enabled", "")
}

// TestReconcileHubs: an identity that somebody has enabled is disabled again, while its
// device is blocked.
func TestReconcileHubs(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1")
	state, err := w.register(d)
	w.ok(err)
	w.hold("pump-1", ledger.Held)
	w.tell(target, "pump-1")
	identity, err := w.hub(state.AssignedHub).Device(t.Context(), "pump-1")
	w.ok(err)
	_, err = w.hub(state.AssignedHub).SetStatus(t.Context(), identity, "enabled", "")
	w.ok(err)
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Repaired) != 1 || drift.Repaired[0].What != "disabled at "+state.AssignedHub {
		t.Errorf("%+v", drift)
	}
	w.atHub(state.AssignedHub, "pump-1", "disabled", "mintmark: held")
}
