package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"mintmark/internal/ledger"
)

// Adopt changes the certificate, or the chain, by which each authority under the two roots
// of a rotation goes. Name, key and place in the order of creation stay. The certificate that is
// left stays in the ledger, where it is found again. A CA that is revoked or over keeps what it has.
func (p rotations) Adopt(ctx context.Context, r ledger.Rotation) error {
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
	for _, a := range p.ra.Authorities() {
		if p.ra.lost(rootFirst(a)) {
			continue // it stays what it is
		}
		old, new, err := p.ra.bothPaths(ctx, r, a.Name())
		if err != nil {
			return err
		}
		path := old
		if r.Issue == ledger.IssueNew {
			path = new
		}
		if path == nil {
			continue // it stands under another root
		}
		if p.ra.lost(path) {
			p.ra.log.Warn("an authority keeps its certificate: the one that it would go by is revoked or over", "authority", a.Name(), "rotation", r.ID)
			continue
		}
		p.ra.mu.RLock()
		record, current := p.ra.known.records[a.Name()], p.ra.known.paths[a.Name()]
		p.ra.mu.RUnlock()
		if slices.EqualFunc(path, current, (*x509.Certificate).Equal) {
			continue
		}
		record.Certificate, record.Chain = path[len(path)-1].Raw, nil
		for _, c := range slices.Backward(path[:len(path)-1]) {
			record.Chain = append(record.Chain, c.Raw)
		}
		if err := turn.still(ctx); err != nil {
			return err
		}
		if err := p.ra.Ledger.PutAuthority(ctx, record); err != nil {
			return fmt.Errorf("recording the path of authority %q: %w", a.Name(), err)
		}
		if err := p.ra.add(record); err != nil {
			return err
		}
		p.ra.log.Info("an authority goes by another certificate", "authority", a.Name(), "root", path[0].Subject.String(), "rotation", r.ID, "actor", r.Actor)
	}
	return nil
}

// bothPaths are the paths of an authority under the old and the new root of a rotation, the
// root first, by the twins of the record; nil if it stands under neither.
func (ra *RA) bothPaths(ctx context.Context, r ledger.Rotation, name string) (under, over []*x509.Certificate, err error) {
	old, new, err := ra.pair(r)
	if err != nil {
		return nil, nil, err
	}
	a, err := ra.Authority(name)
	if err != nil {
		return nil, nil, err
	}
	path := rootFirst(a)
	if len(path) < 2 || !path[0].Equal(old.Certificate()) && !path[0].Equal(new.Certificate()) {
		return nil, nil, nil
	}
	for _, t := range r.Twins {
		twin, err := x509.ParseCertificate(t.DER)
		if err != nil {
			return nil, nil, fmt.Errorf("rotation %s: parsing the certificate of %q: %w", r.ID, t.Authority, err)
		}
		if !bytes.Equal(twin.RawSubjectPublicKeyInfo, path[1].RawSubjectPublicKeyInfo) || !bytes.Equal(twin.RawSubject, path[1].RawSubject) {
			continue
		}
		own := path[1]
		if !path[0].Equal(old.Certificate()) {
			if own, err = ra.everCertified(ctx, r.Old, twin); err != nil {
				return nil, nil, err
			}
			if own == nil {
				return nil, nil, against("rotation-paths", "the certificate of %q by the old root is not in the ledger", t.Authority)
			}
		}
		return slices.Concat([]*x509.Certificate{old.Certificate(), own}, path[2:]), slices.Concat([]*x509.Certificate{new.Certificate(), twin}, path[2:]), nil
	}
	if path[0].Equal(old.Certificate()) {
		return nil, nil, against("rotation-paths", "%q stands under the old root, and there is no certificate for that under the new one", name)
	}
	return nil, nil, nil // made under the new root
}
