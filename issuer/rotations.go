package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// Rotations returns what the registration authority does for the rotation of its CAs. It may be
// called concurrently, and so may the methods of what it returns.
func (ra *RA) Rotations() rotation.Authorities { return rotations{ra} }

type rotations struct{ ra *RA }

// against refuses something about a rotation; docs/rotation.md lists the rules.
func against(rule, format string, args ...any) error {
	return &rotation.Refused{Rule: rule, Texts: []string{fmt.Sprintf(format, args...)}}
}

// requesterOf is who asks for what a rotation makes.
func requesterOf(r ledger.Rotation) ledger.Requester {
	return ledger.Requester{Kind: "admin", Name: r.Actor}
}

func (p rotations) Refresh(ctx context.Context) error { return p.ra.Refresh(ctx) }

func (p rotations) SignsNow(ctx context.Context, name string) error {
	a, err := p.ra.Authority(name)
	if err != nil {
		return err
	}
	if !p.ra.keyHere(name) {
		return rotation.ErrElsewhere
	}
	if err := signable(ctx, a); err != nil {
		return err
	}
	return a.TestSign(ctx)
}

// Revoke revokes what certifies the key of the old CA under the new root, or the
// certificate of the old issuing CA. That it is revoked already is no error.
func (p rotations) Revoke(ctx context.Context, r ledger.Rotation, reason ledger.Reason, actor string) error {
	old, err := p.ra.Authority(r.Old)
	if err != nil {
		return err
	}
	doomed := old.Certificate()
	if r.Kind == ledger.RotateRoot {
		by, err := p.ra.Authority(r.New)
		if err != nil {
			return err
		}
		if doomed, err = p.ra.certified(ctx, by.Name(), old.Certificate(), nil); err != nil || doomed == nil {
			return err // none is in force
		}
	} else if err := p.ra.RecordAuthority(ctx, r.Old, actor); err != nil {
		return err
	}
	_, err = p.ra.Revoke(ctx, ledger.Selector{Serial: SerialOf(doomed.SerialNumber)}, reason, actor)
	if errors.Is(err, ledger.ErrNotFound) {
		return against("rotation-revoke", "the certificate of %q was signed by a CA that is not known here: have its issuer revoke it", r.Old)
	}
	return err
}

// LeftBelow reads every certificate in force of the old CA.
func (p rotations) LeftBelow(ctx context.Context, r ledger.Rotation) (left rotation.Left, err error) {
	var own []byte
	if a, err := p.ra.Authority(r.Old); err == nil {
		own = a.Certificate().Raw
	}
	now := p.ra.Now()
	query := ledger.Query{Issuer: r.Old, State: ledger.Valid, ExpiresAfter: now}
	err = p.ra.eachCertificate(ctx, query, func(c ledger.Certificate) bool {
		switch {
		case now.After(c.NotAfter) || bytes.Equal(c.DER, own):
			return true // a root is not below itself
		case c.Purpose == ledger.ForVerification:
			return true // made to try something, and its key is gone
		case c.Purpose == ledger.ForDevice || c.Purpose == ledger.ForGateway:
			left.Devices++
		default:
			left.Others++
		}
		if c.NotAfter.After(left.LastExpiry) {
			left.LastExpiry = c.NotAfter
		}
		return true
	})
	return left, err
}

// children are the authorities directly below a root, whichever certificate they go by:
// those that it has signed, and of a rotation those of its twins.
func (ra *RA) children(root *x509.Certificate, twins []ledger.Twin) (list []*ca.Authority) {
	for _, a := range ra.Authorities() {
		chain := a.Chain()
		under := len(chain) == 1 && chain[0].Equal(root)
		for _, t := range twins {
			under = under || t.Authority == a.Name()
		}
		if under {
			list = append(list, a)
		}
	}
	return list
}

// stays refuses another CA below a root that a rotation takes away: it would be left behind,
// as what is below has its certificates under the new root already.
func (ra *RA) stays(root *x509.Certificate) error {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	for _, r := range ra.known.rotations {
		old := ra.known.authorities[r.Old]
		if r.Kind == ledger.RotateRoot && old != nil && old.Certificate().Equal(root) && rotation.State(r.State).From(rotation.Certified) {
			return refuse(Conflict, "rotation-root", "root %q is replaced by %q (rotation %s): put the new CA below that one", r.Old, r.New, r.ID)
		}
	}
	return nil
}

// affected names the authorities below a root that certify others than CAs, or may.
func (ra *RA) affected(root *x509.Certificate) (names []string) {
	for _, a := range ra.Authorities() {
		if len(a.Chain()) > 0 && a.Root().Equal(root) {
			names = append(names, a.Name())
		}
	}
	return names
}

// pair are the two CAs of a rotation.
func (ra *RA) pair(r ledger.Rotation) (old, new *ca.Authority, err error) {
	if old, err = ra.Authority(r.Old); err == nil {
		new, err = ra.Authority(r.New)
	}
	return old, new, err
}

func dateOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }
