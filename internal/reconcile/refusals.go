package reconcile

import (
	"fmt"
	"strings"
)

// Refusals is an error that names everything in a plan that cannot be done; nil if
// all can. Its text begins with what the target is, as in "AWS target".
func (p Plan) Refusals(kind string) error {
	refused := p.Refused()
	if len(refused) == 0 {
		return nil
	}
	lines := make([]string, 0, len(refused))
	for _, c := range refused {
		lines = append(lines, fmt.Sprintf("%s %s: %s", c.Kind, c.Subject, c.After))
	}
	return fmt.Errorf("%s %q: nothing was changed, because this cannot be done:\n%s", kind, p.Target, strings.Join(lines, "\n"))
}
