package sqldb

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"mintmark/internal/ledger"
)

// maxDER bounds what one certificate may hold; none comes near it.
const maxDER = 1 << 20

const (
	sqlInsertIntent = `INSERT INTO certificates (serial, issuer, profile, label, purpose, device, subject, requester_kind, requester, address,
	spki, not_before, not_after, state, intent_at, epoch_server, epoch_number, tbs)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'open', $14, $15, $16, $17)
	ON CONFLICT (serial) DO NOTHING`

	// What the same key has: by the key's index, because a key has few
	// certificates where a device that renews often has many.
	sqlSameKey = `SELECT serial, state, profile, issuer, not_before, issued_at, ` + inForce + ` FROM certificates c
	WHERE spki = $1 AND device = $2 AND not_after >= $3 AND state IN ('open', 'valid')`
	// Whether the device has another key, in force or on its way.
	sqlOtherKey = `SELECT serial, state = 'valid' OR ` + inForce + ` FROM certificates c
	WHERE device = $1 AND device <> '' AND spki <> $2 AND not_after >= $3 AND state IN ('open', 'valid') LIMIT 1`
	// Whether the epoch of an intent is in force at $3.
	inForce = `EXISTS (SELECT 1 FROM epochs e WHERE e.server = c.epoch_server AND e.number = c.epoch_number AND e.ends_at > $3)`
)

// Announce implements ledger.Issuance.
func (s *Store) Announce() (done func()) { return s.queue.announce() }

// Begin implements ledger.Issuance.
func (s *Store) Begin(ctx context.Context, intents []ledger.Intent) ([]error, error) {
	if len(intents) == 0 {
		return nil, nil
	}
	intents = slices.Clone(intents) // the caller may leave before it is written
	serials := make([][]byte, len(intents))
	for i := range intents {
		var err error
		if serials[i], err = checkIntent(&intents[i]); err != nil {
			return nil, fmt.Errorf("recording intent: %w", err)
		}
	}
	var results []error
	o := &op{items: len(intents), issuance: true, locks: locksOf(intents)}
	o.run = func(t *tx) error {
		// Every epoch first: a lapsed one fails the call before it writes.
		for i := range intents {
			if err := t.inForce(intents[i].Epoch, intents[i].At); err != nil {
				return err
			}
		}
		results = make([]error, len(intents))
		for i := range intents {
			var err error
			if results[i], err = t.begin(&intents[i], serials[i]); err != nil {
				return err
			}
		}
		return nil
	}
	o.orphans = func() [][]byte { return serials }
	// Whoever has left signs nothing: the intents would stand in the way of
	// the next attempt.
	o.unheard = func() {
		left := &op{orphans: func() [][]byte {
			var mine [][]byte
			for i, err := range results {
				if err == nil {
					mine = append(mine, serials[i])
				}
			}
			return mine
		}}
		s.orphan(left)
		s.sweep()
	}
	if err := s.write(ctx, o); err != nil {
		return nil, fmt.Errorf("recording intent: %w", err)
	}
	return results, nil
}

// locksOf names what the intents are about.
func locksOf(intents []ledger.Intent) []string {
	names := make([]string, 0, 3*len(intents))
	for i := range intents {
		names = append(names, "key:"+hex.EncodeToString(intents[i].Key[:]))
		if intents[i].Device != "" {
			names = append(names, "device:"+intents[i].Device)
		}
		if intents[i].Order != "" {
			names = append(names, "order:"+intents[i].Order)
		}
	}
	return names
}

func checkIntent(i *ledger.Intent) ([]byte, error) {
	serial, err := serialBytes(i.Serial)
	switch {
	case err != nil:
		return nil, err
	case i.Epoch.Server == "" || i.Epoch.Number == 0:
		return nil, errors.New("intent has no epoch")
	case i.Purpose == ledger.ForDevice && i.Device == "":
		return nil, errors.New("intent for a device names no device")
	case i.Purpose != ledger.ForDevice && i.Device != "":
		return nil, fmt.Errorf("intent for purpose %q names a device", i.Purpose)
	case i.At.IsZero():
		return nil, errors.New("intent has no time")
	case len(i.TBS) == 0 || len(i.TBS) > maxDER:
		return nil, fmt.Errorf("intent to sign %d bytes", len(i.TBS))
	}
	return serial, nil
}

// inForce returns ErrLapsed unless the epoch is in force. It asks once a
// transaction.
func (t *tx) inForce(epoch ledger.Epoch, now time.Time) error {
	end, ok := t.ends[epoch]
	if !ok {
		err := t.query(`SELECT ends_at FROM epochs WHERE server = $1 AND number = $2`+t.forShare, scanInto(&end), epoch.Server, epoch.Number)
		if err != nil {
			return err
		}
		t.ends[epoch] = end
	}
	if micros(now) >= end {
		return fmt.Errorf("epoch %d of server %q: %w", epoch.Number, epoch.Server, ledger.ErrLapsed)
	}
	return nil
}

// begin records one intent or says why not; the second error is the
// database's.
func (t *tx) begin(i *ledger.Intent, serial []byte) (refusal, err error) {
	if refusal, err = t.rival(i); refusal != nil || err != nil {
		return refusal, err
	}
	address := ""
	if i.Requester.Address.IsValid() {
		address = i.Requester.Address.String()
	}
	n, err := t.exec(sqlInsertIntent, serial, i.Issuer, i.Profile, i.Label, string(i.Purpose), i.Device, i.Subject, i.Requester.Kind, i.Requester.Name, address,
		i.Key[:], micros(i.NotBefore), micros(i.NotAfter), micros(i.At), i.Epoch.Server, i.Epoch.Number, i.TBS)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return fmt.Errorf("%s: %w", i.Serial, ledger.ErrTaken), nil
	}
	t.record(ledger.Event{Kind: ledger.EventIntent, At: i.At, Intent: i})
	return nil, nil
}

// rival looks for certificates and open intents that stand against an intent.
func (t *tx) rival(i *ledger.Intent) (refusal, err error) {
	since, refusal, err := t.stillValid(i.Requester)
	if refusal != nil || err != nil {
		return refusal, err
	}
	if i.Repeat > 0 {
		if refusal, err = t.repeated(i, since); refusal != nil || err != nil {
			return refusal, err
		}
	}
	if i.Device == "" || i.SecondKey || !i.Requester.Bootstrap() {
		return nil, nil
	}
	for {
		var other []byte
		inForce := false
		err := t.query(sqlOtherKey, scanInto(&other, &inForce), i.Device, i.Key[:], micros(i.At))
		if err != nil || other == nil {
			return nil, err
		}
		if inForce {
			return &ledger.CloneError{Device: i.Device, Serial: serialOf(other)}, nil
		}
		// Its server may still run without knowing that its epoch has lapsed.
		if _, err := t.void(other, i.At); err != nil {
			return nil, err
		}
	}
}

// stillValid refuses a certificate that was revoked after it was authenticated:
// a client that sends its request slowly decides how long that takes. It
// returns when a requester's certificate was issued.
func (t *tx) stillValid(r ledger.Requester) (issuedAt int64, refusal, err error) {
	if r.Kind != "certificate" {
		return 0, nil, nil
	}
	serial, err := serialBytes(ledger.Serial(r.Name))
	if err != nil {
		return 0, nil, nil // not one of the ledger's
	}
	var state string
	err = t.query(`SELECT state, issued_at FROM certificates WHERE serial = $1`+t.forShare, scanInto(&state, &issuedAt), serial)
	if err != nil || state == "" || state == string(ledger.Valid) {
		return issuedAt, nil, err
	}
	return 0, fmt.Errorf("%s is %s: %w", r.Name, state, ledger.ErrRevoked), nil
}

// repeated looks for the answer that the same request got before, or is about
// to get. What is not newer than the requester's own certificate, issued at
// since, is no answer to it: a renewal never goes back.
func (t *tx) repeated(i *ledger.Intent, since int64) (refusal, err error) {
	var prior []byte
	var priorAt int64
	inFlight := false
	var lapsed [][]byte
	err = t.query(sqlSameKey, func(rows *sql.Rows) error {
		var serial, profile, issuer sql.RawBytes
		var state string
		var notBefore, issuedAt int64
		var inForce bool
		if err := rows.Scan(&serial, &state, &profile, &issuer, &notBefore, &issuedAt, &inForce); err != nil {
			return err
		}
		if string(profile) != i.Profile || string(issuer) != i.Issuer {
			return nil
		}
		if state == string(ledger.Open) {
			if inFlight = inFlight || inForce; !inForce {
				lapsed = append(lapsed, bytes.Clone(serial)) // it answers nobody any more
			}
			return nil
		}
		if issuedAt > since && notBefore <= micros(i.At) && i.At.Sub(fromMicros(issuedAt)) <= i.Repeat && (prior == nil || issuedAt > priorAt) {
			prior, priorAt = bytes.Clone(serial), issuedAt
		}
		return nil
	}, i.Key[:], i.Device, micros(i.At))
	if err != nil {
		return nil, err
	}
	for _, serial := range lapsed {
		if _, err := t.void(serial, i.At); err != nil {
			return nil, err
		}
	}
	switch {
	case prior != nil:
		c, err := t.certificate(prior)
		return &ledger.PriorError{Certificate: c}, err
	case inFlight:
		return ledger.ErrInFlight, nil
	}
	return nil, nil
}

// certificate reads one inside the transaction.
func (t *tx) certificate(serial []byte) (c ledger.Certificate, err error) {
	return t.certificateFor(serial, "")
}

// certificateFor reads one and locks it in the given way.
func (t *tx) certificateFor(serial []byte, lock string) (c ledger.Certificate, err error) {
	err = t.query(sqlCertificate+lock, func(rows *sql.Rows) (err error) {
		c, err = scanCertificate(rows)
		return err
	}, serial)
	if err == nil && c.Serial == "" {
		err = ledger.ErrNotFound
	}
	return c, err
}
