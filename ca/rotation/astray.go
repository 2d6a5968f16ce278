package rotation

import (
	"fmt"
	"slices"
	"strings"
)

// astray is a cloud target of the plan that the configuration does not have any more as it
// had when the plan was made. Nobody would ask it for devices, nor take the old CA out of
// service there.
type astray struct{ target, text string }

// strays lists what has gone astray.
func (m *mover) strays() (list []astray) {
	for _, t := range m.plan.targets() {
		i := slices.IndexFunc(m.world.Clouds, func(c Cloud) bool { return c.Name() == t.Name })
		if i < 0 {
			list = append(list, astray{t.Name, fmt.Sprintf("%s is in the plan, and the configuration names it no more: put it back into mintmark.yaml until the rotation is in state %s, and restart the server", t.Name, Retired)})
			continue
		}
		has := m.world.Clouds[i].Has(m.r)
		lost := slices.DeleteFunc(slices.Clone(t.Has), func(part string) bool { return slices.Contains(has, part) })
		if len(t.Has) == 0 && len(has) == 0 {
			lost = []string{"the CA " + m.r.Old}
		}
		if len(lost) > 0 {
			list = append(list, astray{t.Name, fmt.Sprintf("%s takes part with %s, and the configuration names that there no more: put it back into mintmark.yaml until the rotation is in state %s, and restart the server", t.Name, strings.Join(lost, ", "), Retired)})
		}
	}
	return list
}

// whole asks that every target of the plan is there. In an emergency only where the old CA
// goes out of service: the others do not wait for one that is gone.
func (m *mover) whole(g *gate, to State) {
	if to == Archived || m.r.Emergency && !to.From(TrustRemoved) {
		return
	}
	for _, s := range m.strays() {
		g.miss("%s", s.text)
	}
}
