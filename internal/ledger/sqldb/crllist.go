package sqldb

import (
	"context"
	"fmt"

	"mintmark/internal/ledger"
)

const sqlCRLs = `SELECT issuer, shard, number, this_update, next_update FROM shard_crls ORDER BY 1, 2`

// CRLs implements ledger.Revocations.
func (s *Store) CRLs(ctx context.Context) ([]ledger.CRL, error) {
	rows, err := s.readers.QueryContext(ctx, sqlCRLs)
	if err != nil {
		return nil, fmt.Errorf("listing CRLs: %w", err)
	}
	defer rows.Close()
	var all []ledger.CRL
	for rows.Next() {
		var crl ledger.CRL
		var thisUpdate, nextUpdate int64
		if err := rows.Scan(&crl.Issuer, &crl.Shard, &crl.Number, &thisUpdate, &nextUpdate); err != nil {
			return nil, fmt.Errorf("listing CRLs: %w", err)
		}
		if crl.Number > 0 {
			crl.ThisUpdate, crl.NextUpdate = fromMicros(thisUpdate), fromMicros(nextUpdate)
		}
		all = append(all, crl)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing CRLs: %w", err)
	}
	return all, nil
}
