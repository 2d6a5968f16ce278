package revocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// stored are the CRLs of the ledger by name, without their DER.
type stored map[ledger.CRLName]ledger.CRL

func (p *Publisher) stored(ctx context.Context) (stored, error) {
	list, err := p.Ledger.CRLs(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing CRLs: %w", err)
	}
	s := make(stored, len(list))
	for _, crl := range list {
		s[ledger.CRLName{Issuer: crl.Issuer, Shard: crl.Shard}] = crl
	}
	return s, nil
}

// shards lists the shards of an authority, the full CRL (0) first: those that are
// configured, and those of which the ledger knows, because certificates name them still.
func (p *Publisher) shards(authority string, has stored) []int {
	n := p.Shards[authority]
	if p.ShardCount != nil {
		n = p.ShardCount(authority)
	}
	list := make([]int, 0, n+1)
	for shard := range n + 1 {
		list = append(list, shard)
	}
	for name := range has {
		if name.Issuer == authority && name.Shard > n {
			list = append(list, name.Shard)
		}
	}
	slices.Sort(list)
	return list
}

// scope is which certificates a CRL is about; nil for all of the authority, which is so
// where there is no other.
func (p *Publisher) scope(name ledger.CRLName, shards []int) *ca.CRLScope {
	if len(shards) == 1 {
		return nil
	}
	s := &ca.CRLScope{OnlyUsers: name.Shard > 0}
	if p.Points != nil {
		s.Points = p.Points(name.Issuer, name.Shard)
	}
	return s
}

// due lists which CRLs of an authority are to be signed now, what was revoked first.
func (p *Publisher) due(ctx context.Context, authority *ca.Authority, has stored, pending map[ledger.CRLName]int) ([]int, error) {
	var revoked, others []int
	shards := p.shards(authority.Name(), has)
	for _, shard := range shards {
		name := ledger.CRLName{Issuer: authority.Name(), Shard: shard}
		latest := has[name]
		switch {
		case pending[name] > 0:
			revoked = append(revoked, shard)
		case latest.Number == 0, !p.Now().Before(latest.ThisUpdate.Add(p.Period)), p.seen(name) >= latest.Number:
			others = append(others, shard)
		default:
			changed, err := p.rescoped(ctx, latest, p.scope(name, shards))
			if err != nil {
				return nil, err
			}
			if changed {
				others = append(others, shard)
			}
		}
	}
	return append(revoked, others...), nil
}

// scopes remembers what the scope of a CRL is, which cannot be seen but in its DER.
type scopes struct {
	sync.Mutex
	known map[ledger.CRLName]signedScope
}

type signedScope struct {
	number int64
	value  []byte
}

// rescoped reports whether a stored CRL is about other certificates than it should be,
// as after its authority got its first shards.
func (p *Publisher) rescoped(ctx context.Context, latest ledger.CRL, want *ca.CRLScope) (bool, error) {
	value, err := want.Value()
	if err != nil {
		return false, fmt.Errorf("the scope of CRL %s: %w", nameText(latest.Issuer, latest.Shard), err)
	}
	name := ledger.CRLName{Issuer: latest.Issuer, Shard: latest.Shard}
	p.scopes.Lock()
	known, ok := p.scopes.known[name]
	p.scopes.Unlock()
	if !ok || known.number != latest.Number {
		crl, err := p.Ledger.LatestCRL(ctx, name.Issuer, name.Shard)
		if errors.Is(err, ledger.ErrNotFound) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading CRL %s: %w", nameText(name.Issuer, name.Shard), err)
		}
		head, err := ca.ReadCRLHead(crl.DER)
		if err != nil {
			p.Logger.Error("the stored CRL is damaged: the next one takes its place", "issuer", name.Issuer, "shard", name.Shard, "error", err)
			return true, nil
		}
		known = p.scopes.put(name, crl.Number, head.Scope)
	}
	return !bytes.Equal(known.value, value), nil
}

func (s *scopes) put(name ledger.CRLName, number int64, value []byte) signedScope {
	s.Lock()
	defer s.Unlock()
	s.known[name] = signedScope{number, value}
	return s.known[name]
}

// nameText is how texts name a CRL.
func nameText(issuer string, shard int) string {
	if shard == 0 {
		return issuer
	}
	return fmt.Sprintf("%s/%d", issuer, shard)
}
