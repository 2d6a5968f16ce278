package drill

import (
	"context"
	"slices"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// begin plans the replacement of the root, with gates that wait for devices and not for time.
func (p *plant) begin() ledger.Rotation {
	p.t.Helper()
	r, _, err := p.inside.Machine.Plan(p.t.Context(), rotation.Spec{
		Kind: ledger.RotateRoot, Old: "root", New: "root2", Canary: ledger.Canary{Percent: 10}, Gates: rotation.Gates{Trusting: p.share()},
	}, "alice")
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// prepare does what people and devices do before a state is entered: time passes in which
// devices come, what cannot follow is waived or replaced, and officers sign.
func (p *plant) prepare(id string, state rotation.State) {
	p.t.Helper()
	switch state {
	case rotation.Canaried:
		p.live(30 * day)
		p.followed(id, ledger.AnchorTrusts, ledger.AnchorMoved)
		p.waive(id, "in the warehouse, or without a clock", p.named(func(d *device) bool { return d.class.stock || d.class.lost }))
	case rotation.TrustRemoved:
		p.live(30 * day)
		for range 13 {
			if len(p.named(func(d *device) bool { return d.class.away && !d.back })) == 0 {
				break
			}
			p.live(30 * day)
		}
		p.followed(id, ledger.AnchorMoved)
		p.replace()
		p.told(id)
	}
	if state.Signed() {
		p.sign(p.record(id), state)
	}
}

// enter takes a rotation into the next state.
func (p *plant) enter(id string, state rotation.State) {
	p.t.Helper()
	p.prepare(id, state)
	if result := p.move(id, state); result.Rotation.State != string(state) {
		p.t.Fatalf("it is in %s and not in %s: %q", result.Rotation.State, state, result.Blocked)
	}
}

// TestDrillBack takes the replacement of a root back from every state, one after the other:
// devices that have followed are as well off as those that have not. Without MINTMARK_LONG=1,
// from four states.
func TestDrillBack(t *testing.T) {
	beside(t)
	p := newPlant(t)
	p.open()
	p.applyClouds()
	p.remember()
	p.produce(fleetSize(24, 1000))
	table, o := newTable(), p.newOpenSSL()
	defer table.report(t)
	p.live(day)
	for _, last := range rotation.States[:11] { // from PLANNED to DRAINING
		if !long() && !slices.Contains([]rotation.State{rotation.KeyGenerated, rotation.CloudActiveBoth, rotation.Switched, rotation.Draining}, last) {
			continue
		}
		r := p.begin()
		for _, state := range rotation.States[1:] {
			if !last.From(state) {
				break
			}
			p.enter(r.ID, state)
		}
		p.live(day)
		p.watch(table, o, "in "+string(last))
		result, err := p.inside.Machine.Rollback(t.Context(), r.ID, "drill", "bob", nil)
		if err != nil || result.Rotation.State != string(rotation.RolledBack) {
			t.Fatalf("back from %s: %s, %v", last, result.Rotation.State, err)
		}
		p.watch(table, o, "back from "+string(last))
		p.live(5 * day)
		p.watch(table, nil, "5 days later")
	}
	// On the way to TRUST_REMOVED, with a cloud that has taken the old CA out of service.
	r := p.begin()
	for _, state := range rotation.States[1:11] {
		p.enter(r.ID, state)
	}
	p.prepare(r.ID, rotation.TrustRemoved)
	half, stop := context.WithCancel(t.Context())
	defer stop()
	_, err := p.inside.Machine.Run(half, r.ID, rotation.TrustRemoved, "alice", func(e ledger.RotationEntry) {
		if e.Step == "azure/plant old-inactive" && e.Event == "done" {
			stop()
		}
	})
	if got := p.record(r.ID); err == nil || got.State != string(rotation.Draining) {
		t.Fatalf("it was not cut off on the way: %s, %v", got.State, err)
	}
	if result, err := p.inside.Machine.Rollback(t.Context(), r.ID, "drill", "bob", nil); err != nil || result.Rotation.State != string(rotation.RolledBack) {
		t.Fatalf("back from half of TRUST_REMOVED: %s, %v", result.Rotation.State, err)
	}
	p.watch(table, o, "back from half of TRUST_REMOVED")
	p.live(30 * day)
	p.watch(table, o, "30 days later")
}
