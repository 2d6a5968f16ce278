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
	spki, not_before, not_after, state, intent_at, epoch_server, epoch_number, tbs, order_id, shard)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'open', $14, $15, $16, $17, $18, $19)
	ON CONFLICT (serial) DO NOTHING`

	// Whether the epoch of an intent is in force at $2.
	sqlInForce = `EXISTS (SELECT 1 FROM epochs e WHERE e.server = c.epoch_server AND e.number = c.epoch_number AND e.ends_at > $2)`

	// What the same key has, for this device and others: by the key's index,
	// because a key has few certificates where a device that renews often has
	// many.
	sqlSameKey = `SELECT serial, device, state, profile, issuer, not_before, issued_at, state = 'valid' OR ` + sqlInForce + ` FROM certificates c
	WHERE spki = $1 AND not_after >= $2 AND state IN ('open', 'valid')`
	// Whether the device has another key, in force or on its way, and here
	// rather than at another server. What a gateway signs with is no other key of
	// the device itself, nor the other way round: each of the two has one.
	// The purpose is no bare column: SQLite would hold the value against the
	// partial index certificates_gateway, and for that prepare the statement anew whenever
	// the value is bound, which costs more than to run it.
	sqlOtherKey = `SELECT serial, state = 'valid' OR ` + sqlInForce + `,
	CASE WHEN state = 'valid' OR (epoch_server = $4 AND epoch_number = $5) THEN 1 ELSE 0 END AS here FROM certificates c
	WHERE device = $1 AND device <> '' AND not_after >= $2 AND spki <> $3 AND purpose || '' = $6 AND state IN ('open', 'valid') ORDER BY here DESC LIMIT 1`
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
		i := &intents[i]
		if err := checkNames(i.Issuer, i.Profile, i.Label, i.Device, i.Order, i.Requester.Kind, i.Requester.Name, i.Enrollment); err != nil {
			return nil, fmt.Errorf("recording intent: %w", err)
		}
	}
	var results []error
	o := &op{items: len(intents), issuance: true, locks: locksOf(intents), intents: intents}
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
	ofDevice := i.Purpose == ledger.ForDevice || i.Purpose == ledger.ForGateway
	switch {
	case err != nil:
		return nil, err
	case i.Epoch.Server == "" || i.Epoch.Number == 0:
		return nil, errors.New("intent has no epoch")
	case ofDevice && i.Device == "":
		return nil, fmt.Errorf("intent for a %s names no device", i.Purpose)
	case !ofDevice && i.Device != "":
		return nil, fmt.Errorf("intent for purpose %q names a device", i.Purpose)
	case i.Order != "" && i.Purpose != ledger.ForDevice && i.Purpose != ledger.ForClaim:
		return nil, fmt.Errorf("intent for purpose %q names a work order", i.Purpose)
	case i.Purpose == ledger.ForClaim && i.Order == "":
		return nil, errors.New("intent for a claim names no work order")
	case i.Listed && !ofDevice:
		return nil, fmt.Errorf("intent for purpose %q asks for the inventory", i.Purpose)
	case i.Secret != [32]byte{} && !ofDevice:
		return nil, fmt.Errorf("intent for purpose %q takes a device's secret", i.Purpose)
	case i.At.IsZero():
		return nil, errors.New("intent has no time")
	case len(i.TBS) == 0 || len(i.TBS) > maxDER:
		return nil, fmt.Errorf("intent to sign %d bytes", len(i.TBS))
	}
	if err := checkShard(i.Shard); err != nil {
		return nil, fmt.Errorf("intent: %w", err)
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
	return t.recordIntent(i, serial)
}

// recordIntent records an intent that nothing but the quota can stand against.
func (t *tx) recordIntent(i *ledger.Intent, serial []byte) (refusal, err error) {
	// Last, so that an intent that is refused for anything else costs no unit.
	paid := i.Order != "" && i.Purpose == ledger.ForDevice
	if paid {
		if refusal, err = t.takeUnit(i.Order, i.At); refusal != nil || err != nil {
			return refusal, err
		}
	}
	address := ""
	if i.Requester.Address.IsValid() {
		address = i.Requester.Address.String()
	}
	n, err := t.execOne(sqlInsertIntent, serial, i.Issuer, i.Profile, i.Label, string(i.Purpose), i.Device, clean(i.Subject), i.Requester.Kind, i.Requester.Name, address,
		i.Key[:], micros(i.NotBefore), micros(i.NotAfter), micros(i.At), i.Epoch.Server, i.Epoch.Number, i.TBS, i.Order, i.Shard)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		if paid {
			if _, err := t.exec(sqlReturnUnit, i.Order); err != nil {
				return nil, err
			}
		}
		return fmt.Errorf("%s: %w", i.Serial, ledger.ErrTaken), nil
	}
	t.begun(i)
	if err := t.take(i, serial); err != nil {
		return nil, err
	}
	t.record(ledger.Event{Kind: ledger.EventIntent, At: i.At, Intent: i})
	return nil, nil
}

// rival looks for what stands against an intent, apart from the quota.
func (t *tx) rival(i *ledger.Intent) (refusal, err error) {
	since, refusal, err := t.stillValid(i.Requester)
	if refusal != nil || err != nil {
		return refusal, err
	}
	var shared *ledger.SharedKeyError
	if i.Repeat > 0 || i.Device != "" {
		if refusal, shared, err = t.sameKey(i, since); err != nil {
			return nil, err
		}
		if refusal != nil {
			// A device that is held gets nothing, not even what it has got already.
			if held, err := t.held(i.Device); held != nil || err != nil {
				return held, err
			}
			return refusal, nil
		}
	}
	// Whose secret is worth nothing learns nothing of the device.
	if i.Secret != [32]byte{} {
		if refusal, err = t.spends(i); refusal != nil || err != nil {
			return refusal, err
		}
	}
	if i.Device != "" {
		if refusal, err = t.admits(i); refusal != nil || err != nil {
			return refusal, err
		}
	}
	if shared != nil {
		return shared, nil
	}
	second := i.SecondKey
	if i.Enrollment != "" {
		approved, refusal, err := t.approved(i)
		if refusal != nil || err != nil {
			return refusal, err
		}
		second = second || approved
	}
	if i.Device == "" || second || !i.Requester.Bootstrap() {
		return nil, nil
	}
	return t.otherKey(i)
}

// otherKey looks for another key of the device.
func (t *tx) otherKey(i *ledger.Intent) (refusal, err error) {
	if t.isBare(i.Device) {
		return nil, nil
	}
	for {
		var other []byte
		live, here := false, 0
		err := t.query(sqlOtherKey, scanInto(&other, &live, &here), i.Device, micros(i.At), i.Key[:], i.Epoch.Server, i.Epoch.Number, string(i.Purpose))
		switch {
		case err != nil || other == nil:
			return nil, err
		case here != 0:
			return &ledger.CloneError{Device: i.Device, Serial: serialOf(other)}, nil
		case live:
			// Another server may have died over it: that is no alarm.
			return ledger.ErrInFlight, nil
		}
		// Its server may still run without knowing that its epoch has lapsed.
		if _, err := t.void(other, i.At); err != nil {
			return nil, err
		}
	}
}

// stillValid refuses a certificate that was revoked after it was authenticated:
// a client that sends its request slowly decides how long that takes. It
// returns when a requester's certificate was issued, which is nothing to a
// claim or a registration authority: theirs is not the device's.
func (t *tx) stillValid(r ledger.Requester) (issuedAt int64, refusal, err error) {
	serial := requesterSerial(r)
	if serial == nil {
		return 0, nil, nil
	}
	its, err := t.requester(serial)
	switch {
	case err != nil || r.Kind != "certificate" && its.state == string(ledger.Valid):
		return 0, nil, err
	case its.state == "" || its.state == string(ledger.Valid):
		return its.issuedAt, nil, nil
	}
	return 0, fmt.Errorf("%s is %s: %w", r.Name, its.state, ledger.ErrRevoked), nil
}

// sameKey looks for the answer that the same request got before, or is about
// to get, and for another device with the same key. What is not newer than the
// requester's own certificate, issued at since, is no answer to it: a renewal
// never goes back.
func (t *tx) sameKey(i *ledger.Intent, since int64) (refusal error, shared *ledger.SharedKeyError, err error) {
	if t.isUnused(i.Key) {
		return nil, nil, nil
	}
	var prior []byte
	var priorAt int64
	inFlight := false
	var lapsed [][]byte
	err = t.query(sqlSameKey, func(rows *sql.Rows) error {
		var serial, device, profile, issuer sql.RawBytes
		var state string
		var notBefore, issuedAt int64
		var live bool
		if err := rows.Scan(&serial, &device, &state, &profile, &issuer, &notBefore, &issuedAt, &live); err != nil {
			return err
		}
		if !live {
			lapsed = append(lapsed, bytes.Clone(serial)) // it answers nobody any more
			return nil
		}
		if string(device) != i.Device {
			if i.Device != "" && len(device) > 0 {
				shared = &ledger.SharedKeyError{Device: string(device), Serial: serialOf(serial)}
			}
			return nil
		}
		if i.Repeat == 0 || string(profile) != i.Profile || string(issuer) != i.Issuer && !slices.Contains(i.Issuers, string(issuer)) {
			return nil
		}
		if state == string(ledger.Open) {
			inFlight = true
			return nil
		}
		if issuedAt > since && notBefore <= micros(i.At) && i.At.Sub(fromMicros(issuedAt)) <= i.Repeat && (prior == nil || issuedAt > priorAt) {
			prior, priorAt = bytes.Clone(serial), issuedAt
		}
		return nil
	}, i.Key[:], micros(i.At))
	if err != nil {
		return nil, nil, err
	}
	for _, serial := range lapsed {
		if _, err := t.void(serial, i.At); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case prior != nil:
		c, err := t.certificate(prior)
		return &ledger.PriorError{Certificate: c}, nil, err
	case inFlight:
		return ledger.ErrInFlight, nil, nil
	}
	return nil, shared, nil
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
