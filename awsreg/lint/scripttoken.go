package lint

import "strings"

// scanScript takes JavaScript and TypeScript apart.
func scanScript(src string) (*scanner, error) {
	s := newScanner(src)
	if s.has("#!") {
		s.upTo("\n")
	}
	for s.more() {
		c := s.src[s.pos]
		line := s.line
		switch {
		case c == '\n':
			s.skip(1)
			s.fresh = true
		case c == ' ' || c == '\t' || c == '\r' || c == '\f':
			s.skip(1)
		case s.has("//"):
			s.remark(strings.TrimLeft(s.upTo("\n"), "/"), line)
		case s.has("/*"):
			s.skip(2)
			s.remark(s.upTo("*/"), line)
			s.skip(2)
		case c == '"' || c == '\'' || c == '`':
			if err := s.scriptString(c); err != nil {
				return nil, err
			}
		case c == '/' && s.regexpHere():
			s.regexp()
		case letter(c):
			s.emit(nameToken, s.word(), line)
		case digit(c):
			s.numeral()
		default:
			s.emit(operatorToken, s.operator(), line)
		}
	}
	return s, nil
}

func (s *scanner) scriptString(quote byte) error {
	line := s.line
	s.skip(1)
	var b strings.Builder
	partial := false
	for {
		switch {
		case !s.more(), quote != '`' && s.src[s.pos] == '\n':
			return &positionError{line, errString}
		case s.src[s.pos] == quote:
			s.skip(1)
			s.emit(stringToken, b.String(), line)
			s.tokens[len(s.tokens)-1].partial = partial
			return nil
		case s.src[s.pos] == '\\' && s.pos+1 < len(s.src):
			b.WriteString(escaped(s.skip(2)[1]))
		case quote == '`' && s.has("${"):
			partial = true
			s.skip(1)
			b.WriteString("$" + s.braced("`"))
		default:
			b.WriteString(s.skip(1))
		}
	}
}

// regexpHere tells a regular expression from a division by what stands before.
func (s *scanner) regexpHere() bool {
	if len(s.tokens) == 0 {
		return true
	}
	switch t := s.tokens[len(s.tokens)-1]; t.kind {
	case nameToken:
		return t.text == "return" || t.text == "typeof" || t.text == "case"
	case operatorToken:
		return !t.op(")") && !t.op("]") && !t.op("}")
	}
	return false
}

func (s *scanner) regexp() {
	line, start, class := s.line, s.pos, false
	s.skip(1)
	for s.more() && s.src[s.pos] != '\n' {
		c := s.src[s.pos]
		if c == '\\' {
			s.skip(2)
			continue
		}
		s.skip(1)
		if c == '[' {
			class = true
		}
		if c == ']' {
			class = false
		}
		if c == '/' && !class {
			break
		}
	}
	body := s.src[start:s.pos]
	s.word()
	s.emit(stringToken, body, line)
	s.tokens[len(s.tokens)-1].partial = true
}
