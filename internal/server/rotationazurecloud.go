package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// azureCloud is a DPS target as a rotation moves it.
type azureCloud struct {
	t    *azureTargets
	name string
}

// Name implements rotation.Cloud.
func (c azureCloud) Name() string { return "azure/" + c.name }

func (c azureCloud) configured() dpsreg.Target {
	for _, target := range c.t.list {
		if target.Name == c.name {
			return target
		}
	}
	return dpsreg.Target{Name: c.name} // not there: clouds are made of the list
}

// at is the target with a rotation at a stage, and all others as they are.
func (c azureCloud) at(r ledger.Rotation, stage rotation.Stage, undo bool) dpsreg.Target {
	return azureAt(c.configured(), moments(c.t.s.ra.KnownRotations(), &moment{r, stage, undo}), c.t.s.hierarchy())
}

// affected are the groups that stand on the old CA, as they are without the rotation, and
// whether the target has the CA itself.
func (c azureCloud) affected(r ledger.Rotation) (groups []dpsreg.Group, ca bool) {
	m, h := moment{Rotation: r, stage: rotation.StageBefore}, c.t.s.hierarchy()
	target := azureAt(c.configured(), moments(c.t.s.ra.KnownRotations(), &m), h)
	for _, g := range target.Groups {
		if anchors := m.anchors(target, g, h); !g.Deleted() && slices.Contains(anchors, r.Old) {
			g.Anchors = anchors
			groups = append(groups, g)
		}
	}
	return groups, slices.ContainsFunc(target.CAs, func(ca dpsreg.CA) bool { return ca.Authority == r.Old && ca.State != dpsreg.StateDeleted })
}

// Has implements rotation.Cloud.
func (c azureCloud) Has(r ledger.Rotation) []string {
	var list []string
	groups, ca := c.affected(r)
	if ca {
		list = append(list, partCA(r.Old))
	}
	for _, g := range groups {
		list = append(list, partGroup(g.ID))
	}
	return list
}

// Plan implements rotation.Cloud.
func (c azureCloud) Plan(ctx context.Context, r ledger.Rotation, stage rotation.Stage) (reconcile.Plan, error) {
	if byNames(r) {
		return c.planned(ctx, r, stage)
	}
	plan, err := c.t.registrar.Plan(ctx, c.at(r, stage, stage == rotation.StageBefore))
	if stage != rotation.StageCutOff {
		plan.Changes = append(plan.Changes, c.taken(r)...)
	}
	return plan, err
}

// taken refuses where a group has another CA in the slot that the new one needs.
func (c azureCloud) taken(r ledger.Rotation) []reconcile.Change {
	var list []reconcile.Change
	if r.Emergency {
		return nil // the old one leaves its slot to the new one
	}
	groups, _ := c.affected(r)
	for _, g := range groups {
		for _, anchor := range g.Anchors {
			if anchor != r.Old && anchor != r.New {
				list = append(list, reconcile.Change{Kind: changeGroup, Subject: g.ID, Action: reconcile.Refuse,
					After: fmt.Sprintf("a group has two slots, and beside %q it has %q, so that there is none for %q: take one of them out first%s", r.Old, anchor, r.New, c.t.s.leftBy(anchor))})
			}
		}
	}
	return list
}

// leftBy says of a CA that a rotation which was taken back has left how it goes.
func (s *Server) leftBy(name string) string {
	list := s.ra.KnownRotations()
	for i, r := range list {
		if r.New == name && r.Kept && rotation.State(r.State) == rotation.RolledBack && !rotation.TakenOver(r, list[i+1:]) {
			return fmt.Sprintf(" (rotation %s was rolled back, and has left it with devices: mintmark rotate rollback %s lets it go once none needs it)", r.ID, r.ID)
		}
	}
	return ""
}

// planned says by names what a stage changes, and asks DPS only once whether there is room
// and whether the target is in order.
func (c azureCloud) planned(ctx context.Context, r ledger.Rotation, stage rotation.Stage) (reconcile.Plan, error) {
	plan := reconcile.Plan{Target: c.name}
	groups, ca := c.affected(r)
	earlier := stageBefore[stage]
	if stage == rotation.StageRegistered && r.Emergency {
		earlier = rotation.StageCutOff
	}
	before, after := moment{r, earlier, false}, moment{r, stage, false}
	uploads := ca || len(groups) > 0 && r.Kind == ledger.RotateRoot
	add := func(kind, subject string, action reconcile.Action, before, after string) {
		plan.Changes = append(plan.Changes, reconcile.Change{Kind: kind, Subject: subject, Action: action, Before: before, After: after, Destructive: action == reconcile.Delete})
	}
	if stage == rotation.StageRegistered && uploads {
		add(changeCA, r.New, reconcile.Create, "not uploaded", c.proof(r))
	}
	for _, g := range groups {
		if from, to := before.words(g), after.words(g); from != to {
			add(changeGroup, g.ID, reconcile.Update, from, to)
		}
	}
	if stage == rotation.StageOldRemoved && ca {
		add(changeCA, r.Old, reconcile.Delete, "uploaded and verified", "not uploaded")
	}
	if stage == rotation.StageRegistered {
		plan.Changes = append(plan.Changes, c.taken(r)...)
	}
	if stage != rotation.StageRegistered && stage != asked(r) {
		return plan, nil
	}
	status, err := c.t.registrar.Status(ctx, c.at(r, rotation.StageOf(r), false), false)
	if err != nil {
		return plan, err
	}
	if stage == rotation.StageRegistered && uploads && status.CertificateSlots >= dpsreg.MaxCertificates && !c.has(status, r.New) {
		add(changeCA, r.New, reconcile.Refuse, "", fmt.Sprintf("a DPS instance takes %d certificates and has %d: delete one that is not needed first (state: deleted)", dpsreg.MaxCertificates, status.CertificateSlots))
	}
	if stage == asked(r) && !status.Plan.Empty() {
		plan.Changes = append(plan.Changes, foundOut(r, "azure", c.name, differing(status.Plan)))
	}
	return plan, nil
}

// proof says how DPS comes to take the new CA for verified.
func (c azureCloud) proof(r ledger.Rotation) string {
	for _, name := range []string{r.New, r.Old} { // which is as the old one, unless the configuration names it
		if i := slices.IndexFunc(c.configured().CAs, func(ca dpsreg.CA) bool { return ca.Authority == name && ca.State != dpsreg.StateDeleted }); i >= 0 {
			if c.configured().CAs[i].SelfAttested {
				return "uploaded, and declared verified without a proof (self_attested)"
			}
			break
		}
	}
	if plan, err := rotation.ParsePlan(r.Plan); err == nil && plan.Spec.Elsewhere || c.t.s.keyElsewhere(r.New) {
		return "uploaded. " + unproven(r)
	}
	return "uploaded and verified by proof of possession"
}

// unproven says what to do where DPS wants a proof that nobody here can give.
func unproven(r ledger.Rotation) string {
	return fmt.Sprintf("DPS wants a proof by the key of %q, which is elsewhere: once its certificate is here, name %q under cas of this target in mintmark.yaml, with self_attested: true, restart the server, and run again", r.New, r.New)
}

// keyElsewhere reports whether an authority is known here and its key is not here.
func (s *Server) keyElsewhere(name string) bool {
	a, err := s.ra.Authority(name)
	return err == nil && errors.Is(a.Ready(), ca.ErrNoSigner)
}

func (c azureCloud) has(status dpsreg.Status, authority string) bool {
	return slices.ContainsFunc(status.CAs, func(ca dpsreg.CAStatus) bool { return ca.Authority == authority && ca.There })
}

// words are the anchors of a group at a stage, for those who approve a plan.
func (m moment) words(g dpsreg.Group) string {
	g = m.group(g, g.Anchors, hierarchy{known: func(string) bool { return true }})
	text := "stands on " + strings.Join(g.Anchors, ", then ")
	if g.Disabled {
		text += "; disabled: nobody registers, and who is connected stays so"
	}
	return text
}

// Advance implements rotation.Cloud.
func (c azureCloud) Advance(ctx context.Context, r ledger.Rotation, stage rotation.Stage) (reconcile.Plan, error) {
	if taken := c.taken(r); len(taken) > 0 && stage != rotation.StageCutOff {
		return reconcile.Plan{}, fmt.Errorf("DPS target %q: group %q: %s", c.name, taken[0].Subject, taken[0].After)
	}
	var left []reconcile.Plan
	for i, stage := range leftAt(r) {
		target := c.at(r, stage, false)
		if i > 0 {
			// What a run left half done is only compared: that labels do not lead there any
			// more, since the old path serves again, is no reason not to take it back.
			target.Groups = slices.Clone(target.Groups)
			for i := range target.Groups {
				target.Groups[i].Labels = nil
			}
		}
		plan, err := c.t.registrar.Plan(ctx, target)
		if err != nil {
			return reconcile.Plan{}, err
		}
		left = append(left, plan)
	}
	target := c.at(r, stage, stage == rotation.StageBefore)
	next, err := c.t.registrar.Plan(ctx, target)
	if err != nil {
		return reconcile.Plan{}, err
	}
	if err := c.t.s.heldUp(r, stage, "azure", c.name, driftBefore(next, left, c.about(r))); err != nil {
		return reconcile.Plan{}, err
	}
	if c.t.s.keyElsewhere(r.New) && c.proves(next, target, r) {
		return reconcile.Plan{}, fmt.Errorf("DPS target %q: %s", c.name, unproven(r))
	}
	done, err := c.t.applyTarget(ctx, target, reconcile.Agreed{Hash: next.Hash(), Destructive: true}, nil)
	if err != nil {
		return done, err
	}
	after, err := c.t.registrar.Plan(ctx, target)
	if err == nil {
		err = unread("DPS target "+c.name, stage, after)
	}
	return done, err
}

// proves reports whether a plan has the new CA prove to DPS that its key is there.
func (c azureCloud) proves(plan reconcile.Plan, target dpsreg.Target, r ledger.Rotation) bool {
	about := c.about(r)
	pending := slices.ContainsFunc(plan.Changes, func(change reconcile.Change) bool {
		_, fresh := about(change)
		return fresh && change.Kind == changeCA && (change.Action == reconcile.Create || change.Action == reconcile.Update)
	})
	return pending && !slices.ContainsFunc(target.CAs, func(ca dpsreg.CA) bool { return ca.Authority == r.New && ca.SelfAttested })
}

// about tells the changes of a rotation by what they are about: the old CA and the groups
// that stand on it, the new one, or neither.
func (c azureCloud) about(r ledger.Rotation) func(reconcile.Change) (old, new bool) {
	groups, _ := c.affected(r)
	return func(change reconcile.Change) (old, new bool) {
		if change.Kind == changeGroup {
			return slices.ContainsFunc(groups, func(g dpsreg.Group) bool { return g.ID == change.Subject }), false
		}
		authority, _, _ := strings.Cut(change.Subject, " ")
		return authority == r.Old, authority == r.New
	}
}

// Remaining implements rotation.Cloud.
func (c azureCloud) Remaining(ctx context.Context, r ledger.Rotation) (int, string, error) {
	groups, _ := c.affected(r)
	if len(groups) == 0 {
		return 0, "no group stands on " + r.Old, nil
	}
	query, err := rotation.AnchorQuery(r, c.t.s.ra.Now())
	if err != nil {
		return 0, "", err
	}
	follow, err := c.t.s.followersOf(ctx, r)
	if err != nil {
		return 0, "", err
	}
	issuers := query.Issuers
	if r.Kind == ledger.RotateIssuing {
		issuers = []string{r.Old}
	}
	known, left, waived, err := c.standing(ctx, issuers, query.New, follow)
	if err != nil {
		return 0, "", err
	}
	registered, remaining, strangers, example := 0, 0, 0, ""
	for _, g := range groups {
		err := c.t.registrar.Registered(ctx, c.at(r, rotation.StageOf(r), false), g.ID, func(id string) error {
			registered++
			switch {
			case left[id]:
				remaining++
			case !known[id]:
				strangers, example = strangers+1, id
			}
			return nil
		})
		if err != nil {
			return 0, "", err
		}
	}
	text := fmt.Sprintf("DPS lists %d registered devices in the groups on %s, of which %d have nothing newer than a certificate of it; by the ledger %d devices hold nothing newer, %d that were waived left out",
		registered, r.Old, remaining, len(left), len(waived))
	if strangers > 0 {
		return remaining, text, fmt.Errorf("DPS target %q and the ledger do not agree: %d registered devices (%q is one) have no certificate that the ledger knows: delete their registrations, or import their certificates (mintmark cert import)", c.name, strangers, example)
	}
	return remaining, text, nil
}

// standing sorts devices, by their names in lower case: those that the ledger knows a
// certificate of, those with nothing newer than one of the issuers, and of these the waived.
func (c azureCloud) standing(ctx context.Context, issuers []string, by string, follow followed) (known, left, waived map[string]bool, err error) {
	known, left, waived = make(map[string]bool), make(map[string]bool), make(map[string]bool)
	now, newer := c.t.s.ra.Now(), make(map[string]time.Time)
	if by != "" {
		err = c.t.s.eachIssued(ctx, by, func(one ledger.Certificate) {
			known[strings.ToLower(one.Device)] = true
			if ofDevices(one) && one.InForce(now) && one.IssuedAt.After(newer[one.Device]) {
				newer[one.Device] = one.IssuedAt
			}
		})
	}
	for _, issuer := range issuers {
		if err != nil {
			return nil, nil, nil, err
		}
		err = c.t.s.eachIssued(ctx, issuer, func(one ledger.Certificate) {
			id := strings.ToLower(one.Device)
			known[id] = true
			switch {
			case !ofDevices(one) || !one.InForce(now) || follow.moved[one.Device] || newer[one.Device].After(one.IssuedAt):
			case follow.waived[one.Device]:
				waived[id] = true
			default:
				left[id] = true
			}
		})
	}
	return known, left, waived, err
}
