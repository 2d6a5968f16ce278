package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"mintmark/internal/ledger"
)

// The kinds of records that are not events of the ledger: the log's own
// bookkeeping. Each is a batch by itself.
const (
	kindOpened    = "opened"    // first record of a file
	kindAborted   = "aborted"   // an earlier batch never committed
	kindTruncated = "truncated" // a torn end was cut off after a crash
	kindHead      = "head"      // the position after it is signed and exported
)

// format is the version of the line format, written into each file's first
// record. Files of earlier formats are read as they are: 1 has fewer kinds and no
// work orders, 2 has no approvals, one-time secrets and rollovers, 3 no rotations and
// shards of CRLs. A log that ends in one of them goes on in a new file.
const format = 4

// since is the first format that has a kind of event whose fields are one
// content.
func since(kind string) int {
	switch kind {
	case ledger.EventEnrollment, ledger.EventSecrets, ledger.EventRollover:
		return 3
	case ledger.EventRotation, ledger.EventAnchors:
		return 4
	}
	return 2
}

// A record is one line of the log.
type record struct {
	batch int64
	rec   int // position in the batch, from 0
	of    int // records in the batch
	kind  string
	at    time.Time

	format int // of the file that it stands in

	event ledger.Event // for the kinds of the ledger

	server string   // opened
	prev   [32]byte // opened: hash at the end of the file before
	heads  int64    // opened: head records before the file; head: with this one
	target int64    // aborted: the batch that never committed
	bytes  int64    // truncated: how many were cut off
}

// isEvent reports whether a kind is one of the ledger's. What is of no kind at
// all is taken for an event, too, and refused when it is decoded.
func isEvent(kind string) bool {
	switch kind {
	case kindOpened, kindAborted, kindTruncated, kindHead:
		return false
	}
	return true
}

// The body of a line is followed by its hash, which is why the hash is not
// part of the body: SHA-256(hash of the line before || body).
const (
	hashMark = `,"hash":"`
	hashTail = `"}` + "\n"
	hashSize = len(hashMark) + 2*sha256.Size + len(hashTail)
)

// appendRecord appends the record as one line and returns the hash of the
// chain up to it. There is exactly one spelling of every record, so that a
// line can be checked by writing it again. It is written by hand because it is
// on the path of every enrollment, where encoding/json costs more than the
// SQL.
func appendRecord(b []byte, r *record, prev [32]byte) ([]byte, [32]byte, error) {
	start := len(b)
	b, err := appendBody(b, r)
	if err != nil {
		return b[:start], prev, err
	}
	hash := chain(prev, b[start:])
	b = append(b, hashMark...)
	b = hex.AppendEncode(b, hash[:])
	b = append(b, hashTail...)
	return b, hash, nil
}

// chain is the hash of the chain after a line with this body.
func chain(prev [32]byte, body []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

func appendBody(b []byte, r *record) ([]byte, error) {
	if err := writable(r.at); err != nil {
		return b, err
	}
	b = append(b, `{"batch":`...)
	b = strconv.AppendInt(b, r.batch, 10)
	b = append(b, `,"rec":`...)
	b = strconv.AppendInt(b, int64(r.rec), 10)
	b = append(b, `,"of":`...)
	b = strconv.AppendInt(b, int64(r.of), 10)
	b = appendText(b, "kind", r.kind)
	b = appendTime(b, "at", r.at)
	switch r.kind {
	case kindOpened:
		b = append(b, `,"format":`...)
		b = strconv.AppendInt(b, int64(r.format), 10)
		b = appendText(b, "server", r.server)
		b = appendHex(b, "prev", r.prev[:])
		if r.format > 1 {
			b = append(b, `,"heads":`...)
			b = strconv.AppendInt(b, r.heads, 10)
		}
	case kindAborted:
		b = append(b, `,"target":`...)
		b = strconv.AppendInt(b, r.target, 10)
	case kindTruncated:
		b = append(b, `,"bytes":`...)
		b = strconv.AppendInt(b, r.bytes, 10)
	case kindHead:
		b = append(b, `,"sequence":`...)
		b = strconv.AppendInt(b, r.heads, 10)
	default:
		return appendEvent(b, &r.event, r.format)
	}
	return b, nil
}

// appendEvent appends the fields of an event of the ledger. What stands on the
// path of an enrollment has fields of its own; the rest is one field, content.
func appendEvent(b []byte, e *ledger.Event, format int) ([]byte, error) {
	switch {
	case e.Kind == ledger.EventIntent && e.Intent != nil:
		i := e.Intent
		return appendIntent(b, i, format), writable(i.NotBefore, i.NotAfter, i.At)
	case e.Kind == ledger.EventIssued && e.Issued != nil:
		b = appendText(b, "serial", string(e.Issued.Serial))
		return appendBinary(b, "der", e.Issued.DER), nil
	case e.Kind == ledger.EventVoided && e.Voided != nil:
		return appendText(b, "serial", string(*e.Voided)), nil
	case e.Kind == ledger.EventRevocation && e.Revocation != nil:
		b = appendText(b, "serial", string(e.Revocation.Serial))
		b = append(b, `,"reason":`...)
		b = strconv.AppendInt(b, int64(e.Revocation.Reason), 10)
		return appendText(b, "actor", e.Revocation.Actor), nil
	case e.Kind == ledger.EventAuthority && e.Authority != nil:
		return appendAuthority(b, e.Authority), writable(e.Authority.CreatedAt)
	case format < 4 && sharded(e):
		return b, fmt.Errorf("format %d has no shards", format)
	case format >= since(e.Kind):
		return appendContent(b, e)
	}
	return b, fmt.Errorf("event of kind %q lacks its content or is of no known kind", e.Kind)
}

func appendIntent(b []byte, i *ledger.Intent, format int) []byte {
	b = appendText(b, "server", i.Epoch.Server)
	b = append(b, `,"epoch":`...)
	b = strconv.AppendInt(b, i.Epoch.Number, 10)
	b = appendText(b, "serial", string(i.Serial))
	b = appendText(b, "issuer", i.Issuer)
	b = appendText(b, "profile", i.Profile)
	b = appendText(b, "label", i.Label)
	b = appendText(b, "purpose", string(i.Purpose))
	b = appendText(b, "device", i.Device)
	if format > 1 {
		b = appendText(b, "order", i.Order)
		b = append(b, `,"listed":`...)
		b = strconv.AppendBool(b, i.Listed)
	}
	b = appendText(b, "subject", i.Subject)
	b = appendText(b, "requester_kind", i.Requester.Kind)
	b = appendText(b, "requester", i.Requester.Name)
	b = append(b, `,"address":"`...)
	if i.Requester.Address.IsValid() {
		// A zone may hold any byte, hence not AppendTo.
		b = appendEscaped(b, i.Requester.Address.String())
	}
	b = append(b, '"')
	b = appendHex(b, "key", i.Key[:])
	b = appendBinary(b, "tbs", i.TBS)
	b = appendTime(b, "not_before", i.NotBefore)
	b = appendTime(b, "not_after", i.NotAfter)
	b = appendTime(b, "intent_at", i.At)
	b = append(b, `,"repeat":`...)
	b = strconv.AppendInt(b, int64(i.Repeat), 10)
	b = append(b, `,"second_key":`...)
	b = strconv.AppendBool(b, i.SecondKey)
	// Most intents take neither, and their lines are not longer for it.
	if format > 2 && i.Enrollment != "" {
		b = appendText(b, "enrollment", i.Enrollment)
	}
	if format > 2 && i.Secret != [32]byte{} {
		b = appendHex(b, "secret", i.Secret[:])
	}
	if format > 3 && i.Shard != 0 {
		b = append(b, `,"shard":`...)
		b = strconv.AppendInt(b, int64(i.Shard), 10)
	}
	return b
}

func appendAuthority(b []byte, a *ledger.Authority) []byte {
	b = appendText(b, "name", a.Name)
	b = appendBinary(b, "certificate", a.Certificate)
	b = append(b, `,"chain":[`...)
	for i, der := range a.Chain {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, der)
		b = append(b, '"')
	}
	b = append(b, ']')
	b = appendText(b, "key_uri", a.KeyURI)
	return appendTime(b, "created_at", a.CreatedAt)
}

func appendName(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':', '"')
}

func appendText(b []byte, name, value string) []byte {
	b = appendName(b, name)
	b = appendEscaped(b, value)
	return append(b, '"')
}

func appendHex(b []byte, name string, value []byte) []byte {
	b = appendName(b, name)
	b = hex.AppendEncode(b, value)
	return append(b, '"')
}

func appendBinary(b []byte, name string, value []byte) []byte {
	b = appendName(b, name)
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, '"')
}

// writable refuses times that could not be read again: RFC 3339 has years of
// four digits.
func writable(times ...time.Time) error {
	for _, t := range times {
		if y := t.UTC().Year(); y < 0 || y > 9999 {
			return fmt.Errorf("a time in the year %d cannot be written", y)
		}
	}
	return nil
}

func appendTime(b []byte, name string, t time.Time) []byte {
	b = appendName(b, name)
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendEscaped writes the inside of a JSON string. Control characters are
// escaped in one way only, and bytes that are not UTF-8 become U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, s[start:i]...)
			b = append(b, '\\', c)
			i++
			start = i
		case c < 0x20 || c == 0x7f:
			b = append(b, s[start:i]...)
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			i++
			start = i
		case c < utf8.RuneSelf:
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\uFFFD"...)
				start = i + 1
			}
			i += size
		}
	}
	return append(b, s[start:]...)
}
