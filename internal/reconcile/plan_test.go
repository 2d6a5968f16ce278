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
