package adminhttp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/internal/ledger"
)

// revokedWhere says where the revocation of a certificate has been seen to.
func (h *handler) revokedWhere(ctx context.Context, c ledger.Certificate) (*admin.RevokedWhere, error) {
	out := new(admin.RevokedWhere)
	here, err := h.keyHere(ctx, c.Issuer)
	if err != nil {
		return nil, err
	}
	if out.CRL, err = h.revokedCRL(ctx, c, here); err != nil {
		return nil, err
	}
	if h.CRLPlaces != nil {
		name := ledger.CRLName{Issuer: c.Issuer, Shard: c.Shard}
		for _, p := range h.CRLPlaces() {
			one := admin.Told{Name: p.Name, State: admin.ToldPending}
			number, known := p.Numbers[name]
			switch {
			case out.CRL.State == admin.CRLListed && known && number >= out.CRL.Number:
				one.State = admin.ToldDone
			case !known && p.Complete.IsZero() && len(p.Problems) == 0:
				one.State = admin.ToldUnknown
			}
			if one.State != admin.ToldDone {
				one.Since, one.Error = utc(c.RevokedAt), strings.Join(p.Problems, "; ")
			}
			out.Places = append(out.Places, one)
		}
	}
	if h.OCSPSeen != nil && here {
		out.OCSP = &admin.Told{Name: "ocsp", State: admin.ToldDone}
		switch seen := h.OCSPSeen(); {
		case seen.IsZero():
			out.OCSP.State, out.OCSP.Since = admin.ToldUnknown, utc(c.RevokedAt)
		case seen.Before(c.RevokedAt):
			out.OCSP.State, out.OCSP.Since = admin.ToldPending, utc(c.RevokedAt)
		}
	}
	if h.RA.Tasks != nil {
		if out.Targets, err = h.told(ctx, h.RA.Tasks(c), c.RevokedAt); err != nil {
			return nil, err
		}
	}
	done := func(list []admin.Told) bool {
		return !slices.ContainsFunc(list, func(t admin.Told) bool { return t.State != admin.ToldDone })
	}
	out.Complete = out.CRL.State == admin.CRLListed && done(out.Places) && done(out.Targets) && (out.OCSP == nil || out.OCSP.State == admin.ToldDone)
	return out, nil
}

// keyHere reports whether an authority's key is here, so that its CRLs and OCSP answers are.
func (h *handler) keyHere(ctx context.Context, name string) (bool, error) {
	records, err := h.Ledger.Authorities(ctx)
	i := slices.IndexFunc(records, func(a ledger.Authority) bool { return a.Name == name })
	return i >= 0 && records[i].KeyURI != "", err
}

// revokedCRL looks whether a revoked certificate is on its CRL. The CRL itself is only
// searched where the ledger cannot tell: one of a million entries has 40 MB.
func (h *handler) revokedCRL(ctx context.Context, c ledger.Certificate, here bool) (admin.RevokedCRL, error) {
	out := admin.RevokedCRL{Issuer: c.Issuer, Shard: c.Shard, State: admin.CRLDue, Since: utc(c.RevokedAt)}
	if !here {
		out.State = admin.CRLElsewhere
	}
	// In this order: a CRL that is signed in between lists more than was counted.
	pending, err := h.Ledger.RevocationsSince(ctx)
	if err != nil {
		return out, err
	}
	crl, err := h.Ledger.LatestCRL(ctx, c.Issuer, c.Shard)
	if errors.Is(err, ledger.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Number, out.PublishedAt = crl.Number, utc(crl.ThisUpdate)
	listed := here && pending[ledger.CRLName{Issuer: c.Issuer, Shard: c.Shard}] == 0
	if !listed {
		serial, ok := new(big.Int).SetString(string(c.Serial), 16)
		if !ok {
			return out, fmt.Errorf("serial number %q is not hexadecimal", c.Serial)
		}
		if listed, err = ca.CRLLists(crl.DER, serial); err != nil {
			return out, fmt.Errorf("the stored CRL %d of %q: %w", crl.Number, c.Issuer, err)
		}
	}
	if listed {
		out.State, out.Since = admin.CRLListed, nil
	}
	return out, nil
}

// told says which of the targets that tasks are for have been told: those for which no such
// task waits. A target removes a task after it has read back what it was to bring about.
func (h *handler) told(ctx context.Context, tasks []ledger.Task, since time.Time) ([]admin.Told, error) {
	waiting := make(map[string][]ledger.Task) // by key
	var list []admin.Told
	for _, t := range tasks {
		if _, asked := waiting[t.Key]; !asked {
			var err error
			if waiting[t.Key], err = h.Ledger.Tasks(ctx, t.Key); err != nil {
				return nil, err
			}
		}
		one := admin.Told{Name: strings.TrimSuffix(t.Kind, "/urgent"), State: admin.ToldDone}
		if i := slices.IndexFunc(waiting[t.Key], func(w ledger.Task) bool { return w.Kind == t.Kind }); i >= 0 {
			w := waiting[t.Key][i]
			one.State, one.Since, one.Attempts, one.Next, one.Error = admin.ToldPending, utc(since), w.Attempts, utc(w.Due), w.LastErr
		}
		list = append(list, one)
	}
	return list, nil
}
