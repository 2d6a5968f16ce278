package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"slices"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// An emergency of a root makes nothing that leads from one root to the other. When it is taken
// back after devices got the new root, some know that one alone, and others the old one
// alone. Officers have signed that the old key may be used again; so it certifies the new
// root, and both sorts take the path under the new root with that certificate behind it. The other
// way round nothing is made: who trusts the new root alone still takes nothing of the old key.

// certifyBack makes, or finds, the certificate of the new root by the old one. Where the old
// key is elsewhere there is none, and who knows the new root alone is not served.
func (p rotations) certifyBack(ctx context.Context, r ledger.Rotation) error {
	old, new, err := p.ra.pair(r)
	if err != nil {
		return err
	}
	p.ra.making.Lock()
	defer p.ra.making.Unlock()
	turn, err := p.ra.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer turn.end(ctx)
	_, err = p.ra.crossed(ctx, wordNewWithOld, old, new, requesterOf(r))
	if errors.Is(err, rotation.ErrElsewhere) {
		p.ra.log.Warn("nothing leads from the old root to the new one: devices that know the new one alone refuse this server", "rotation", r.ID, "old", r.Old, "new", r.New)
		return nil
	}
	return err
}

// backBridges are the certificates of certifyBack, of emergencies that have left their new root
// with devices. What was found before is not looked for again.
func (ra *RA) backBridges(ctx context.Context, next hierarchy, before []rollover) (list []rollover, errs error) {
	for i, r := range next.rotations {
		back := rotation.State(r.State) == rotation.RolledBack || rotation.RollingBack(r)
		new := next.authorities[r.New]
		if r.Kind != ledger.RotateRoot || !r.Emergency || !r.Kept || !back || new == nil || rotation.TakenOver(r, next.rotations[i+1:]) {
			continue
		}
		same := func(one rollover) bool { return one.Old == r.Old && one.New == r.New }
		if slices.ContainsFunc(next.rollovers, same) {
			continue
		}
		if i := slices.IndexFunc(before, same); i >= 0 && before[i].oldWithNew == nil {
			list = append(list, before[i])
			continue
		}
		found, err := ra.certified(ctx, r.Old, new.Certificate(), nil)
		if err != nil {
			errs = errors.Join(errs, err)
		} else if found != nil {
			list = append(list, rollover{Rollover: ledger.Rollover{Old: r.Old, New: r.New, NewWithOld: found.Raw, At: r.Since, Actor: r.Actor}, newWithOld: found})
		}
	}
	return list, errs
}

// backPath is the path under the new root of a rollover that leads nowhere but there; nil if there
// is none, or if nobody who trusts the old root alone would take it with the certificate of the new
// one behind it. Where the old root has no room for that one, and both have one name, those do that
// count path lengths as RFC 5280, Section 6.1.4 (l) says; Go and GnuTLS do not. Who trusts the new
// root alone would take no other path at all.
func (ra *RA) backPath(r rollover, name string, old *x509.Certificate) []*x509.Certificate {
	over := ra.known.under[name][r.New]
	if r.oldWithNew != nil || r.newWithOld == nil || over == nil || ra.revoked[SerialOf(r.newWithOld.SerialNumber)] {
		return nil
	}
	if tight(old, over) && !bytes.Equal(r.newWithOld.RawSubject, r.newWithOld.RawIssuer) {
		return nil
	}
	return over
}
