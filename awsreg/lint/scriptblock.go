package lint

// scriptBlocks makes statements of JavaScript's tokens. Blocks are told from
// object literals by what stands before their brace.
func scriptBlocks(tokens []token) []*statement {
	p := &scriptBlock{tokens: tokens}
	var list []*statement
	for p.pos < len(p.tokens) {
		list = append(list, p.block(0)...)
		p.pos++ // a brace that closes nothing
	}
	return list
}

type scriptBlock struct {
	tokens []token
	pos    int
}

// block reads statements up to the brace that closes them, and leaves that.
func (p *scriptBlock) block(depth int) []*statement {
	var list []*statement
	for p.pos < len(p.tokens) && !p.tokens[p.pos].op("}") {
		if p.tokens[p.pos].op(";") {
			p.pos++
			continue
		}
		list = append(list, p.statement(depth))
	}
	return list
}

func (p *scriptBlock) statement(depth int) *statement {
	s := &statement{line: p.tokens[p.pos].line}
	brackets, braces := 0, 0
	for p.pos < len(p.tokens) {
		t := p.tokens[p.pos]
		switch {
		case t.op("("), t.op("["):
			brackets++
		case t.op(")"), t.op("]"):
			brackets--
		case t.op("{") && depth < maxDepth && opensBlock(s.tokens):
			p.pos++
			body := p.block(depth + 1)
			s.body = append(s.body, body...)
			if f := scriptFunction(s, body); f != nil && s.function == nil {
				s.function = f
			}
			if p.pos < len(p.tokens) {
				p.pos++ // the brace
			}
			if brackets <= 0 && braces == 0 && !p.continues() {
				return s
			}
			continue
		case t.op("{"):
			braces++
		case t.op("}"):
			if braces == 0 {
				return s
			}
			braces--
		case t.op(";") && brackets <= 0 && braces == 0:
			p.pos++
			return s
		case t.fresh && brackets <= 0 && braces == 0 && len(s.tokens) > 0 && endsStatement(s.tokens[len(s.tokens)-1], t):
			return s
		}
		s.tokens = append(s.tokens, t)
		p.pos++
	}
	return s
}

// continues reports whether what follows a block belongs to its statement.
func (p *scriptBlock) continues() bool {
	if p.pos >= len(p.tokens) {
		return false
	}
	t := p.tokens[p.pos]
	return t.op(".") || t.op(")") || t.op(",") || t.op("(")
}

func opensBlock(before []token) bool {
	if len(before) == 0 {
		return true
	}
	last := before[len(before)-1]
	switch {
	case last.op(")"), last.op("=>"):
		return true
	case last.kind != nameToken && !last.op(">") && !last.op("]"):
		return false
	}
	switch last.text {
	case "else", "try", "finally", "do", "catch":
		return true
	case "return", "default", "in", "of", "case", "await", "yield", "typeof":
		return false
	}
	for i, t := range before {
		if t.name("class") || t.name("interface") || t.name("enum") || t.name("namespace") {
			return true
		}
		if t.op(")") && i+1 < len(before) && before[i+1].op(":") { // the type of what a function returns
			return true
		}
	}
	return false
}

// endsStatement reports whether a new line between two tokens ends a statement
// that has no semicolon.
func endsStatement(last, next token) bool {
	if last.kind == operatorToken && !last.op(")") && !last.op("]") && !last.op("}") {
		return false
	}
	if next.kind == operatorToken {
		return next.op("}") || next.op("{") || next.op("++") || next.op("--")
	}
	return true
}

// scriptFunction is the function whose body follows the tokens, if one does.
func scriptFunction(s *statement, body []*statement) *function {
	tokens := s.tokens
	f := &function{line: s.line, body: body}
	if len(tokens) == 0 {
		return nil
	}
	switch s.keyword() {
	case "if", "for", "while", "switch", "catch", "with", "else", "try", "finally", "do", "class", "interface", "enum", "namespace":
		return nil
	}
	arrow := tokens[len(tokens)-1].op("=>")
	for i, t := range tokens {
		switch {
		case t.name("function"):
			if i+1 < len(tokens) && tokens[i+1].kind == nameToken {
				f.name = tokens[i+1].text
			}
		case t.op("=") && f.name == "" && i > 0:
			f.name = assigned(tokens[:i])
		case t.op("(") && !arrow && f.params == nil:
			if f.name == "" && i > 0 && tokens[i-1].kind == nameToken {
				f.name = tokens[i-1].text
			}
			f.params = parameters(tokens, i)
		}
	}
	if arrow {
		f.params = arrowParameters(tokens[:len(tokens)-1])
	}
	return f
}

// assigned is the name on the left of an assignment, without its type.
func assigned(left []token) string {
	for i, t := range left {
		if t.op(":") {
			left = left[:i]
			break
		}
	}
	if len(left) == 0 {
		return ""
	}
	return left[len(left)-1].text
}

func arrowParameters(before []token) []string {
	depth := 0
	for i := len(before) - 1; i >= 0; i-- {
		t := before[i]
		switch {
		case t.op(")"):
			depth++
		case t.op("("):
			if depth--; depth == 0 {
				return parameters(before, i)
			}
		case depth == 0 && t.kind == nameToken && i == len(before)-1:
			if i == 0 || !before[i-1].op(":") {
				return []string{t.text}
			}
		}
	}
	return nil
}
