package lint

import "strings"

// literals reads the values that stand in code: objects, lists, texts and calls.
// What it cannot read becomes an unknown node that has what it could read inside
// as its items.
func literals(tokens []token) *node {
	p := &literal{}
	for _, t := range tokens {
		if t.kind <= operatorToken {
			p.tokens = append(p.tokens, t)
		}
	}
	all := &node{}
	for p.pos < len(p.tokens) {
		before := p.pos
		if n := p.expression(0); n != nil {
			all.items = append(all.items, n)
		}
		if p.pos == before {
			p.pos++ // what ends an expression and begins none
		}
	}
	return all
}

type literal struct {
	tokens []token
	pos    int
}

func (p *literal) peek() token {
	if p.pos < len(p.tokens) {
		return p.tokens[p.pos]
	}
	return token{kind: newlineToken}
}

// ends reports whether a token ends an expression.
func ends(t token) bool {
	if t.kind == newlineToken {
		return true
	}
	if t.kind != operatorToken {
		return false
	}
	switch t.text {
	case ",", ")", "]", "}", ":", ";", "=", "=>":
		return true
	}
	return false
}

// expression reads operands and what joins them, up to what ends it.
func (p *literal) expression(depth int) *node {
	var n *node
	for !ends(p.peek()) {
		t := p.peek()
		if t.kind == operatorToken && t.text != "(" && t.text != "[" && t.text != "{" {
			p.pos++
			if n == nil {
				continue
			}
			right := p.operand(depth)
			n = joined(n, t.text, right)
			continue
		}
		if n != nil && t.fresh && t.kind != operatorToken && n.kind != text {
			break // a new statement
		}
		operand := p.operand(depth)
		switch {
		case n == nil:
			n = operand
		case n.kind == text && operand.is(text): // Python joins what stands side by side
			n = joined(n, "+", operand)
		default:
			n = &node{kind: unknown, line: n.line, items: []*node{n, operand}}
		}
	}
	return n
}

func joined(a *node, op string, b *node) *node {
	if b == nil {
		return a
	}
	if op == "+" && (a.kind == text || b.kind == text) {
		return &node{kind: text, line: a.line, text: a.value() + b.value(), partial: a.partial || b.partial || a.kind != text || b.kind != text}
	}
	if op == "or" || op == "||" || op == "??" {
		return b // the value where none is configured
	}
	return &node{kind: unknown, line: a.line, items: []*node{a, b}}
}

// operand reads one value, and the calls that follow it.
func (p *literal) operand(depth int) *node {
	t := p.peek()
	if ends(t) {
		return nil
	}
	if depth >= maxDepth {
		p.pos++
		return &node{line: t.line}
	}
	switch {
	case t.kind == stringToken:
		p.pos++
		return p.after(&node{kind: text, line: t.line, text: t.text, partial: t.partial}, depth)
	case t.kind == numberToken:
		p.pos++
		return &node{kind: number, line: t.line, text: t.text}
	case t.op("{"):
		return p.after(p.object(depth), depth)
	case t.op("["), t.op("("):
		n := &node{kind: array, line: t.line}
		p.arguments(n, depth)
		if t.text == "(" && len(n.items) == 1 && len(n.members) == 0 {
			return p.after(n.items[0], depth)
		}
		return p.after(n, depth)
	case t.kind == nameToken:
		return p.named(depth)
	}
	p.pos++
	return &node{line: t.line}
}

func (p *literal) named(depth int) *node {
	t := p.peek()
	p.pos++
	switch t.text {
	case "True", "true":
		return &node{kind: boolean, line: t.line, text: "true"}
	case "False", "false":
		return &node{kind: boolean, line: t.line, text: "false"}
	case "None", "null", "undefined":
		return &node{kind: null, line: t.line}
	case "new", "await", "return", "not", "typeof", "const", "let", "var", "export", "yield":
		if n := p.operand(depth + 1); n != nil {
			return n
		}
		return &node{line: t.line}
	}
	return p.after(&node{line: t.line, text: t.text}, depth)
}

// after reads what follows a value: attributes, calls, subscripts.
func (p *literal) after(n *node, depth int) *node {
	for {
		t := p.peek()
		switch {
		case (t.op(".") || t.op("?.")) && p.pos+1 < len(p.tokens) && p.tokens[p.pos+1].kind == nameToken:
			name := p.tokens[p.pos+1].text
			p.pos += 2
			next := &node{line: n.line, text: n.text + "." + name}
			if n.kind != unknown || len(n.items) > 0 {
				next.text, next.items = "."+name, []*node{n}
			}
			n = next
		case t.op("(") && n.kind != number:
			inner := n.items
			c := &node{kind: call, line: t.line, text: n.text}
			if n.kind == text || n.kind == call {
				c.text, inner = "", []*node{n}
			}
			p.arguments(c, depth)
			if len(inner) > 0 { // what the call is made of comes first, under no name
				c.members = append(c.members, member{"", c.line, &node{line: c.line, items: inner}})
			}
			n = c
		case t.op("[") && n.kind == unknown && !t.fresh:
			sub := &node{kind: array, line: t.line}
			p.arguments(sub, depth)
			n = &node{line: n.line, text: n.text + "[]", items: []*node{n, sub}}
		default:
			return n
		}
	}
}

// arguments reads what stands between brackets into items, and what is named
// (timeout=5) into members.
func (p *literal) arguments(n *node, depth int) {
	closing := ")"
	if p.peek().op("[") {
		closing = "]"
	}
	p.pos++
	for p.pos < len(p.tokens) && !p.peek().op(closing) {
		before := p.pos
		if t := p.peek(); t.kind == nameToken && p.pos+1 < len(p.tokens) && p.tokens[p.pos+1].op("=") {
			p.pos += 2
			if v := p.expression(depth + 1); v != nil {
				n.members = append(n.members, member{t.text, t.line, v})
			}
		} else if v := p.expression(depth + 1); v != nil {
			n.items = append(n.items, v)
		}
		if t := p.peek(); p.pos == before || t.op(",") || t.op(":") || t.op("=") || t.op("=>") {
			if p.pos < len(p.tokens) && !p.peek().op(closing) {
				p.pos++
			}
		}
	}
	p.pos = min(p.pos+1, len(p.tokens))
}

// object reads a literal in braces. A block of code looks much the same, and
// gives the values that stand in it.
func (p *literal) object(depth int) *node {
	n := &node{kind: object, line: p.peek().line}
	p.pos++
	for p.pos < len(p.tokens) && !p.peek().op("}") {
		before, t := p.pos, p.peek()
		key := p.key()
		switch {
		case key != "" && p.peek().op(":"):
			p.pos++
			if v := p.expression(depth + 1); v != nil {
				n.members = append(n.members, member{key, t.line, v})
			}
		default:
			p.pos = before
			if v := p.expression(depth + 1); v != nil {
				n.items = append(n.items, v)
			}
		}
		if p.pos == before || p.pos < len(p.tokens) && ends(p.peek()) && !p.peek().op("}") {
			p.pos++
		}
	}
	p.pos = min(p.pos+1, len(p.tokens))
	return n
}

func (p *literal) key() string {
	t := p.peek()
	switch {
	case t.kind == stringToken || t.kind == nameToken || t.kind == numberToken:
		p.pos++
		return t.text
	case t.op("[") && p.pos+2 < len(p.tokens) && p.tokens[p.pos+1].kind == stringToken && p.tokens[p.pos+2].op("]"): // [`computed`]
		p.pos += 3
		return p.tokens[p.pos-2].text
	}
	return ""
}

// last is the last part of a dotted name.
func last(dotted string) string { return dotted[strings.LastIndexByte(dotted, '.')+1:] }
