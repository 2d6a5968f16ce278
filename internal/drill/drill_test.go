package drill

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// fleetSize is how many devices take part: n, or with MINTMARK_LONG=1 many.
func fleetSize(n, many int) int {
	if long() {
		return many
	}
	return n
}

func long() bool { return os.Getenv("MINTMARK_LONG") == "1" }

// beside lets the small drills, which wait more than they work, run at the same time.
func beside(t *testing.T) {
	if !long() {
		t.Parallel()
	}
}

// TestDrillRoot replaces the root under a fleet, and watches every device in every state.
func TestDrillRoot(t *testing.T) {
	beside(t)
	p := newPlant(t)
	p.open()
	p.applyClouds()
	p.remember()
	began := time.Now()
	n := fleetSize(120, 100_000)
	p.produce(n)
	t.Logf("%d devices made in %s", n, time.Since(began).Round(time.Second))

	table, o := newTable(), p.newOpenSSL()
	defer table.report(t)
	p.live(day)
	p.watch(table, o, "before")

	r, _, err := p.inside.Machine.Plan(t.Context(), rotation.Spec{
		Kind: ledger.RotateRoot, Old: "root", New: "root2", Canary: ledger.Canary{Percent: 10},
		Gates: rotation.Gates{Trusting: p.share(), Distribute: 30 * day, Watch: 7 * day, Drain: 30 * day},
	}, "alice")
	if err != nil {
		t.Fatal(err)
	}
	p.watch(table, o, string(rotation.Planned))
	enter := func(state rotation.State) {
		t.Helper()
		if result := p.move(r.ID, state); result.Rotation.State != string(state) {
			t.Fatalf("it is in %s and not in %s: %q", result.Rotation.State, state, result.Blocked)
		}
		p.watch(table, o, string(state))
	}
	held := func(state rotation.State, words ...string) {
		t.Helper()
		result, err := p.inside.Machine.Status(t.Context(), r.ID)
		if err != nil || result.Next != state {
			t.Fatalf("next is %s and not %s: %v", result.Next, state, err)
		}
		for _, w := range words {
			if !strings.Contains(strings.Join(result.Blocked, "\n"), w) {
				t.Errorf("what holds %s back does not say %q:\n%s", state, w, strings.Join(result.Blocked, "\n"))
			}
		}
		if result, err := p.run(r.ID, state); err != nil || result.Rotation.State == string(state) {
			t.Fatalf("%s was entered, or %v", state, err)
		}
	}
	for _, state := range rotation.States[1:8] { // up to DISTRIBUTING
		enter(state)
		p.live(day)
	}
	held(rotation.Canaried, "the new anchors", "DISTRIBUTING lasts at least")
	p.live(30 * day)
	p.followed(r.ID, ledger.AnchorTrusts, ledger.AnchorMoved)
	p.watch(table, o, "30 days later")
	held(rotation.Canaried, "% are asked for")
	p.waive(r.ID, "in the warehouse: they are given the new anchors when they are unpacked", p.named(func(d *device) bool { return d.class.stock }))
	p.waive(r.ID, "no battery behind the clock, to be exchanged", p.named(func(d *device) bool { return d.class.lost }))
	enter(rotation.Canaried)
	p.live(8 * day)
	p.watch(table, o, "8 days later")
	enter(rotation.Switched)
	p.live(day)
	enter(rotation.Draining)
	p.live(35 * day)
	p.followed(r.ID, ledger.AnchorMoved)
	p.watch(table, o, "35 days later")
	held(rotation.TrustRemoved, "% of", "moved", "aws/line-a", "azure/plant") // some are still away
	p.live(300 * day)
	p.followed(r.ID, ledger.AnchorMoved)
	p.watch(table, o, "a year later")
	standing := p.standing(r.ID)
	for _, name := range p.named(func(d *device) bool { return d.class.pinned }) {
		if got := standing[name]; got.Class == ledger.AnchorMoved {
			t.Errorf("%s, which is pinned to the old root, counts as moved: %+v", name, got)
		}
	}
	held(rotation.TrustRemoved, "moved") // and some cannot be changed
	p.replace()
	p.told(r.ID)
	enter(rotation.TrustRemoved)
	p.live(day)
	enter(rotation.Retired)
	p.unpack(r.ID)
	p.live(30 * day)
	p.watch(table, o, "stock unpacked")
	t.Logf("the whole drill took %s", time.Since(began).Round(time.Second))
}

// share is the gate of this fleet: those who cannot follow for a year must not hold up the
// switch.
func (p *plant) share() int {
	behind := len(p.named(func(d *device) bool { return d.class.away || d.class.pinned || d.flavor == "active" }))
	return min(9950, 10000*(len(p.fleet)-behind)/len(p.fleet))
}

func (p *plant) named(which func(*device) bool) []string {
	var names []string
	for _, d := range p.fleet {
		if which(d) {
			names = append(names, d.name)
		}
	}
	slices.Sort(names)
	return names
}

// replace has other devices do the work of those that cannot be changed, whose certificates
// are revoked then.
func (p *plant) replace() {
	p.t.Helper()
	var fresh []*device
	for _, d := range p.fleet {
		if d.class.pinned && d.replacedBy == "" {
			next := &device{name: d.name + "r", class: &classes[0], cloud: d.cloud, flavor: "full", period: d.period}
			d.replacedBy = next.name
			fresh = append(fresh, next)
			if _, err := p.inside.RA.Revoke(p.t.Context(), ledger.Selector{Device: d.name}, ledger.CessationOfOperation, "drill"); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	if err := p.manufacture(fresh); err != nil {
		p.t.Fatal(err)
	}
	p.fleet = append(p.fleet, fresh...)
	p.visit(fresh)
}

// told waits until nothing but signatures is missing for the next state, as the clouds see it.
func (p *plant) told(id string) {
	p.t.Helper()
	p.until("the clouds agree", func() (bool, string) {
		result, err := p.inside.Machine.Status(p.t.Context(), id)
		if err != nil {
			return false, err.Error()
		}
		left := slices.DeleteFunc(result.Blocked, func(text string) bool { return strings.Contains(text, "officers have signed") })
		return len(left) == 0, strings.Join(left, "\n")
	})
}

// unpack gives the stock its bundle and puts it to work.
func (p *plant) unpack(id string) {
	p.t.Helper()
	bundle, err := p.as("alice").AnchorBundle(p.t.Context(), id, "new", false)
	if err != nil {
		p.t.Fatal(err)
	}
	var g given
	for _, c := range bundle.Certificates {
		g.list = append(g.list, parse(p.t, c.DER))
	}
	trusts := p.stores.of(g.list)
	var list []*device
	for _, d := range p.fleet {
		if d.class.stock {
			d.store, d.unpacked, d.next = trusts, true, p.clock.now()
			list = append(list, d)
		}
	}
	p.visit(list)
	if err := p.arrive(list); err != nil {
		p.t.Errorf("a device out of the warehouse: %v", err)
	}
}
