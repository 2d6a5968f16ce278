package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// trust is what a relying party has installed.
type trust struct {
	name    string
	anchors []*x509.Certificate
}

// presented is what it is shown beside the end-entity certificate, and which trust is then
// to be enough.
type presented struct {
	name string
	path []*x509.Certificate
	good map[string]bool // by the name of the trust
	// tight is a trust for which it is enough, but not for a verifier that counts the
	// certificates of one root by another of the same name in the path length (see roomFor).
	tight string
}

// sample is an end-entity certificate, or that of a CA with nothing below it, that stands
// for its kind.
type sample struct {
	name        string
	certificate *x509.Certificate
}

// verifying is one VerifyPaths.
type verifying struct {
	rotations
	lines []string
	wrong []error
}

// VerifyPaths judges each combination twice: by package x509, and by the stricter rules of
// other verifiers. What must be refused is tried, too.
func (p rotations) VerifyPaths(ctx context.Context, r ledger.Rotation) ([]string, error) {
	v := &verifying{rotations: p}
	old, new, err := p.ra.pair(r)
	if err != nil {
		return nil, err
	}
	if r.Kind == ledger.RotateIssuing {
		err = v.issuing(ctx, old, new)
	} else {
		err = v.roots(ctx, r, old, new)
	}
	if err != nil {
		return v.lines, err
	}
	return v.lines, errors.Join(v.wrong...)
}

// issuing tries what the two issuing CAs have signed against the root that both have.
func (v *verifying) issuing(ctx context.Context, old, new *ca.Authority) error {
	all := []trust{{"the root", []*x509.Certificate{old.Root()}}}
	for _, a := range []*ca.Authority{old, new} {
		other := old
		if a == old {
			other = new
		}
		samples, err := v.samples(ctx, a)
		if err != nil {
			return err
		}
		for _, s := range samples {
			shown := []presented{{name: "its path", path: belowRoot(rootFirst(a)), good: map[string]bool{"the root": true}}}
			if s.certificate != nil {
				shown = append(shown, presented{name: "the path of " + other.Name(), path: belowRoot(rootFirst(other))})
			}
			v.try(a.Name(), s, all, shown)
		}
	}
	return nil
}

// roots tries every trust store against every path of a rotation of roots.
func (v *verifying) roots(ctx context.Context, r ledger.Rotation, old, new *ca.Authority) error {
	oldWithNew, newWithOld, err := v.ra.bridges(ctx, r, old, new)
	if err != nil {
		return err
	}
	if err := v.listed(ctx, r, new); err != nil {
		return err
	}
	a, b := old.Certificate(), new.Certificate()
	trusts := []trust{{"old", []*x509.Certificate{a}}, {"both", []*x509.Certificate{a, b}}, {"new", []*x509.Certificate{b}}}
	oldGood, newGood := map[string]bool{"old": true, "both": true}, map[string]bool{"both": true, "new": true}
	all := map[string]bool{"old": true, "both": true, "new": true}
	for _, authority := range v.ra.Authorities() {
		if v.ra.lost(rootFirst(authority)) {
			continue // nobody is to take it, under whichever root
		}
		under, over, err := v.ra.bothPaths(ctx, r, authority.Name())
		if err != nil {
			return err
		}
		if over == nil {
			continue
		}
		shown := []presented{
			{name: "old path", path: belowRoot(under), good: oldGood}, {name: "new path", path: belowRoot(over), good: newGood},
		}
		if oldWithNew != nil {
			shown = append(shown, presented{name: "old path and the bridge to the new root", path: append(belowRoot(under), oldWithNew), good: all})
		}
		if newWithOld != nil {
			p := presented{name: "new path and the bridge to the old root", path: append(belowRoot(over), newWithOld), good: all}
			if tight(a, over) {
				p.tight = "old"
			}
			shown = append(shown, p)
		}
		samples, err := v.samples(ctx, authority)
		if err != nil {
			return err
		}
		for _, s := range samples {
			v.try(authority.Name(), s, trusts, shown)
		}
	}
	return nil
}

// listed asks for a CRL in force of a new root whose key is elsewhere, before anything that
// it has signed is shown to anybody: these certificates name one, and nobody here signs it.
func (v *verifying) listed(ctx context.Context, r ledger.Rotation, new *ca.Authority) error {
	if v.ra.PublicURL == "" || v.ra.keyHere(new.Name()) || rotation.State(r.State).From(rotation.PathsVerified) || rotation.RollingBack(r) {
		return nil
	}
	crl, err := v.ra.latestList(ctx, new)
	switch now := v.ra.Now(); {
	case err != nil:
		return err
	case crl == nil:
		return against("rotation-paths", "there is no CRL of %q here, and what it has signed names %s: mintmark ca crl %s --import FILE brings the one of its ceremony", new.Name(), crlURL(v.ra.PublicURL, new.Name(), 0), new.Name())
	case !crl.NextUpdate.After(now):
		return against("rotation-paths", "the CRL of %q ran out on %s: have the next one made where its key is, and bring it with mintmark ca crl %s --import FILE", new.Name(), dateOf(crl.NextUpdate), new.Name())
	}
	v.lines = append(v.lines, fmt.Sprintf("CRL %s of %s is here, until %s", crl.Number, new.Name(), dateOf(crl.NextUpdate)))
	return nil
}

// samples are certificates in force by an authority, one of a device and those of servers. Where
// there are none, a certificate is issued that lives for minutes and belongs to nobody; of an
// authority that cannot, its own certificate is judged.
func (v *verifying) samples(ctx context.Context, a *ca.Authority) (list []sample, err error) {
	for _, kind := range []struct {
		purpose ledger.Purpose
		name    string
		most    int
	}{{ledger.ForDevice, "device", 1}, {ledger.ForServer, "server", 4}} {
		page, err := v.ra.Ledger.Certificates(ctx, ledger.Query{Issuer: a.Name(), Purpose: kind.purpose, State: ledger.Valid, ExpiresAfter: v.ra.Now(), Limit: 100})
		if err != nil {
			return nil, fmt.Errorf("looking up certificates of %q: %w", a.Name(), err)
		}
		for _, c := range page.Certificates {
			if len(list) > 0 && kind.most == 1 || len(list) > kind.most || !c.InForce(v.ra.Now()) {
				continue
			}
			certificate, err := x509.ParseCertificate(c.DER)
			if err != nil {
				return nil, fmt.Errorf("parsing certificate %s of the ledger: %w", c.Serial, err)
			}
			list = append(list, sample{kind.name + " certificate", certificate})
		}
	}
	switch {
	case len(list) > 0:
	case !v.ra.keyHere(a.Name()) || v.ra.inForce(a) != nil:
		list = []sample{{"certificate of the CA", nil}}
	default:
		certificate, err := v.ra.verify(ctx, verification, a.Name(), "path")
		if err != nil {
			return nil, fmt.Errorf("issuing a certificate to try the paths with: %w", err)
		}
		list = []sample{{"certificate made for this", certificate}}
	}
	return list, nil
}

// try judges a certificate in every combination.
func (v *verifying) try(name string, s sample, trusts []trust, shown []presented) {
	for _, p := range shown {
		certificate, above := s.certificate, p.path
		if certificate == nil {
			certificate, above = p.path[0], p.path[1:]
		}
		for _, t := range trusts {
			good := p.good[t.name]
			loose := verifyLoosely(certificate, above, t.anchors, v)
			strict := ca.VerifyPath(certificate, above, t.anchors, v.ra.Now())
			verdict := "refused, as it must be"
			if good {
				verdict = "accepted"
			}
			line := fmt.Sprintf("%s: %s, shown with %s, to who trusts %s: ", name, s.name, p.name, t.name)
			switch {
			case good && p.tight == t.name && strict == nil:
				verdict = "accepted, but not by verifiers that count the bridge in the path length; this server does not show it"
			case good && (loose != nil || strict != nil):
				verdict = "REFUSED"
				v.wrong = append(v.wrong, fmt.Errorf("%srefused: %w", line, errors.Join(loose, strict)))
			case !good && (loose == nil || strict == nil):
				verdict = "ACCEPTED, which it must not be"
				v.wrong = append(v.wrong, errors.New(line+verdict))
			}
			v.lines = append(v.lines, line+verdict)
		}
	}
}

// verifyLoosely is what package x509 says.
func verifyLoosely(certificate *x509.Certificate, shown, anchors []*x509.Certificate, v *verifying) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: v.ra.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range anchors {
		o.Roots.AddCert(c)
	}
	for _, c := range shown {
		o.Intermediates.AddCert(c)
	}
	_, err := certificate.Verify(o)
	return err
}

var _ rotation.Authorities = rotations{}
