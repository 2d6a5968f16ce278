package server

import (
	"slices"

	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

// azureAt is a target of the configuration as rotations change it. It changes none of its
// arguments.
func azureAt(t dpsreg.Target, list []moment, h hierarchy) dpsreg.Target {
	list = momentsAt("azure/"+t.Name, list, h)
	for _, m := range slices.Backward(list) {
		t = m.azureFile(t, h)
	}
	for _, m := range list {
		t = m.azure(t, h)
	}
	return t
}

// azureFile is a target as the configuration would have it before a rotation.
func (m moment) azureFile(t dpsreg.Target, h hierarchy) dpsreg.Target {
	t.CAs, t.Groups = slices.Clone(t.CAs), slices.Clone(t.Groups)
	named := func(name string) bool {
		return slices.ContainsFunc(t.CAs, func(ca dpsreg.CA) bool { return ca.Authority == name })
	}
	if named(m.New) && !named(m.Old) && m.early("azure/"+t.Name, partCA(m.Old), h) {
		for i := range t.CAs {
			if t.CAs[i].Authority == m.New {
				t.CAs[i].Authority = m.Old
			}
		}
	}
	for i, g := range t.Groups {
		at := slices.Index(g.Anchors, m.New)
		if at < 0 || slices.Contains(g.Anchors, m.Old) || !m.early("azure/"+t.Name, partGroup(g.ID), h) {
			continue
		}
		t.Groups[i].Anchors = slices.Clone(g.Anchors)
		t.Groups[i].Anchors[at] = m.Old
	}
	return t
}

// azure is what becomes of a target. DPS has no state between letting all devices below a
// CA in and none: a group stands on one or two CAs, or is disabled. Devices that it has
// assigned to a hub stay connected there, whatever becomes of the group.
func (m moment) azure(t dpsreg.Target, h hierarchy) dpsreg.Target {
	t.CAs, t.Groups = slices.Clone(t.CAs), slices.Clone(t.Groups)
	stands := false
	for i, g := range t.Groups {
		if anchors := m.anchors(t, g, h); !g.Deleted() && slices.Contains(anchors, m.Old) {
			stands = true
			t.Groups[i] = m.group(g, anchors, h)
		}
	}
	at := slices.IndexFunc(t.CAs, func(ca dpsreg.CA) bool { return ca.Authority == m.Old && ca.State != dpsreg.StateDeleted })
	// Below a verified root, an issuing CA that a group stands on need not be verified.
	if (at >= 0 || stands && m.Kind == ledger.RotateRoot) && h.known(m.New) && !slices.ContainsFunc(t.CAs, func(ca dpsreg.CA) bool { return ca.Authority == m.New }) {
		fresh := dpsreg.CA{Authority: m.New}
		if at >= 0 {
			fresh.SelfAttested = t.CAs[at].SelfAttested
		}
		switch {
		case m.has():
			t.CAs = append(t.CAs, fresh)
		case m.undo:
			fresh.State = dpsreg.StateDeleted
			t.CAs = append(t.CAs, fresh)
		}
	}
	if at >= 0 && m.stage == rotation.StageOldRemoved {
		t.CAs[at].State = dpsreg.StateDeleted
	}
	if m.alone() {
		t.Released = append(slices.Clone(t.Released), m.Old)
		if m.Kind == ledger.RotateIssuing {
			replaced := map[string]string{m.Old: m.New}
			for from, to := range t.Replaced {
				replaced[from] = to
			}
			t.Replaced = replaced
		}
	}
	if m.undo {
		t.Released = append(slices.Clone(t.Released), m.New)
	}
	return t
}

// anchors are those of a group; of one that names none, the root of what its labels issue
// by, and of the two roots of a rotation the old one: the other one comes by the rotation.
func (m moment) anchors(t dpsreg.Target, g dpsreg.Group, h hierarchy) []string {
	if len(g.Anchors) > 0 || len(g.Labels) == 0 || m.Kind != ledger.RotateRoot {
		return g.Anchors
	}
	if root := h.root(t.Issues(h.issuer(g.Labels[0]))); root == m.Old || root == m.New && rotation.State(m.State) != rotation.Archived {
		return []string{m.Old}
	}
	return nil
}

// group is a group that stands on the old CA. What else it stands on keeps its slot in an
// emergency, where the old one leaves its own to the new one.
func (m moment) group(g dpsreg.Group, anchors []string, h hierarchy) dpsreg.Group {
	g.Anchors = anchors
	if m.shut() && !m.alone() {
		g.Disabled = true
	}
	other := slices.DeleteFunc(slices.Clone(anchors), func(a string) bool { return a == m.Old || a == m.New })
	if len(other) > 0 && !m.Emergency || !h.known(m.New) {
		return g // what that means is for the plan to say
	}
	switch {
	case m.alone():
		g.Anchors = append([]string{m.New}, other...)
	case m.stage == rotation.StageBoth:
		g.Anchors = []string{m.Old, m.New}
	case m.stage == rotation.StageOldQuiet:
		g.Anchors = []string{m.New, m.Old}
	default:
		g.Anchors = slices.DeleteFunc(slices.Clone(anchors), func(a string) bool { return a == m.New })
		if !slices.Contains(g.Anchors, m.Old) {
			g.Anchors = append(g.Anchors, m.Old)
		}
	}
	return g
}

// has reports whether the new CA is at the clouds.
func (m moment) has() bool { return m.stage != rotation.StageBefore && m.stage != rotation.StageCutOff }

// alone reports whether groups stand on the new CA alone. In an emergency they do as soon as
// it lets devices in: with the old one beside it, whoever has its key would come in.
func (m moment) alone() bool {
	switch m.stage {
	case rotation.StageOldInactive, rotation.StageOldRemoved:
		return true
	case rotation.StageBoth, rotation.StageOldQuiet:
		return m.shut()
	}
	return false
}
