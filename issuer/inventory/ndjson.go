package inventory

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// ndjsonSource reads one flat JSON object a line.
type ndjsonSource struct {
	lines lines
	cells []cell
}

func newNDJSON(in *bufio.Reader) *ndjsonSource { return &ndjsonSource{lines: lines{in: in}} }

func (s *ndjsonSource) next() ([]cell, int, error) {
	for {
		s.cells = s.cells[:0]
		line, err := s.lines.next()
		if err != nil {
			return nil, s.lines.number, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := s.object(line); err != nil {
			return s.cells, s.lines.number, err
		}
		return s.cells, s.lines.number, nil
	}
}

// object reads the cells of a line. Numbers stand as they are written.
func (s *ndjsonSource) object(line []byte) error {
	bad := func(format string, args ...any) error { return &rowError{fmt.Sprintf(format, args...)} }
	if !utf8.Valid(line) {
		return bad("it is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return bad("it is not a JSON object; each line must hold a whole one")
	}
	fields := 0
	for decoder.More() {
		t, err := decoder.Token()
		if err != nil {
			return badJSON(err)
		}
		name := t.(string) // the decoder lets nothing else be a name
		if err := checkColumn(name); err != nil {
			return bad("%v", err)
		}
		if slices.ContainsFunc(s.cells, func(c cell) bool { return c.name == name }) {
			return bad("%q is there twice", name)
		}
		if !slices.Contains(columns, name) {
			fields++
		}
		if fields > MaxFields {
			return bad("there are more than %d fields of your own", MaxFields)
		}
		value, err := decoder.Token()
		if err != nil {
			return badJSON(err)
		}
		switch v := value.(type) {
		case string:
			s.cells = append(s.cells, cell{name, v})
		case json.Number:
			s.cells = append(s.cells, cell{name, v.String()})
		default:
			return bad("the value of %q is neither a string nor a number", name)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return badJSON(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows the object")
	}
	return nil
}

func badJSON(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &rowError{"the object is not closed; each line must hold a whole one"}
	}
	return &rowError{fmt.Sprintf("it is not JSON: %v", err)}
}
