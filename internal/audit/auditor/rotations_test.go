package auditor

import (
	"fmt"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// rotated records the next version of a rotation.
func (w *world) rotated(r ledger.Rotation, over bool, change ...func(*ledger.RotationChange)) ledger.Rotation {
	w.t.Helper()
	r.Version++
	c := ledger.RotationChange{Rotation: r, Entry: ledger.RotationEntry{Number: r.Version, At: w.now, Actor: "anna", Event: "done"}, Over: over}
	for _, f := range change {
		f(&c)
	}
	w.append(ledger.Event{Kind: ledger.EventRotation, Rotation: &c})
	return c.Rotation
}

func (w *world) newRotation(id string) ledger.Rotation {
	return ledger.Rotation{ID: id, Kind: ledger.RotateRoot, Old: "a", New: "b", Plan: []byte("{}"), State: "PLANNED", Since: w.now, At: w.now, Actor: "anna"}
}

func (w *world) noted(id string) {
	w.append(ledger.Event{Kind: ledger.EventAnchors, Anchors: &ledger.AnchorNotes{Rotation: id, Notes: []ledger.AnchorNote{{Device: "dev-1", Chains: w.now}}}})
}

func TestRotations(t *testing.T) {
	for name, c := range map[string]struct {
		finds string
		do    func(w *world)
	}{
		"one after the other": {"", func(w *world) {
			r := w.rotated(w.rotated(w.newRotation("r-1"), false), false)
			w.noted("r-1")
			w.rotated(r, true)
			w.rotated(w.newRotation("r-2"), false)
		}},
		"two at a time": {`rotation "r-2" runs while "r-1" is not over`, func(w *world) {
			w.rotated(w.newRotation("r-1"), false)
			w.rotated(w.newRotation("r-2"), false)
		}},
		"a version is missing": {"version 3 of rotation \"r-1\" follows version 1", func(w *world) {
			r := w.rotated(w.newRotation("r-1"), false)
			r.Version++
			w.rotated(r, false)
		}},
		"a version twice": {"has a second version 1", func(w *world) {
			w.rotated(w.newRotation("r-1"), false)
			w.rotated(w.newRotation("r-1"), false)
		}},
		"a line of the journal is missing": {"version 2 of rotation \"r-1\" has line 7 in the journal", func(w *world) {
			w.rotated(w.rotated(w.newRotation("r-1"), false), false, func(c *ledger.RotationChange) { c.Entry.Number = 7 })
		}},
		"another plan": {"is not of the plan", func(w *world) {
			w.rotated(w.rotated(w.newRotation("r-1"), false), false, func(c *ledger.RotationChange) { c.Rotation.Plan = []byte("[]") })
		}},
		"notes of nothing": {"noted before it was recorded", func(w *world) { w.noted("r-1") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "alpha", 0)
			c.do(w)
			w.head()
			if c.finds == "" {
				clean(t, w.config())
				return
			}
			finds(t, w.config(), c.finds)
		})
	}
}

// What is in several logs is judged once all have been read.
func TestRotationOnTwoServers(t *testing.T) {
	for name, c := range map[string]struct {
		finds string
		do    func(a, b *world)
	}{
		"by turns": {"", func(a, b *world) {
			r := a.rotated(a.newRotation("r-1"), false)
			b.noted("r-1")
			r = b.rotated(r, false)
			a.rotated(r, false)
		}},
		"the other's clock is behind": {"", func(a, b *world) {
			a.now = a.now.Add(time.Hour)
			r := a.rotated(a.newRotation("r-1"), false)
			b.rotated(r, true)
		}},
		"a version is in none": {"version 2 of rotation \"r-1\", of 3, is in none", func(a, b *world) {
			r := a.rotated(a.newRotation("r-1"), false)
			r.Version++
			b.rotated(r, false)
		}},
		"the same version in both": {"has a second version 2", func(a, b *world) {
			r := a.rotated(a.newRotation("r-1"), false)
			a.rotated(r, false)
			b.rotated(r, false)
		}},
		"two at a time": {"while another one is not over", func(a, b *world) {
			a.rotated(a.newRotation("r-1"), false)
			b.rotated(b.newRotation("r-2"), false)
		}},
		"notes of nothing": {"none of the given logs has recorded it", func(a, b *world) { b.noted("r-9") }},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newWorld(t, "alpha", 0), newWorld(t, "beta", 0)
			c.do(a, b)
			config := Config{Logs: []string{a.dir, b.dir}}
			if c.finds == "" {
				clean(t, config)
				return
			}
			finds(t, config, c.finds)
		})
	}
}

// Numbers rise for each shard on their own.
func TestShardsOfCRLs(t *testing.T) {
	w := newWorld(t, "alpha", 0)
	crl := func(shard int, number int64) {
		w.append(ledger.Event{Kind: ledger.EventCRL, CRL: &ledger.CRLIssued{Issuer: "a", Shard: shard, Number: number, ThisUpdate: w.now, NextUpdate: w.now}})
	}
	for shard := range 3 {
		crl(shard, 10)
		crl(shard, 11+int64(shard))
	}
	config := Config{Logs: []string{w.dir}}
	clean(t, config)
	crl(1, 12)
	finds(t, config, fmt.Sprintf("CRL 12 of shard 1 of %q follows CRL 12", "a"))
}
