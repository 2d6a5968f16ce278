package reconcile

import (
	"strings"
	"testing"
)

func TestHash(t *testing.T) {
	base := Plan{Target: "line-a", Changes: []Change{
		{Kind: "ca", Subject: "x", Action: Create, After: "ACTIVE"},
		{Kind: "policy", Subject: "p", Action: None, Before: "same"},
	}}
	same := Plan{Target: "line-a", Changes: []Change{
		{Kind: "table", Subject: "t", Action: None, Before: "there"},
		{Kind: "ca", Subject: "x", Action: Create, After: "ACTIVE"},
	}}
	if base.Hash() != same.Hash() {
		t.Error("what is only reported changes the hash")
	}
	for name, change := range map[string]func(*Plan){
		"target":       func(p *Plan) { p.Target = "line-b" },
		"kind":         func(p *Plan) { p.Changes[0].Kind = "c" },
		"subject":      func(p *Plan) { p.Changes[0].Subject = "y" },
		"action":       func(p *Plan) { p.Changes[0].Action = Update },
		"before":       func(p *Plan) { p.Changes[0].Before = "INACTIVE" },
		"after":        func(p *Plan) { p.Changes[0].After = "INACTIVE" },
		"boundary":     func(p *Plan) { p.Changes[0].Kind, p.Changes[0].Subject = "cax", "" },
		"one more":     func(p *Plan) { p.Changes[1].Action = Update },
		"order":        func(p *Plan) { p.Changes = []Change{{Kind: "a", Action: Create}, p.Changes[0]} },
		"one fewer":    func(p *Plan) { p.Changes = nil },
		"twice":        func(p *Plan) { p.Changes = append(p.Changes, p.Changes[0]) },
		"before/after": func(p *Plan) { p.Changes[0].Before, p.Changes[0].After = "ACTIVE", "" },
	} {
		p := Plan{Target: base.Target, Changes: append([]Change(nil), base.Changes...)}
		change(&p)
		if p.Hash() == base.Hash() {
			t.Errorf("%s: another plan has the same hash", name)
		}
	}
}

func TestRender(t *testing.T) {
	p := Plan{Target: "line-a", Changes: []Change{
		{Kind: "table", Subject: "t", Action: None},
		{Kind: "ca", Subject: "x", Action: Update, Before: "INACTIVE", After: "ACTIVE"},
		{Kind: "ca", Subject: "y", Action: Refuse, After: "cannot"},
	}}
	var b strings.Builder
	if err := p.Render(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"  table t: none", "~ ca x: update", "before: INACTIVE", "! ca y: refuse", "1 to change, 1 refused"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("missing %q in:\n%s", want, b.String())
		}
	}
	if p.Empty() || !(Plan{Changes: p.Changes[:1]}).Empty() {
		t.Error("Empty is wrong")
	}
}

// What another owns is shown and stops nothing; what takes something out of
// service is marked, and only as long as it will be done.
func TestForeignAndDestructive(t *testing.T) {
	foreign := Change{Kind: "policy", Subject: "p", Action: Foreign, After: "stack iot"}
	p := Plan{Target: "line-a", Changes: []Change{foreign}}
	if p.Empty() || p.Pending() != 0 || len(p.Refused()) != 0 || p.Destructive() {
		t.Errorf("a change of another's: empty %t, pending %d, refused %d, destructive %t", p.Empty(), p.Pending(), len(p.Refused()), p.Destructive())
	}
	if p.Hash() != (Plan{Target: "line-a"}).Hash() {
		t.Error("what another would have to do changes the hash")
	}
	for action, want := range map[Action]bool{None: false, Refuse: false, Foreign: false, Update: true, Delete: true} {
		p.Changes = []Change{foreign, {Kind: "ca", Subject: "x", Action: action, Destructive: true}}
		if p.Destructive() != want {
			t.Errorf("%s: destructive is %t", action, p.Destructive())
		}
	}
	var b strings.Builder
	p.Changes = []Change{foreign, {Kind: "ca", Subject: "x", Action: Delete, Destructive: true}}
	if err := p.Render(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"? policy p: foreign\n", "after:  stack iot", "- ca x: delete (destructive)", "1 to change, hash"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("missing %q in:\n%s", want, b.String())
		}
	}
	b.Reset()
	p.Changes = p.Changes[:1]
	if err := p.Render(&b); err != nil || !strings.Contains(b.String(), "another's to change") {
		t.Errorf("%v:\n%s", err, b.String())
	}
}
