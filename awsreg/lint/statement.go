package lint

import "slices"

// statement is one statement of code: the tokens of its own line, or of what
// stands before its block, and the statements of its block.
type statement struct {
	line   int
	tokens []token
	body   []*statement
	// function is set if the block is a function's body.
	function *function
}

// function is a function with a body.
type function struct {
	name   string
	line   int
	params []string
	body   []*statement
	// outer are the names that it declares to be of the module (Python's global).
	outer map[string]bool
}

// keyword is the word that a statement begins with.
func (s *statement) keyword() string {
	for _, t := range s.tokens {
		if t.name("async") || t.name("export") || t.name("await") || t.op("}") {
			continue
		}
		if t.kind == nameToken {
			return t.text
		}
		return ""
	}
	return ""
}

// each calls fn for every statement of a list and below, except inside of
// functions that are defined there if inner is false. The path are the
// statements around it, outermost first.
func each(list []*statement, inner bool, fn func(s *statement, path []*statement)) {
	var walk func(list, path []*statement)
	walk = func(list, path []*statement) {
		for _, s := range list {
			fn(s, path)
			if s.function == nil || inner {
				walk(s.body, append(slices.Clip(path), s))
			}
		}
	}
	walk(list, nil)
}

// functions lists all functions, those inside of others too.
func functions(list []*statement) []*function {
	var all []*function
	each(list, true, func(s *statement, _ []*statement) {
		if s.function != nil {
			all = append(all, s.function)
		}
	})
	return all
}

// matching is the index of the bracket that closes the one at i, or the last
// index.
func matching(tokens []token, i int) int {
	depth := 0
	for j := i; j < len(tokens); j++ {
		if tokens[j].kind != operatorToken {
			continue
		}
		switch tokens[j].text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			if depth--; depth == 0 {
				return j
			}
		}
	}
	return max(i, len(tokens)-1)
}

// parameters are the names between the brackets at i.
func parameters(tokens []token, i int) []string {
	var names []string
	end, depth, want := matching(tokens, i), 0, true
	for j := i; j <= end && j < len(tokens); j++ {
		t := tokens[j]
		switch {
		case t.op("(") || t.op("[") || t.op("{"):
			depth++
		case t.op(")") || t.op("]") || t.op("}"):
			depth--
		case depth == 1 && t.op(","):
			want = true
		case t.kind == nameToken && want && depth == 1:
			names, want = append(names, t.text), false
		case t.kind == nameToken && depth > 1 && tokens[i+1].op("{"): // ({ parameters }) =>
			names = append(names, t.text)
		}
	}
	return names
}
