package hook

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

const (
	templateARN = "arn:aws:iot:eu-central-1:111122223333:provisioningtemplate/fleet"
	inactive    = types.CertificateStatusInactive
)

var claimID = strings.Repeat("c1", 32)

// admission of a fleet: a template with a prefix, an order of 3 for SN-001 to
// SN-900 with one claim.
func newProvisioner(t testing.TB) (*world, *Provisioner) {
	w := newWorld(t)
	w.put(
		Template{Name: "fleet", Fleet: "fleet", Prefix: "press_"}.Item(),
		Template{Name: "fleet-rotation", Fleet: "fleet", Prefix: "press_", Rotation: true}.Item(),
		someOrder().Item(),
		Claim{CertificateID: claimID, Order: "WO-1"}.Item(),
	)
	return w, &Provisioner{
		IoT: w.certs, Dynamo: w.dynamo, Table: tableName, Rotation: rotationName, Now: w.clock, Logger: w.log.logger(),
		Limit: 30 * time.Second, // a busy machine is no reason to refuse, in tests
	}
}

func someOrder() Order {
	return Order{
		ID: "WO-1", State: "open", Template: "fleet", Quantity: 3,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour), Ranges: []string{"SN-001..SN-900"},
	}
}

// asks is the event of a device with a new certificate.
func asks(device string, certificate int) HookEvent {
	return HookEvent{
		ClaimCertificateID: claimID, CertificateID: idOf(certificate), CertificatePEM: "pem", TemplateARN: templateARN,
		ClientID: "c", Parameters: map[string]string{SerialNumber: device},
	}
}

func TestProvision(t *testing.T) {
	tests := []struct {
		name   string
		change func(*world, *Provisioner, *HookEvent)
		reason Reason // of the refusal; empty for none
	}{
		{"expected", func(*world, *Provisioner, *HookEvent) {}, ""},
		{"no rotation", func(_ *world, p *Provisioner, _ *HookEvent) { p.Rotation = "" }, ""},
		{"on the list", func(w *world, _ *Provisioner, _ *HookEvent) {
			o := someOrder()
			o.Listed = true
			w.put(o.Item(), ExpectedItem("SN-007", "WO-1"))
		}, ""},
		{"its own parameters are overridden", func(_ *world, _ *Provisioner, e *HookEvent) { e.Parameters[CertDate] = "19700101" }, ""},
		{"issued to it by us", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.put(Entry{CertificateID: idOf(1), Device: "SN-007", Thing: "SN-007", Serial: "0a", CA: caID, NotAfter: now.Add(time.Hour), State: Valid}.Items()...)
		}, ""},
		{"entered by the server already", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(1), IssuedAt: now})
		}, ""},
		{"entered with a certificate that was never in service", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(9), IssuedAt: now})
			w.certs.set(idOf(9), pending)
		}, ""},
		{"entered as the next of ones that were never in service", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(9), IssuedAt: now, Next: idOf(1), NextAt: now, Replaced: []string{idOf(7)}})
			w.certs.set(idOf(9), pending)
			w.certs.set(idOf(7), pending)
		}, ""},
		{"another device of that name is held elsewhere", func(w *world, _ *Provisioner, _ *HookEvent) { w.put(HeldItem("SN-007", "007")) }, ""},

		{"template of another account", func(_ *world, _ *Provisioner, e *HookEvent) {
			e.TemplateARN = strings.Replace(templateARN, "111122223333", "444455556666", 1)
		}, WrongTemplate},
		{"template of another region", func(_ *world, _ *Provisioner, e *HookEvent) {
			e.TemplateARN = strings.Replace(templateARN, "eu-central-1", "us-east-1", 1)
		}, WrongTemplate},
		{"no template", func(_ *world, _ *Provisioner, e *HookEvent) { e.TemplateARN = "fleet" }, WrongTemplate},
		{"template not ours", func(_ *world, _ *Provisioner, e *HookEvent) { e.TemplateARN += "2" }, WrongTemplate},
		{"template for rotation", func(_ *world, _ *Provisioner, e *HookEvent) { e.TemplateARN += "-rotation" }, WrongTemplate},
		{"template of another order", func(w *world, _ *Provisioner, e *HookEvent) {
			w.put(Template{Name: "other", Fleet: "other"}.Item())
			e.TemplateARN = strings.Replace(templateARN, "/fleet", "/other", 1)
		}, WrongTemplate},

		{"no claim", func(_ *world, _ *Provisioner, e *HookEvent) { e.ClaimCertificateID = caID }, UnknownClaim},
		{"claim revoked", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.put(Entry{CertificateID: claimID, Device: "x", Serial: "01", State: Revoked}.Items()...)
		}, IsRevoked},
		{"order not pushed", func(w *world, _ *Provisioner, _ *HookEvent) { w.remove(tableName, OrderKey("WO-1")) }, NotInManifest},
		{"order closed", order(func(o *Order) { o.State = "closed" }), OrderClosed},
		{"order killed", order(func(o *Order) { o.State = "killed" }), OrderClosed},
		{"order in an unknown state", order(func(o *Order) { o.State = "Open" }), OrderClosed},
		{"order not begun", order(func(o *Order) { o.NotBefore = now.Add(time.Second) }), OrderClosed},
		{"order ended", order(func(o *Order) { o.NotAfter = now }), OrderClosed},
		{"order of nothing", order(func(o *Order) { o.Quantity = 0 }), OrderFull},
		{"order full", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.put(Item{keyName: text(UsedKey("WO-1")), "n": number(3)})
		}, OrderFull},

		{"outside of the ranges", func(_ *world, _ *Provisioner, e *HookEvent) { e.Parameters[SerialNumber] = "SN-901" }, WrongDevice},
		{"no serial number", func(_ *world, _ *Provisioner, e *HookEvent) { delete(e.Parameters, SerialNumber) }, WrongDevice},
		{"serial number under another name", func(_ *world, _ *Provisioner, e *HookEvent) {
			e.Parameters = map[string]string{"DeviceSerial": "SN-007"}
		}, WrongDevice},
		{"no identifier", func(_ *world, _ *Provisioner, e *HookEvent) { e.Parameters[SerialNumber] = "SN-007 " }, WrongDevice},
		{"another's thing by wildcard", func(_ *world, _ *Provisioner, e *HookEvent) { e.Parameters[SerialNumber] = "*" }, WrongDevice},
		{"no name of a thing", func(w *world, _ *Provisioner, e *HookEvent) {
			o := someOrder()
			o.Ranges = nil
			w.put(o.Item())
			e.Parameters[SerialNumber] = "SN.007"
		}, WrongDevice},
		{"on no list", order(func(o *Order) { o.Listed = true }), WrongDevice},
		{"on the list of another order", func(w *world, _ *Provisioner, _ *HookEvent) {
			o := someOrder()
			o.Listed = true
			w.put(o.Item(), ExpectedItem("SN-007", "WO-2"))
		}, WrongDevice},
		{"issued to another by us", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.put(Entry{CertificateID: idOf(1), Device: "SN-008", Thing: "SN-008", Serial: "0a", CA: caID, NotAfter: now.Add(time.Hour), State: Valid}.Items()...)
		}, WrongDevice},
		{"certificate revoked", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.put(Entry{CertificateID: idOf(1), Device: "SN-007", Serial: "01", State: Revoked}.Items()...)
		}, IsRevoked},
		{"held", func(w *world, _ *Provisioner, _ *HookEvent) { w.put(HeldItem("press_SN-007", "SN-007")) }, Held},
		{"held under its own name", func(w *world, _ *Provisioner, _ *HookEvent) { w.put(HeldItem("SN-007", "SN-007")) }, Held},
		{"in service with another certificate", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(9), IssuedAt: now})
			w.certs.set(idOf(9), active)
		}, InUse},
		{"rotating", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(9), IssuedAt: now, Next: idOf(8), NextAt: now})
			w.certs.set(idOf(8), active)
		}, InUse},
		{"in service with one that was to be the next", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(9), IssuedAt: now, Replaced: []string{idOf(7), idOf(8)}})
			w.certs.set(idOf(7), pending)
			w.certs.set(idOf(8), inactive)
		}, InUse},
		{"certificate of another device", func(w *world, _ *Provisioner, _ *HookEvent) {
			w.put(Admitted{CertificateID: idOf(1), Thing: "press_SN-008", Device: "SN-008", Template: "fleet", At: now}.Item())
		}, InUse},

		{"no head", func(w *world, _ *Provisioner, _ *HookEvent) { w.remove(tableName, headKey) }, StaleManifest},
		{"stale", func(w *world, p *Provisioner, _ *HookEvent) { w.now = now.Add(25 * time.Hour) }, StaleManifest},
		{"fresh enough for the head only", func(w *world, p *Provisioner, _ *HookEvent) {
			p.MaxAge = 30 * time.Second
		}, StaleManifest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, p := newProvisioner(t)
			e := asks("SN-007", 1)
			test.change(w, p, &e)
			answer, err := p.Handle(t.Context(), here, e)
			if err != nil {
				t.Fatal(err)
			}
			taken := w.item(tableName, TakenKey("SN-007"))
			if test.reason != "" {
				if answer.AllowProvisioning || answer.ParameterOverrides != nil || !strings.Contains(w.log.String(), "reason="+string(test.reason)) {
					t.Errorf("answer is %+v, log %s", answer, w.log)
				}
				if taken != "" {
					t.Errorf("a device that was refused is %s", taken)
				}
				return
			}
			if !answer.AllowProvisioning || len(answer.ParameterOverrides) != 2 || answer.ParameterOverrides[SerialNumber] != "SN-007" || answer.ParameterOverrides[CertDate] != "20260301" {
				t.Errorf("answer is %+v, log %s", answer, w.log)
			}
			if want := fmt.Sprintf("at=%d certificate=%s claim=%s order=WO-1 pk=taken#SN-007", now.Unix(), idOf(1), claimID); taken != want {
				t.Errorf("got %s, want %s", taken, want)
			}
			if want := fmt.Sprintf("at=%d device=SN-007 pk=fleet#%s template=fleet thing=press_SN-007", now.Unix(), idOf(1)); w.item(tableName, FleetKey(idOf(1))) != want {
				t.Errorf("got %s", w.item(tableName, FleetKey(idOf(1))))
			}
			if n := w.used("WO-1"); n != 1 {
				t.Errorf("%d units are used", n)
			}
			if p.Rotation == "" {
				if w.item(rotationName, "press_SN-007") != "" {
					t.Error("it rotates")
				}
			} else if d := w.device("press_SN-007"); !reflect.DeepEqual(d, Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(1), IssuedAt: now}) {
				t.Errorf("rotation is %+v", d)
			}
		})
	}
}

// order changes the order of a test.
func order(change func(*Order)) func(*world, *Provisioner, *HookEvent) {
	return func(w *world, _ *Provisioner, _ *HookEvent) {
		o := someOrder()
		change(&o)
		w.put(o.Item())
	}
}

// answered hands an event in and wants it allowed, or refused for a reason.
func (w *world) answered(p *Provisioner, e HookEvent, want Reason) HookAnswer {
	w.t.Helper()
	before := len(w.log.String())
	answer, err := p.Handle(context.Background(), here, e)
	if err != nil {
		w.t.Fatalf("%s with %s: %v", e.Parameters[SerialNumber], e.CertificateID, err)
	}
	log := w.log.String()[before:]
	if answer.AllowProvisioning != (want == "") || want != "" && !strings.Contains(log, "reason="+string(want)) {
		w.t.Fatalf("%s with %s: %+v, want %q: %s", e.Parameters[SerialNumber], e.CertificateID, answer, want, log)
	}
	return answer
}

// The same event again gets the same answer, on whichever day, and costs nothing.
func TestProvisionAgain(t *testing.T) {
	w, p := newProvisioner(t)
	first := w.answered(p, asks("SN-007", 1), "")
	w.certs.set(idOf(1), active)
	w.now = now.Add(20 * time.Hour)
	if again := w.answered(p, asks("SN-007", 1), ""); fmt.Sprint(again) != fmt.Sprint(first) || w.used("WO-1") != 1 {
		t.Errorf("got %+v, want %+v; %d units are used", again, first, w.used("WO-1"))
	}
	// What would be refused the first time is refused the second time, too.
	w.put(HeldItem("press_SN-007", "SN-007"))
	w.answered(p, asks("SN-007", 1), Held)
	w.remove(tableName, HeldKey("press_SN-007"))
	o := someOrder()
	o.State = "killed"
	w.put(o.Item())
	w.answered(p, asks("SN-007", 1), OrderClosed)
	// Under another order it is another request.
	o.ID, o.State = "WO-2", "open"
	other := asks("SN-007", 1)
	other.ClaimCertificateID = strings.Repeat("c2", 32)
	w.put(o.Item(), Claim{CertificateID: other.ClaimCertificateID, Order: "WO-2"}.Item())
	w.answered(p, other, InUse)
}

// One process, refusal after leave after refusal: nothing sticks.
func TestProvisionWarm(t *testing.T) {
	w, p := newProvisioner(t)
	w.answered(p, asks("SN-999", 1), WrongDevice)
	w.answered(p, asks("SN-001", 1), "")
	w.answered(p, asks("SN-999", 2), WrongDevice)
	w.answered(p, asks("SN-002", 2), "")
	w.put(HeldItem("press_SN-003", "SN-003"))
	w.answered(p, asks("SN-003", 3), Held)
	w.answered(p, asks("SN-004", 4), "")
	w.answered(p, asks("SN-005", 5), OrderFull)
	// Raised at the factory, the next push tells.
	o := someOrder()
	o.Quantity = 4
	w.put(o.Item())
	w.answered(p, asks("SN-005", 5), "")
	w.answered(p, asks("SN-006", 6), OrderFull)
}

// Another certificate takes the place of one that has never been in service.
func TestProvisionReplaces(t *testing.T) {
	tests := []struct {
		name   string
		status types.CertificateStatus // of the first one; gone for none
		change func(*world)
		reason Reason
	}{
		{"pending", pending, nil, ""},
		{"gone", gone, nil, ""},
		{"active", active, nil, InUse},
		{"inactive", inactive, nil, InUse},
		{"revoked by somebody", revoked, nil, InUse},
		{"in transfer", types.CertificateStatusPendingTransfer, nil, InUse},
		{"revoked by a call that was cut off", revoked, func(w *world) {
			w.put(Taken{Device: "SN-007", CertificateID: idOf(1), Order: "WO-1", Claim: claimID, At: now, Void: now}.Item())
		}, ""},
		{"revoked by mintmark meanwhile", revoked, func(w *world) {
			w.put(Taken{Device: "SN-007", CertificateID: idOf(1), Order: "WO-1", Claim: claimID, At: now, Void: now}.Item())
			w.put(Entry{CertificateID: idOf(1), Device: "SN-007", Serial: "01", State: Revoked}.Items()...)
		}, InUse},
		// Its first certificate is gone because it has a newer one.
		{"rotated since", gone, func(w *world) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(5), IssuedAt: now})
			w.certs.set(idOf(5), active)
		}, InUse},
		{"rotating", gone, func(w *world) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(1), IssuedAt: now, Next: idOf(5), NextAt: now})
			w.certs.set(idOf(5), active)
		}, InUse},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, p := newProvisioner(t)
			w.answered(p, asks("SN-007", 1), "")
			if test.status != gone {
				w.certs.set(idOf(1), test.status)
			}
			if test.change != nil {
				test.change(w)
			}
			// At once it is a rival, not a second attempt.
			if test.name == "pending" {
				w.answered(p, asks("SN-007", 2), Busy)
			}
			w.now = now.Add(time.Minute)
			w.answered(p, asks("SN-007", 2), test.reason)
			if test.reason != "" {
				if w.certs.is(idOf(1)) != test.status || len(w.certs.updated) != 0 {
					t.Errorf("the first certificate is %s after %v", w.certs.is(idOf(1)), w.certs.updated)
				}
				return
			}
			if status := w.certs.is(idOf(1)); status != revoked && status != gone {
				t.Errorf("the first certificate is %s", status)
			}
			if w.used("WO-1") != 1 || w.item(tableName, FleetKey(idOf(1))) != "" || w.device("press_SN-007").Current != idOf(2) {
				t.Errorf("%d units, %q, %+v", w.used("WO-1"), w.item(tableName, FleetKey(idOf(1))), w.device("press_SN-007"))
			}
			w.answered(p, asks("SN-007", 2), "") // again
			w.now = now.Add(2 * time.Minute)
			w.certs.set(idOf(2), active)
			w.answered(p, asks("SN-007", 1), InUse) // the first has lost
			w.answered(p, asks("SN-007", 3), InUse) // and so has a copy
		})
	}
}

// After mintmark has revoked a device's certificate the device comes again, under
// another order and once; after anything less it does not.
func TestProvisionAfterRevocation(t *testing.T) {
	mark := func(w *world, n int) {
		w.put(Entry{CertificateID: idOf(n), Device: "SN-007", Serial: "01", State: Revoked}.Items()...)
	}
	rotated := func(w *world, n int, replaced ...string) {
		w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(n), IssuedAt: now, Replaced: replaced})
	}
	tests := []struct {
		name   string
		change func(*world)
		other  bool // under another order
		reason Reason
	}{
		{"revoked", func(w *world) { mark(w, 1); w.certs.set(idOf(1), revoked) }, true, ""},
		{"revoked, not yet at AWS", func(w *world) { mark(w, 1); w.certs.set(idOf(1), active) }, true, ""},
		{"revoked and inactive", func(w *world) { mark(w, 1); w.certs.set(idOf(1), inactive) }, true, ""},
		{"deleted at AWS", func(w *world) { delete(w.certs.status, idOf(1)) }, true, ""},
		{"rotated, all of it revoked", func(w *world) {
			rotated(w, 5, idOf(6))
			for _, n := range []int{1, 5, 6} {
				mark(w, n)
				w.certs.set(idOf(n), revoked)
			}
		}, true, ""},
		{"rotated, and deleted at AWS", func(w *world) { rotated(w, 5); delete(w.certs.status, idOf(1)) }, true, ""},

		{"revoked, under the same order", func(w *world) { mark(w, 1); w.certs.set(idOf(1), revoked) }, false, InUse},
		{"revoked at AWS by somebody", func(w *world) { w.certs.set(idOf(1), revoked) }, true, InUse},
		{"inactive", func(w *world) { w.certs.set(idOf(1), inactive) }, true, InUse},
		{"active", func(w *world) { w.certs.set(idOf(1), active) }, true, InUse},
		{"held", func(w *world) {
			mark(w, 1)
			w.put(HeldItem("press_SN-007", "SN-007"))
		}, true, Held},
		{"rotated, and only the first revoked", func(w *world) {
			rotated(w, 5)
			mark(w, 1)
			w.certs.set(idOf(1), revoked)
			w.certs.set(idOf(5), active)
		}, true, InUse},
		{"rotated, and one that was replaced is inactive", func(w *world) {
			rotated(w, 1, idOf(6))
			mark(w, 1)
			w.certs.set(idOf(1), revoked)
			w.certs.set(idOf(6), inactive)
		}, true, InUse},
		{"rotated, revoked but not at AWS", func(w *world) {
			rotated(w, 5)
			mark(w, 1)
			mark(w, 5)
			w.certs.set(idOf(1), revoked)
			w.certs.set(idOf(5), active)
		}, true, InUse},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, p := newProvisioner(t)
			w.answered(p, asks("SN-007", 1), "")
			w.certs.set(idOf(1), active)
			w.now = now.Add(time.Hour)
			test.change(w)
			e, order := asks("SN-007", 2), "WO-1"
			if test.other {
				o := someOrder()
				o.ID, o.Quantity, order = "WO-2", 1, "WO-2"
				e.ClaimCertificateID = strings.Repeat("c2", 32)
				w.put(o.Item(), Claim{CertificateID: e.ClaimCertificateID, Order: "WO-2"}.Item())
			}
			w.answered(p, e, test.reason)
			if test.reason != "" {
				if len(w.certs.updated) != 0 || test.other && w.used(order) != 0 {
					t.Errorf("%v, %d units", w.certs.updated, w.used(order))
				}
				return
			}
			w.certs.set(idOf(2), active)
			if is := w.certs.is(idOf(1)); is != revoked && is != gone || w.used(order) != 1 {
				t.Errorf("the first is %s, %d units", is, w.used(order))
			}
			if d := w.device("press_SN-007"); d.Current != idOf(2) || d.Next != "" || d.Replaced != nil {
				t.Errorf("rotation is %+v", d)
			}
			w.answered(p, e, "") // again
			e.CertificateID = idOf(3)
			w.now = now.Add(2 * time.Hour)
			w.answered(p, e, InUse) // a copy
			e.Parameters[SerialNumber] = "SN-008"
			w.answered(p, e, OrderFull)
		})
	}
}

// A function that is told of a rotation table which is not there admits nobody: it is
// to be told of none where there is no rotation.
func TestProvisionWithoutItsRotationTable(t *testing.T) {
	w, p := newProvisioner(t)
	p.Rotation = "nowhere"
	if answer, err := p.Handle(t.Context(), here, asks("SN-007", 1)); err == nil || answer.AllowProvisioning || w.item(tableName, TakenKey("SN-007")) != "" {
		t.Errorf("%+v, %v", answer, err)
	}
	p.Rotation = ""
	w.answered(p, asks("SN-007", 1), "")
}

// A device that comes under another order takes a unit of that: of an order of N,
// N devices come.
func TestProvisionReplacesUnderAnotherOrder(t *testing.T) {
	w, p := newProvisioner(t)
	w.answered(p, asks("SN-007", 1), "")
	o := someOrder()
	o.ID, o.Quantity = "WO-2", 1
	e := asks("SN-007", 2)
	e.ClaimCertificateID = strings.Repeat("c2", 32)
	w.put(o.Item(), Claim{CertificateID: e.ClaimCertificateID, Order: "WO-2"}.Item())
	w.now = now.Add(time.Minute)
	w.answered(p, e, "")
	e = asks("SN-008", 3)
	e.ClaimCertificateID = strings.Repeat("c2", 32)
	w.answered(p, e, OrderFull)
	if w.used("WO-1") != 1 || w.used("WO-2") != 1 {
		t.Errorf("%d and %d units", w.used("WO-1"), w.used("WO-2"))
	}
}
