package dpsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mintmark/dpsreg/dps"
)

// maxGroupsListed bounds the list of what DPS takes 100 of with X.509, and as many
// with keys.
const maxGroupsListed = 10_000

func (s *session) listGroups(ctx context.Context) ([]dps.Group, error) {
	var list []dps.Group
	err := s.dps.Groups(ctx, func(g dps.Group) error {
		if len(list) == maxGroupsListed {
			return errors.New("the list does not end")
		}
		list = append(list, g)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the groups: %w", err)
	}
	slices.SortFunc(list, func(a, b dps.Group) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// getGroup reads a group; nil if there is none.
func (s *session) getGroup(ctx context.Context, id string) (*dps.Group, error) {
	g, err := s.dps.Group(ctx, id)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading group %q: %w", id, err)
	}
	return &g, nil
}

// hasGroup reports whether a group is one of the target's, deleted or not.
func (t Target) hasGroup(id string) bool {
	return slices.ContainsFunc(t.Groups, func(g Group) bool { return strings.EqualFold(g.ID, id) })
}

// isX509 reports whether a group counts for the limit of X.509 groups.
func isX509(g dps.Group) bool { return strings.EqualFold(g.Attestation.Type, "x509") }

// status is the provisioning status of a group.
func (g Group) status() string {
	if g.Disabled {
		return dps.Disabled
	}
	return dps.Enabled
}

// wanted is the group as it should be sent: what was read of it, with our fields
// replaced. Slots that hold the right certificate already are sent as they were read.
func (g Group) wanted(have *dps.Group, anchors []Authority, o *observed, t Target) dps.Group {
	var out dps.Group
	if have != nil {
		out = *have
	}
	out.ID = or(out.ID, g.ID)
	out.Attestation = dps.Attestation{Type: "x509", X509: g.attestation(have, anchors, o, t)}
	out.Status = g.status()
	want := g.Shape.settings(g.Tags, g.Desired)
	out.Capabilities, out.Reprovision, out.Allocation = want.Capabilities, want.Reprovision, want.Allocation
	out.Twin, out.CustomAllocation = want.Twin, want.Custom
	if len(want.Hubs) > 0 {
		out.Hubs = want.Hubs
	}
	return out
}

func (g Group) attestation(have *dps.Group, anchors []Authority, o *observed, t Target) *dps.X509 {
	if g.Reference {
		names := make([]string, 2)
		for i, a := range anchors {
			names[i] = o.nameOf(t.caOf(a.Name), a)
		}
		return &dps.X509{References: &dps.References{Primary: names[0], Secondary: names[1]}}
	}
	slots := make([]*dps.Certificate, 2)
	for i, a := range anchors {
		slots[i] = &dps.Certificate{Certificate: pemOf(a.Certificate.Raw)}
		if there := slotOf(have, i); there != nil && there.Info != nil && fold(there.Info.SHA256) == SHA256(a.Certificate) {
			slots[i] = &dps.Certificate{Info: there.Info}
		}
	}
	return &dps.X509{Signing: &dps.Slots{Primary: slots[0], Secondary: slots[1]}}
}

// slotOf is what a group has in a slot; nil for nothing.
func slotOf(g *dps.Group, i int) *dps.Certificate {
	if g == nil || g.Attestation.X509 == nil || g.Attestation.X509.Signing == nil {
		return nil
	}
	return []*dps.Certificate{g.Attestation.X509.Signing.Primary, g.Attestation.X509.Signing.Secondary}[i]
}

// caOf is the target's CA of an authority.
func (t Target) caOf(authority string) CA {
	for _, ca := range t.CAs {
		if ca.Authority == authority {
			return ca
		}
	}
	return CA{Authority: authority}
}

// settingsOfGroup are the settings of a group that is there.
func settingsOfGroup(g dps.Group) settings {
	return settings{g.Capabilities, g.Reprovision, g.Allocation, g.Hubs, g.Twin, g.CustomAllocation}
}
