package edge

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"mintmark/internal/pattern"
)

// document is a TOML document (https://toml.io/en/v1.0.0) of the few forms that
// config.toml has: keys of the document first, then tables, of which each stands once.
type document struct {
	comment string // lines at the top
	tables  []*table
}

// table is a table with its pairs. The one without a path is the document itself.
type table struct {
	path  []string
	pairs []pair
}

// pair is a key with a string, a bool, a list of strings, or an inline table.
type pair struct {
	key   string
	value any
}

// inline is an inline table of one string.
type inline struct{ key, value string }

// table adds a table.
func (d *document) table(path ...string) *table {
	t := &table{path: path}
	d.tables = append(d.tables, t)
	return t
}

func (t *table) set(key string, value any) { t.pairs = append(t.pairs, pair{key, value}) }

// bareKey is a key that needs no quotes.
var bareKey = pattern.New(`^[A-Za-z0-9_-]+$`)

// render writes the document. It fails on text that TOML cannot hold: what is no UTF-8.
func (d *document) render() ([]byte, error) {
	var b strings.Builder
	for line := range strings.Lines(d.comment) {
		b.WriteString("# " + line)
	}
	for _, t := range d.tables {
		if len(t.path) > 0 {
			var path []string
			for _, name := range t.path {
				key, err := quoteKey(name)
				if err != nil {
					return nil, err
				}
				path = append(path, key)
			}
			fmt.Fprintf(&b, "\n[%s]\n", strings.Join(path, "."))
		} else if len(t.pairs) > 0 {
			b.WriteString("\n")
		}
		for _, p := range t.pairs {
			key, err := quoteKey(p.key)
			if err != nil {
				return nil, err
			}
			value, err := renderValue(p.value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.key, err)
			}
			b.WriteString(key + " = " + value + "\n")
		}
	}
	return []byte(b.String()), nil
}

func renderValue(value any) (string, error) {
	switch v := value.(type) {
	case bool:
		return fmt.Sprint(v), nil
	case string:
		return quote(v)
	case []string:
		var list []string
		for _, one := range v {
			text, err := quote(one)
			if err != nil {
				return "", err
			}
			list = append(list, text)
		}
		return "[" + strings.Join(list, ", ") + "]", nil
	case inline:
		key, err := quoteKey(v.key)
		if err != nil {
			return "", err
		}
		text, err := quote(v.value)
		if err != nil {
			return "", err
		}
		return "{ " + key + " = " + text + " }", nil
	}
	return "", fmt.Errorf("a %T has no form here", value)
}

func quoteKey(key string) (string, error) {
	if bareKey.MatchString(key) {
		return key, nil
	}
	return quote(key)
}

// quote writes a basic string (TOML v1.0.0, "String").
func quote(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", fmt.Errorf("%q is not UTF-8", text)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String(), nil
}
