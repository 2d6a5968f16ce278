package reconcile

import (
	"fmt"
	"io"
	"strings"
)

var signs = map[Action]string{None: " ", Create: "+", Update: "~", Delete: "-", Refuse: "!", Foreign: "?"}

// Render writes the plan for people: one line a change, with what is there and
// what will be there below it, and the hash that an officer approves.
func (p Plan) Render(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "target %s\n", p.Target)
	for _, c := range p.Changes {
		sign, ok := signs[c.Action]
		if !ok {
			sign = "?"
		}
		fmt.Fprintf(&b, "%s %s %s: %s", sign, c.Kind, c.Subject, c.Action)
		if c.Mutates() && c.Destructive {
			b.WriteString(" (destructive)")
		}
		b.WriteString("\n")
		if c.Action == None {
			continue
		}
		if c.Before != "" {
			fmt.Fprintf(&b, "    before: %s\n", indent(c.Before))
		}
		if c.After != "" {
			fmt.Fprintf(&b, "    after:  %s\n", indent(c.After))
		}
	}
	switch pending, refused := p.Pending(), len(p.Refused()); {
	case refused > 0:
		fmt.Fprintf(&b, "%d to change, %d refused, hash %x\n", pending, refused, p.Hash())
	case pending == 0 && !p.Empty():
		b.WriteString("nothing to change here; what is marked with ? is another's to change\n")
	case pending == 0:
		b.WriteString("nothing to change\n")
	default:
		fmt.Fprintf(&b, "%d to change, hash %x\n", pending, p.Hash())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n            ") }
