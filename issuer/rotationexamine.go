package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// examining is one Examine.
type examining struct {
	rotations
	spec rotation.Spec
	old  *ca.Authority
	rotation.Findings
}

func (e *examining) refuse(format string, args ...any) {
	e.Refused = append(e.Refused, fmt.Sprintf(format, args...))
}

func (e *examining) warn(format string, args ...any) {
	e.Warned = append(e.Warned, fmt.Sprintf(format, args...))
}

func (e *examining) change(kind, subject string, action reconcile.Action, before, after string) {
	e.Changes = append(e.Changes, reconcile.Change{Kind: kind, Subject: subject, Action: action, Before: before, After: after})
}

// Examine opens no key and changes nothing.
func (p rotations) Examine(ctx context.Context, spec rotation.Spec) (rotation.Findings, error) {
	e := &examining{rotations: p, spec: spec}
	var err error
	switch e.old, err = p.ra.Authority(spec.Old); {
	case errors.Is(err, ErrNoAuthority):
		e.refuse("there is no CA %q here", spec.Old)
		return e.Findings, nil
	case err != nil:
		return e.Findings, err
	}
	root := len(e.old.Chain()) == 0
	switch {
	case root && spec.Kind == ledger.RotateIssuing:
		e.refuse("%q is a root: plan a rotation of the kind %s", spec.Old, ledger.RotateRoot)
		return e.Findings, nil
	case !root && spec.Kind == ledger.RotateRoot:
		e.refuse("%q is no root but a CA under %q: plan a rotation of the kind %s", spec.Old, e.old.Root().Subject, ledger.RotateIssuing)
		return e.Findings, nil
	}
	if err := p.ra.inForce(e.old); err != nil && !spec.Emergency {
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			return e.Findings, err
		}
		e.refuse("%s: what is below it is not taken any more, and a rotation cannot change that", refusal.Text)
	}
	if err := e.earlier(ctx); err != nil {
		return e.Findings, err
	}
	new := e.newCA()
	if new != nil {
		e.NewSHA256 = fingerprint(new.Certificate())
		var refused *rotation.Refused
		if err := e.ra.unbridged(ctx, ledger.Rotation{Kind: spec.Kind, Emergency: spec.Emergency}, e.old, new); errors.As(err, &refused) {
			e.Refused = append(e.Refused, refused.Texts...)
		} else if err != nil {
			return e.Findings, err
		}
	}
	if root {
		e.rootRotation(new)
	} else {
		e.Affected = []string{spec.Old}
		if spec.Emergency {
			if err := e.below(ctx); err != nil {
				return e.Findings, err
			}
			// Revoke asks for it at the end, where nothing can be taken back.
			if chain := e.old.Chain(); new != nil && p.ra.holderOf(chain[0].Raw) == nil {
				e.refuse("the certificate of %q is revoked at the end, and %s", spec.Old, strangerAbove(chain[0], spec.Old))
			}
		}
		e.change("serve", spec.Old, reconcile.Update, "issues", fmt.Sprintf("signs CRLs and OCSP answers only; %s issues in its place, whatever the configuration names", spec.New))
		if spec.CommonName == "" && new == nil {
			e.warn("the new CA has the subject of the old one, and they are told apart by their key identifiers: give a common name where a relying party cannot")
		}
	}
	return e.Findings, nil
}

// earlier looks for rotations and rollovers that these two have part in.
func (e *examining) earlier(ctx context.Context) error {
	list, err := e.ra.Ledger.Rotations(ctx)
	if err != nil {
		return fmt.Errorf("loading rotations: %w", err)
	}
	for _, r := range list {
		switch state := rotation.State(r.State); {
		case state == rotation.RolledBack || !state.From(rotation.Switched):
		case r.Old == e.spec.Old:
			e.refuse("%q was replaced by %q: rotate that one", r.Old, r.New)
		case r.Old == e.spec.New:
			e.refuse("%q was replaced by %q, and does not come back: choose another name", r.Old, r.New)
		}
	}
	rollovers, err := e.ra.Rollovers(ctx)
	if err != nil {
		return err
	}
	for _, r := range rollovers {
		if !r.EndedAt.IsZero() || r.Old == e.spec.Old && r.New == e.spec.New {
			continue
		}
		for _, name := range []string{e.spec.Old, e.spec.New} {
			if r.Old != name && r.New != name {
				continue
			}
			if id := leftBy(list, r); id == "" {
				e.refuse("a rollover from %q to %q runs: end it first (mintmark ca rollover end)", r.Old, r.New)
			} else if e.spec.Emergency {
				e.warn("rotation %s was rolled back, and has left %q with devices: from the switch on nobody is given that any more", id, r.New)
			} else {
				e.refuse("rotation %s was rolled back, and has left %q with devices: let that go first (mintmark rotate rollback %s), or rotate to %q again", id, r.New, id, r.New)
			}
			break
		}
	}
	return nil
}

// leftBy is the rotation that was rolled back and goes on needing a rollover; empty for none.
func leftBy(rotations []ledger.Rotation, r ledger.Rollover) string {
	for i, one := range rotations {
		if rotation.State(one.State) == rotation.RolledBack && one.Kept && one.Old == r.Old && one.New == r.New && !rotation.TakenOver(one, rotations[i+1:]) {
			return one.ID
		}
	}
	return ""
}

// newCA examines the new CA, or describes how it will be made; nil if it is not there.
func (e *examining) newCA() *ca.Authority {
	if new, err := e.ra.Authority(e.spec.New); err == nil {
		e.Refused = append(e.Refused, e.ra.fits(e.spec, e.old, new)...)
		if !e.ra.keyHere(e.spec.New) {
			e.warn("the key of %q is elsewhere: what it signs comes from a ceremony", e.spec.New)
		}
		e.change("authority", e.spec.New, reconcile.None, describe(new), describe(new))
		return new
	}
	next, err := e.ra.successor(e.spec, e.old, e.ra.Now())
	if err != nil {
		e.refuse("%v", err)
		return nil
	}
	from, now := e.old.Certificate(), e.ra.Now()
	switch {
	case e.spec.Kind == ledger.RotateRoot && !next.NotAfter.After(from.NotAfter):
		e.refuse("the new root would end on %s, not after %q (%s), and devices take the one that lasts longest for the new one: give it a longer validity", dateOf(next.NotAfter), e.spec.Old, dateOf(from.NotAfter))
	case next.NotAfter.Before(from.NotAfter):
		e.refuse("the new CA would end on %s, before %q (%s): give it a longer validity", dateOf(next.NotAfter), e.spec.Old, dateOf(from.NotAfter))
	case next.NotAfter.Equal(from.NotAfter):
		e.warn("the new CA ends when the old one does, on %s, because %q above it does: rotate that one soon", dateOf(next.NotAfter), next.Issuer)
	}
	if !next.NotAfter.After(now) {
		e.refuse("the new CA would have ended already, on %s", dateOf(next.NotAfter))
	}
	where := next.keyURI()
	switch {
	case e.spec.Elsewhere:
		where = "in a ceremony"
	case next.Issuer != "" && !e.ra.keyHere(next.Issuer):
		e.warn("the key of %q is elsewhere: the certificate of the new CA comes from a ceremony", next.Issuer)
	}
	e.change("key", e.spec.New, reconcile.Create, "", fmt.Sprintf("%s, %s", next.Key, where))
	name := e.old.Certificate().Subject
	if e.spec.CommonName != "" {
		name = next.Subject
	}
	by := "itself"
	if next.Issuer != "" {
		by = next.Issuer
	}
	e.change("authority", e.spec.New, reconcile.Create, "", fmt.Sprintf("%s, until %s, by %s", name, dateOf(next.NotAfter), by))
	return nil
}

func describe(a *ca.Authority) string {
	c := a.Certificate()
	return fmt.Sprintf("%s, serial %s, until %s, SHA-256 %s", c.Subject, SerialOf(c.SerialNumber), dateOf(c.NotAfter), fingerprint(c))
}

// fingerprint is the SHA-256 of a certificate, as plans have it.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// below says how much is revoked with the old issuing CA of an emergency.
func (e *examining) below(ctx context.Context) error {
	left, err := e.LeftBelow(ctx, ledger.Rotation{Kind: e.spec.Kind, Old: e.spec.Old, New: e.spec.New})
	if err != nil {
		return err
	}
	e.change("revocation", "below "+e.spec.Old, reconcile.Update, fmt.Sprintf("in force: %d certificates of devices and %d of others, those of officers and servers among them", left.Devices, left.Others),
		"revoked, what is left of them by then; whoever has no other one enrolls anew")
	return nil
}

// rootRotation examines what leads from one root to the other, and what is below.
func (e *examining) rootRotation(new *ca.Authority) {
	own := e.old.Certificate()
	e.Affected = e.ra.affected(own)
	children := e.ra.children(own, nil)
	for _, a := range e.ra.Authorities() {
		if e.ra.lost(rootFirst(a)) {
			if a.Root().Equal(own) {
				e.warn("%q is revoked or has expired, or a CA above it: it gets nothing under the new root, and stays as it is", a.Name())
			}
			continue
		}
		if chain := a.Chain(); len(chain) > 1 && a.Root().Equal(own) && e.ra.holderOf(chain[len(chain)-2].Raw) == nil {
			e.refuse("the CA %q between %q and %q is not known here by itself: import its certificate first, without a key", chain[len(chain)-2].Subject, e.spec.Old, a.Name())
		}
	}
	if len(e.Affected) == 0 {
		e.warn("no CA is below %q here: there is nothing that has to move", e.spec.Old)
	}
	same := e.spec.CommonName == ""
	if new != nil {
		same = bytes.Equal(new.Certificate().RawSubject, own.RawSubject)
	}
	if has, limited := pathLen(own); limited && has < e.ra.roomFor(e.old) && !e.spec.Emergency {
		if !same {
			e.refuse("root %q allows a path length of %d, and a new root of another name needs %d under it, for devices that know the old one only: leave out the common name, so that the new root has exactly the subject of the old one", e.spec.Old, has, e.ra.roomFor(e.old))
		} else {
			e.warn("root %q allows a path length of %d. Certificates of one root by another of the same name do not count in it, but some verifiers count them (Go's crypto/x509): who knows %q only and runs one of these is not to be shown the path under %q. This server shows the old path until the old root is not trusted any more, which all take",
				e.spec.Old, has, e.spec.Old, e.spec.New)
		}
	}
	anchors := e.spec.Old + " and " + e.spec.New + ", and what leads from one to the other"
	if e.spec.Emergency {
		anchors = "the path under " + e.spec.Old + " and " + e.spec.New + "; from the switch on, the path under " + e.spec.New + " alone"
		e.warn("nothing leads from one root to the other, in either direction: whoever trusted %q would take what a thief of %q signs. Devices that do not have %q yet refuse this server from the switch on, and get it in another way", e.spec.New, e.spec.Old, e.spec.New)
	} else {
		e.change("bridge", e.spec.Old+" by "+e.spec.New, reconcile.Create, "", "the key of the old root, with its subject and key identifier, for who knows the new root only")
		e.change("bridge", e.spec.New+" by "+e.spec.Old, reconcile.Create, "", "the key of the new root, for who knows the old root only")
		if !e.ra.keyHere(e.spec.Old) {
			e.warn("the key of %q is elsewhere: its certificate for the new root comes from a ceremony", e.spec.Old)
		}
	}
	for _, a := range children {
		e.change("twin", a.Name()+" by "+e.spec.New, reconcile.Create, "", fmt.Sprintf("key, subject and key identifier of %s", describe(a)))
	}
	e.change("anchors", e.spec.New, reconcile.Create, e.spec.Old, anchors)
	for _, name := range e.Affected {
		e.change("path", name, reconcile.Update, "under "+e.spec.Old, "under "+e.spec.New+"; key and subject stay, and no certificate is issued anew")
	}
}
