package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
)

// maxDepth bounds how deep documents may be nested.
const maxDepth = 60

var errDeep = errors.New("is nested too deep")

// positionError is an error of a document at a line.
type positionError struct {
	line int
	err  error
}

func (e *positionError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *positionError) Unwrap() error { return e.err }

// lines tells lines of offsets.
type lines []int

func newLines(data []byte) lines {
	l := lines{0}
	for i, b := range data {
		if b == '\n' {
			l = append(l, i+1)
		}
	}
	return l
}

func (l lines) at(offset int) int { return sort.SearchInts(l, offset+1) }

// parseJSON reads one JSON value and nothing after it. A name that stands twice
// in one object is an error: AWS and the linter could take different ones.
func parseJSON(data []byte) (*node, error) {
	p := jsonParser{decoder: json.NewDecoder(bytes.NewReader(data)), lines: newLines(data)}
	p.decoder.UseNumber()
	n, err := p.value(0)
	if err == nil {
		if _, end := p.decoder.Token(); end != io.EOF {
			err = errors.New("something follows the end of the document")
		}
	}
	if err != nil {
		return nil, &positionError{p.line(), jsonWords(err)}
	}
	return n, nil
}

func jsonWords(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the document ends too early")
	}
	return err
}

type jsonParser struct {
	decoder *json.Decoder
	lines   lines
}

// line is where the last token ended.
func (p *jsonParser) line() int {
	return p.lines.at(max(0, int(p.decoder.InputOffset())-1))
}

func (p *jsonParser) value(depth int) (*node, error) {
	token, err := p.decoder.Token()
	if err != nil {
		return nil, err
	}
	n := &node{line: p.line()}
	switch v := token.(type) {
	case json.Delim:
		if depth >= maxDepth {
			return nil, errDeep
		}
		if v == '{' {
			return n, p.object(n, depth)
		}
		n.kind = array
		for p.decoder.More() {
			item, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		_, err = p.decoder.Token()
	case string:
		n.kind, n.text = text, v
	case json.Number:
		n.kind, n.text = number, v.String()
	case bool:
		n.kind, n.text = boolean, fmt.Sprint(v)
	default:
		n.kind = null
	}
	return n, err
}

func (p *jsonParser) object(n *node, depth int) error {
	n.kind = object
	seen := make(map[string]bool)
	for p.decoder.More() {
		token, err := p.decoder.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return fmt.Errorf("a name is %v, not a text", token)
		}
		if seen[name] {
			return fmt.Errorf("the name %q stands twice in one object", name)
		}
		seen[name] = true
		m := member{name: name, line: p.line()}
		if m.value, err = p.value(depth + 1); err != nil {
			return err
		}
		n.members = append(n.members, m)
	}
	_, err := p.decoder.Token()
	return err
}
