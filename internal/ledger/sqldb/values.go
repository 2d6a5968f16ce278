package sqldb

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// Times are stored as microseconds since 1970, which reaches past the year
// 9999 of certificates without an end.

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// clean makes text that is for people fit for every database: the log has it as
// it was.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// maxName bounds what names something and is searched, in bytes.
const maxName = 1000

// checkNames says why one of the texts cannot be a name in every database.
func checkNames(names ...string) error {
	for _, name := range names {
		if err := checkText(name, maxName); err != nil {
			return fmt.Errorf("%.100q %w", name, err)
		}
	}
	return nil
}

// serialBytes reads a serial number in its one spelling.
func serialBytes(serial ledger.Serial) ([]byte, error) {
	b, err := hex.DecodeString(string(serial))
	if err != nil || len(b) == 0 || hex.EncodeToString(b) != string(serial) {
		return nil, fmt.Errorf("serial number %q is not lower-case hexadecimal with an even number of digits", serial)
	}
	return b, nil
}

func serialOf(b []byte) ledger.Serial { return ledger.Serial(hex.EncodeToString(b)) }

// scanInto is the row function for a query of one row.
func scanInto(to ...any) func(*sql.Rows) error {
	return func(rows *sql.Rows) error { return rows.Scan(to...) }
}

// certificateColumns are what scanCertificate reads.
const certificateColumns = `serial, issuer, profile, label, purpose, device, subject, requester_kind, requester, address,
	spki, not_before, not_after, state, der, intent_at, issued_at, revoked_at, reason, revoked_by, order_id, shard`

type row interface{ Scan(...any) error }

func scanCertificate(r row) (ledger.Certificate, error) {
	var c ledger.Certificate
	var serial, key []byte
	var address string
	var notBefore, notAfter, intentAt, issuedAt, revokedAt int64
	err := r.Scan(&serial, &c.Issuer, &c.Profile, &c.Label, &c.Purpose, &c.Device, &c.Subject, &c.Requester.Kind, &c.Requester.Name, &address,
		&key, &notBefore, &notAfter, &c.State, &c.DER, &intentAt, &issuedAt, &revokedAt, &c.Reason, &c.RevokedBy, &c.Order, &c.Shard)
	if err != nil {
		return ledger.Certificate{}, err
	}
	c.Serial = serialOf(serial)
	copy(c.Key[:], key)
	if address != "" {
		if c.Requester.Address, err = netip.ParseAddr(address); err != nil {
			return ledger.Certificate{}, fmt.Errorf("reading requester of %s: %w", c.Serial, err)
		}
	}
	c.NotBefore, c.NotAfter = fromMicros(notBefore), fromMicros(notAfter)
	c.IntentAt, c.IssuedAt, c.RevokedAt = fromMicros(intentAt), fromMicros(issuedAt), fromMicros(revokedAt)
	return c, nil
}

// hashOrNull stores a hash that may be missing.
func hashOrNull(hash [32]byte) []byte {
	if hash == [32]byte{} {
		return nil
	}
	return hash[:]
}

// zeroOrOne stores a truth value, for which the dialects have different types.
func zeroOrOne(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
