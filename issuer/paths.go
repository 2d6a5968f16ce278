package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// standIn is a certificate by which a CA directly below a root stands, or stood, under a
// root: of its own, or a twin.
type standIn struct {
	authority, root string
	certificate     *x509.Certificate
}

// settle computes what is read at every request from the parts of a hierarchy that are
// recorded. It takes no lock: h is not in use yet, or the caller holds the lock.
func (h *hierarchy) settle() {
	h.redirects = nil
	for _, r := range h.rotations {
		if r.Kind == ledger.RotateIssuing && (r.Issue == ledger.IssueNew || r.Issue == ledger.IssueCanary) {
			h.redirects = append(h.redirects, r)
		}
	}
	h.paths = make(map[string][]*x509.Certificate, len(h.authorities))
	h.under = make(map[string]map[string][]*x509.Certificate)
	for name, a := range h.authorities {
		h.paths[name] = rootFirst(a)
	}
	if len(h.standIns) == 0 {
		return
	}
	roots := make(map[string]string) // the DER of a root -> its name
	for name, a := range h.authorities {
		if len(a.Chain()) == 0 {
			roots[string(a.Certificate().Raw)] = name
		}
	}
	for name, path := range h.paths {
		if len(path) < 2 {
			continue
		}
		h.under[name] = map[string][]*x509.Certificate{}
		for _, s := range h.standIns {
			root := h.authorities[s.root]
			if root == nil || !bytes.Equal(s.certificate.RawSubjectPublicKeyInfo, path[1].RawSubjectPublicKeyInfo) || !bytes.Equal(s.certificate.RawSubject, path[1].RawSubject) {
				continue
			}
			h.under[name][s.root] = slices.Concat([]*x509.Certificate{root.Certificate(), s.certificate}, path[2:])
		}
		if own, ok := roots[string(path[0].Raw)]; ok {
			h.under[name][own] = path
		}
	}
}

// rootFirst is the path from the root of an authority to it.
func rootFirst(a *ca.Authority) []*x509.Certificate {
	list := append([]*x509.Certificate{a.Certificate()}, a.Chain()...)
	slices.Reverse(list)
	return slices.Clip(list)
}

// belowRoot is a path as it is sent with an end-entity certificate: from the issuing CA to,
// but without, the trust anchor.
func belowRoot(path []*x509.Certificate) []*x509.Certificate {
	if len(path) < 2 {
		return nil
	}
	list := slices.Clone(path[1:])
	slices.Reverse(list)
	return list
}

// standInsOf collects the certificates of CAs under the roots of rotations: the twins that
// are recorded with them, and what each had before, which is looked for once.
func (ra *RA) standInsOf(ctx context.Context, rotations []ledger.Rotation, before []standIn) (list []standIn, errs error) {
	for _, r := range rotations {
		for _, t := range r.Twins {
			twin, err := x509.ParseCertificate(t.DER)
			if err != nil {
				errs = errors.Join(errs, fmt.Errorf("rotation %s: parsing the certificate of %q: %w", r.ID, t.Authority, err))
				continue
			}
			list = append(list, standIn{t.Authority, r.New, twin})
			if i := slices.IndexFunc(before, func(s standIn) bool { return s.authority == t.Authority && s.root == r.Old }); i >= 0 {
				list = append(list, before[i])
				continue
			}
			own, err := ra.everCertified(ctx, r.Old, twin)
			if err != nil {
				errs = errors.Join(errs, err)
			} else if own != nil {
				list = append(list, standIn{t.Authority, r.Old, own})
			}
		}
	}
	return list, errs
}

// certified finds the certificate of a CA's key and subject that an authority has signed and
// the ledger knows, the newest one that is not revoked and that good takes; nil if there is none.
func (ra *RA) certified(ctx context.Context, by string, of *x509.Certificate, good func(*x509.Certificate) error) (*x509.Certificate, error) {
	return ra.certifiedIn(ctx, ledger.Valid, by, of, good)
}

// everCertified is certified, and takes one that is revoked if there is no other: for what it
// was, not for what it may do.
func (ra *RA) everCertified(ctx context.Context, by string, of *x509.Certificate) (*x509.Certificate, error) {
	found, err := ra.certified(ctx, by, of, nil)
	if err != nil || found != nil {
		return found, err
	}
	return ra.certifiedIn(ctx, ledger.Revoked, by, of, nil)
}

// certifiedIn is certified of a state.
func (ra *RA) certifiedIn(ctx context.Context, state ledger.State, by string, of *x509.Certificate, good func(*x509.Certificate) error) (found *x509.Certificate, err error) {
	query := ledger.Query{Issuer: by, Key: sha256.Sum256(of.RawSubjectPublicKeyInfo), Purpose: ledger.ForCA, State: state}
	var parse error
	err = ra.eachCertificate(ctx, query, func(c ledger.Certificate) bool {
		one, err := x509.ParseCertificate(c.DER)
		if err != nil {
			parse = fmt.Errorf("parsing certificate %s of the ledger: %w", c.Serial, err)
			return false
		}
		if bytes.Equal(one.RawSubject, of.RawSubject) && (good == nil || good(one) == nil) && (found == nil || one.NotAfter.After(found.NotAfter)) {
			found = one
		}
		return true
	})
	return found, errors.Join(err, parse)
}
