package revocation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

// readTimeout bounds a read of the ledger for all who wait for it.
const readTimeout = 5 * time.Second

// shelf keeps the CRLs that are asked for, and what the ledger said of them in the last
// second: however many ask, it is asked once a second, and for a CRL once.
type shelf struct {
	sync.Mutex
	at   time.Time
	has  stored
	err  error
	crls map[ledger.CRLName]ledger.CRL
}

// latest reads a CRL. While the ledger cannot be read, the last one that was counts, as
// long as it is in force: that is what a CRL is for.
func (p *Publisher) latest(ctx context.Context, name ledger.CRLName) (ledger.CRL, error) {
	s := &p.shelf
	s.Lock()
	defer s.Unlock()
	// Not cancelled with the request of one, for others wait for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	if now := p.Now(); s.at.IsZero() || now.Sub(s.at).Abs() >= time.Second {
		s.has, s.err = p.stored(ctx)
		s.at = now
	}
	kept, ok := s.crls[name]
	if s.err == nil {
		said, known := s.has[name]
		switch {
		case !known || said.Number == 0:
			return ledger.CRL{}, fmt.Errorf("CRL %s: %w", nameText(name.Issuer, name.Shard), ledger.ErrNotFound)
		case ok && kept.Number >= said.Number:
			return kept, nil
		}
		crl, err := p.Ledger.LatestCRL(ctx, name.Issuer, name.Shard)
		if err == nil {
			s.crls[name] = crl
		}
		if err == nil || errors.Is(err, ledger.ErrNotFound) {
			return crl, err
		}
		s.err = err
	}
	if ok && p.Now().Before(kept.NextUpdate) {
		p.Logger.Warn("serving the last CRL that was read: the ledger cannot be read", "issuer", name.Issuer, "shard", name.Shard, "number", kept.Number, "error", s.err)
		return kept, nil
	}
	return ledger.CRL{}, s.err
}
