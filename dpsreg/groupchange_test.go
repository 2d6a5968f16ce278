package dpsreg_test

import (
	"strings"
	"testing"

	"mintmark/dpsreg"
)

// A plan says first what becomes of a group, and then all of what it will be.
func TestGroupChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}, {Authority: "root2"}, {Authority: "lone"}}
	target.Groups = []dpsreg.Group{{ID: "all", Anchors: []string{"line"}, Shape: dpsreg.Shape{Tags: map[string]any{"site": "ulm"}}}}
	w.apply(target)
	if plan := w.plan(target); plan.Pending() != 0 {
		t.Errorf("settled:\n%s", rendered(plan))
	}
	g := &target.Groups[0]
	for _, test := range []struct {
		change      func()
		want        string
		destructive bool
	}{
		{func() { g.Anchors = []string{"line", "root2"} }, "gains anchor root2", false},
		{func() { g.Anchors = []string{"root2", "line"} }, "its anchors change places", false},
		{func() { g.Anchors = []string{"root2"} }, "loses anchor line: it lets in no device below that any more", true},
		{func() { g.Anchors = []string{"line2", "root2"} }, "gains anchor line2", false},
		{func() { g.Anchors = []string{"root2", "lone"} }, "loses anchor line2; gains anchor lone", true},
		{func() { g.Tags = map[string]any{"site": "bonn"}; g.Edge = true }, "puts right: IoT Edge, initial twin", false},
		{func() { g.Reference = true }, "puts right: form of the anchors", false},
		{func() { g.Disabled = true }, "disables it: its devices can no longer register", true},
		{func() { g.Disabled, g.Edge = false, false }, "enables it, which is disabled at DPS: its devices can register again; puts right: IoT Edge", true},
	} {
		test.change()
		c := w.plan(target).Changes[3]
		first, rest, _ := strings.Cut(c.After, "\n")
		if first != test.want || c.Destructive != test.destructive || !strings.Contains(rest, "primary ") {
			t.Errorf("want %q, destructive %t:\n%t %s", test.want, test.destructive, c.Destructive, c.After)
		}
		w.applied(target)
	}
}
