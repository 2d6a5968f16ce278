package reconcile

import (
	"errors"
	"testing"
)

// TestCheck: what was agreed to is done, and nothing else is.
func TestCheck(t *testing.T) {
	harmless := Plan{Target: "line-a", Changes: []Change{{Kind: "ca", Subject: "x", Action: Create}}}
	deletes := Plan{Target: "line-a", Changes: []Change{{Kind: "ca", Subject: "x", Action: Delete, Destructive: true}}}
	refused := Plan{Target: "line-a", Changes: []Change{{Kind: "ca", Subject: "x", Action: Refuse, Destructive: true}}}
	for name, c := range map[string]struct {
		plan   Plan
		agreed Agreed
		want   error
	}{
		"whatever is to be done":              {harmless, Agreed{}, nil},
		"this plan":                           {harmless, Agreed{Hash: harmless.Hash()}, nil},
		"another plan":                        {harmless, Agreed{Hash: deletes.Hash()}, ErrChanged},
		"another plan, and destruction":       {harmless, Agreed{Hash: deletes.Hash(), Destructive: true}, ErrChanged},
		"whatever, and it destroys":           {deletes, Agreed{}, ErrChanged},
		"this plan, but not what it destroys": {deletes, Agreed{Hash: deletes.Hash()}, ErrChanged},
		"this plan, and what it destroys":     {deletes, Agreed{Hash: deletes.Hash(), Destructive: true}, nil},
		"whatever, destruction too":           {deletes, Agreed{Destructive: true}, nil},
		"what is refused destroys nothing":    {refused, Agreed{}, nil},
	} {
		if err := c.plan.Check(c.agreed); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
