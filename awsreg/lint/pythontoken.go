package lint

import (
	"errors"
	"strings"
)

// scanPython takes Python 3 (and what Python 2 has in common with it) apart:
// logical lines, indentation, strings with their prefixes.
// https://docs.python.org/3/reference/lexical_analysis.html
func scanPython(src string) (*scanner, error) {
	s := newScanner(src)
	indents, depth := []int{0}, 0
	for s.more() {
		c := s.src[s.pos]
		if s.fresh && depth == 0 && c != '\n' {
			width := s.indentation()
			if !s.more() {
				break
			}
			c = s.src[s.pos]
			if c != '#' && c != '\n' {
				if width > indents[len(indents)-1] {
					if len(indents) > maxDepth {
						return nil, &positionError{s.line, errDeep}
					}
					indents = append(indents, width)
					s.tokens = append(s.tokens, token{kind: indentToken, line: s.line})
				}
				for width < indents[len(indents)-1] {
					indents = indents[:len(indents)-1]
					s.tokens = append(s.tokens, token{kind: dedentToken, line: s.line})
				}
			}
		}
		switch {
		case c == '\n':
			if depth == 0 && !s.fresh {
				s.tokens = append(s.tokens, token{kind: newlineToken, line: s.line})
			}
			s.skip(1)
			s.fresh = true
		case c == ' ' || c == '\t' || c == '\f' || c == '\r':
			s.skip(1)
		case c == '\\' && s.has("\\\n"):
			s.skip(2)
		case c == '#':
			line := s.line
			s.remark(strings.TrimLeft(s.upTo("\n"), "#"), line)
		case c == '"' || c == '\'':
			if err := s.pythonString(""); err != nil {
				return nil, err
			}
		case letter(c):
			line := s.line
			word := s.word()
			if s.more() && (s.src[s.pos] == '"' || s.src[s.pos] == '\'') && len(word) <= 2 && strings.Trim(strings.ToLower(word), "rbuf") == "" {
				if err := s.pythonString(strings.ToLower(word)); err != nil {
					return nil, err
				}
				continue
			}
			s.emit(nameToken, word, line)
		case digit(c):
			s.numeral()
		default:
			switch c {
			case '(', '[', '{':
				depth++
			case ')', ']', '}':
				depth = max(0, depth-1)
			}
			line := s.line
			s.emit(operatorToken, s.operator(), line)
		}
	}
	s.tokens = append(s.tokens, token{kind: newlineToken, line: s.line})
	for range indents[1:] {
		s.tokens = append(s.tokens, token{kind: dedentToken, line: s.line})
	}
	return s, nil
}

func (s *scanner) indentation() int {
	width := 0
	for s.more() {
		switch s.src[s.pos] {
		case ' ':
			width++
		case '\t':
			width += 8 - width%8
		default:
			return width
		}
		s.pos++
	}
	return width
}

var errString = errors.New("a string does not end")

func (s *scanner) pythonString(prefix string) error {
	line, quote := s.line, s.src[s.pos:s.pos+1]
	if s.has(strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	s.skip(len(quote))
	raw, formatted := strings.Contains(prefix, "r"), strings.Contains(prefix, "f")
	var b strings.Builder
	partial := false
	for {
		switch {
		case !s.more(), len(quote) == 1 && s.src[s.pos] == '\n':
			return &positionError{line, errString}
		case s.has(quote):
			s.skip(len(quote))
			s.emit(stringToken, b.String(), line)
			s.tokens[len(s.tokens)-1].partial = partial
			return nil
		case s.src[s.pos] == '\\' && s.pos+1 < len(s.src):
			two := s.skip(2)
			if raw {
				b.WriteString(two)
			} else {
				b.WriteString(escaped(two[1]))
			}
		case formatted && (s.has("{{") || s.has("}}")):
			b.WriteString(s.skip(2)[:1])
		case formatted && s.src[s.pos] == '{':
			partial = true
			b.WriteString("$" + s.braced(quote))
		default:
			b.WriteString(s.skip(1))
		}
	}
}

// braced takes an expression in braces, up to the end of the string at most.
func (s *scanner) braced(quote string) string {
	start, depth := s.pos, 0
	for s.more() {
		switch {
		case s.src[s.pos] == '{':
			depth++
		case s.src[s.pos] == '}':
			depth--
		case quote != "`" && s.has(quote), quote != "`" && s.src[s.pos] == '\n' && len(quote) == 1:
			return s.src[start:s.pos] + "}"
		}
		s.skip(1)
		if depth == 0 {
			break
		}
	}
	return s.src[start:s.pos]
}
