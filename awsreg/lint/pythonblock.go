package lint

// pythonBlocks makes statements of Python's tokens.
func pythonBlocks(tokens []token) []*statement {
	p := &pythonBlock{tokens: tokens}
	return p.block(0)
}

type pythonBlock struct {
	tokens []token
	pos    int
}

var pythonCompound = map[string]bool{
	"if": true, "elif": true, "else": true, "for": true, "while": true, "try": true, "except": true,
	"finally": true, "with": true, "def": true, "class": true,
}

// block reads statements up to the dedent that ends them.
func (p *pythonBlock) block(depth int) []*statement {
	var list []*statement
	for p.pos < len(p.tokens) {
		switch p.tokens[p.pos].kind {
		case dedentToken:
			p.pos++
			if depth > 0 {
				return list
			}
		case indentToken: // none was due
			p.pos++
			list = append(list, p.block(depth+1)...)
		case newlineToken:
			p.pos++
		default:
			list = append(list, p.statement(depth))
		}
	}
	return list
}

func (p *pythonBlock) statement(depth int) *statement {
	start := p.pos
	s := &statement{line: p.tokens[start].line}
	brackets, colon := 0, -1
	for p.pos < len(p.tokens) && p.tokens[p.pos].kind != newlineToken {
		t := p.tokens[p.pos]
		switch {
		case t.op("(") || t.op("[") || t.op("{"):
			brackets++
		case t.op(")") || t.op("]") || t.op("}"):
			brackets--
		case t.op(":") && brackets == 0 && colon < 0:
			colon = p.pos
		case t.op(";") && brackets == 0 && colon < 0:
			s.tokens = p.tokens[start:p.pos]
			p.pos++
			return s
		}
		p.pos++
	}
	s.tokens = p.tokens[start:p.pos]
	if p.pos < len(p.tokens) {
		p.pos++ // the newline
	}
	if colon < 0 || !pythonCompound[s.keyword()] {
		return s
	}
	rest := s.tokens[colon-start+1:]
	s.tokens = s.tokens[:colon-start+1]
	switch {
	case len(rest) > 0: // if x: y
		s.body = []*statement{{line: rest[0].line, tokens: rest}}
	case p.pos < len(p.tokens) && p.tokens[p.pos].kind == indentToken:
		p.pos++
		s.body = p.block(depth + 1)
	}
	if s.keyword() == "def" {
		s.function = pythonFunction(s)
	}
	return s
}

func pythonFunction(s *statement) *function {
	f := &function{line: s.line, body: s.body, outer: make(map[string]bool)}
	for i, t := range s.tokens {
		if t.name("def") && i+2 < len(s.tokens) {
			f.name = s.tokens[i+1].text
			f.params = parameters(s.tokens, i+2)
			break
		}
	}
	each(f.body, false, func(s *statement, _ []*statement) {
		if s.keyword() == "global" {
			for _, t := range s.tokens[1:] {
				if t.kind == nameToken {
					f.outer[t.text] = true
				}
			}
		}
	})
	return f
}
