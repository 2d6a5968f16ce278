package server

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"mintmark/awsreg"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// hierarchy is what the cloud targets of a rotation depend on besides the
// configuration: what authorities there are, and under which root each goes. Its functions do
// no I/O.
type hierarchy struct {
	known func(name string) bool
	// root is the name of the root under which an authority goes by now, its own of a
	// root; empty if it is not one of ours.
	root func(name string) string
	// under reports whether the certificate of an authority under a root is known.
	under func(name, root string) bool
	// issuer is the issuing CA that the configuration gives an EST label.
	issuer func(label string) string
	// takes reports whether the plan of a rotation takes along that part of a cloud target;
	// nil for never.
	takes func(r ledger.Rotation, target, part string) bool
	// cutOff reports whether an emergency that is PLANNED has begun to shut the old CA out of
	// a cloud target; nil for never.
	cutOff func(r ledger.Rotation, target string) bool
}

func (s *Server) hierarchy() hierarchy {
	return hierarchy{
		known:  func(name string) bool { _, err := s.ra.Authority(name); return err == nil },
		root:   s.rootOf,
		under:  func(name, root string) bool { return s.certificateUnder(name, root) != nil },
		issuer: func(label string) string { return s.azure.labelIssuers()[label] },
		takes:  s.takes,
		cutOff: func(r ledger.Rotation, target string) bool { return slices.Contains(s.ra.CutOffs(r.ID), target) },
	}
}

// takes reads the plan of a rotation, each once: what was signed does not change.
func (s *Server) takes(r ledger.Rotation, target, part string) bool {
	key := sha256.Sum256(r.Plan)
	known, ok := s.following.plans.Load(key)
	if !ok {
		plan, err := rotation.ParsePlan(r.Plan)
		if err != nil {
			return false // which nothing moves, either
		}
		known, _ = s.following.plans.LoadOrStore(key, plan)
	}
	return known.(rotation.Plan).Takes(target, part)
}

// rootOf is the name of the root above an authority, as it goes by now; its own for a
// root.
func (s *Server) rootOf(name string) string {
	a, err := s.ra.Authority(name)
	if err != nil {
		return ""
	}
	for _, other := range s.ra.Authorities() {
		if len(other.Chain()) == 0 && other.Certificate().Equal(a.Root()) {
			return other.Name()
		}
	}
	return ""
}

// certificateUnder is the certificate of an authority under a root, whichever of the two
// it goes by; nil if there is none.
func (s *Server) certificateUnder(name, root string) *x509.Certificate {
	if path := s.ra.PathUnder(name, root); len(path) > 0 {
		return path[len(path)-1]
	}
	if a, err := s.ra.Authority(name); err == nil && s.rootOf(name) == root {
		return a.Certificate()
	}
	return nil
}

// moment is a rotation at a stage, as cloud targets see it.
type moment struct {
	ledger.Rotation
	stage rotation.Stage
	// undo takes away at StageBefore what the rotation has brought; without it, it is left
	// alone, as it was not there before.
	undo bool
}

// stageHalf is that of an emergency that is PLANNED, and may have begun to shut the old CA out
// of some targets; see momentsAt.
const stageHalf rotation.Stage = "half"

// moments are the rotations that change cloud targets, each at the stage that its record
// says, in the order in which they began. instead takes the place of the one with its id, or
// comes last; nil for none. Of those that are over, only what still holds is left: the
// configuration may name the old CA for years.
func moments(rotations []ledger.Rotation, instead *moment) []moment {
	var list []moment
	for i, r := range rotations {
		if rotation.TakenOver(r, rotations[i+1:]) {
			continue
		}
		if instead != nil && instead.ID == r.ID {
			list = append(list, *instead)
			instead = nil
			continue
		}
		m := moment{Rotation: r, stage: rotation.StageOf(r)}
		if r.Emergency && r.State == string(rotation.Planned) {
			m.stage = stageHalf
		}
		if m.stage == rotation.StageBefore {
			continue
		}
		list = append(list, m)
	}
	if instead != nil {
		list = append(list, *instead)
	}
	return list
}

// momentsAt are moments at one target. Of an emergency that has begun to shut the old CA out and
// has not come to the end of it everywhere, that holds where it was begun: nobody who looks after
// a target is to open it again. At other targets nothing of it does.
func momentsAt(target string, list []moment, h hierarchy) []moment {
	if !slices.ContainsFunc(list, func(m moment) bool { return m.stage == stageHalf }) {
		return list
	}
	var at []moment
	for _, m := range list {
		if m.stage == stageHalf {
			if h.cutOff == nil || !h.cutOff(m.Rotation, target) {
				continue
			}
			begun := m.Rotation
			begun.State = string(rotation.Approved)
			m.stage = rotation.StageOf(begun)
		}
		at = append(at, m)
	}
	return at
}

// shut reports whether the old CA lets no new device in at any stage: of an emergency,
// unless it is taken back.
func (m moment) shut() bool {
	return m.Emergency && rotation.State(m.State) != rotation.RolledBack && !rotation.RollingBack(m.Rotation) && m.stage != rotation.StageBefore
}

// awsStates are the states of the two certificates at AWS; the new one's is empty if it is
// not there.
func (m moment) awsStates() (old, new string) {
	open := awsreg.StateActive
	if m.shut() {
		open = awsreg.StateQuiet
	}
	switch m.stage {
	case rotation.StageCutOff:
		return awsreg.StateQuiet, ""
	case rotation.StageRegistered:
		return open, awsreg.StateRegistered
	case rotation.StageBoth:
		return open, awsreg.StateActive
	case rotation.StageOldQuiet:
		if m.Kind == ledger.RotateRoot {
			// The key is one and the same, and a device that has never connected may
			// come with the path that it was given long ago.
			return open, awsreg.StateActive
		}
		return awsreg.StateQuiet, awsreg.StateActive
	case rotation.StageOldInactive:
		return awsreg.StateInactive, awsreg.StateActive
	case rotation.StageOldRemoved:
		return awsreg.StateDeleted, awsreg.StateActive
	}
	if m.undo {
		return awsreg.StateActive, awsreg.StateDeleted
	}
	return awsreg.StateActive, ""
}

// awsOrder are the states in the order in which a CA goes out of service.
var awsOrder = []string{awsreg.StateRegistered, awsreg.StateActive, awsreg.StateQuiet, awsreg.StateInactive, awsreg.StateDeleted}

// further is the state that is further out of service: what the configuration has taken out
// of service stays so.
func further(configured, state string) string {
	if configured == "" {
		configured = awsreg.StateActive
	}
	if slices.Index(awsOrder, configured) > slices.Index(awsOrder, state) {
		return configured
	}
	return state
}

// Parts of targets, as plans name them; see rotation.Cloud.
func partCA(name string) string  { return "CA " + name }
func partGroup(id string) string { return "group " + id }

// early reports whether the configuration of a target may name the new CA in the place of the
// old one before the rotation has come to its end: it is read as if it named the old one.
func (m moment) early(target, part string, h hierarchy) bool {
	return h.takes != nil && !rotation.State(m.State).From(rotation.Retired) && h.takes(m.Rotation, target, part)
}

// awsFile is a target as the configuration would have it before a rotation.
func (m moment) awsFile(t awsreg.Target, h hierarchy) awsreg.Target {
	if m.Kind != ledger.RotateIssuing || configuredAs(t.CAs, m.Old) || !configuredAs(t.CAs, m.New) || !m.early("aws/"+t.Name, partCA(m.Old), h) {
		return t
	}
	t.CAs = slices.Clone(t.CAs)
	for i := range t.CAs {
		if t.CAs[i].Issuer == m.New {
			t.CAs[i].Issuer = m.Old
		}
	}
	return t
}

// awsAt is a target of the configuration as rotations change it. It changes none of its
// arguments.
func awsAt(t awsreg.Target, list []moment, h hierarchy) awsreg.Target {
	list = momentsAt("aws/"+t.Name, list, h)
	for _, m := range slices.Backward(list) {
		t = m.awsFile(t, h)
	}
	for _, m := range list {
		var cas []awsreg.CA
		for _, ca := range t.CAs {
			cas = append(cas, m.aws(ca, t.CAs, h)...)
		}
		t.CAs = cas
	}
	return t
}

// aws is what becomes of one CA.
func (m moment) aws(ca awsreg.CA, all []awsreg.CA, h hierarchy) []awsreg.CA {
	old, fresh := m.awsStates()
	configured := ca.State
	withState := func(name, state string) awsreg.CA {
		out := ca
		out.Issuer, out.State = name, state
		if name != ca.Issuer || state != awsreg.StateInactive && state != awsreg.StateDeleted {
			out.Sweep = ""
		}
		return out
	}
	second := func(name, state string) []awsreg.CA {
		if state == "" || further(configured, awsreg.StateActive) != awsreg.StateActive || configuredAs(all, name) {
			return nil
		}
		return []awsreg.CA{withState(name, state)}
	}
	if m.Kind == ledger.RotateIssuing {
		if ca.Issuer != m.Old {
			return []awsreg.CA{ca}
		}
		list := []awsreg.CA{ca}
		if ca.Mode != awsreg.ModeNone {
			list[0] = withState(ca.Issuer, further(configured, old))
		} else if fresh != "" && fresh != awsreg.StateDeleted {
			fresh = awsreg.StateActive // there is no registration, and so no state
		} else {
			fresh = ""
		}
		if h.known(m.New) {
			list = append(list, second(m.New, fresh)...)
		}
		return list
	}
	if !m.twinned(ca.Issuer) || ca.Mode == awsreg.ModeNone || rotation.State(m.State) == rotation.Archived {
		return []awsreg.CA{ca}
	}
	if h.root(ca.Issuer) == m.New {
		list := []awsreg.CA{ca}
		if h.under(ca.Issuer, m.Old) {
			list = append(list, second(ca.Issuer+"@"+m.Old, old)...)
		}
		return list
	}
	list := []awsreg.CA{withState(ca.Issuer, further(configured, old))}
	if h.under(ca.Issuer, m.New) {
		list = append(list, second(ca.Issuer+"@"+m.New, fresh)...)
	}
	return list
}

// twinned reports whether an authority has a certificate under either root.
func (m moment) twinned(name string) bool {
	return slices.ContainsFunc(m.Twins, func(t ledger.Twin) bool { return t.Authority == name })
}

func configuredAs(all []awsreg.CA, name string) bool {
	return slices.ContainsFunc(all, func(ca awsreg.CA) bool { return ca.Issuer == name })
}

// certificateOf is the certificate that a CA of an AWS target names: an authority's, or
// that which it has under another root (NAME@ROOT).
func (s *Server) certificateOf(name string) (*x509.Certificate, error) {
	if authority, root, is := strings.Cut(name, "@"); is {
		c := s.certificateUnder(authority, root)
		if c == nil {
			return nil, fmt.Errorf("%w: %q has no certificate under root %q", issuer.ErrNoAuthority, authority, root)
		}
		return c, nil
	}
	authority, err := s.ra.Authority(name)
	if err != nil {
		return nil, err
	}
	return authority.Certificate(), nil
}
