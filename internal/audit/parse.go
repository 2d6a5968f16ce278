package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"mintmark/internal/ledger"
)

// wire is the union of the fields of all kinds.
type wire struct {
	Batch  int64     `json:"batch"`
	Rec    int       `json:"rec"`
	Of     int       `json:"of"`
	Kind   string    `json:"kind"`
	At     time.Time `json:"at"`
	Format int       `json:"format"`
	Prev   string    `json:"prev"`
	Heads  int64     `json:"heads"`
	Target int64     `json:"target"`
	Bytes  int64     `json:"bytes"`

	Sequence int64           `json:"sequence"`
	Content  json.RawMessage `json:"content"`

	Server        string        `json:"server"`
	Epoch         int64         `json:"epoch"`
	Serial        ledger.Serial `json:"serial"`
	Issuer        string        `json:"issuer"`
	Profile       string        `json:"profile"`
	Label         string        `json:"label"`
	Purpose       string        `json:"purpose"`
	Device        string        `json:"device"`
	Order         string        `json:"order"`
	Listed        bool          `json:"listed"`
	Subject       string        `json:"subject"`
	RequesterKind string        `json:"requester_kind"`
	Requester     string        `json:"requester"`
	Address       string        `json:"address"`
	Key           string        `json:"key"`
	TBS           []byte        `json:"tbs"`
	NotBefore     time.Time     `json:"not_before"`
	NotAfter      time.Time     `json:"not_after"`
	IntentAt      time.Time     `json:"intent_at"`
	Repeat        time.Duration `json:"repeat"`
	SecondKey     bool          `json:"second_key"`
	Enrollment    string        `json:"enrollment"`
	Secret        string        `json:"secret"`
	Shard         int           `json:"shard"`

	DER         []byte    `json:"der"`
	Reason      int       `json:"reason"`
	Actor       string    `json:"actor"`
	Name        string    `json:"name"`
	Certificate []byte    `json:"certificate"`
	Chain       [][]byte  `json:"chain"`
	KeyURI      string    `json:"key_uri"`
	CreatedAt   time.Time `json:"created_at"`
}

// splitLine separates a line, with its newline, into body and hash.
func splitLine(line []byte) (body []byte, hash [32]byte, err error) {
	if len(line) < hashSize || !bytes.HasSuffix(line, []byte(hashTail)) {
		return nil, hash, errors.New("line has no hash at its end")
	}
	body = line[:len(line)-hashSize]
	tail := line[len(body):]
	if !bytes.HasPrefix(tail, []byte(hashMark)) {
		return nil, hash, errors.New("line has no hash at its end")
	}
	digits := tail[len(hashMark) : len(hashMark)+2*len(hash)]
	if _, err := hex.Decode(hash[:], digits); err != nil || bytes.ContainsAny(digits, "ABCDEF") {
		return nil, hash, errors.New("hash is not lower-case hexadecimal")
	}
	return body, hash, nil
}

// place is what the reader needs of each line to follow the chain, without
// decoding the rest of it.
type place struct {
	batch   int64
	rec, of int
	kind    string
}

// parsePlace reads the fields that every body begins with.
func parsePlace(body []byte) (p place, err error) {
	rest := body
	number := func(mark string, limit int64) int64 {
		var ok bool
		if rest, ok = bytes.CutPrefix(rest, []byte(mark)); !ok {
			err = fmt.Errorf("line lacks %s", mark)
			return 0
		}
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		v, perr := strconv.ParseInt(string(rest[:n]), 10, 64)
		if err == nil && (perr != nil || v > limit || (n > 1 && rest[0] == '0')) {
			err = fmt.Errorf("bad number after %s", mark)
		}
		rest = rest[n:]
		return v
	}
	p.batch = number(`{"batch":`, 1<<62)
	p.rec = int(number(`,"rec":`, 1<<30))
	p.of = int(number(`,"of":`, 1<<30))
	if err != nil {
		return place{}, err
	}
	after, ok := bytes.CutPrefix(rest, []byte(`,"kind":"`))
	end := bytes.IndexByte(after, '"')
	if !ok || end < 0 {
		return place{}, errors.New("line lacks its kind")
	}
	p.kind = string(after[:end])
	if p.batch < 1 || p.of < 1 || p.rec >= p.of {
		return place{}, fmt.Errorf("record %d of %d in batch %d cannot be", p.rec, p.of, p.batch)
	}
	return p, nil
}

// parseRecord decodes the body of a line in a file of the given format. It
// accepts only what appendBody writes: the record is written again and
// compared.
func parseRecord(body []byte, format int) (*record, error) {
	if _, err := parsePlace(body); err != nil {
		return nil, err
	}
	whole := append(bytes.Clone(body), '}')
	decoder := json.NewDecoder(bytes.NewReader(whole))
	decoder.DisallowUnknownFields()
	var w wire
	if err := decoder.Decode(&w); err != nil {
		return nil, fmt.Errorf("parsing record: %w", err)
	}
	r, err := w.record(format)
	if err != nil {
		return nil, err
	}
	again, err := appendBody(make([]byte, 0, len(body)), r)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, body) {
		return nil, errors.New("record is not written in the one way that it can be")
	}
	return r, nil
}

// record sorts the fields by kind. An opening record says its format itself.
func (w *wire) record(in int) (*record, error) {
	r := &record{batch: w.Batch, rec: w.Rec, of: w.Of, kind: w.Kind, at: w.At, format: in}
	r.event = ledger.Event{Kind: w.Kind, At: w.At}
	switch w.Kind {
	case kindOpened:
		if w.Format < 1 || w.Format > format {
			return nil, fmt.Errorf("log format %d is not known to this version, which writes format %d", w.Format, format)
		}
		r.format, r.server, r.heads = w.Format, w.Server, w.Heads
		return r, unhex(r.prev[:], w.Prev)
	case kindHead:
		if in < 2 {
			return nil, fmt.Errorf("format %d has no heads", in)
		}
		r.heads = w.Sequence
		return r, nil
	case kindAborted:
		r.target = w.Target
		return r, nil
	case kindTruncated:
		r.bytes = w.Bytes
		return r, nil
	case ledger.EventIntent:
		intent, err := w.intent()
		r.event.Intent = intent
		return r, err
	case ledger.EventIssued:
		r.event.Issued = &ledger.Issued{Serial: w.Serial, DER: w.DER, At: w.At}
	case ledger.EventVoided:
		r.event.Voided = &w.Serial
	case ledger.EventRevocation:
		r.event.Revocation = &ledger.Revocation{Serial: w.Serial, Reason: ledger.Reason(w.Reason), Actor: w.Actor}
	case ledger.EventAuthority:
		r.event.Authority = &ledger.Authority{
			Name: w.Name, Certificate: w.Certificate, Chain: w.Chain, KeyURI: w.KeyURI, CreatedAt: w.CreatedAt,
		}
		// Nothing is written as an empty text and an empty list, and is nothing
		// again.
		if len(w.Certificate) == 0 {
			r.event.Authority.Certificate = nil
		}
		if len(w.Chain) == 0 {
			r.event.Authority.Chain = nil
		}
	default:
		if in < since(w.Kind) {
			return nil, fmt.Errorf("record kind %q is not known to format %d", w.Kind, in)
		}
		if err := parseContent(&r.event, w.Content); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (w *wire) intent() (*ledger.Intent, error) {
	i := &ledger.Intent{
		Epoch:     ledger.Epoch{Server: w.Server, Number: w.Epoch},
		Serial:    w.Serial,
		Issuer:    w.Issuer,
		Profile:   w.Profile,
		Label:     w.Label,
		Purpose:   ledger.Purpose(w.Purpose),
		Device:    w.Device,
		Order:     w.Order,
		Listed:    w.Listed,
		Subject:   w.Subject,
		Requester: ledger.Requester{Kind: w.RequesterKind, Name: w.Requester},
		TBS:       w.TBS,
		NotBefore: w.NotBefore,
		NotAfter:  w.NotAfter,
		At:        w.IntentAt,
		Repeat:    w.Repeat,
		SecondKey: w.SecondKey,

		Enrollment: w.Enrollment,
		Shard:      w.Shard,
	}
	if w.Secret != "" {
		if err := unhex(i.Secret[:], w.Secret); err != nil {
			return nil, err
		}
	}
	if w.Address != "" {
		address, err := netip.ParseAddr(w.Address)
		if err != nil {
			return nil, fmt.Errorf("parsing address: %w", err)
		}
		i.Requester.Address = address
	}
	return i, unhex(i.Key[:], w.Key)
}

func unhex(to []byte, digits string) error {
	if len(digits) != 2*len(to) {
		return fmt.Errorf("%d hexadecimal digits where %d belong", len(digits), 2*len(to))
	}
	if _, err := hex.Decode(to, []byte(digits)); err != nil {
		return fmt.Errorf("parsing hexadecimal: %w", err)
	}
	return nil
}
