package dpsreg_test

import (
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/dps"
)

// TestSupersededRenews: a certificate that was superseded is in force and renews once more: a
// thief of the old key does that, and a device that was restored from a backup. The one
// that had registered is shut out, which a person is told for as long as it is in force.
func TestSupersededRenews(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	a := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	w.advance(time.Minute)
	b := w.renew(a)
	w.ok(w.devices().Handover(t.Context(), target, b.Certificate))
	w.advance(time.Minute)
	_, err := w.register(b)
	w.ok(err)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "1 0", a, b)
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Left) > 0 {
		t.Errorf("an ordinary renewal: %+v", drift.Left)
	}
	w.advance(time.Minute)
	x := w.renew(a)
	w.ok(w.devices().Handover(t.Context(), target, x.Certificate))
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 2", a, b, x)
	state := w.state()
	for range 2 {
		drift, err := w.devices().Reconcile(t.Context(), target)
		w.ok(err)
		if len(drift.Left) != 1 || !strings.Contains(drift.Left[0].What, string(b.Serial)) || len(drift.Repaired) > 0 {
			t.Errorf("%+v", drift)
		}
	}
	if w.state() != state {
		t.Error("comparing changes something")
	}
	w.revoke(b)
	drift, err = w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Left) > 0 {
		t.Errorf("revoked: %+v", drift.Left)
	}
}

// TestRenewedTwice: the second renewal is by the certificate of the first one, which the device
// had no time to register by; that is nothing to tell a person either.
func TestRenewedTwice(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	a := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	w.advance(time.Minute)
	b := w.renew(a)
	w.ok(w.devices().Handover(t.Context(), target, b.Certificate))
	w.advance(time.Minute)
	c := w.renew(b)
	w.ok(w.devices().Handover(t.Context(), target, c.Certificate))
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "1 2", a, b, c)
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Left) > 0 {
		t.Errorf("%+v", drift.Left)
	}
}

// TestRenewalAgain: a device whose new certificate was lost on the way asks for another one,
// which is nothing to tell a person.
func TestRenewalAgain(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	a := w.issue("line", "pump-1", ofProfile("pinned"))
	w.tell(target, "pump-1")
	for range 2 {
		w.advance(time.Minute)
		w.ok(w.devices().Handover(t.Context(), target, w.renew(a).Certificate))
	}
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Left) > 0 {
		t.Errorf("%+v", drift.Left)
	}
}
