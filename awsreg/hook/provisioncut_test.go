package hook

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/awsreg/awssim"
)

// Every call of a first admission and of a replacement is cut off once, without
// and with its effect. The device asks again with the same certificate and gets
// it; one unit is used, and one certificate at most can be in service.
func TestProvisionCutOff(t *testing.T) {
	for _, replaces := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("replaces %t, after effect %t", replaces, after), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					w, p := newProvisioner(t)
					certificate := 1
					if replaces {
						w.answered(p, asks("SN-007", 1), "")
						w.certs.set(idOf(1), pending)
						w.now, certificate = now.Add(time.Minute), 2
					}
					w.sim.Inject(awssim.Fault{Operation: "dynamodb:*", Nth: n, Cut: true, AfterEffect: after})
					_, err := p.Handle(t.Context(), here, asks("SN-007", certificate))
					if err == nil {
						if n < 8 {
							t.Fatalf("call %d was never made", n)
						}
						return
					}
					w.answered(p, asks("SN-007", certificate), "")
					w.admittedOnce(certificate)
				}
			})
		}
	}
}

// admittedOnce checks that a device has one certificate and its order one unit
// less.
func (w *world) admittedOnce(certificate int) {
	w.t.Helper()
	taken, err := w.table().taken(context.Background(), "SN-007")
	if err != nil || taken.CertificateID != idOf(certificate) || w.used("WO-1") != 1 {
		w.t.Fatalf("%+v, %v, %d units", taken, err, w.used("WO-1"))
	}
	if d := w.device("press_SN-007"); d.Current != idOf(certificate) || d.Next != "" {
		w.t.Fatalf("rotation is %+v", d)
	}
	if status := w.certs.is(idOf(1)); certificate != 1 && status != revoked {
		w.t.Fatalf("the replaced certificate is %s", status)
	}
}

// The same for the calls to AWS IoT Core.
func TestProvisionReplaceCutOffAtAWS(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; n <= 3; n++ {
			w, p := newProvisioner(t)
			w.answered(p, asks("SN-007", 1), "")
			w.certs.set(idOf(1), pending)
			w.now = now.Add(time.Minute)
			w.certs.calls, w.certs.failAt, w.certs.persist = 0, n, after
			_, err := p.Handle(t.Context(), here, asks("SN-007", 2))
			if err == nil && !(n == 2 && after) { // whose effect reading it back shows
				t.Fatalf("call %d was never made", n)
			}
			w.answered(p, asks("SN-007", 2), "")
			w.admittedOnce(2)
		}
	}
}

// Many ask for one serial number at once, each with a certificate of their own:
// one is admitted.
func TestProvisionRaceForOne(t *testing.T) {
	w, p := newProvisioner(t)
	admitted := race(t, p, 20, func(i int) HookEvent {
		w.certs.set(idOf(i+1), pending)
		return asks("SN-007", i+1)
	})
	taken, err := w.table().taken(t.Context(), "SN-007")
	if err != nil || len(admitted) != 1 || admitted[0] != taken.CertificateID || w.used("WO-1") != 1 {
		t.Errorf("%d were admitted, %+v, %v, %d units", len(admitted), taken, err, w.used("WO-1"))
	}
	if len(w.certs.updated) != 0 {
		t.Errorf("certificates were updated: %v", w.certs.updated)
	}
}

// Later, when its certificate has come to nothing: again one.
func TestProvisionRaceToReplace(t *testing.T) {
	w, p := newProvisioner(t)
	w.answered(p, asks("SN-007", 100), "")
	w.certs.set(idOf(100), pending)
	w.now = now.Add(time.Minute)
	admitted := race(t, p, 20, func(i int) HookEvent {
		w.certs.set(idOf(i+1), pending)
		return asks("SN-007", i+1)
	})
	taken, err := w.table().taken(t.Context(), "SN-007")
	if err != nil || len(admitted) != 1 || admitted[0] != taken.CertificateID || w.used("WO-1") != 1 {
		t.Errorf("%d were admitted, %+v, %v, %d units", len(admitted), taken, err, w.used("WO-1"))
	}
}

// Of an order of N, N devices are admitted, whoever asks.
func TestProvisionRaceForOrder(t *testing.T) {
	w, p := newProvisioner(t)
	admitted := race(t, p, 30, func(i int) HookEvent { return asks(fmt.Sprintf("SN-%03d", i+1), i+1) })
	if len(admitted) != 3 || w.used("WO-1") != 3 {
		t.Errorf("%d were admitted, %d units", len(admitted), w.used("WO-1"))
	}
}

// race hands events in at once and returns the certificates that were admitted.
func race(t *testing.T, p *Provisioner, n int, event func(i int) HookEvent) []string {
	t.Helper()
	var mu sync.Mutex
	var admitted []string
	var wg sync.WaitGroup
	for i := range n {
		e := event(i)
		wg.Go(func() {
			answer, err := p.Handle(context.Background(), here, e)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if answer.AllowProvisioning {
				admitted = append(admitted, e.CertificateID)
			}
		})
	}
	wg.Wait()
	return admitted
}

// What is closed, held or revoked between the look at it and the decision counts.
func TestProvisionChangedMeanwhile(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		reason Reason
	}{
		"closed": {func(w *world) { order(func(o *Order) { o.State = "closed" })(w, nil, nil) }, OrderClosed},
		"held":   {func(w *world) { w.put(HeldItem("press_SN-007", "SN-007")) }, Held},
		"revoked": {func(w *world) {
			w.put(Entry{CertificateID: claimID, Device: "x", Serial: "01", State: Revoked}.Items()...)
		}, IsRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := newProvisioner(t)
			p.Dynamo = meanwhile{p.Dynamo, func() { test.change(w) }}
			w.answered(p, asks("SN-007", 1), test.reason)
			if w.used("WO-1") != 0 || w.item(tableName, TakenKey("SN-007")) != "" {
				t.Error("something was written")
			}
		})
	}
}

// A decision that does not come in time is a refusal, in time.
func TestProvisionTooLate(t *testing.T) {
	for _, operation := range []string{"dynamodb:GetItem", "dynamodb:TransactWriteItems"} {
		w, p := newProvisioner(t)
		p.Limit = 50 * time.Millisecond
		w.sim.Inject(awssim.Fault{Operation: operation, Latency: 20 * time.Second})
		answer, err := p.Handle(t.Context(), here, asks("SN-007", 1))
		if err == nil || answer.AllowProvisioning || !strings.Contains(err.Error(), "no decision in time") {
			t.Errorf("%s: %+v, %v", operation, answer, err)
		}
	}
}
