package reconcile

import "testing"

func TestRefusals(t *testing.T) {
	p := Plan{Target: "line-a", Changes: []Change{{Kind: "ca", Subject: "x", Action: Create}, {Kind: "group", Subject: "g", Action: Foreign}}}
	if err := p.Refusals("AWS target"); err != nil {
		t.Errorf("nothing is refused: %v", err)
	}
	p.Changes = append(p.Changes, Change{Kind: "ca", Subject: "y", Action: Refuse, After: "no room"}, Change{Kind: "group", Subject: "h", Action: Refuse, After: "not ours"})
	const want = "AWS target \"line-a\": nothing was changed, because this cannot be done:\nca y: no room\ngroup h: not ours"
	if err := p.Refusals("AWS target"); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
