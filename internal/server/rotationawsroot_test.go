package server

import (
	"crypto/x509"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestRotateRootAtAWS replaces the root: AWS has both certificates of each CA, and a device
// comes in by either path for as long as it may show it.
func TestRotateRootAtAWS(t *testing.T) {
	h := newHall(t)
	early := &gadget{name: "early-1", profile: "device", issuer: "jitr"} // comes in at once
	late := &gadget{name: "late-1", profile: "device", issuer: "jitr"}   // comes in while it is drained
	h.enroll(t, early)
	h.enroll(t, late)
	h.arrives(t, early)
	jitr, err := h.ra.Authority("jitr")
	if err != nil {
		t.Fatal(err)
	}
	own := jitr.Certificate()
	r := h.plan(t, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2"})
	const on, off = "ACTIVE ENABLE", "INACTIVE DISABLE"
	want := map[rotation.State][2]string{
		rotation.Certified: {on, ""}, rotation.CloudRegistered: {on, off}, rotation.CloudActiveBoth: {on, on}, rotation.Switched: {on, on},
		rotation.Draining: {on, on}, rotation.TrustRemoved: {off, on}, rotation.Retired: {"", on},
	}
	for _, state := range rotation.States[1 : len(rotation.States)-1] {
		switch state {
		case rotation.Canaried:
			h.note(t, r.ID, false, early.name, late.name)
		case rotation.TrustRemoved:
			h.blocked(t, r.ID, state, "jitr@root")
			h.note(t, r.ID, true, early.name, late.name)
		}
		r = h.enter(t, r.ID, state)
		h.settled(t, state)
		if states, ok := want[state]; ok {
			for i, c := range []*x509.Certificate{own, h.certificateUnder("jitr", "root-2")} {
				if got := h.caState(t, c); got != states[i] {
					t.Errorf("%s: certificate %d of jitr is %q, want %q", state, i, got, states[i])
				}
			}
		}
		if !h.connects(t, early, early.certificate) || state.From(rotation.Certified) && !h.connects(t, early, h.sends(t, early, "root-2")) {
			t.Errorf("%s: the device that AWS knows is cut off", state)
		}
		switch state {
		case rotation.Draining:
			eventually(t, "a device comes in for the first time by the old path", func() bool { return h.connects(t, late, h.sends(t, late, "root")) })
		case rotation.Switched:
			// The manifest's entry names one of the two registrations, whichever.
			for name, root := range map[string]string{"fresh-1": "root-2", "fresh-2": "root"} {
				fresh := &gadget{name: name, profile: "device", issuer: "jitr"}
				h.enroll(t, fresh)
				eventually(t, "a new device comes in by the path of "+root, func() bool { return h.connects(t, fresh, h.sends(t, fresh, root)) })
				h.note(t, r.ID, true, name)
			}
		}
	}
	drift, err := h.aws.Reconcile(t.Context(), "line", false, 1000, "test")
	if err != nil || drift.Unknown > 0 || len(drift.Left) > 0 {
		t.Errorf("compared: %+v, %v", drift, err)
	}
}

// note says of devices that they have the new anchors, or the new path.
func (x *turner) note(t *testing.T, id string, chains bool, devices ...string) {
	t.Helper()
	var notes []ledger.AnchorNote
	for _, device := range devices {
		n := ledger.AnchorNote{Device: device, Trusts: x.ra.Now(), How: "reported"}
		if chains {
			n.Chains = x.ra.Now()
		}
		notes = append(notes, n)
	}
	if err := x.ledger.NoteAnchors(t.Context(), id, notes); err != nil {
		t.Fatal(err)
	}
}
