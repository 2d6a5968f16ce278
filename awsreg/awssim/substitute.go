package awssim

import (
	"fmt"
	"strings"
)

// substitution is a text with ${expression} in it (AWS IoT developer guide,
// iot-substitution-templates).
type substitution struct {
	parts []any // string, or sqlNode
	names bool  // an expression refers to members of the payload
}

// parseSubstitution parses a text. Expressions see the message as it came, not what
// the statement has made of it.
func parseSubstitution(text, version string) (*substitution, error) {
	if len(text) > maxSQL {
		return nil, iotError("SqlParseException", "a substitution template has at most %d bytes here", maxSQL)
	}
	s := &substitution{}
	for {
		before, rest, found := strings.Cut(text, "${")
		if before != "" {
			s.parts = append(s.parts, before)
		}
		if !found {
			return s, nil
		}
		end := expressionEnd(rest)
		if end < 0 {
			return nil, iotError("SqlParseException", "a substitution template without its closing brace: %q", clip(text, 200))
		}
		node, names, err := parseExpression(rest[:end], version)
		if err != nil {
			return nil, iotError("SqlParseException", "substitution template %q: %v", clip(rest[:end], 200), err)
		}
		s.parts = append(s.parts, node)
		s.names = s.names || names
		text = rest[end+1:]
	}
}

// expressionEnd finds the brace that closes an expression, past strings and objects.
func expressionEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'', '"':
			end := strings.IndexByte(s[i+1:], c)
			if end < 0 {
				return -1
			}
			i += end + 1
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

func parseExpression(text, version string) (sqlNode, bool, error) {
	p, err := newSQLParser(text, version)
	if err != nil {
		return nil, false, err
	}
	node, err := p.expression()
	if err != nil {
		return nil, false, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, false, fmt.Errorf("unexpected %s", t)
	}
	return node, p.names, nil
}

// constant is the text of a substitution without expressions.
func (s *substitution) constant() (string, bool) {
	switch len(s.parts) {
	case 0:
		return "", true
	case 1:
		text, ok := s.parts[0].(string)
		return text, ok
	}
	return "", false
}

// text evaluates a substitution. An expression without a value fails it: what AWS
// puts there is not documented.
func (s *substitution) text(env *sqlEnv) (string, error) {
	if s.names && !env.isJSON {
		return "", fmt.Errorf("the payload is not JSON, and a substitution template refers to its members")
	}
	var b strings.Builder
	for _, part := range s.parts {
		switch part := part.(type) {
		case string:
			b.WriteString(part)
		case sqlNode:
			v, ok := asText(env.spend(part.eval(env)))
			if env.err != nil {
				return "", env.err
			}
			if !ok {
				return "", fmt.Errorf("an expression of a substitution template is undefined or null for this message")
			}
			if b.WriteString(v); b.Len() > maxSQLText {
				return "", fmt.Errorf("a substitution template makes more than %d bytes", maxSQLText)
			}
		}
	}
	return b.String(), nil
}
