package sqldb

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"mintmark/internal/ledger"
)

const (
	secretColumns = `SELECT device, sha256, at, actor, expires_at, serial FROM device_secrets`
	sqlSecret     = secretColumns + ` WHERE device = $1`

	// The same secret again stays used. Changes are in the order of their times,
	// whatever the clocks say: so a rebuild finds the last one.
	sqlPutSecret = `INSERT INTO device_secrets (device, sha256, at, actor, expires_at) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (device) DO UPDATE SET serial = CASE WHEN device_secrets.sha256 = excluded.sha256 THEN device_secrets.serial ELSE NULL END,
	sha256 = excluded.sha256, at = CASE WHEN excluded.at > device_secrets.at THEN excluded.at ELSE device_secrets.at + 1 END,
	actor = excluded.actor, expires_at = excluded.expires_at RETURNING at`
	sqlDropSecret = `UPDATE device_secrets SET sha256 = NULL, serial = NULL, at = CASE WHEN at < $2 THEN CAST($2 AS BIGINT) ELSE at + 1 END, actor = $3
	WHERE device = $1 AND sha256 IS NOT NULL RETURNING at, expires_at`

	sqlTakeSecret   = `UPDATE device_secrets SET serial = $2 WHERE device = $1 AND sha256 = $3 AND serial IS NULL`
	sqlReturnSecret = `UPDATE device_secrets SET serial = NULL WHERE serial IS NOT NULL AND serial = $1`

	sqlSweepSecrets = `DELETE FROM device_secrets WHERE device IN (SELECT device FROM device_secrets WHERE expires_at < $1 ORDER BY expires_at, device LIMIT 2000)`
)

// secretsAtOnce is how many secrets one call records.
const secretsAtOnce = 1000

// PutSecrets implements ledger.Secrets.
func (s *Store) PutSecrets(ctx context.Context, secrets []ledger.DeviceSecret) error {
	if len(secrets) == 0 {
		return nil
	}
	secrets = slices.Clone(secrets)
	if err := checkSecrets(secrets); err != nil {
		return fmt.Errorf("recording one-time secrets: %w", err)
	}
	locks := make([]string, len(secrets))
	for n := range secrets {
		locks[n] = "device:" + secrets[n].Device
	}
	o := &op{items: len(secrets), locks: locks}
	o.run = func(t *tx) error {
		now := secrets[0].At
		if err := t.sweepSecrets(now); err != nil {
			return err
		}
		logged := slices.Clone(secrets)
		for n := range logged {
			d := &logged[n]
			var at int64
			if err := t.query(sqlPutSecret, scanInto(&at), d.Device, d.SHA256[:], micros(d.At), d.Actor, micros(d.ExpiresAt)); err != nil {
				return err
			}
			d.At = fromMicros(at)
		}
		t.record(ledger.Event{Kind: ledger.EventSecrets, At: now, Secrets: logged})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("recording one-time secrets: %w", err)
	}
	return nil
}

// checkSecrets says what is wrong with secrets in themselves, and makes of the
// others what is recorded.
func checkSecrets(secrets []ledger.DeviceSecret) error {
	if len(secrets) > secretsAtOnce {
		return fmt.Errorf("%d at once, at most %d are taken", len(secrets), secretsAtOnce)
	}
	devices := make(map[string]bool, len(secrets))
	for n := range secrets {
		d := &secrets[n]
		switch {
		case d.Device == "" || d.SHA256 == [32]byte{}:
			return errors.New("a device or its secret is missing")
		case devices[d.Device]:
			return fmt.Errorf("device %q has two", d.Device)
		case d.At.IsZero() || !d.ExpiresAt.After(d.At):
			return fmt.Errorf("that of device %q would be over before it begins", d.Device)
		}
		devices[d.Device] = true
		if err := checkNames(d.Device); err != nil {
			return err
		}
		d.Actor, d.Serial = clean(d.Actor), ""
		d.ExpiresAt = fromMicros(micros(d.ExpiresAt))
	}
	return nil
}

// sweepSecrets removes some of the secrets that have been over for long.
func (t *tx) sweepSecrets(now time.Time) error {
	_, err := t.exec(sqlSweepSecrets, micros(now.Add(-keepOver)))
	return err
}

// DeviceSecret implements ledger.Secrets.
func (s *Store) DeviceSecret(ctx context.Context, device string) (ledger.DeviceSecret, error) {
	d, err := scanSecret(s.readers.QueryRowContext(ctx, sqlSecret, device))
	if err == nil && d.SHA256 == [32]byte{} {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return ledger.DeviceSecret{}, reading(fmt.Sprintf("one-time secret of device %q", device), err)
	}
	return d, nil
}

// DropSecret implements ledger.Secrets.
func (s *Store) DropSecret(ctx context.Context, device, actor string, now time.Time) error {
	if checkNames(device) != nil {
		return fmt.Errorf("dropping one-time secret of device %q: %w", device, ledger.ErrNotFound)
	}
	o := &op{items: 1, locks: []string{"device:" + device}}
	o.run = func(t *tx) error {
		var at, expires int64
		if err := t.query(sqlDropSecret, scanInto(&at, &expires), device, micros(now), clean(actor)); err != nil {
			return err
		}
		if at == 0 {
			return ledger.ErrNotFound
		}
		dropped := ledger.DeviceSecret{Device: device, At: fromMicros(at), Actor: clean(actor), ExpiresAt: fromMicros(expires)}
		t.record(ledger.Event{Kind: ledger.EventSecrets, At: now, Secrets: []ledger.DeviceSecret{dropped}})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("dropping one-time secret of device %q: %w", device, err)
	}
	return nil
}

func scanSecret(r row) (ledger.DeviceSecret, error) {
	var d ledger.DeviceSecret
	var hash, serial []byte
	var at, expires int64
	err := r.Scan(&d.Device, &hash, &at, &d.Actor, &expires, &serial)
	copy(d.SHA256[:], hash)
	d.At, d.ExpiresAt, d.Serial = fromMicros(at), fromMicros(expires), serialOf(serial)
	return d, err
}

// spends refuses an intent that its one-time secret does not allow. Whoever has
// presented it was authenticated by then; it may have been replaced, spent or
// dropped since.
func (t *tx) spends(i *ledger.Intent) (refusal, err error) {
	var d ledger.DeviceSecret
	err = t.query(sqlSecret, func(rows *sql.Rows) (err error) {
		d, err = scanSecret(rows)
		return err
	}, i.Device)
	if err != nil {
		return nil, err
	}
	refuse := func(why string) (error, error) { return &ledger.SecretError{Device: i.Device, Why: why}, nil }
	if subtle.ConstantTimeCompare(d.SHA256[:], i.Secret[:]) != 1 {
		return refuse("unknown") // of a device without one the hash is zero, and an intent's is not
	}
	if d.Serial != "" {
		done, refusal, err := t.takenBy(d.Serial, i.At)
		switch {
		case refusal != nil || err != nil:
			return refusal, err
		case done:
			return refuse("used")
		}
	}
	if !i.At.Before(d.ExpiresAt) {
		return refuse("expired")
	}
	return nil, nil
}
