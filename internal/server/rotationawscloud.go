package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"mintmark/awsreg"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// awsCloud is an AWS target as a rotation moves it.
type awsCloud struct {
	t    *awsTargets
	name string
}

// Name implements rotation.Cloud.
func (c awsCloud) Name() string { return "aws/" + c.name }

// configured is the target of the file.
func (c awsCloud) configured() awsreg.Target {
	for _, target := range c.t.list {
		if target.Name == c.name {
			return target
		}
	}
	return awsreg.Target{Name: c.name} // not there: clouds are made of the list
}

// at is the target with a rotation at a stage, and all others as they are.
func (c awsCloud) at(r ledger.Rotation, stage rotation.Stage, undo bool) awsreg.Target {
	return awsAt(c.configured(), moments(c.t.s.ra.KnownRotations(), &moment{r, stage, undo}), c.t.s.hierarchy())
}

// affected are the CAs of the target that a rotation replaces, or whose path it does.
func (c awsCloud) affected(r ledger.Rotation) []awsreg.CA {
	return slices.DeleteFunc(c.named(r), func(ca awsreg.CA) bool { return r.Kind == ledger.RotateRoot && !c.t.s.standsBelow(ca.Issuer, r) })
}

// named are affected, and what would be if it had not been lost since the plan was made.
func (c awsCloud) named(r ledger.Rotation) []awsreg.CA {
	var list []awsreg.CA
	others := moments(c.t.s.ra.KnownRotations(), &moment{Rotation: r, stage: rotation.StageBefore})
	target := awsAt(c.configured(), others, c.t.s.hierarchy())
	for _, ca := range target.CAs {
		if ca.State == awsreg.StateDeleted || strings.Contains(ca.Issuer, "@") {
			continue
		}
		if r.Kind == ledger.RotateIssuing && ca.Issuer == r.Old || r.Kind == ledger.RotateRoot && ca.Mode != awsreg.ModeNone && (c.t.s.directlyBelow(ca.Issuer, r.Old) || c.t.s.standsBelow(ca.Issuer, r)) {
			list = append(list, ca)
		}
	}
	return list
}

// standsBelow reports whether an authority stands directly below the root that a rotation
// replaces, or stood there before.
func (s *Server) standsBelow(name string, r ledger.Rotation) bool {
	if (moment{Rotation: r}).twinned(name) {
		return true
	}
	if len(r.Twins) > 0 {
		return false
	}
	return s.directlyBelow(name, r.Old)
}

func (s *Server) directlyBelow(name, root string) bool {
	a, err := s.ra.Authority(name)
	return err == nil && len(a.Chain()) == 1 && s.rootOf(name) == root
}

// Has implements rotation.Cloud.
func (c awsCloud) Has(r ledger.Rotation) []string {
	var list []string
	for _, ca := range c.named(r) {
		list = append(list, partCA(ca.Issuer))
	}
	return list
}

// Plan implements rotation.Cloud.
func (c awsCloud) Plan(ctx context.Context, r ledger.Rotation, stage rotation.Stage) (reconcile.Plan, error) {
	if byNames(r) {
		return c.planned(ctx, r, stage)
	}
	target := c.at(r, stage, stage == rotation.StageBefore)
	plan, err := c.t.registrar.Plan(ctx, target)
	if err != nil {
		return plan, err
	}
	if plan.Pending() == 0 { // what was done is not asked for again
		return plan, nil
	}
	refused, err := c.newcomers(ctx, r, stage)
	plan.Changes = append(plan.Changes, refused...)
	return plan, err
}

// planned says by names what a stage changes, and asks AWS only once whether there is room
// and whether the target is in order.
func (c awsCloud) planned(ctx context.Context, r ledger.Rotation, stage rotation.Stage) (reconcile.Plan, error) {
	plan := reconcile.Plan{Target: c.name}
	old, fresh := moment{r, stage, false}.awsStates()
	oldBefore, freshBefore := moment{r, stageBefore[stage], false}.awsStates()
	if stage == rotation.StageRegistered && r.Emergency {
		oldBefore = awsreg.StateQuiet // since it was cut off
	}
	for _, ca := range c.affected(r) {
		name, other := ca.Issuer, r.New
		if r.Kind == ledger.RotateRoot {
			other = ca.Issuer + " under " + r.New
		}
		if ca.Mode == awsreg.ModeNone {
			if stage == rotation.StageBoth {
				plan.Changes = append(plan.Changes, reconcile.Change{Kind: changeCA, Subject: other, Action: reconcile.Create, After: "its certificates are registered one by one, without the CA, as those of " + name})
			}
			continue
		}
		if old != oldBefore {
			change := reconcile.Change{Kind: changeCA, Subject: name, Action: reconcile.Update, Before: awsWords[oldBefore], After: awsWords[old], Destructive: true}
			if old == awsreg.StateDeleted {
				change.Action = reconcile.Delete
			}
			plan.Changes = append(plan.Changes, change)
		}
		if fresh != freshBefore {
			change := reconcile.Change{Kind: changeCA, Subject: other, Action: reconcile.Update, Before: awsWords[freshBefore], After: awsWords[fresh] + ", mode " + ca.Mode + ", use " + ca.Use}
			if freshBefore == "" {
				change.Action = reconcile.Create
			}
			plan.Changes = append(plan.Changes, change)
		}
		if stage != rotation.StageRegistered {
			continue
		}
		if authority, err := c.t.s.ra.Authority(ca.Issuer); err == nil {
			room, err := c.t.registrar.Room(ctx, c.configured(), authority.Certificate().RawSubject)
			if err != nil {
				return plan, err
			}
			if room < 1 {
				plan.Changes = append(plan.Changes, reconcile.Change{Kind: changeCA, Subject: other, Action: reconcile.Refuse,
					After: fmt.Sprintf("the account takes ten CAs of one subject in a region, and has them with the subject of %q: have one that is retired deleted first", name)})
			}
		}
	}
	if stage != asked(r) || len(plan.Changes) == 0 {
		return plan, nil
	}
	now, err := c.t.registrar.Plan(ctx, c.at(r, rotation.StageOf(r), false))
	if err == nil && !now.Empty() {
		plan.Changes = append(plan.Changes, foundOut(r, "aws", c.name, differing(now)))
	}
	return plan, err
}

// awsWords are the states for those who approve a plan.
var awsWords = map[string]string{
	"":                     "not registered",
	awsreg.StateRegistered: "registered, INACTIVE, auto-registration off",
	awsreg.StateActive:     "ACTIVE, devices come in",
	awsreg.StateQuiet:      "ACTIVE, auto-registration off: devices that AWS does not know stay out",
	awsreg.StateInactive:   "INACTIVE, auto-registration off",
	awsreg.StateDeleted:    "not registered",
}

// differing are the changes of a plan that are not nothing.
func differing(p reconcile.Plan) []reconcile.Change {
	var list []reconcile.Change
	for _, c := range p.Changes {
		if c.Action != reconcile.None {
			list = append(list, c)
		}
	}
	return list
}

// Advance implements rotation.Cloud.
func (c awsCloud) Advance(ctx context.Context, r ledger.Rotation, stage rotation.Stage) (reconcile.Plan, error) {
	if err := c.complete(r); err != nil {
		return reconcile.Plan{}, err
	}
	var left []reconcile.Plan
	for _, stage := range leftAt(r) {
		plan, err := c.t.registrar.Plan(ctx, c.at(r, stage, false))
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
	if err := c.t.s.heldUp(r, stage, "aws", c.name, driftBefore(next, left, c.about(r))); err != nil {
		return reconcile.Plan{}, err
	}
	if next.Pending() > 0 {
		refused, err := c.newcomers(ctx, r, stage)
		if err != nil {
			return reconcile.Plan{}, err
		}
		if len(refused) > 0 {
			return reconcile.Plan{}, fmt.Errorf("AWS target %q: %s", c.name, refused[0].After)
		}
	}
	done, err := c.t.applyTarget(ctx, target, reconcile.Agreed{Hash: next.Hash(), Destructive: true}, nil)
	if err != nil {
		return done, err
	}
	after, err := c.t.registrar.Plan(ctx, target)
	if err == nil {
		err = unread("AWS target "+c.name, stage, after)
	}
	return done, err
}

// complete refuses a rotation whose certificates are not all here: what AWS has of the
// one that is missing would be left to itself.
func (c awsCloud) complete(r ledger.Rotation) error {
	for _, ca := range c.affected(r) {
		if r.Kind != ledger.RotateRoot || len(r.Twins) == 0 {
			continue
		}
		for _, root := range []string{r.Old, r.New} {
			if c.t.s.certificateUnder(ca.Issuer, root) == nil {
				return fmt.Errorf("AWS target %q: the certificate of %q under root %q is not known here: import it (mintmark ca import)", c.name, ca.Issuer, root)
			}
		}
	}
	return nil
}

// about tells the changes of a rotation by what they are about: the old certificates, the
// new ones, or neither.
func (c awsCloud) about(r ledger.Rotation) func(reconcile.Change) (old, new bool) {
	ids := make(map[string]bool) // whether it is the old one's
	for _, ca := range c.affected(r) {
		if r.Kind == ledger.RotateRoot {
			for _, root := range []string{r.Old, r.New} {
				if one := c.t.s.certificateUnder(ca.Issuer, root); one != nil {
					ids[awsreg.CertificateID(one.Raw)] = root == r.Old
				}
			}
			continue
		}
		for _, name := range []string{r.Old, r.New} {
			if authority, err := c.t.s.ra.Authority(name); err == nil {
				ids[awsreg.CertificateID(authority.Certificate().Raw)] = name == r.Old
			}
		}
	}
	return func(change reconcile.Change) (old, new bool) {
		for id, isOld := range ids {
			// The name of a topic rule has the beginning of it.
			if strings.Contains(change.Subject, id[:16]) {
				return isOld, !isOld
			}
		}
		return false, false
	}
}

// newcomers refuses to turn auto-registration off while devices hold certificates of the old
// CA that no target at AWS has seen: they could not come in any more, and nobody would tell
// them. They renew first, and get the new CA's, or an officer waives them.
func (c awsCloud) newcomers(ctx context.Context, r ledger.Rotation, stage rotation.Stage) ([]reconcile.Change, error) {
	if stage != rotation.StageOldQuiet || rotation.StageOf(r) != rotation.StageBoth || r.Kind != ledger.RotateIssuing || r.Emergency || rotation.RollingBack(r) {
		return nil, nil
	}
	autoregistered := false
	for _, ca := range c.affected(r) {
		autoregistered = autoregistered || ca.Use == awsreg.UseJITR || ca.Use == awsreg.UseJITP
	}
	if !autoregistered {
		return nil, nil
	}
	seen := make(map[[sha256.Size]byte]bool)
	for _, target := range c.t.list {
		other := awsCloud{c.t, target.Name}
		if len(other.affected(r)) == 0 {
			continue
		}
		listed, err := c.t.registrar.Listed(ctx, other.at(r, rotation.StageOf(r), false), r.Old)
		if err != nil {
			return nil, err
		}
		for id := range listed {
			seen[id] = true
		}
	}
	follow, err := c.t.s.followersOf(ctx, r)
	if err != nil {
		return nil, err
	}
	now, waiting, example := c.t.s.ra.Now(), 0, ""
	err = c.t.s.eachIssued(ctx, r.Old, func(one ledger.Certificate) {
		if ofDevices(one) && one.InForce(now) && !seen[sha256.Sum256(one.DER)] && !follow.moved[one.Device] && !follow.waived[one.Device] {
			waiting, example = waiting+1, one.Device
		}
	})
	if err != nil || waiting == 0 {
		return nil, err
	}
	return []reconcile.Change{{Kind: changeCA, Subject: r.Old, Action: reconcile.Refuse, After: fmt.Sprintf(
		"%d devices (%q is one) hold a certificate of %q and have connected to no AWS target yet: with auto-registration off they could not come in any more. Have them renew, or waive them: mintmark rotate devices %s --class never, mintmark rotate waive %s",
		waiting, example, r.Old, r.ID, r.ID)}}, nil
}
