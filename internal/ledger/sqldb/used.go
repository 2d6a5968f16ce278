package sqldb

import (
	"context"
	"fmt"
)

// Used reports whether a database holds a hierarchy already. It writes nothing,
// and no server's name is taken by asking.
func Used(ctx context.Context, cfg Config) (bool, error) {
	d, err := newDialect(cfg)
	if err != nil {
		return false, fmt.Errorf("looking into the ledger: %w", err)
	}
	db, err := d.openReaders()
	if err != nil {
		return false, fmt.Errorf("looking into the ledger: %w", err)
	}
	defer db.Close()
	for _, text := range []string{d.hasMeta, `SELECT count(*) FROM (SELECT 1 FROM authorities LIMIT 1) AS one`} {
		n := 0
		if err := db.QueryRowContext(ctx, text).Scan(&n); err != nil {
			return false, fmt.Errorf("looking into the ledger: %w", err)
		}
		if n == 0 {
			return false, nil
		}
	}
	return true, nil
}
