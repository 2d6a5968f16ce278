package station

import (
	"bytes"
	"crypto/x509"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Line is one line of the record: what became of a device.
type Line struct {
	Time        time.Time    `json:"time"`
	Station     string       `json:"station"`
	Order       string       `json:"order"` // work order or user, and else the label
	Device      string       `json:"device"`
	Serial      string       `json:"serial,omitempty"`      // of the certificate, in hexadecimal
	Certificate string       `json:"certificate,omitempty"` // SHA-256 of the DER, in hexadecimal
	NotAfter    time.Time    `json:"not_after,omitzero"`
	Key         string       `json:"key,omitempty"` // type
	Verified    Verification `json:"verified,omitempty"`
	Taken       Durations    `json:"milliseconds"`
	Reason      string       `json:"reason,omitempty"`
	// Result comes last: a line that was cut off has none.
	Result Outcome `json:"result"`
}

// Forgotten is the result of a device that a person has taken out of the queue.
const Forgotten Outcome = "forgotten"

// Format is how lines are written.
type Format string

const (
	CSV    Format = "csv" // RFC 4180, with a heading
	NDJSON Format = "ndjson"
)

// columns are those of the CSV, in their order.
var columns = []string{
	"time", "station", "order", "device", "serial", "certificate", "not_after", "key", "verified",
	"request_ms", "enroll_ms", "install_ms", "verify_ms", "reason", "result",
}

// maxLine bounds a line of the record, in bytes.
const maxLine = 16 << 10

// maxReason bounds what a device or a server says, in bytes.
const maxReason = 1000

// oneLine makes a text from elsewhere fit into a line.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "..."
	}
	return strings.TrimSpace(text)
}

// about fills in what a certificate says.
func (l *Line) about(c *x509.Certificate) {
	sum := fingerprint(c)
	l.Serial, l.Certificate = hex.EncodeToString(c.SerialNumber.Bytes()), hex.EncodeToString(sum[:])
	l.NotAfter, l.Key = c.NotAfter.UTC(), keyKind(c.PublicKey)
}

// encode returns the line with its end.
func (f Format) encode(l Line) ([]byte, error) {
	l.Station, l.Order, l.Reason = oneLine(l.Station), oneLine(l.Order), oneLine(l.Reason)
	if f == NDJSON {
		data, err := json.Marshal(l)
		return append(data, '\n'), err
	}
	return f.row([]string{
		stamp(l.Time), guard(l.Station), guard(l.Order), guard(l.Device), l.Serial, l.Certificate, stamp(l.NotAfter), l.Key, string(l.Verified),
		number(l.Taken.Request), number(l.Taken.Enroll), number(l.Taken.Install), number(l.Taken.Verify), guard(l.Reason), string(l.Result),
	})
}

func (f Format) row(fields []string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	err := w.Write(fields)
	w.Flush()
	return b.Bytes(), errors.Join(err, w.Error())
}

// heading is the first line of a file; empty if it has none.
func (f Format) heading() []byte {
	if f == NDJSON {
		return nil
	}
	line, _ := f.row(columns) // into memory: it cannot fail
	return line
}

// guard keeps spreadsheets from taking a text for a formula.
func guard(text string) string {
	if text != "" && strings.ContainsRune("=+-@", rune(text[0])) {
		return "'" + text
	}
	return text
}

func unguard(text string) string {
	if len(text) > 1 && text[0] == '\'' && strings.ContainsRune("=+-@", rune(text[1])) {
		return text[1:]
	}
	return text
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// parse reads one line, without its end. A line that was cut off anywhere is refused.
func (f Format) parse(text []byte) (Line, error) {
	var l Line
	if f == NDJSON {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&l); err != nil {
			return Line{}, err
		}
		if decoder.More() {
			return Line{}, errors.New("something stands after its end")
		}
		return l, l.check()
	}
	reader := csv.NewReader(bytes.NewReader(text))
	reader.FieldsPerRecord = len(columns)
	fields, err := reader.Read()
	if err != nil {
		return Line{}, err
	}
	// Only what the station reads again is taken apart.
	if l.Time, err = time.Parse(time.RFC3339, fields[0]); err != nil {
		return Line{}, err
	}
	l.Station, l.Order, l.Device = unguard(fields[1]), unguard(fields[2]), unguard(fields[3])
	l.Serial, l.Certificate, l.Key, l.Verified = fields[4], fields[5], fields[7], Verification(fields[8])
	if fields[6] != "" {
		if l.NotAfter, err = time.Parse(time.RFC3339, fields[6]); err != nil {
			return Line{}, err
		}
	}
	for i, n := range []*int64{&l.Taken.Request, &l.Taken.Enroll, &l.Taken.Install, &l.Taken.Verify} {
		if *n, err = strconv.ParseInt(fields[9+i], 10, 64); err != nil {
			return Line{}, err
		}
	}
	l.Reason, l.Result = unguard(fields[13]), Outcome(fields[14])
	return l, l.check()
}

func (l Line) check() error {
	switch l.Result {
	case Done:
		if sum, err := hex.DecodeString(l.Certificate); err != nil || len(sum) != 32 {
			return fmt.Errorf("%q is not the SHA-256 of a certificate", l.Certificate)
		}
	case Failed, Forgotten:
	default:
		return fmt.Errorf("its result %q is none", l.Result)
	}
	if l.Device == "" {
		return errors.New("it names no device")
	}
	return nil
}
