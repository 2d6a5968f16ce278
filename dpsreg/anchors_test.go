package dpsreg_test

import (
	"slices"
	"strings"
	"testing"

	"mintmark/dpsreg"
)

// A group that says nothing of anchors stands on the root of its labels, so that a new
// issuing CA below it needs no change at DPS.
func TestAnchorByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}}
	target.Groups = []dpsreg.Group{{ID: "all", Labels: []string{"line", "auto"}}}
	w.apply(target)
	if got := w.slotsAtDPS("all"); !slices.Equal(got, []string{"root", "-"}) {
		t.Fatalf("slots %q", got)
	}
	d := w.issue("line", "pump-1")
	for _, d := range []device{d, w.issue("auto", "car-1")} {
		if _, err := w.register(d); err != nil {
			t.Error(err)
		}
	}
	if tasks := w.devices().TasksFor([]dpsreg.Target{target}, d.Certificate); len(tasks) != 1 {
		t.Errorf("%d tasks about a device that was bootstrapped", len(tasks))
	}
	status, err := w.registrar().Status(t.Context(), target, true)
	w.ok(err)
	if g := status.Groups[0]; !slices.Equal(g.Labels, []string{"auto", "line"}) || g.Live["root"] != 2 {
		t.Errorf("status %+v", g)
	}
	target.Groups[0].Reference = true
	w.applied(target)
	b := w.carried(target)
	if got := b.Target.Groups[0].Anchors; !slices.Equal(got, []string{"root"}) {
		t.Errorf("in the bundle the anchors are %q", got)
	}
	if got, _, err := w.push(b, dpsreg.ProofRequest{}); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	// Another root is never taken for the first one by itself.
	w.configure = append(w.configure, func(c *dpsreg.Config) {
		c.LabelIssuer = map[string]string{"line": "line2", "auto": "line2"}
	})
	target.CAs = append(target.CAs, dpsreg.CA{Authority: "root2"})
	w.refuses(target, "would replace every anchor at once", "root, root2")
	target.Groups[0].Anchors = []string{"root", "root2"}
	w.applied(target)
}

func TestAnchorByDefaultRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure = append(w.configure, func(c *dpsreg.Config) {
		c.LabelIssuer["gone"] = "gone"
		c.Strangers = func() map[string]string {
			return map[string]string{"edge": "CA certificates of gateways"}
		}
	})
	for words, group := range map[string]dpsreg.Group{
		"name one or two anchors, or labels":                             {},
		`labels "line" and "line2" lead to the roots "root" and "root2"`: {Labels: []string{"line", "line2"}},
		`there is no label "nowhere"`:                                    {Labels: []string{"nowhere"}},
		`there is no authority "gone"`:                                   {Labels: []string{"gone"}},
		`below anchor "root" stands "edge"`:                              {Labels: []string{"line"}},
		`"root2" is not among the target's`:                              {Labels: []string{"line2"}, Reference: true},
	} {
		target := w.target()
		target.CAs = []dpsreg.CA{{Authority: "root"}}
		group.ID = "all"
		target.Groups = []dpsreg.Group{group}
		if err := w.registrar().Check(target); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
	target := w.target()
	target.Groups = []dpsreg.Group{{ID: "one", Labels: []string{"line2"}}, {ID: "two", Anchors: []string{"root2"}}}
	if err := w.registrar().Check(target); err == nil || !strings.Contains(err.Error(), `both stand on "root2"`) {
		t.Errorf("two groups on one root: %v", err)
	}
}
