package issuer

import (
	"context"
	"crypto/x509"
	"errors"

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

// crossings lists what is certified in a rotation of roots: nothing by a key that is in
// wrong hands.
func (ra *RA) crossings(r ledger.Rotation, old, new *ca.Authority) []crossing {
	list := []crossing{{wordOldWithNew, new, old, false}}
	if !r.Emergency {
		list = append(list, crossing{wordNewWithOld, old, new, false})
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

// bridges are what leads between the two roots of a rotation; the second is nil in an
// emergency.
func (ra *RA) bridges(ctx context.Context, r ledger.Rotation, old, new *ca.Authority) (oldWithNew, newWithOld *x509.Certificate, err error) {
	if oldWithNew, err = ra.madeCross(ctx, wordOldWithNew, new, old); err != nil {
		return nil, nil, err
	}
	if oldWithNew == nil {
		return nil, nil, against("rotation-paths", "%s is missing, or not in force any more", wordOldWithNew)
	}
	if r.Emergency {
		return oldWithNew, nil, nil
	}
	if newWithOld, err = ra.madeCross(ctx, wordNewWithOld, old, new); err != nil {
		return nil, nil, err
	}
	if newWithOld == nil {
		return nil, nil, against("rotation-paths", "%s is missing, or not in force any more", wordNewWithOld)
	}
	return oldWithNew, newWithOld, nil
}

// Distribute begins the rollover from one root to the other, unless it runs.
func (p rotations) Distribute(ctx context.Context, r ledger.Rotation) error {
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
	record := ledger.Rollover{Old: r.Old, New: r.New, OldWithNew: oldWithNew.Raw, At: p.ra.Now(), Actor: r.Actor}
	if newWithOld != nil {
		record.NewWithOld = newWithOld.Raw
	}
	return p.ra.putRollover(ctx, turn, record)
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
