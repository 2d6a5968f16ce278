package dpsreg_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// slotsAtDPS are the authorities in the slots of a group, as another sees them.
func (w *world) slotsAtDPS(id string) []string {
	w.t.Helper()
	g, err := w.dps().Group(w.t.Context(), id)
	w.ok(err)
	var list []string
	x := g.Attestation.X509
	if x.References != nil {
		return []string{x.References.Primary, x.References.Secondary}
	}
	for _, c := range []*dps.Certificate{x.Signing.Primary, x.Signing.Secondary} {
		name := "-"
		for _, a := range w.authorities {
			if c != nil && c.Info != nil && strings.EqualFold(dpsreg.SHA256(a.Certificate), c.Info.SHA256) {
				name = a.Name
			}
		}
		list = append(list, name)
	}
	return list
}

// The change of an issuing CA under a root that stays verified: each step keeps devices
// in, and none can be left out.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}}
	target.Groups = []dpsreg.Group{{ID: "pumps", Anchors: []string{"line"}, Labels: []string{"line"}}}
	w.apply(target)
	old := w.issue("line", "pump-1")
	w.newIssuing("line-2", w.authority("root"))

	group := &target.Groups[0]
	group.Anchors, group.Labels = []string{"line-2"}, nil
	w.refuses(target, "would replace every anchor at once", "line, line-2")
	group.Anchors = []string{"line", "line-2"}
	plan := w.applied(target)
	if plan.Destructive() || !slices.Equal(w.slotsAtDPS("pumps"), []string{"line", "line-2"}) {
		t.Errorf("destructive %t, slots %q", plan.Destructive(), w.slotsAtDPS("pumps"))
	}
	renewed := w.issue("line-2", "pump-1", func(c *ledger.Certificate) {
		c.Requester = ledger.Requester{Kind: "certificate", Name: string(old.Serial)}
	})
	for _, d := range []device{old, renewed} {
		if _, err := w.register(d); err != nil {
			t.Errorf("%s: %v", d.Issuer, err)
		}
	}
	group.Anchors = []string{"line-2"}
	w.refuses(target, `anchor "line" cannot go: 1 certificate of a device is in force below it`)
	group.Anchors = []string{"line-2", "line"}
	plan = w.applied(target)
	if plan.Destructive() || !slices.Equal(w.slotsAtDPS("pumps"), []string{"line-2", "line"}) {
		t.Errorf("promoted: destructive %t, slots %q", plan.Destructive(), w.slotsAtDPS("pumps"))
	}
	if _, err := w.register(old); err != nil {
		t.Errorf("the old certificate: %v", err)
	}
	group.Anchors = []string{"line-2"}
	w.refuses(target, `anchor "line" cannot go`)
	w.revoke(old) // or it expires
	if plan = w.applied(target); !plan.Destructive() || !slices.Equal(w.slotsAtDPS("pumps"), []string{"line-2", "-"}) {
		t.Errorf("the last step: destructive %t, slots %q", plan.Destructive(), w.slotsAtDPS("pumps"))
	}
	if _, err := w.register(old); err == nil {
		t.Error("a device below the old CA is let in")
	}
	if _, err := w.register(renewed); err != nil {
		t.Errorf("a device below the new CA: %v", err)
	}
}

// The change of a root: the new one is uploaded beside the old one, drained by our
// inventory, and only then the old one goes, from the group and from DPS.
func TestRotationOfRoot(t *testing.T) {
	t.Parallel()
	for _, reference := range []bool{false, true} {
		w := newWorld(t)
		target := w.target()
		target.CAs = []dpsreg.CA{{Authority: "root"}}
		target.Groups = []dpsreg.Group{{ID: "all", Anchors: []string{"root"}, Reference: reference}}
		w.apply(target)
		old := w.issue("line", "pump-1")
		bystander := w.issue("auto", "car-1", func(c *ledger.Certificate) { c.NotAfter = c.NotBefore.AddDate(0, 1, 0) })
		target.CAs = append(target.CAs, dpsreg.CA{Authority: "root2"})
		group := &target.Groups[0]
		group.Anchors = []string{"root", "root2"}
		w.applied(target)
		renewed := w.issue("line2", "pump-1")
		for _, d := range []device{old, bystander, renewed} {
			if _, err := w.register(d); err != nil {
				t.Errorf("%s: %v", d.Issuer, err)
			}
		}
		group.Anchors = []string{"root2", "root"}
		w.applied(target)

		status, err := w.registrar().Status(t.Context(), target, true)
		w.ok(err)
		if g := status.Groups[0]; !maps.Equal(g.Live, map[string]int{"root": 2, "root2": 1}) || !slices.Equal(g.Anchors, []string{"root2", "root"}) || g.Assigned != 2 {
			t.Errorf("status %+v", g)
		}
		group.Anchors, target.CAs[0].State = []string{"root2"}, dpsreg.StateDeleted
		w.refuses(target, `anchor "root" cannot go: 2 certificates`, "2 certificates of devices are in force below it, 1 of them renewed since under another CA", "1 device has not renewed there")
		w.revoke(old)
		w.advance(40 * 24 * time.Hour) // the other one expires
		plan := w.applied(target)
		if got := todo(plan); !slices.Equal(got, []string{"update group all", "delete ca root"}) || !plan.Destructive() {
			t.Errorf("planned %q", got)
		}
		if _, err := w.register(renewed); err != nil {
			t.Errorf("below the new root: %v", err)
		}
		if strings.Contains(w.state(), dpsreg.SHA256(w.authority("root").Certificate)) {
			t.Error("the old root is still there")
		}
	}
}

// A CA with certificates in force below it, at whatever depth, is not taken out, nor one
// that a group stands on, whosever that is.
func TestRefusesLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}}
	w.apply(target)
	d := w.issue("line", "pump-1")
	target.CAs[0].State = dpsreg.StateDeleted
	w.refuses(target, "1 certificate of a device is in force below it")
	w.revoke(d)
	gateway := w.issue("edge", "gateway-1", func(c *ledger.Certificate) { c.Purpose = ledger.ForGateway })
	_ = gateway // no device of DPS

	w.foreignGroup("theirs", w.authority("line"))
	w.refuses(target, `group "theirs" stands on it, which is not one of the target's`)
	g, err := w.dps().Group(t.Context(), "theirs")
	w.ok(err)
	w.ok(w.dps().DeleteGroup(t.Context(), "theirs", g.Etag))

	target.CAs[0].State, target.Groups = "", []dpsreg.Group{{ID: "ours", Anchors: []string{"line"}}}
	w.apply(target)
	target.CAs[0].State = dpsreg.StateDeleted
	w.refuses(target, `group "ours" stands on it`)
	// Below another verified CA the group may stay.
	target.CAs = append(target.CAs, dpsreg.CA{Authority: "line"})
	w.apply(target)
	if _, err := w.register(w.issue("line", "pump-2")); err != nil {
		t.Error(err)
	}
	// And both may go together.
	target.CAs[0].State = ""
	w.apply(target)
	w.advance(400 * 24 * time.Hour)
	target.CAs[0].State, target.CAs[1].State, target.Groups[0] = dpsreg.StateDeleted, dpsreg.StateDeleted, dpsreg.Group{ID: "ours", State: dpsreg.StateDeleted}
	plan := w.applied(target)
	if got := todo(plan); !slices.Equal(got, []string{"delete group ours", "delete ca root", "delete ca line"}) || !plan.Destructive() {
		t.Errorf("planned %q", got)
	}
}

// A group that comes to be while a CA is deleted keeps it.
func TestRefusesLiveMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}, {Authority: "lone"}}
	w.apply(target)
	target.CAs[0].State, target.CAs[1].State = dpsreg.StateDeleted, dpsreg.StateDeleted
	done, err := w.registrar().Apply(t.Context(), target, reconcile.Agreed{Destructive: true}, func(c reconcile.Change) {
		if c.Action == reconcile.Delete {
			w.foreignGroup("theirs", w.authority("lone"))
		}
	})
	if err == nil || !strings.Contains(err.Error(), `group "theirs" stands on it`) || len(done.Changes) != 1 {
		t.Errorf("done %q, %v", todo(done), err)
	}
}
