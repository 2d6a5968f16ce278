package dpsreg

import (
	"fmt"

	"mintmark/internal/reconcile"
)

// budget turns creations that DPS has no place for into refusals, before anything is
// changed: what was made by then would stay. Those that are deleted by the same plan do
// not count as free, because they go last.
func budget(o *observed, changes []reconcile.Change) {
	groups := 0
	for _, g := range o.groups {
		if isX509(g) {
			groups++
		}
	}
	places := map[string]struct {
		used, of int
		what     string
	}{
		kindCA:    {len(o.certificates), MaxCertificates, "certificates"},
		kindGroup: {groups, MaxGroups, "X.509 groups"},
	}
	for i, c := range changes {
		if c.Action != reconcile.Create {
			continue
		}
		p := places[c.Kind]
		p.used++
		places[c.Kind] = p
		switch {
		case p.used > p.of:
			changes[i].Action = reconcile.Refuse
			changes[i].After = fmt.Sprintf("a DPS instance takes %d %s, and this would be number %d: delete one that is not needed first (state: deleted), by an apply of its own", p.of, p.what, p.used)
		case c.Kind == kindCA && p.used >= p.of-1:
			changes[i].After += fmt.Sprintf("; takes place %d of %d, and the successor of a root needs a free one", p.used, p.of)
		}
	}
}
