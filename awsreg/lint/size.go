package lint

import (
	"encoding/json"
	"strings"
)

// compactSize is how long a document is without white space, as AWS counts. What
// is computed counts as it stands in the text.
func compactSize(n *node) int {
	return len(compact(n))
}

func compact(n *node) string {
	var b strings.Builder
	writeCompact(&b, n)
	return b.String()
}

func writeCompact(b *strings.Builder, n *node) {
	if n == nil {
		return
	}
	if name, _ := n.function(); name != "" || n.kind == call || n.kind == unknown {
		b.WriteString(encoded(n.value()))
		return
	}
	switch n.kind {
	case text:
		b.WriteString(encoded(n.text))
	case object:
		b.WriteByte('{')
		for i, m := range n.members {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(encoded(m.name) + ":")
			writeCompact(b, m.value)
		}
		b.WriteByte('}')
	case array:
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			writeCompact(b, item)
		}
		b.WriteByte(']')
	case null:
		b.WriteString("null")
	default:
		b.WriteString(n.text)
	}
}

// encoded is a text as JSON, without escapes that only HTML needs.
func encoded(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return s
	}
	return strings.TrimSuffix(b.String(), "\n")
}
