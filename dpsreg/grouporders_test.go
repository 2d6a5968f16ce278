package dpsreg_test

import (
	"strings"
	"testing"

	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

// The devices of a work order end in the group that expects them, or nothing is applied.
func TestGroupOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.order("WO-1")
	w.order("WO-2", func(o *ledger.Order) { o.Label = "auto" })
	w.order("WO-3", func(o *ledger.Order) { o.Label = "line2" })
	w.order("WO-4", func(o *ledger.Order) { o.Label = "gone" })
	w.order("WO-5", func(o *ledger.Order) { o.Profile = "pinned" })
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}}
	target.Groups = []dpsreg.Group{{ID: "pumps", Anchors: []string{"line"}, Orders: []string{"WO-1"}}, {ID: "cars", Anchors: []string{"auto"}, Orders: []string{"WO-2"}}}
	target.Enrollments = []dpsreg.Enrollment{{Name: "pins", Profiles: []string{"pinned"}}}
	w.apply(target)
	for words, orders := range map[string][]string{
		`there is no work order "WO-9"`: {"WO-9"},
		`devices of work order "WO-2" come in at label "auto" and end in group "cars"`:                    {"WO-1", "WO-2"},
		`devices of work order "WO-3" come in at label "line2", which leads to no group`:                  {"WO-3"},
		`work order "WO-4": there is no label "gone"`:                                                     {"WO-4"},
		`devices of work order "WO-5" get individual enrollments of their own (enrollments entry "pins")`: {"WO-5"},
	} {
		target.Groups[0].Orders, target.Groups[1].Orders = orders, nil
		w.refuses(target, words)
		if _, err := w.registrar().Bundle(t.Context(), target); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("a bundle is made: %v", err)
		}
	}
	target.Groups[0].Orders = []string{"WO-1"}
	w.applied(target)
	if got, _, err := w.push(w.carried(target), dpsreg.ProofRequest{}); err != nil || len(got) != 0 {
		t.Errorf("by a bundle: %q, %v", got, err)
	}
	// Another's group that is nearer takes them.
	target.Groups[0].Anchors[0] = "root"
	target.Groups = target.Groups[:1]
	w.refuses(target, "every anchor at once")
	target.Groups[0].Anchors = []string{"line", "root"}
	w.applied(target)
	w.newIssuing("line-3", w.authority("root"))
	w.configure = append(w.configure, func(c *dpsreg.Config) { c.LabelIssuer["line"] = "line-3" })
	w.foreignGroup("nearer", w.authority("line-3"))
	w.refuses(target, `devices of work order "WO-1" come in at label "line" and end in group "nearer"`)
}

func TestGroupOrdersRefused(t *testing.T) {
	for words, change := range map[string]func(*dpsreg.Target){
		"an empty id of a work order":      func(t *dpsreg.Target) { t.Groups[0].Orders = []string{""} },
		`work order "WO-1" is expected in`: func(t *dpsreg.Target) { t.Groups[0].Orders, t.Groups[1].Orders = []string{"WO-1"}, []string{"WO-1"} },
		"it is to be deleted, but devices of work order": func(t *dpsreg.Target) {
			t.Groups[0] = dpsreg.Group{ID: "pumps", State: dpsreg.StateDeleted, Orders: []string{"WO-1"}}
		},
	} {
		target := newWorld(t).twoGroups()
		change(&target)
		if err := target.Validate(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
}
