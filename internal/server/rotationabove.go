package server

import (
	"context"
	"fmt"
	"slices"

	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

// Examine implements rotation.Authorities. What it has to say of a plan beside the registration
// authority's is what a stolen CA is let in by and no rotation of it shuts.
func (a served) Examine(ctx context.Context, spec rotation.Spec) (rotation.Findings, error) {
	found, err := a.Authorities.Examine(ctx, spec)
	if err == nil && spec.Emergency && spec.Kind == ledger.RotateIssuing {
		found.Warned = append(found.Warned, a.s.openAbove(spec)...)
	}
	return found, err
}

// openAbove lists the groups of DPS that stand above an issuing CA whose key is in wrong hands. DPS
// goes by the nearest group on the path that it is shown, and looks at no CRL.
func (s *Server) openAbove(spec rotation.Spec) (list []string) {
	old, err := s.ra.Authority(spec.Old)
	if err != nil {
		return nil
	}
	above := make(map[string]bool)
	for _, other := range s.ra.Authorities() {
		above[other.Name()] = slices.ContainsFunc(old.Chain(), other.Certificate().Equal)
	}
	h := s.hierarchy()
	for _, target := range s.azure.targets() {
		stands := func(name string) bool {
			return slices.ContainsFunc(target.Groups, func(g dpsreg.Group) bool { return !g.Deleted() && slices.Contains(g.Anchors, name) })
		}
		if stands(spec.Old) {
			continue // the rotation shuts that one, and it is the nearest
		}
		for _, g := range target.Groups {
			anchors := g.Anchors
			if len(anchors) == 0 && len(g.Labels) > 0 { // it stands on the root of what its labels issue by
				anchors = []string{h.root(target.Issues(h.issuer(g.Labels[0])))}
			}
			for _, anchor := range anchors {
				if above[anchor] && !g.Deleted() && !g.Disabled {
					list = append(list, fmt.Sprintf("DPS target %q: group %q stands on %q, above %q, and lets in whatever that has signed or signs: DPS looks at no CRL, and the rotation leaves the group as it is. Disable it (disabled: true, mintmark azure apply); once %q serves, give its devices a group that stands on that, and delete this one (state: deleted)",
						target.Name, g.ID, anchor, spec.Old, spec.New))
				}
			}
		}
	}
	return list
}
