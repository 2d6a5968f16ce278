package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
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

// Revoke revokes every certificate of the old CA's key and subject that another CA has signed;
// of an issuing CA also what that has signed itself, some hundreds in one transaction. What is
// revoked already is no error. The certificate of its OCSP responder stays: that says of the
// others that they are revoked.
func (p rotations) Revoke(ctx context.Context, r ledger.Rotation, reason ledger.Reason, actor string) error {
	old, err := p.ra.Authority(r.Old)
	if err != nil {
		return err
	}
	if err := p.ra.RecordAuthority(ctx, r.Old, actor); err != nil {
		return err // nothing of a root
	}
	doomed, err := p.ra.certificatesOf(ctx, old.Certificate())
	if err != nil {
		return err
	}
	if r.Kind == ledger.RotateIssuing && len(doomed) == 0 {
		return against("rotation-revoke", "%s, and have it put %q on its CRL", strangerAbove(old.Chain()[0], r.Old), r.Old)
	}
	if err := p.revokeEach(ctx, doomed, reason, actor); err != nil || r.Kind == ledger.RotateRoot {
		return err
	}
	// CAs below it: what names them together leaves CAs out.
	var below []ledger.Certificate
	query := ledger.Query{Issuer: r.Old, Purpose: ledger.ForCA, State: ledger.Valid}
	if err := p.ra.eachCertificate(ctx, query, func(c ledger.Certificate) bool { below = append(below, c); return true }); err != nil {
		return err
	}
	if err := p.revokeEach(ctx, below, belowCompromised, actor); err != nil {
		return err
	}
	_, err = p.ra.RevokeAll(ctx, ledger.Selector{Issuer: r.Old}, belowCompromised, actor)
	return err
}

// strangerAbove says what to do where the CA above another is not known here.
func strangerAbove(above *x509.Certificate, name string) string {
	return fmt.Sprintf("the CA %q above %q is not known here: import its certificate, without a key (mintmark ca import)", above.Subject, name)
}

// belowCompromised is why a certificate is revoked that a key in wrong hands has signed: its own
// key is in nobody's hands.
const belowCompromised = ledger.Superseded

// revokeEach revokes certificates of CAs, those that are not yet.
func (p rotations) revokeEach(ctx context.Context, list []ledger.Certificate, reason ledger.Reason, actor string) error {
	for _, c := range list {
		if c.State == ledger.Revoked {
			continue
		}
		if _, err := p.ra.Revoke(ctx, ledger.Selector{Serial: c.Serial}, reason, actor); err != nil {
			return err
		}
	}
	return nil
}

// LeftBelow reads every certificate in force of the old CA. Those of waived devices count apart.
func (p rotations) LeftBelow(ctx context.Context, r ledger.Rotation) (left rotation.Left, err error) {
	waived, err := p.waived(ctx, r)
	if err != nil {
		return left, err
	}
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
		case c.Purpose == ledger.ForVerification, c.Purpose == ledger.ForManifest:
			return true // their keys are gone, and nobody connects with them
		case (c.Purpose == ledger.ForDevice || c.Purpose == ledger.ForGateway) && waived[c.Device]:
			left.Waived++
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

// waived names the devices that officers have taken out of a rotation.
func (p rotations) waived(ctx context.Context, r ledger.Rotation) (map[string]bool, error) {
	names := make(map[string]bool)
	if r.ID == "" || r.Kind == ledger.RotateRoot {
		return names, nil // its leaves stay
	}
	query, err := rotation.AnchorQuery(r, p.ra.Now())
	if err != nil {
		return nil, err
	}
	query.Class, query.Limit = ledger.AnchorWaived, 1000
	for {
		devices, next, err := p.ra.Ledger.Anchors(ctx, query)
		if err != nil {
			return nil, fmt.Errorf("looking up devices that were waived: %w", err)
		}
		for _, d := range devices {
			names[d.Device] = true
		}
		if query.After = next; next == "" {
			return names, nil
		}
	}
}

// children are the authorities directly below a root, whichever certificate they go by:
// those that it has signed, and of a rotation those of its twins. What is lost is left out.
func (ra *RA) children(root *x509.Certificate, twins []ledger.Twin) (list []*ca.Authority) {
	for _, a := range ra.Authorities() {
		chain := a.Chain()
		if ra.lost(rootFirst(a)) {
			continue
		}
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

// stays refuses another CA below a root that a rotation is to take away: officers have signed,
// or are about to, which ones follow, and their devices are counted.
func (ra *RA) stays(root *x509.Certificate) error {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	for _, r := range ra.known.rotations {
		old := ra.known.authorities[r.Old]
		if r.Kind == ledger.RotateRoot && old != nil && old.Certificate().Equal(root) && rotation.State(r.State).From(rotation.Planned) {
			return refuse(Conflict, "rotation-root", "root %q is replaced by %q (rotation %s): put the new CA below that one, or take the rotation back and plan it again", r.Old, r.New, r.ID)
		}
	}
	return nil
}

// affected names the authorities below a root that certify others than CAs, or may.
func (ra *RA) affected(root *x509.Certificate) (names []string) {
	for _, a := range ra.Authorities() {
		if len(a.Chain()) > 0 && a.Root().Equal(root) && !ra.lost(rootFirst(a)) {
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
