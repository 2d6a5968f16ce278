package dpsreg_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"reflect"
	"strings"
	"testing"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

func foreignPEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// operator makes an individual enrollment as somebody else does.
func (w *world) operator(id string, x dps.X509, change ...func(*dps.Enrollment)) {
	w.t.Helper()
	e := dps.Enrollment{RegistrationID: id, Attestation: dps.Attestation{Type: "x509", X509: &x}, Status: dps.Enabled}
	for _, f := range change {
		f(&e)
	}
	_, err := w.dps().PutEnrollment(w.t.Context(), e)
	w.ok(err)
}

func clientSlots(devices ...device) dps.X509 {
	s := &dps.Slots{Primary: &dps.Certificate{Certificate: foreignPEM(devices[0].leaf)}}
	if len(devices) > 1 {
		s.Secondary = &dps.Certificate{Certificate: foreignPEM(devices[1].leaf)}
	}
	return dps.X509{Client: s}
}

// TestForeignBlocked: another's enrollment that lets a blocked device in is disabled and
// nothing else, and a release undoes exactly that.
func TestForeignBlocked(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1")
	w.operator("pump-1", clientSlots(d), func(e *dps.Enrollment) {
		e.Information = json.RawMessage(`{"owner":{"team":"b"}}`)
		e.DeviceID, e.Twin = "other-id", &dps.Twin{Tags: map[string]any{"a": "b"}}
	})
	before := w.enrollment("pump-1")
	state, err := w.register(d)
	w.ok(err)
	w.hold("pump-1", ledger.Held)
	w.tell(target, "pump-1")
	e := w.enrollment("pump-1")
	w.want(e, "disabled", dps.Disabled, "0 -", d)
	if !strings.Contains(string(e.Information), `"team":"b"`) {
		t.Errorf("%s", e.Information)
	}
	w.shutOut(d)
	w.atHub(state.AssignedHub, "other-id", "disabled", "mintmark: held")
	// Told again, and again after its owner has enabled it.
	w.tell(target, "pump-1")
	again := w.enrollment("pump-1")
	again.Status = dps.Enabled
	_, err = w.dps().PutEnrollment(t.Context(), *again)
	w.ok(err)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "disabled", dps.Disabled, "0 -", d)

	w.hold("pump-1", ledger.Expected)
	w.tell(target, "pump-1")
	after := w.enrollment("pump-1")
	for _, e := range []*dps.Enrollment{before, after} {
		e.Etag, e.Updated, e.Created, e.Registration = "", nil, nil, nil
	}
	if a, b := text(t, before), text(t, after); a != b {
		t.Errorf("released:\n%s\n%s", a, b)
	}
	w.atHub(state.AssignedHub, "other-id", "enabled", "")
	if _, err := w.register(d); err != nil {
		t.Error(err)
	}
	// It is not ours: nothing more is done to it.
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if !reflect.DeepEqual(drift.Unknown, []string{"pump-1"}) || drift.UnknownCount != 1 || len(drift.Repaired)+len(drift.Left) > 0 {
		t.Errorf("%+v", drift)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestForeignLeftAlone: another's enrollment is otherwise never touched, whatever is
// wanted; where it stands in the way, that is an error.
func TestForeignLeftAlone(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	stranger := w.certify("line", "stranger")
	for _, tt := range []struct {
		name    string
		profile string
		held    bool
		attest  func(device) dps.X509
		status  string
		want    string // of the error; empty for none
	}{
		{"blocked, for another certificate", "device", true, func(device) dps.X509 { return clientSlots(stranger) }, dps.Enabled, ""},
		{"blocked, disabled", "device", true, func(d device) dps.X509 { return clientSlots(d) }, dps.Disabled, ""},
		{"group device", "device", false, func(d device) dps.X509 { return clientSlots(d) }, dps.Enabled, ""},
		{"pinned, for its certificate", "pinned", false, func(d device) dps.X509 { return clientSlots(stranger, d) }, dps.Enabled, ""},
		{"pinned, for another certificate", "pinned", false, func(device) dps.X509 { return clientSlots(stranger) }, dps.Enabled, "does not have certificate"},
		{"pinned, disabled", "pinned", false, func(d device) dps.X509 { return clientSlots(d) }, dps.Disabled, "is disabled"},
	} {
		name := strings.NewReplacer(" ", "-", ",", "").Replace(tt.name)
		d := w.issue("line", name, ofProfile(tt.profile))
		if tt.held {
			w.hold(name, ledger.Held)
		}
		w.operator(name, tt.attest(d), func(e *dps.Enrollment) { e.Status = tt.status })
		before := w.enrollment(name)
		errs := w.deliver(w.devices(), target, name)
		if tt.want == "" && errs[0] != nil || tt.want != "" && (errs[0] == nil || !strings.Contains(errs[0].Error(), tt.want) || !strings.Contains(errs[0].Error(), "not mintmark's")) {
			t.Errorf("%s: %v", tt.name, errs[0])
		}
		if after := w.enrollment(name); !reflect.DeepEqual(before, after) {
			t.Errorf("%s: changed:\n%+v\n%+v", tt.name, before, after)
		}
		if tt.held && tt.want == "" {
			w.shutOut(d)
		}
	}
	// What stands in the way is found every night, until somebody has seen to it.
	drift, err := w.devices().Reconcile(t.Context(), target)
	w.ok(err)
	if len(drift.Left) != 2 || len(drift.Repaired) > 0 || drift.UnknownCount != 6 {
		t.Errorf("%+v", drift)
	}
	if n, err := w.devices().TellAll(t.Context(), target); n != 0 || err == nil || !strings.Contains(err.Error(), "not mintmark's") {
		t.Errorf("%d, %v", n, err)
	}
}

// TestForeignKept: an enrollment that we disabled and that the device could be pinned by
// goes back to its owner first.
func TestForeignKept(t *testing.T) {
	w := newWorld(t)
	target := w.pinned()
	d := w.issue("line", "pump-1", ofProfile("pinned"))
	w.operator("pump-1", clientSlots(d))
	w.hold("pump-1", ledger.Held)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "disabled", dps.Disabled, "0 -", d)
	w.hold("pump-1", ledger.Expected)
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "", dps.Enabled, "0 -", d)
	// Its owner deletes it: now it is ours to make.
	e := w.enrollment("pump-1")
	w.ok(w.dps().DeleteEnrollment(t.Context(), "pump-1", e.Etag))
	w.tell(target, "pump-1")
	w.want(w.enrollment("pump-1"), "pinned", dps.Enabled, "0 -", d)
}
