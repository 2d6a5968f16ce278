package hook

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/awssim"
)

// A device SN-007 with certificate 1 in service and certificate 2 as the next.
func newPresence(t testing.TB) (*world, *Presence) {
	w, r := newRotator(t)
	w.rotated(r, rotates(1, 2), "")
	w.certs.set(idOf(2), active)
	d := w.device("press_SN-007")
	d.Told = now
	w.putRotating(d)
	return w, &Presence{IoT: w.certs, Dynamo: w.dynamo, Table: tableName, Rotation: rotationName, Logger: w.log.logger()}
}

func connects(certificate string) PresenceEvent {
	return PresenceEvent{ClientID: "press_SN-007", EventType: connected, PrincipalIdentifier: certificate}
}

func TestPresence(t *testing.T) {
	tests := []struct {
		name     string
		change   func(*world)
		with     string
		promoted bool
	}{
		{"with the next", func(*world) {}, idOf(2), true},
		{"with the next, the old one inactive already", func(w *world) { w.certs.set(idOf(1), inactive) }, idOf(2), true},
		{"with the next, the old one revoked", func(w *world) { w.certs.set(idOf(1), revoked) }, idOf(2), true},
		{"with the next, the old one gone", func(w *world) { delete(w.certs.status, idOf(1)) }, idOf(2), true},
		{"with the next, by an EST label", func(w *world) {
			w.remove(tableName, FleetKey(idOf(2)))
			w.put(Entry{CertificateID: idOf(2), Device: "SN-007", Thing: "press_SN-007", Serial: "0a", CA: caID, NotAfter: now.Add(time.Hour), State: Valid}.Items()...)
		}, idOf(2), true},

		{"with the current one", func(*world) {}, idOf(1), false},
		{"with an unknown one", func(*world) {}, idOf(3), false},
		{"with a claim", func(*world) {}, claimID, false},
		{"without a certificate", func(*world) {}, "123456789012/AROAEXAMPLE:me", false},
		{"with the next, which is revoked", func(w *world) {
			w.put(Entry{CertificateID: idOf(2), Device: "SN-007", Serial: "01", State: Revoked}.Items()...)
		}, idOf(2), false},
		{"with the next, an event that is late", func(w *world) { w.certs.set(idOf(2), inactive) }, idOf(2), false},
		{"with the next, an event that is too late", func(w *world) { delete(w.certs.status, idOf(2)) }, idOf(2), false},
		{"does not rotate any more", func(w *world) { w.remove(rotationName, "press_SN-007") }, idOf(2), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, p := newPresence(t)
			test.change(w)
			before, first := w.item(rotationName, "press_SN-007"), w.certs.is(idOf(1))
			for range 2 { // an event can come twice
				if err := p.Handle(t.Context(), connects(test.with)); err != nil {
					t.Fatal(err)
				}
			}
			if !test.promoted {
				if after := w.item(rotationName, "press_SN-007"); after != before || w.certs.is(idOf(1)) != first || len(w.certs.updated) != 0 {
					t.Errorf("%s became %s, %v", before, after, w.certs.updated)
				}
				return
			}
			w.promoted(first != active)
		})
	}
}

// promoted checks that the rotation is over. untouched says that the old
// certificate was out of service before.
func (w *world) promoted(untouched bool) {
	w.t.Helper()
	want := []string{idOf(1) + " INACTIVE"}
	if untouched {
		want = nil
	}
	if fmt.Sprint(w.certs.updated) != fmt.Sprint(want) || w.certs.is(idOf(1)) == active || w.certs.is(idOf(2)) != active {
		w.t.Fatalf("certificates are %s and %s after %v", w.certs.is(idOf(1)), w.certs.is(idOf(2)), w.certs.updated)
	}
	if d := w.device("press_SN-007"); !reflect.DeepEqual(d, Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(2), IssuedAt: now}) {
		w.t.Fatalf("rotation is %+v", d)
	}
}

// The old certificate is in service until the new one has connected, and however a
// call is cut off, the next event finishes it.
func TestPresenceCutOff(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, at := range []string{"dynamodb", "iot"} {
			for n := 1; ; n++ {
				w, p := newPresence(t)
				if at == "iot" {
					w.certs.calls, w.certs.failAt, w.certs.persist = 0, n, after
				} else {
					w.sim.Inject(awssim.Fault{Operation: "dynamodb:*", Nth: n, Cut: true, AfterEffect: after})
				}
				err := p.Handle(t.Context(), connects(idOf(2)))
				if err == nil && w.certs.calls < n {
					if n < 4 {
						t.Fatalf("call %d to %s was never made", n, at)
					}
					break
				}
				// One of the two is always in service, and is known.
				d := w.device("press_SN-007")
				if w.certs.is(d.Current) != active && w.certs.is(d.Next) != active {
					t.Fatalf("nothing of %+v is in service", d)
				}
				if err := p.Handle(t.Context(), connects(idOf(2))); err != nil {
					t.Fatal(err)
				}
				w.promoted(false)
				if n > 30 {
					break
				}
			}
		}
	}
}

// Certificates that were to be the next one before go out of service with the
// current one, whatever became of them meanwhile, and however the call is cut off.
func TestPresenceReplaced(t *testing.T) {
	replaced := []string{idOf(3), idOf(4), idOf(5), idOf(6)}
	start := func() (*world, *Presence) {
		w, p := newPresence(t)
		d := w.device("press_SN-007")
		d.Replaced = replaced
		w.putRotating(d)
		w.certs.set(idOf(3), active)
		w.certs.set(idOf(4), revoked)
		w.certs.set(idOf(5), active) // and 6 is gone
		return w, p
	}
	finished := func(w *world) {
		t.Helper()
		for n, want := range map[int]types.CertificateStatus{1: inactive, 2: active, 3: inactive, 4: revoked, 5: inactive, 6: gone} {
			if is := w.certs.is(idOf(n)); is != want {
				t.Fatalf("certificate %d is %q, want %q", n, is, want)
			}
		}
		if d := w.device("press_SN-007"); !reflect.DeepEqual(d, Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(2), IssuedAt: now}) {
			t.Fatalf("rotation is %+v", d)
		}
	}
	for n := 1; ; n++ {
		w, p := start()
		w.certs.calls, w.certs.failAt = 0, n
		err := p.Handle(t.Context(), connects(idOf(2)))
		if w.certs.calls < n {
			if err != nil || n < 10 {
				t.Fatalf("%d calls, %v", n, err)
			}
			break
		}
		if d := w.device("press_SN-007"); err != nil && !slices.Equal(d.Replaced, replaced) {
			t.Fatalf("lost sight of %+v", d)
		}
		if err := p.Handle(t.Context(), connects(idOf(2))); err != nil {
			t.Fatal(err)
		}
		finished(w)
	}

	// One that is replaced at this very moment is not forgotten.
	w, p := start()
	p.Dynamo = beforeUpdate{p.Dynamo, func() {
		d := w.device("press_SN-007")
		d.Next, d.Replaced = idOf(7), append(slices.Clone(replaced), idOf(2))
		w.putRotating(d)
	}}
	if err := p.Handle(t.Context(), connects(idOf(2))); err == nil {
		t.Error("promoted what was replaced")
	}
	if d := w.device("press_SN-007"); d.Current != idOf(1) || d.Next != idOf(7) || len(d.Replaced) != 5 {
		t.Errorf("rotation is %+v", d)
	}
}

func TestRotatingRefused(t *testing.T) {
	good := Rotating{Thing: "press-7", Device: "7", Current: idOf(1), IssuedAt: now, Replaced: []string{idOf(2), idOf(3)}}
	if d, err := DecodeRotating(good.Item()); err != nil || !reflect.DeepEqual(d, good) {
		t.Errorf("%+v, %v", d, err)
	}
	for name, value := range map[string]dynamotypes.AttributeValue{
		"no list": text(idOf(2)), "no id": texts([]string{idOf(2), "x"}), "numbers": &dynamotypes.AttributeValueMemberL{Value: []dynamotypes.AttributeValue{number(1)}},
		"too many": texts(slices.Repeat([]string{idOf(2)}, MaxReplaced+1)),
	} {
		item := good.Item()
		item["replaced"] = value
		if d, err := DecodeRotating(item); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestPresenceEventRefused(t *testing.T) {
	for name, event := range map[string]string{
		"nothing": "", "null": "null", "no type": `{"principalIdentifier":"x"}`, "disconnected": `{"eventType":"disconnected","principalIdentifier":"x"}`,
		"no principal": `{"eventType":"connected"}`, "principal is no text": `{"eventType":"connected","principalIdentifier":1}`,
		"oversized": `{"eventType":"connected","principalIdentifier":"x","ipAddress":"` + string(make([]byte, maxEvent)) + `"}`,
	} {
		if e, err := ParsePresenceEvent([]byte(event)); err == nil || e != (PresenceEvent{}) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func FuzzParsePresenceEvent(f *testing.F) {
	f.Add([]byte(`{"clientId":"186b5","timestamp":1573002230757,"eventType":"connected","sessionIdentifier":"a4666d2a7d844ae4ac5d7b38c9cb7967","principalIdentifier":"` + idOf(1) + `","ipAddress":"192.0.2.0","versionNumber":0}`))
	f.Add([]byte(`{"eventType":"disconnected"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParsePresenceEvent(data)
		if err != nil && e != (PresenceEvent{}) || err == nil && (e.EventType != connected || e.PrincipalIdentifier == "") {
			t.Errorf("%+v, %v", e, err)
		}
	})
}
