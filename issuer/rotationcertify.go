package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// Words for the certificates that a rotation of roots makes, in errors and reports.
const (
	wordOldWithNew = "the certificate of the old root by the new one"
	wordNewWithOld = "the certificate of the new root by the old one"
)

func wordTwin(name string) string { return "the certificate of " + name + " by the new root" }

// crossing is one certificate between the two sides of a rotation of roots.
type crossing struct {
	what   string
	by, of *ca.Authority
	twin   bool
}

// crossings lists what is certified in a rotation of roots. In an emergency nothing leads from
// one to the other: the old key must not vouch for the new one, and the other way round whoever
// trusts the new root would take what the thief signs, for as long as such a certificate lasts,
// as few verifiers look at CRLs.
func (ra *RA) crossings(r ledger.Rotation, old, new *ca.Authority) []crossing {
	var list []crossing
	if !r.Emergency {
		list = append(list, crossing{wordOldWithNew, new, old, false}, crossing{wordNewWithOld, old, new, false})
	}
	for _, a := range ra.children(old.Certificate(), r.Twins) {
		list = append(list, crossing{wordTwin(a.Name()), new, a, true})
	}
	return list
}

// Certify makes, or finds, what leads between two roots, and the twins.
func (p rotations) Certify(ctx context.Context, r ledger.Rotation, spec rotation.Spec) ([]ledger.Twin, error) {
	if r.Kind == ledger.RotateIssuing {
		return nil, nil
	}
	old, new, err := p.ra.pair(r)
	if err != nil {
		return nil, err
	}
	p.ra.making.Lock()
	defer p.ra.making.Unlock()
	turn, err := p.ra.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.end(ctx)
	if err := errors.Join(p.ra.asPlanned(r, old), p.ra.unbridged(ctx, r, old, new)); err != nil {
		return nil, err
	}
	var twins []ledger.Twin
	var missing []crossing
	for _, c := range p.ra.crossings(r, old, new) {
		if c.twin {
			// What it had before is found again by the ledger.
			if err := p.ra.RecordAuthority(ctx, c.of.Name(), r.Actor); err != nil {
				return nil, err
			}
			if c.of.Root().Equal(new.Certificate()) {
				twins = append(twins, ledger.Twin{Authority: c.of.Name(), DER: c.of.Certificate().Raw})
				continue // it has been adopted
			}
		}
		made, err := p.ra.crossed(ctx, c.what, c.by, c.of, requesterOf(r))
		switch {
		case errors.Is(err, rotation.ErrElsewhere):
			missing = append(missing, c)
		case err != nil:
			return nil, err
		case c.twin:
			twins = append(twins, ledger.Twin{Authority: c.of.Name(), DER: made.Raw})
		}
	}
	if len(missing) > 0 {
		return nil, p.waitForCrossings(ctx, r, spec, missing)
	}
	return twins, nil
}

// asPlanned refuses to certify where CAs are below the old root that the plan does not name:
// their devices are in no gate.
func (ra *RA) asPlanned(r ledger.Rotation, old *ca.Authority) error {
	plan, err := rotation.ParsePlan(r.Plan)
	if err != nil {
		return fmt.Errorf("rotation %s: %w", r.ID, err)
	}
	for _, name := range ra.affected(old.Certificate()) {
		if !slices.Contains(plan.Affected, name) {
			return against("rotation-paths", "%q is below %q, and was not when the rotation was planned: take it back and plan it again", name, r.Old)
		}
	}
	return nil
}

// unbridged refuses, in an emergency, a new root that has ever certified the old key: whoever
// trusts it takes what the thief signs, and revoking that reaches few.
func (ra *RA) unbridged(ctx context.Context, r ledger.Rotation, old, new *ca.Authority) error {
	if !r.Emergency || r.Kind != ledger.RotateRoot {
		return nil
	}
	list, err := ra.certificatesOf(ctx, old.Certificate())
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Issuer == new.Name() {
			return against("rotation-paths", "%q has certified the key of %q (serial number %s), and who trusts it takes what that key signs: rotate to a new root", new.Name(), old.Name(), c.Serial)
		}
	}
	return nil
}

// bridges are what leads between the two roots of a rotation; nil in an emergency.
func (ra *RA) bridges(ctx context.Context, r ledger.Rotation, old, new *ca.Authority) (oldWithNew, newWithOld *x509.Certificate, err error) {
	if r.Emergency {
		return nil, nil, nil
	}
	if oldWithNew, err = ra.madeCross(ctx, wordOldWithNew, new, old); err != nil {
		return nil, nil, err
	}
	if oldWithNew == nil {
		return nil, nil, against("rotation-paths", "%s is missing, or not in force any more", wordOldWithNew)
	}
	if newWithOld, err = ra.madeCross(ctx, wordNewWithOld, old, new); err != nil {
		return nil, nil, err
	}
	if newWithOld == nil {
		return nil, nil, against("rotation-paths", "%s is missing, or not in force any more", wordNewWithOld)
	}
	return oldWithNew, newWithOld, nil
}

// Distribute begins the rollover from one root to the other, unless it runs. In an emergency
// there is none: EST gives out the new root by the state of the rotation, and once it is taken back
// the old root certifies the new one.
func (p rotations) Distribute(ctx context.Context, r ledger.Rotation) error {
	switch {
	case r.Kind == ledger.RotateRoot && r.Emergency && rotation.RollingBack(r):
		return p.certifyBack(ctx, r)
	case r.Kind == ledger.RotateIssuing || r.Emergency:
		return nil
	}
	p.ra.making.Lock()
	defer p.ra.making.Unlock()
	turn, err := p.ra.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer turn.end(ctx)
	old, new, err := p.ra.pair(r)
	if err != nil {
		return err
	}
	if _, runs, err := p.runs(ctx, r); err != nil || runs {
		return err
	}
	oldWithNew, newWithOld, err := p.ra.bridges(ctx, r, old, new)
	if err != nil {
		return err
	}
	return p.ra.putRollover(ctx, turn, ledger.Rollover{
		Old: r.Old, New: r.New, OldWithNew: oldWithNew.Raw, NewWithOld: newWithOld.Raw, At: p.ra.Now(), Actor: r.Actor,
	})
}

// EndBridges ends the rollover from one root to the other, if it runs.
func (p rotations) EndBridges(ctx context.Context, r ledger.Rotation) error {
	if r.Kind == ledger.RotateIssuing {
		return nil
	}
	p.ra.making.Lock()
	defer p.ra.making.Unlock()
	turn, err := p.ra.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer turn.end(ctx)
	record, runs, err := p.runs(ctx, r)
	if err != nil || !runs {
		return err
	}
	record.EndedAt, record.EndedBy = p.ra.Now(), r.Actor
	return p.ra.putRollover(ctx, turn, record)
}

// runs finds the rollover of a rotation.
func (p rotations) runs(ctx context.Context, r ledger.Rotation) (ledger.Rollover, bool, error) {
	list, err := p.ra.Rollovers(ctx)
	if err != nil {
		return ledger.Rollover{}, false, err
	}
	for _, one := range list {
		if one.Old == r.Old && one.New == r.New && one.EndedAt.IsZero() {
			return one, true, nil
		}
	}
	return ledger.Rollover{}, false, nil
}
