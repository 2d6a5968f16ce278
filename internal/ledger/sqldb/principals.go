package sqldb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlPutPrincipal = `INSERT INTO principals (name, roles, public_key, unix_user, added_at, added_by, removed_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
	ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, public_key = excluded.public_key, unix_user = excluded.unix_user,
	added_at = excluded.added_at, added_by = excluded.added_by, removed_at = excluded.removed_at`
	sqlSamePerson = `SELECT name FROM principals WHERE removed_at = 0 AND name <> $1
	AND ((public_key IS NOT NULL AND public_key = $2) OR (unix_user <> '' AND unix_user = $3)) LIMIT 1`
	sqlPrincipals = `SELECT name, roles, public_key, unix_user, added_at, added_by, removed_at FROM principals ORDER BY name`
)

// PutPrincipal implements ledger.Principals. Of removed ones key and Unix user
// are free again.
func (s *Store) PutPrincipal(ctx context.Context, principal ledger.Principal, now time.Time) error {
	if principal.Name == "" || principal.AddedAt.IsZero() {
		return errors.New("recording principal: it has no name or no time of its addition")
	}
	if err := checkNames(principal.Name, principal.UnixUser, principal.AddedBy); err != nil {
		return fmt.Errorf("recording principal: %w", err)
	}
	roles, err := json.Marshal(principal.Roles)
	if err != nil {
		return fmt.Errorf("recording principal %q: %w", principal.Name, err)
	}
	key := principal.Key
	if len(key) == 0 {
		key = nil
	}
	o := &op{items: 1, locks: []string{"principals"}}
	o.run = func(t *tx) error {
		if principal.RemovedAt.IsZero() {
			other := ""
			if err := t.query(sqlSamePerson, scanInto(&other), principal.Name, key, principal.UnixUser); err != nil {
				return err
			}
			if other != "" {
				return fmt.Errorf("principal %q has the same key or Unix user: %w", other, ledger.ErrTaken)
			}
		}
		_, err := t.exec(sqlPutPrincipal, principal.Name, string(roles), key, principal.UnixUser, micros(principal.AddedAt), principal.AddedBy, micros(principal.RemovedAt))
		if err != nil {
			return err
		}
		t.record(ledger.Event{Kind: ledger.EventPrincipal, At: now, Principal: &principal})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("recording principal %q: %w", principal.Name, err)
	}
	return nil
}

// Principals implements ledger.Principals.
func (s *Store) Principals(ctx context.Context) ([]ledger.Principal, error) {
	return list(ctx, s, "listing principals", func(r row) (ledger.Principal, error) {
		var p ledger.Principal
		var roles string
		var added, removed int64
		if err := r.Scan(&p.Name, &roles, &p.Key, &p.UnixUser, &added, &p.AddedBy, &removed); err != nil {
			return p, err
		}
		if err := json.Unmarshal([]byte(roles), &p.Roles); err != nil {
			return p, fmt.Errorf("roles of %q: %w", p.Name, err)
		}
		p.AddedAt, p.RemovedAt = fromMicros(added), fromMicros(removed)
		return p, nil
	}, sqlPrincipals, nil)
}
