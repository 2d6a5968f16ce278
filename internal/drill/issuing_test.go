package drill

import (
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// TestDrillIssuing replaces an issuing CA, whose devices renew below the next one when their
// time has come.
func TestDrillIssuing(t *testing.T) { issuing(t, false) }

// TestDrillEmergency does the same with a key in wrong hands: no floor and no share holds it
// up, the old CA lets nobody new in from the start, and what is left below it is revoked.
func TestDrillEmergency(t *testing.T) { issuing(t, true) }

func issuing(t *testing.T, emergency bool) {
	beside(t)
	p := newPlant(t)
	p.open()
	p.applyClouds()
	p.remember()
	p.produce(fleetSize(24, 1000))
	table, o := newTable(), p.newOpenSSL()
	defer table.report(t)
	p.live(day)
	p.watch(table, o, "before")
	r, _, err := p.inside.Machine.Plan(t.Context(), rotation.Spec{
		Kind: ledger.RotateIssuing, Old: "line-a", New: "line-a2", Emergency: emergency, Canary: ledger.Canary{Percent: 10},
	}, "alice")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range p.fleet { // it is known that a renewal is due in the months to come
		d.renew = p.clock.now().Add(10 * d.period)
	}
	concerned := func(which func(*device) bool) []string {
		return p.named(func(d *device) bool { return d.cloud == "line-a" && which(d) })
	}
	for _, state := range rotation.States[1:13] { // to RETIRED
		if state == rotation.Draining {
			if !emergency {
				// Who has a certificate and never was at its cloud would not come in any more.
				if _, err := p.run(r.ID, state); err == nil || !strings.Contains(err.Error(), "have connected to no AWS target yet") {
					t.Errorf("auto-registration goes off with devices in the warehouse: %v", err)
				}
			}
			p.waive(r.ID, "in the warehouse, or without a clock", concerned(func(d *device) bool { return d.class.stock || d.class.lost }))
		}
		if state == rotation.TrustRemoved {
			for range 13 {
				p.live(30 * day)
			}
			p.watch(table, o, "a year later")
			for _, d := range p.fleet {
				if d.cloud == "line-a" && d.online() && !d.class.lost && d.below(p, "line-a") {
					t.Errorf("%s (%s) has not renewed in a year", d.name, d.class.name)
				}
			}
			if _, err := p.inside.RA.Revoke(t.Context(), ledger.Selector{Issuer: "line-a", Superseded: true}, ledger.Superseded, "drill"); err != nil {
				t.Fatal(err)
			}
			p.told(r.ID)
		}
		if result := p.move(r.ID, state); result.Rotation.State != string(state) {
			t.Fatalf("it is in %s and not in %s: %q", result.Rotation.State, state, result.Blocked)
		}
		p.watch(table, o, string(state))
		p.live(day)
	}
	if emergency {
		return // what was in the warehouse has a revoked certificate, and is made again
	}
	for _, d := range p.fleet {
		if d.class.stock {
			d.unpacked, d.next = true, p.clock.now()
		}
	}
	p.live(time.Minute)
	for _, d := range p.fleet {
		if d.class.stock {
			if err := p.arrive([]*device{d}); err != nil {
				t.Errorf("a device out of the warehouse: %v", err)
			}
		}
	}
	p.watch(table, o, "stock unpacked")
}

// below reports whether a device's certificate is by that CA.
func (d *device) below(p *plant, authority string) bool {
	a, err := p.inside.RA.Authority(authority)
	return err == nil && d.leaf.CheckSignatureFrom(a.Certificate()) == nil
}
