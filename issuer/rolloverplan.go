package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"time"

	"mintmark/ca"
)

// RolloverPlan is what BeginRollover will sign.
type RolloverPlan struct {
	Old, New *ca.Authority
	// The certificates as they will be, except for serial numbers.
	OldWithNew, NewWithOld *x509.Certificate

	first, second *ca.Prepared // nil for what was made elsewhere
}

// PlanRollover checks whether a rollover from one root to another can begin, and
// prepares its certificates. It opens no key. ErrNoAuthority or *Refusal if it
// cannot, and always after a compromise of the old key: whatever certifies that vouches for
// what a thief signs.
func (ra *RA) PlanRollover(ctx context.Context, old, new string, compromised bool) (*RolloverPlan, error) {
	return ra.PlanRolloverWith(ctx, old, new, compromised, BridgeFiles{})
}

// PlanRolloverWith is PlanRollover with certificates that were signed where the keys of the
// roots are: the root that signed one need not have its key here.
func (ra *RA) PlanRolloverWith(ctx context.Context, old, new string, compromised bool, made BridgeFiles) (*RolloverPlan, error) {
	if compromised {
		return nil, refuse(Conflict, "rollover-compromised", "in a rollover %q certifies the key of %q, and whoever trusts it would take what a thief of that key signs: mintmark rotate plan --old %s --new %s --emergency leads to another root without that", new, old, old, new)
	}
	if err := ra.rotating(old, new); err != nil {
		return nil, err
	}
	var plan RolloverPlan
	var err error
	if plan.Old, err = ra.root(old, made.NewWithOld == nil); err != nil {
		return nil, err
	}
	if plan.New, err = ra.root(new, made.OldWithNew == nil); err != nil {
		return nil, err
	}
	from, to := plan.Old.Certificate(), plan.New.Certificate()
	switch {
	case bytes.Equal(from.RawSubjectPublicKeyInfo, to.RawSubjectPublicKeyInfo):
		return nil, refuse(Conflict, "rollover-roots", "%q and %q are the same key: a rollover leads to another one", old, new)
	// RFC 7030, Section 4.1.3: clients take the self-signed certificate with the
	// latest notAfter for the most recent one.
	case !to.NotAfter.After(from.NotAfter):
		return nil, refuse(Conflict, "rollover-roots", "root %q ends on %s, not after %q (%s), and devices take the one that lasts longest for the new one: make a root that lasts longer",
			new, to.NotAfter.UTC().Format(time.DateOnly), old, from.NotAfter.UTC().Format(time.DateOnly))
	}
	list, err := ra.Rollovers(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.EndedAt.IsZero() && (r.Old == old && r.New == new || r.Old == new && r.New == old) {
			return nil, refuse(Conflict, "rollover-runs", "a rollover from %q to %q runs already: end it first", r.Old, r.New)
		}
	}
	one := func(what string, by, of *ca.Authority, made *x509.Certificate) (*ca.Prepared, *x509.Certificate, error) {
		if made != nil {
			return nil, made, ra.examineBridge(ctx, what, by, of, made)
		}
		prepared, err := ra.cross(by, of)
		if err != nil {
			return nil, nil, err
		}
		return prepared, prepared.Certificate(), nil
	}
	if plan.first, plan.OldWithNew, err = one("the certificate of the old root by the new one", plan.New, plan.Old, made.OldWithNew); err != nil {
		return nil, err
	}
	if plan.second, plan.NewWithOld, err = one("the certificate of the new root by the old one", plan.Old, plan.New, made.NewWithOld); err != nil {
		return nil, err
	}
	return &plan, nil
}

// root returns a root of ours that may certify, if it is to sign with its key here.
func (ra *RA) root(name string, signs bool) (*ca.Authority, error) {
	a, err := ra.Authority(name)
	if err != nil {
		return nil, err
	}
	if len(a.Chain()) > 0 {
		return nil, refuse(Conflict, "rollover-roots", "%q is no root but a CA under %q: a rollover leads from one root to another", name, a.Root().Subject)
	}
	if err := ra.inForce(a); err != nil {
		return nil, err
	}
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	if signs && ra.known.records[name].KeyURI == "" {
		return nil, refuse(Conflict, "rollover-roots", "the key of root %q is elsewhere, and it could certify nothing here: bring the certificate that it signed, with --old-with-new or --new-with-old", name)
	}
	return a, nil
}

// pathLen returns the path length constraint of a certificate, if it has one.
func pathLen(c *x509.Certificate) (int, bool) {
	return c.MaxPathLen, c.MaxPathLen > 0 || c.MaxPathLen == 0 && c.MaxPathLenZero
}
