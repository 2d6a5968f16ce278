package inventory

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"mintmark/internal/ledger"
)

// Format is how a device list is written.
type Format string

const (
	// CSV is RFC 4180 with a header; the separator is comma, semicolon or tab.
	CSV Format = "csv"
	// NDJSON is one flat JSON object a line.
	NDJSON Format = "ndjson"
)

// The bounds of a device list.
const (
	MaxRows   = 10_000_000
	MaxRow    = 64 << 10 // bytes of a row as it stands in the file
	MaxFields = 32
	MaxName   = 64   // bytes of a field's name
	MaxValue  = 1000 // bytes of a field's value: an index entry fits on a page of every database
)

// LineError says what is wrong with one row of a device list.
type LineError struct {
	Row    int    // from 1, the header not counted; 0 is the header
	Line   int    // in the file, from 1; 0 if it is not known any more
	Device string // as far as it could be read
	Reason string
}

func (e *LineError) Error() string {
	where := fmt.Sprintf("row %d", e.Row)
	if e.Row == 0 {
		where = "header"
	}
	if e.Line > 0 {
		where += fmt.Sprintf(" (line %d)", e.Line)
	}
	if e.Device != "" {
		where += fmt.Sprintf(": device %q", e.Device)
	}
	return where + ": " + e.Reason
}

// cell is one value of a row with the name of its column.
type cell struct{ name, value string }

// source reads the rows of one format.
type source interface {
	// next returns the cells of the next row that is not empty and its line. A
	// *rowError is about this row alone, and reading may go on; io.EOF and
	// every other error end the list. The cells are good until the next call.
	next() (cells []cell, line int, err error)
}

// rowError is what a source finds wrong with a row whose end it knows.
type rowError struct{ reason string }

func (e *rowError) Error() string { return e.reason }

// Reader reads a device list row by row, in constant memory.
type Reader struct {
	source source
	row    int   // number of rows so far
	line   int   // where the last one begins
	err    error // what every further Next returns
}

// NewReader begins to read a device list: a *LineError is about the header.
func NewReader(r io.Reader, format Format) (*Reader, error) {
	in := bufio.NewReaderSize(r, MaxRow)
	if err := skipMark(in); err != nil {
		return nil, err
	}
	switch format {
	case CSV:
		source, err := newCSV(in)
		if err != nil {
			return nil, err
		}
		return &Reader{source: source}, nil
	case NDJSON:
		return &Reader{source: newNDJSON(in)}, nil
	}
	return nil, fmt.Errorf("device list format %q is neither %s nor %s", format, CSV, NDJSON)
}

// skipMark skips the byte order mark that some programs put before UTF-8.
func skipMark(in *bufio.Reader) error {
	head, err := in.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the device list: %w", err)
	}
	switch h := string(head); {
	case strings.HasPrefix(h, "\xef\xbb\xbf"):
		in.Discard(3)
	case strings.HasPrefix(h, "\xff\xfe"), strings.HasPrefix(h, "\xfe\xff"):
		return &LineError{Line: 1, Reason: "the list is UTF-16: save it as UTF-8"}
	case strings.HasPrefix(h, "\x1f\x8b"), strings.HasPrefix(h, "PK"):
		return &LineError{Line: 1, Reason: "the list is compressed: unpack it first (a spreadsheet is saved as CSV)"}
	}
	return nil
}

// Next returns the next row. A *LineError is about one row; reading may go on
// with the next one. io.EOF ends the list, also after an error behind which
// rows cannot be told apart. Every other error is of the reader below.
func (r *Reader) Next() (ledger.Listing, error) {
	if r.err != nil {
		return ledger.Listing{}, r.err
	}
	cells, line, err := r.source.next()
	var row *rowError
	switch {
	case errors.Is(err, io.EOF):
		r.err = io.EOF
		if r.row == 0 {
			return ledger.Listing{}, &LineError{Row: 1, Line: max(line, 1), Reason: "the list has no row: there is nothing to import"}
		}
		return ledger.Listing{}, io.EOF
	case errors.As(err, &row):
	case err != nil:
		var syntax *LineError
		if r.err = err; errors.As(err, &syntax) {
			syntax.Row, r.err = r.row+1, io.EOF
		}
		return ledger.Listing{}, err
	}
	r.row, r.line = r.row+1, line
	if r.row > MaxRows {
		r.err = io.EOF
		return ledger.Listing{}, &LineError{Row: r.row, Line: line, Reason: fmt.Sprintf("a list has at most %d rows: split it", MaxRows)}
	}
	listing := ledger.Listing{Row: r.row}
	if row == nil {
		row = fill(&listing, cells)
	}
	if row != nil {
		return ledger.Listing{}, &LineError{Row: r.row, Line: line, Device: shorten(deviceOf(cells)), Reason: row.reason}
	}
	return listing, nil
}

// fill checks the cells of a row and puts them where they belong. An empty
// cell is none.
func fill(l *ledger.Listing, cells []cell) *rowError {
	bad := func(format string, args ...any) *rowError { return &rowError{fmt.Sprintf(format, args...)} }
	var public [32]byte
	for _, c := range cells {
		if c.value == "" {
			continue
		}
		var err error
		switch c.name {
		case "device":
			l.Device, err = c.value, CheckDevice(c.value)
			if err != nil {
				return bad("the identifier %v", err)
			}
		case "order":
			l.Order, err = c.value, CheckOrder(c.value)
		case "product":
			l.Product, err = c.value, checkWords(c.value)
		case "key_sha256":
			l.Key, err = parseKeyHash(c.value)
		case "public_key":
			public, err = parsePublicKey(c.value)
		default:
			if l.Fields == nil {
				l.Fields = make(map[string]string)
			}
			l.Fields[c.name], err = c.value, checkValue(c.value)
		}
		if err != nil {
			return bad("%s %v", c.name, err)
		}
	}
	switch {
	case l.Device == "":
		return bad("device is missing")
	case public == [32]byte{}:
	case l.Key == [32]byte{}:
		l.Key = public
	case l.Key != public:
		return bad("key_sha256 is not the hash of public_key")
	}
	return nil
}

func checkValue(value string) error {
	if len(value) > MaxValue {
		return fmt.Errorf("has %d bytes; %d are allowed", len(value), MaxValue)
	}
	return checkText(value)
}

func deviceOf(cells []cell) string {
	for _, c := range cells {
		if c.name == "device" {
			return c.value
		}
	}
	return ""
}

// shorten keeps foreign text in errors to what a line can show.
func shorten(s string) string {
	if len(s) <= 100 {
		return s
	}
	return strings.ToValidUTF8(s[:100], "") + "..."
}
