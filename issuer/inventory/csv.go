package inventory

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// csvSource reads RFC 4180. It is our own reader because encoding/csv holds
// whatever follows a quote that is never closed.
type csvSource struct {
	lines lines
	comma byte
	cells []cell // one a column, in the order of the header
	text  []byte // values of the row that is being read, without quotes
	ends  []int  // where each ends in text
}

func newCSV(in *bufio.Reader) (*csvSource, error) {
	s := &csvSource{lines: lines{in: in}}
	line, err := s.begin()
	var row *rowError
	switch {
	case errors.Is(err, io.EOF):
		return nil, &LineError{Line: 1, Reason: "the list is empty: its first line must name the columns, device among them"}
	case errors.As(err, &row):
		return nil, &LineError{Line: s.lines.number, Reason: row.reason}
	case err != nil:
		return nil, err
	}
	s.comma = separator(line)
	start := s.lines.number
	header, err := s.split(line)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(header); err != nil {
		return nil, &LineError{Line: start, Reason: err.Error()}
	}
	for _, name := range header {
		s.cells = append(s.cells, cell{name: name})
	}
	return s, nil
}

// separator is the first of comma, semicolon and tab outside of quotes. A
// header with one column has none.
func separator(header []byte) byte {
	quoted := false
	for _, b := range header {
		switch {
		case b == '"':
			quoted = !quoted
		case !quoted && (b == ',' || b == ';' || b == '\t'):
			return b
		}
	}
	return ','
}

func checkHeader(header []string) error {
	fields := 0
	for i, name := range header {
		if err := checkColumn(name); err != nil {
			return err
		}
		if slices.Contains(header[:i], name) {
			return fmt.Errorf("column %q is there twice", name)
		}
		if !slices.Contains(columns, name) {
			fields++
		}
		if fields > MaxFields {
			return fmt.Errorf("there are more than %d columns of your own", MaxFields)
		}
	}
	if !slices.Contains(header, "device") {
		return fmt.Errorf("there is no column device; the first line must name the columns")
	}
	return nil
}

func (s *csvSource) next() ([]cell, int, error) {
	for {
		line, err := s.begin()
		start := s.lines.number
		var row *rowError
		if errors.As(err, &row) {
			// What is skipped may have opened a quote.
			return nil, start, &LineError{Line: start, Reason: row.reason}
		}
		if err != nil {
			return nil, start, err
		}
		values, err := s.split(line)
		if err != nil {
			return nil, start, err
		}
		// Spreadsheets write rows of separators behind the last one.
		if len(s.text) == 0 {
			continue
		}
		for i := range s.cells {
			s.cells[i].value = ""
			if i < len(values) {
				s.cells[i].value = values[i]
			}
		}
		if len(values) != len(s.cells) {
			return s.cells, start, &rowError{fmt.Sprintf("it has %d columns, the header has %d", len(values), len(s.cells))}
		}
		return s.cells, start, nil
	}
}

// begin returns the next line that is not empty.
func (s *csvSource) begin() ([]byte, error) {
	for {
		line, err := s.lines.next()
		if err != nil || len(line) > 0 {
			return line, err
		}
	}
}

// split returns the values of the row that begins with the line. Errors are
// *LineError: where the row ends is not known then.
func (s *csvSource) split(line []byte) ([]string, error) {
	start := s.lines.number
	bad := func(text string) ([]string, error) { return nil, &LineError{Line: start, Reason: text} }
	s.text, s.ends = s.text[:0], s.ends[:0]
	for {
		if len(line) > 0 && line[0] == '"' {
			var err error
			if line, err = s.quoted(line[1:]); err != nil {
				var row *rowError
				if errors.As(err, &row) {
					return bad(row.reason)
				}
				return nil, err
			}
			if len(line) > 0 && line[0] != s.comma {
				return bad("something follows the closing quote of a field; a quote inside of one is doubled")
			}
		} else {
			end := bytes.IndexByte(line, s.comma)
			if end < 0 {
				end = len(line)
			}
			if bytes.IndexByte(line[:end], '"') >= 0 {
				return bad(`a field holds a quote (") but is not in quotes: put it in quotes and double those inside`)
			}
			s.text, line = append(s.text, line[:end]...), line[end:]
		}
		s.ends = append(s.ends, len(s.text))
		if len(line) == 0 {
			break
		}
		line = line[1:] // the separator: one more value follows, be it empty
	}
	text := string(s.text)
	values := make([]string, len(s.ends))
	from := 0
	for i, end := range s.ends {
		values[i], from = text[from:end], end
	}
	return values, nil
}

// quoted reads a field up to its closing quote, which may be on a later line,
// and returns what follows.
func (s *csvSource) quoted(line []byte) ([]byte, error) {
	for {
		end := bytes.IndexByte(line, '"')
		if end >= 0 {
			s.text, line = append(s.text, line[:end]...), line[end+1:]
			if len(line) == 0 || line[0] != '"' {
				return line, nil
			}
			s.text, line = append(s.text, '"'), line[1:]
			continue
		}
		s.text = append(append(s.text, line...), '\n')
		if len(s.text) > MaxRow {
			return nil, &rowError{fmt.Sprintf("it has more than %d bytes; is a quote not closed?", MaxRow)}
		}
		var err error
		if line, err = s.lines.next(); errors.Is(err, io.EOF) {
			return nil, &rowError{"a quote is not closed"}
		} else if err != nil {
			return nil, err
		}
	}
}
