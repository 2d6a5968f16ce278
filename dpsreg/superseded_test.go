package dpsreg_test

import (
	"maps"
	"testing"
	"time"

	"mintmark/dpsreg"
)

// What is left below a CA that is to go: how much of it is in force only because nobody
// has revoked what was renewed, and how many devices have not renewed.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}, {Authority: "root2"}}
	target.Groups = []dpsreg.Group{{ID: "all", Anchors: []string{"root", "root2"}}}
	w.apply(target)
	first, same, late := w.issue("line", "pump-1"), w.issue("line", "pump-2"), w.issue("line", "pump-3")
	w.advance(time.Minute)
	w.issue("auto", "pump-2") // another issuing CA, but below the same root
	w.issue("line2", "pump-1")
	revoked := w.issue("line2", "pump-3")
	w.revoke(revoked)
	w.issue("line2", "pump-4")
	w.advance(time.Minute)
	w.issue("line", "pump-4") // older is what is below the other root

	status, err := w.registrar().Status(t.Context(), target, true)
	w.ok(err)
	if c := status.CAs[0]; c.Live != 5 || c.Superseded != 1 {
		t.Errorf("root: %+v", c)
	}
	if c := status.CAs[1]; c.Live != 2 || c.Superseded != 1 {
		t.Errorf("root2: %+v", c)
	}
	if g := status.Groups[0]; !maps.Equal(g.Live, map[string]int{"root": 5, "root2": 2}) || !maps.Equal(g.Superseded, map[string]int{"root": 1, "root2": 1}) {
		t.Errorf("group %+v", g)
	}
	status, err = w.registrar().Status(t.Context(), target, false)
	if err != nil || status.CAs[0].Superseded != -1 || status.Groups[0].Superseded != nil {
		t.Errorf("not asked for: %+v, %v", status, err)
	}

	target.Groups[0].Anchors = []string{"root2"}
	w.refuses(target, `5 certificates of devices are in force below it, 1 of them renewed since under another CA (revoke it: mintmark cert revoke SERIAL --reason superseded); 3 devices have not renewed there`)
	w.revoke(same)
	w.revoke(late)
	w.revoke(w.latest("pump-2"))
	w.revoke(w.latest("pump-4"))
	w.refuses(target, `1 certificate of a device is in force below it, renewed since under another CA (revoke it: mintmark cert revoke SERIAL --reason superseded)`)
	w.revoke(first)
	w.applied(target)
}
