package dpsreg_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"mintmark/internal/ledger"
)

// TestConverge changes devices in every way while they are told of, handed over and
// compared by several processes at once. Every change is told after it was recorded, as
// the outbox does. Once all of it has been told, Azure is what the ledger says: nothing
// older has overwritten anything newer.
func TestConverge(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	const devices, changes = 4, 6
	ctx, stop := context.WithCancel(t.Context())
	var comparing sync.WaitGroup
	for range 2 {
		r := w.devices()
		comparing.Go(func() {
			for ctx.Err() == nil {
				// What it meets in between may be an error of a device, and is nobody's here.
				_, _ = r.Reconcile(ctx, target)
			}
		})
	}
	var changing sync.WaitGroup
	for i := range devices {
		r, name := w.devices(), fmt.Sprintf("pump-%d", i)
		profile := []string{"pinned", "device"}[i%2]
		change := rand.New(rand.NewPCG(7, uint64(i)))
		d := w.issue("line", name, ofProfile(profile))
		changing.Go(func() {
			tell := func() {
				for range 50 {
					if errs := w.deliver(r, target, name); errs[0] == nil {
						return
					}
				}
				t.Errorf("%s cannot be told", name)
			}
			tell()
			if _, err := w.register(d); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			held := false
			for range changes {
				switch n := change.IntN(4); {
				case held || n == 0:
					held = !held
					state := ledger.Expected
					if held {
						state = ledger.Held
					}
					w.hold(name, state)
				case n == 1:
					w.revoke(d)
					tell()
					d = w.issue("line", name, ofProfile(profile))
				default:
					d = w.renew(d)
					for range 50 {
						if err := r.Handover(ctx, target, d.Certificate); err == nil {
							break
						}
					}
				}
				tell()
			}
		})
	}
	changing.Wait()
	stop()
	comparing.Wait()
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Repaired)+len(drift.Left)+len(drift.Promoted) > 0 {
		t.Errorf("%+v", drift)
	}
	for i := range devices {
		name := fmt.Sprintf("pump-%d", i)
		device, err := w.ledger().Device(t.Context(), name)
		w.ok(err)
		for _, h := range target.Hubs {
			identity, err := w.hub(h.Host).Device(t.Context(), name)
			if isMissing(err) {
				continue
			}
			w.ok(err)
			if want := map[bool]string{true: "disabled", false: "enabled"}[device.State == ledger.Held]; identity.Status != want {
				t.Errorf("%s is %s, and its identity %s (%s)", name, device.State, identity.Status, identity.StatusReason)
			}
		}
	}
}
