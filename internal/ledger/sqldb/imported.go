package sqldb

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlInsertImported = `INSERT INTO certificates (serial, issuer, profile, label, purpose, device, subject, requester_kind, requester, address,
	spki, not_before, not_after, state, intent_at, issued_at, epoch_server, epoch_number, der, order_id, shard)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', $10, $11, $12, 'valid', $13, $13, '', 0, $14, $15, $16)
	ON CONFLICT (serial) DO NOTHING`

	// Unlike a certificate that is being issued, an imported one may be older
	// than what the device has.
	sqlPutOldDevice = `INSERT INTO devices (id, first_seen, last_issued, certificates) VALUES ($1, $2, CASE WHEN $3 = 0 THEN 0 ELSE CAST($2 AS BIGINT) END, $3)
	ON CONFLICT (id) DO UPDATE SET
	first_seen = CASE WHEN devices.first_seen = 0 OR devices.first_seen > excluded.first_seen THEN excluded.first_seen ELSE devices.first_seen END,
	last_issued = CASE WHEN devices.last_issued < excluded.last_issued THEN excluded.last_issued ELSE devices.last_issued END,
	certificates = devices.certificates + excluded.certificates`
)

// ImportCertificates implements ledger.Certificates. They are recorded as
// valid, issued when they say (or at their NotBefore, if that is unknown), and
// asked for by the actor. They cost no order a unit.
func (s *Store) ImportCertificates(ctx context.Context, certificates []ledger.Certificate, actor string, now time.Time) ([]error, error) {
	if len(certificates) == 0 {
		return nil, nil
	}
	certificates = slices.Clone(certificates)
	serials := make([][]byte, len(certificates))
	for n := range certificates {
		c := &certificates[n]
		var err error
		if serials[n], err = checkImported(c); err != nil {
			return nil, fmt.Errorf("importing certificate: %w", err)
		}
		if err := checkNames(c.Issuer, c.Profile, c.Label, c.Device, c.Order, actor); err != nil {
			return nil, fmt.Errorf("importing certificate: %w", err)
		}
		if c.IssuedAt.IsZero() {
			c.IssuedAt = c.NotBefore
		}
		c.IntentAt = c.IssuedAt
		c.State, c.RevokedAt, c.Reason, c.RevokedBy = ledger.Valid, time.Time{}, ledger.Unspecified, ""
		c.Requester = ledger.Requester{Kind: "import", Name: actor}
	}
	var results []error
	locks := make([]string, 0, 2*len(certificates))
	for n := range certificates {
		locks = append(locks, "key:"+hex.EncodeToString(certificates[n].Key[:]), "device:"+certificates[n].Device)
	}
	o := &op{items: len(certificates), locks: locks}
	o.run = func(t *tx) error {
		results = make([]error, len(certificates))
		for n := range certificates {
			var err error
			if results[n], err = t.importCertificate(&certificates[n], serials[n], now); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return nil, fmt.Errorf("importing certificates: %w", err)
	}
	return results, nil
}

func checkImported(c *ledger.Certificate) ([]byte, error) {
	serial, err := serialBytes(c.Serial)
	switch {
	case err != nil:
		return nil, err
	case len(c.DER) == 0 || len(c.DER) > maxDER:
		return nil, fmt.Errorf("%s has %d bytes", c.Serial, len(c.DER))
	case c.Issuer == "" || c.Purpose == "":
		return nil, fmt.Errorf("%s has no issuer or no purpose", c.Serial)
	case (c.Purpose == ledger.ForDevice || c.Purpose == ledger.ForGateway) != (c.Device != ""):
		return nil, fmt.Errorf("%s is for purpose %q and device %q", c.Serial, c.Purpose, c.Device)
	case c.NotBefore.IsZero() || c.NotAfter.Before(c.NotBefore):
		return nil, fmt.Errorf("%s has no validity period", c.Serial)
	}
	return serial, checkShard(c.Shard)
}

// importCertificate records one certificate or says why not; the second error
// is the database's.
func (t *tx) importCertificate(c *ledger.Certificate, serial []byte, now time.Time) (refusal, err error) {
	n, err := t.exec(sqlInsertImported, serial, c.Issuer, c.Profile, c.Label, string(c.Purpose), c.Device, clean(c.Subject), c.Requester.Kind, c.Requester.Name,
		c.Key[:], micros(c.NotBefore), micros(c.NotAfter), micros(c.IssuedAt), c.DER, c.Order, c.Shard)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		known, err := t.certificate(serial)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return nil, errRaced
		case err != nil:
			return nil, err
		case bytes.Equal(known.DER, c.DER):
			return nil, nil
		}
		return fmt.Errorf("%s is %s with other bytes: %w", c.Serial, known.State, ledger.ErrTaken), nil
	}
	if c.Device != "" {
		if _, err := t.exec(sqlPutOldDevice, c.Device, micros(c.IssuedAt), zeroOrOne(c.Purpose == ledger.ForDevice)); err != nil {
			return nil, err
		}
		if _, err := t.exec(sqlSetCurrent, c.Device); err != nil {
			return nil, err
		}
	}
	t.record(ledger.Event{Kind: ledger.EventImported, At: now, Imported: c})
	return nil, nil
}
