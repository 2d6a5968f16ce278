package sqldb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"mintmark/internal/ledger"
)

const sqlPutAuthority = `INSERT INTO authorities (name, certificate, chain, key_uri, created_at) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (name) DO UPDATE SET certificate = excluded.certificate, chain = excluded.chain, key_uri = excluded.key_uri, created_at = excluded.created_at`

// PutAuthority implements ledger.Hierarchy.
func (s *Store) PutAuthority(ctx context.Context, authority ledger.Authority) error {
	if authority.Name == "" || authority.CreatedAt.IsZero() {
		return errors.New("recording authority: it has no name or no time of creation")
	}
	if err := checkNames(authority.Name, authority.KeyURI); err != nil {
		return fmt.Errorf("recording authority: %w", err)
	}
	// A JSON array of base64: short, seldom read, and the same in all dialects.
	chain, err := json.Marshal(authority.Chain)
	if err != nil {
		return fmt.Errorf("recording authority %q: %w", authority.Name, err)
	}
	o := &op{items: 1}
	o.run = func(t *tx) error {
		_, err := t.exec(sqlPutAuthority, authority.Name, authority.Certificate, string(chain), authority.KeyURI, micros(authority.CreatedAt))
		if err != nil {
			return err
		}
		t.record(ledger.Event{Kind: ledger.EventAuthority, At: s.cfg.Now(), Authority: &authority})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("recording authority %q: %w", authority.Name, err)
	}
	return nil
}

// Authorities implements ledger.Hierarchy.
func (s *Store) Authorities(ctx context.Context) ([]ledger.Authority, error) {
	rows, err := s.readers.QueryContext(ctx, `SELECT name, certificate, chain, key_uri, created_at FROM authorities ORDER BY created_at, name`)
	if err != nil {
		return nil, fmt.Errorf("listing authorities: %w", err)
	}
	defer rows.Close()
	var all []ledger.Authority
	for rows.Next() {
		var a ledger.Authority
		var chain string
		var created int64
		if err := rows.Scan(&a.Name, &a.Certificate, &chain, &a.KeyURI, &created); err != nil {
			return nil, fmt.Errorf("listing authorities: %w", err)
		}
		if err := json.Unmarshal([]byte(chain), &a.Chain); err != nil {
			return nil, fmt.Errorf("listing authorities: chain of %q: %w", a.Name, err)
		}
		a.CreatedAt = fromMicros(created)
		all = append(all, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing authorities: %w", err)
	}
	return all, nil
}
