package server

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

// slotsOf are the authorities in the slots of a group, as the portal shows them.
func (p *plant) slotsOf(t *testing.T, group string) string {
	t.Helper()
	g, err := p.operator(t).Group(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, slot := range []*dps.Certificate{g.Attestation.X509.Signing.Primary, g.Attestation.X509.Signing.Secondary} {
		for _, a := range p.ra.Authorities() {
			if slot != nil && slot.Info != nil && strings.EqualFold(dpsreg.SHA256(a.Certificate()), slot.Info.SHA256) {
				list = append(list, a.Name())
			}
		}
	}
	return strings.Join(list, " ")
}

// tidy is a target in which nothing is to be done.
func (p *plant) tidy(t *testing.T, state rotation.State) {
	t.Helper()
	plan, err := p.azure.Plan(t.Context(), "plant")
	if err != nil || !plan.Empty() {
		t.Errorf("%s: azure plan: %+v, %v", state, differing(plan), err)
	}
}

// path is the chain of an authority under a root, as devices send it.
func (p *plant) path(name, root string) []*x509.Certificate {
	if path := slices.Clone(p.ra.PathUnder(name, root)); len(path) > 0 {
		slices.Reverse(path)
		return path
	}
	a, err := p.ra.Authority(name)
	if err != nil {
		return nil
	}
	return append([]*x509.Certificate{a.Certificate()}, a.Chain()...)
}

// TestRotateRootAtDPS replaces the root on which a group stands: the new one is verified, and
// comes into the second slot, the first, and is the only one, and by each path devices come in
// for as long as they may show it.
func TestRotateRootAtDPS(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "")
	p.apply(t)
	x := newTurner(t, p.Server)
	d, pinned := newDevice(t, "press-1"), newDevice(t, "robot-1")
	with, pin := p.enroll(t, "line", d), p.enroll(t, "pinned", pinned)
	if r := p.register(t, d, with); r.Status != "assigned" {
		t.Fatalf("before: %+v", r)
	}
	r := x.plan(t, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2"})
	slots := map[rotation.State]string{
		rotation.Approved: "root", rotation.CloudRegistered: "root", rotation.CloudActiveBoth: "root root-2", rotation.Switched: "root root-2",
		rotation.Draining: "root-2 root", rotation.TrustRemoved: "root-2", rotation.Retired: "root-2",
	}
	for _, state := range rotation.States[1 : len(rotation.States)-1] {
		switch state {
		case rotation.Canaried:
			x.note(t, r.ID, false, d.name, pinned.name)
		case rotation.TrustRemoved:
			x.blocked(t, r.ID, state, "azure/plant: 1 device comes in by root only")
			x.note(t, r.ID, true, d.name, pinned.name)
		}
		r = x.enter(t, r.ID, state)
		p.tidy(t, state)
		if want, ok := slots[state]; ok && p.slotsOf(t, "line-a") != want {
			t.Errorf("%s: the group stands on %q, want %q", state, p.slotsOf(t, "line-a"), want)
		}
		if got, want := p.registerBy(t, d, with, p.path("issuing", "root")).Status == "assigned", !state.From(rotation.TrustRemoved); got != want {
			t.Errorf("%s: by the old path: %t, want %t", state, got, want)
		}
		if state.From(rotation.Certified) {
			if got, want := p.registerBy(t, d, with, p.path("issuing", "root-2")).Status == "assigned", state.From(rotation.CloudActiveBoth); got != want {
				t.Errorf("%s: by the new path: %t, want %t", state, got, want)
			}
		}
		if r := p.registerBy(t, pinned, pin, nil); r.Status != "assigned" {
			t.Errorf("%s: the pinned device: %+v", state, r)
		}
	}
}

// TestRotateIssuingAtDPS is the same of a group that stands on the issuing CA, and back.
func TestRotateIssuingAtDPS(t *testing.T) {
	t.Parallel()
	p := &plant{sim: startAzure(t)}
	dir := newState(t)
	p.configure(t, dir, p.sim.Addr(), "")
	editConfig(t, dir, "anchors: [root]", "anchors: [issuing]")
	p.local = serveLocal(t, dir, nil)
	p.apply(t)
	x := newTurner(t, p.Server)
	d := newDevice(t, "press-1")
	with := p.enroll(t, "line", d)
	by := func(with *tls.Certificate, issuer string) bool {
		return p.registerBy(t, d, with, p.path(issuer, "root")).Status == "assigned"
	}
	if !by(with, "issuing") {
		t.Fatal("the device does not come in before")
	}

	r := x.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-2"})
	for _, state := range rotation.States[1:7] {
		r = x.enter(t, r.ID, state)
	}
	if got := p.slotsOf(t, "line-a"); got != "issuing issuing-2" {
		t.Errorf("%s: the group stands on %q", r.State, got)
	}
	x.back(t, r.ID)
	p.tidy(t, rotation.RolledBack)
	if got := p.slotsOf(t, "line-a"); got != "issuing" || !by(with, "issuing") {
		t.Errorf("rolled back, the group stands on %q", got)
	}

	r = x.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-3"})
	slots := map[rotation.State]string{
		rotation.CloudRegistered: "issuing", rotation.Switched: "issuing issuing-3", rotation.Draining: "issuing-3 issuing", rotation.TrustRemoved: "issuing-3", rotation.Retired: "issuing-3",
	}
	issuer := "issuing"
	for _, state := range rotation.States[1 : len(rotation.States)-1] {
		if state == rotation.TrustRemoved {
			x.blocked(t, r.ID, state, "azure/plant: 1 device comes in by issuing only")
			renewed, err := p.renew(t, "line", d, with)
			if err != nil {
				t.Fatal(err)
			}
			with, issuer = renewed, "issuing-3"
			if _, err := p.ra.Revoke(t.Context(), ledger.Selector{Issuer: "issuing", Superseded: true}, ledger.Superseded, "test"); err != nil {
				t.Fatal(err)
			}
		}
		r = x.enter(t, r.ID, state)
		p.tidy(t, state)
		if want, ok := slots[state]; ok && p.slotsOf(t, "line-a") != want {
			t.Errorf("%s: the group stands on %q, want %q", state, p.slotsOf(t, "line-a"), want)
		}
		if !by(with, issuer) {
			t.Errorf("%s: the device is cut off", state)
		}
	}
}
