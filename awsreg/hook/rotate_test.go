package hook

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/awssim"
)

// A device SN-007 in service with certificate 1 for a year.
func newRotator(t testing.TB) (*world, *Rotator) {
	w, p := newProvisioner(t)
	w.now = now.Add(-400 * 24 * time.Hour)
	w.put(Head{PushedAt: w.now, Server: "a", Period: period, Grace: grace}.Item())
	o := someOrder()
	o.NotBefore = w.now
	w.put(o.Item())
	w.answered(p, asks("SN-007", 1), "")
	w.certs.set(idOf(1), active)
	w.put(Head{PushedAt: now, Server: "a", MaxAge: 48 * time.Hour, Period: period, Grace: grace}.Item())
	w.now = now
	return w, &Rotator{
		IoT: w.certs, Dynamo: w.dynamo, Table: tableName, Rotation: rotationName, Now: w.clock, Logger: w.log.logger(), Limit: 30 * time.Second,
	}
}

// rotates is the event of the device that is connected with one certificate and
// has another.
func rotates(current, next int) HookEvent {
	return HookEvent{
		ClaimCertificateID: idOf(current), CertificateID: idOf(next), CertificatePEM: "pem", TemplateARN: templateARN + "-rotation",
		ClientID: "c", Parameters: map[string]string{SerialNumber: "SN-007"},
	}
}

// rotated hands an event in and wants it allowed, or refused for a reason.
func (w *world) rotated(r *Rotator, e HookEvent, want Reason) HookAnswer {
	w.t.Helper()
	before := len(w.log.String())
	answer, err := r.Handle(context.Background(), here, e)
	log := w.log.String()[before:]
	if err != nil || answer.AllowProvisioning != (want == "") || want != "" && !strings.Contains(log, "reason="+string(want)) {
		w.t.Fatalf("%s: %+v, %v, want %q: %s", e.CertificateID, answer, err, want, log)
	}
	return answer
}

func TestRotate(t *testing.T) {
	entry := Entry{CertificateID: idOf(7), Device: "SN-007", Thing: "SN-007", Serial: "0a", CA: caID, NotAfter: now.Add(time.Hour), State: Valid}
	byEST := func(change func(*Entry)) func(*world, *Rotator, *HookEvent) {
		return func(w *world, _ *Rotator, e *HookEvent) {
			entry := entry
			change(&entry)
			w.put(entry.Items()...)
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(7), IssuedAt: now.Add(-period)})
			e.ClaimCertificateID = idOf(7)
		}
	}
	tests := []struct {
		name   string
		change func(*world, *Rotator, *HookEvent)
		reason Reason
	}{
		{"due", func(*world, *Rotator, *HookEvent) {}, ""},
		{"without a serial number", func(_ *world, _ *Rotator, e *HookEvent) { delete(e.Parameters, SerialNumber) }, ""},
		{"due at this moment", func(w *world, _ *Rotator, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(1), IssuedAt: now.Add(-period)})
		}, ""},
		{"certificate of an EST label", byEST(func(*Entry) {}), ""},
		{"the server was faster", func(w *world, _ *Rotator, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(1), IssuedAt: now.Add(-period), Next: idOf(2), NextAt: now})
		}, ""},

		// What any device could do to any other in the system that this replaces.
		{"for another device", func(_ *world, _ *Rotator, e *HookEvent) { e.Parameters[SerialNumber] = "SN-008" }, WrongDevice},
		{"for nobody", func(_ *world, _ *Rotator, e *HookEvent) { e.Parameters[SerialNumber] = "" }, WrongDevice},
		{"with a claim", func(_ *world, _ *Rotator, e *HookEvent) { e.ClaimCertificateID = claimID }, NotInManifest},
		{"with a certificate of nobody", func(_ *world, _ *Rotator, e *HookEvent) { e.ClaimCertificateID = idOf(99) }, NotInManifest},
		{"with a revoked one", func(w *world, _ *Rotator, _ *HookEvent) {
			w.put(Entry{CertificateID: idOf(1), Device: "SN-007", Serial: "01", State: Revoked}.Items()...)
		}, IsRevoked},
		{"with a revoked one of an EST label", byEST(func(e *Entry) { e.State = Revoked }), IsRevoked},
		{"with one of another device of an EST label", byEST(func(e *Entry) { e.Device = "SN-008" }), WrongDevice},
		{"with its last one", func(w *world, _ *Rotator, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(6), IssuedAt: now.Add(-period)})
		}, NotCurrent},
		{"does not rotate", func(w *world, _ *Rotator, _ *HookEvent) { w.remove(rotationName, "press_SN-007") }, NotCurrent},
		{"thing of another device", func(w *world, _ *Rotator, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "7", Current: idOf(1), IssuedAt: now.Add(-period)})
		}, NotCurrent},
		{"not due", func(w *world, _ *Rotator, _ *HookEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(1), IssuedAt: now.Add(time.Second - period)})
		}, NotDue},
		{"no rotation", func(w *world, _ *Rotator, _ *HookEvent) { w.put(Head{PushedAt: now, Server: "a"}.Item()) }, NotDue},
		{"held", func(w *world, _ *Rotator, _ *HookEvent) { w.put(HeldItem("press_SN-007", "SN-007")) }, Held},
		{"stale", func(w *world, _ *Rotator, _ *HookEvent) { w.now = now.Add(72 * time.Hour) }, StaleManifest},
		{"template of a claim", func(_ *world, _ *Rotator, e *HookEvent) { e.TemplateARN = templateARN }, WrongTemplate},
		{"template of nobody", func(_ *world, _ *Rotator, e *HookEvent) { e.TemplateARN += "x" }, WrongTemplate},
		{"template of another account", func(_ *world, _ *Rotator, e *HookEvent) {
			e.TemplateARN = strings.Replace(e.TemplateARN, "1111", "4444", 1)
		}, WrongTemplate},
		{"template of another fleet", func(w *world, _ *Rotator, e *HookEvent) {
			w.put(Template{Name: "other-rotation", Fleet: "other", Prefix: "press_", Rotation: true}.Item())
			e.TemplateARN = strings.Replace(templateARN, "/fleet", "/other-rotation", 1)
		}, WrongTemplate},
		{"a certificate issued to another", func(w *world, _ *Rotator, _ *HookEvent) {
			e := entry
			e.CertificateID, e.Device = idOf(2), "SN-008"
			w.put(e.Items()...)
		}, WrongDevice},
		{"a certificate that another device has", func(w *world, _ *Rotator, _ *HookEvent) {
			w.put(Admitted{CertificateID: idOf(2), Thing: "press_SN-008", Device: "SN-008", Template: "fleet", At: now}.Item())
		}, InUse},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, r := newRotator(t)
			e := rotates(1, 2)
			test.change(w, r, &e)
			before := w.item(rotationName, "press_SN-007")
			answer := w.rotated(r, e, test.reason)
			if len(w.certs.updated) != 0 || w.certs.is(idOf(1)) != active {
				t.Errorf("certificates were touched: %v", w.certs.updated)
			}
			if test.reason != "" {
				if after := w.item(rotationName, "press_SN-007"); after != before || answer.ParameterOverrides != nil {
					t.Errorf("refused, and %s became %s", before, after)
				}
				return
			}
			if answer.ParameterOverrides[SerialNumber] != "SN-007" || answer.ParameterOverrides[CertDate] != "20260301" {
				t.Errorf("answer is %+v", answer)
			}
			if d := w.device("press_SN-007"); d.Current != e.ClaimCertificateID || d.Next != idOf(2) || !d.NextAt.Equal(now) {
				t.Errorf("rotation is %+v", d)
			}
			if a, err := w.table().admitted(t.Context(), idOf(2)); err != nil || a.Thing != "press_SN-007" || a.Template != "fleet" {
				t.Errorf("%+v, %v", a, err)
			}
			w.now = now.Add(12 * time.Hour)
			if again := w.rotated(r, e, ""); fmt.Sprint(again) != fmt.Sprint(answer) {
				t.Errorf("again %+v", again)
			}
		})
	}
}

// A next certificate that comes to nothing is replaced; one in service is not.
func TestRotateReplaces(t *testing.T) {
	for status, reason := range map[types.CertificateStatus]Reason{pending: "", gone: "", revoked: "", active: InUse, inactive: InUse} {
		t.Run("next is "+string(status), func(t *testing.T) {
			t.Parallel()
			w, r := newRotator(t)
			w.rotated(r, rotates(1, 2), "")
			if status != gone {
				w.certs.set(idOf(2), status)
			}
			w.rotated(r, rotates(1, 3), Busy)
			w.now = now.Add(time.Minute)
			w.rotated(r, rotates(1, 3), reason)
			want := idOf(3)
			if reason != "" {
				want = idOf(2)
			} else if s := w.certs.is(idOf(2)); s != revoked && s != gone {
				t.Errorf("the replaced one is %s", s)
			}
			if d := w.device("press_SN-007"); d.Next != want || d.Current != idOf(1) || w.certs.is(idOf(1)) != active {
				t.Errorf("rotation is %+v", d)
			}
		})
	}
}

func TestRotateRace(t *testing.T) {
	w, r := newRotator(t)
	var mu sync.Mutex
	var admitted []string
	var wg sync.WaitGroup
	for i := range 20 {
		w.certs.set(idOf(i+2), pending)
		wg.Go(func() {
			answer, err := r.Handle(context.Background(), here, rotates(1, i+2))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if answer.AllowProvisioning {
				admitted = append(admitted, idOf(i+2))
			}
		})
	}
	wg.Wait()
	if d := w.device("press_SN-007"); len(admitted) != 1 || d.Next != admitted[0] {
		t.Errorf("%v were admitted, rotation is %+v", admitted, d)
	}
}

func TestRotateCutOff(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w, r := newRotator(t)
			w.rotated(r, rotates(1, 2), "")
			w.certs.set(idOf(2), pending)
			w.now = now.Add(time.Minute)
			w.sim.Inject(awssim.Fault{Operation: "dynamodb:*", Nth: n, Cut: true, AfterEffect: after})
			if _, err := r.Handle(t.Context(), here, rotates(1, 3)); err == nil {
				if n < 6 {
					t.Fatalf("call %d was never made", n)
				}
				break
			}
			w.rotated(r, rotates(1, 3), "")
			if d := w.device("press_SN-007"); d.Next != idOf(3) || d.Current != idOf(1) || w.certs.is(idOf(2)) != revoked {
				t.Fatalf("rotation is %+v, the replaced one %s", d, w.certs.is(idOf(2)))
			}
		}
	}
}

// What changes between the look at it and the decision counts.
func TestRotateChangedMeanwhile(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		reason Reason
	}{
		"held": {func(w *world) { w.put(HeldItem("press_SN-007", "SN-007")) }, Held},
		"revoked": {func(w *world) {
			w.put(Entry{CertificateID: idOf(1), Device: "x", Serial: "01", State: Revoked}.Items()...)
		}, IsRevoked},
		"rotated": {func(w *world) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(5), IssuedAt: now})
		}, NotCurrent},
	} {
		t.Run(name, func(t *testing.T) {
			w, r := newRotator(t)
			r.Dynamo = meanwhile{r.Dynamo, func() { test.change(w) }}
			w.rotated(r, rotates(1, 2), test.reason)
			if d := w.device("press_SN-007"); d.Next != "" {
				t.Errorf("rotation is %+v", d)
			}
		})
	}
}
