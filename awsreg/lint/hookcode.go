package lint

import (
	"slices"
	"strings"
)

// hookCode is a pre-provisioning hook that was found in code.
type hookCode struct {
	line      int
	reads     map[string]int // parameters that it reads, and where
	overrides map[string]int // parameters that it sets, and where
	rotation  bool
}

// findHook finds a hook: a handler, and the word that it answers with.
func (u *unit) findHook() *hookCode {
	f := u.handlerFunction()
	if f == nil {
		return nil
	}
	answers := false
	for _, t := range u.tokens {
		answers = answers || t.text == "allowProvisioning"
	}
	if !answers {
		return nil
	}
	h := &hookCode{line: f.line, reads: u.parameterNames(), overrides: map[string]int{}, rotation: u.rotation}
	u.doc.walk(func(n *node) {
		for _, m := range n.get("parameterOverrides").members0() {
			if m.name != "" {
				h.overrides[m.name] = m.line
			}
		}
	})
	for _, t := range u.tokens {
		if t.kind <= stringToken && strings.Contains(strings.ToLower(t.text), "rotat") {
			h.rotation = true
		}
	}
	for _, c := range sites(u.tokens) {
		if c.name == "updatecertificate" {
			h.rotation = true
		}
	}
	for _, c := range u.comments {
		h.rotation = h.rotation || strings.Contains(strings.ToLower(c.text), "rotat")
	}
	return h
}

// parameterNames are the names that code reads of the event's parameters, directly
// or through a variable.
func (u *unit) parameterNames() map[string]int {
	names := map[string]int{}
	aliases := map[string]bool{}
	each(u.statements, true, func(s *statement, _ []*statement) {
		for i, t := range s.tokens {
			if t.text != "parameters" || t.kind > stringToken {
				continue
			}
			end := accessEnd(s.tokens, i)
			if name, line := accessed(s.tokens, end); name != "" {
				names[name] = line
			} else if v, unpacked := target(s.tokens, i); v != "" {
				aliases[v] = true
			} else {
				for _, name := range unpacked {
					names[name.text] = name.line
				}
			}
		}
	})
	each(u.statements, true, func(s *statement, _ []*statement) {
		for i, t := range s.tokens {
			if t.kind == nameToken && aliases[t.text] && (i == 0 || !s.tokens[i-1].op(".")) {
				if name, line := accessed(s.tokens, i+1); name != "" {
					names[name] = line
				}
			}
		}
	})
	return names
}

// accessEnd is the index after the access to the name or text at i: behind the
// bracket of event['parameters'] or event.get('parameters', {}).
func accessEnd(tokens []token, i int) int {
	if tokens[i].kind == nameToken {
		return i + 1
	}
	for j := i + 1; j < len(tokens); j++ {
		if tokens[j].op("]") || tokens[j].op(")") {
			return j + 1
		}
	}
	return len(tokens)
}

// accessed is the name that is taken of a value that ends before i: ['x'], .x or
// .get('x').
func accessed(tokens []token, i int) (string, int) {
	at := func(j int) token {
		if j < len(tokens) {
			return tokens[j]
		}
		return token{kind: newlineToken}
	}
	switch {
	case at(i).op("[") && at(i+1).kind == stringToken:
		return at(i + 1).text, at(i + 1).line
	case (at(i).op(".") || at(i).op("?.")) && at(i+1).name("get") && at(i+2).op("(") && at(i+3).kind == stringToken:
		return at(i + 3).text, at(i + 3).line
	case (at(i).op(".") || at(i).op("?.")) && at(i+1).kind == nameToken && !at(i+2).op("("):
		return at(i + 1).text, at(i + 1).line
	}
	return "", 0
}

// target is what a statement assigns to, if it assigns what stands at i; or the
// names that it unpacks: const { a, b } = event.parameters.
func target(tokens []token, i int) (string, []token) {
	for j := range tokens[:i] {
		if !tokens[j].op("=") || j == 0 {
			continue
		}
		if tokens[j-1].op("}") {
			var names []token
			for k := j - 2; k >= 0 && !tokens[k].op("{"); k-- {
				if tokens[k].kind == nameToken && (tokens[k-1].op(",") || tokens[k-1].op("{")) {
					names = append(names, tokens[k])
				}
			}
			return "", names
		}
		return assigned(tokens[:j]), nil
	}
	return "", nil
}

// moduleValues are the names that are assigned outside of functions, and the
// statements that do.
func (u *unit) moduleValues() map[string]*statement {
	values := map[string]*statement{}
	each(u.statements, false, func(s *statement, path []*statement) {
		if len(path) > 0 && path[0].function != nil || s.function != nil || s.keyword() == "class" {
			return
		}
		for _, p := range path {
			if p.keyword() == "class" || mainGuard(p) {
				return
			}
		}
		for i, t := range s.tokens {
			if t.op("=") && i > 0 {
				if name := assigned(s.tokens[:i]); name != "" && s.tokens[i-1].kind == nameToken || u.typed(s.tokens[:i]) {
					values[name] = s
				}
				break
			}
		}
	})
	return values
}

func (u *unit) typed(left []token) bool {
	return slices.ContainsFunc(left, func(t token) bool { return t.op(":") })
}

// mainGuard reports whether a statement is if __name__ == '__main__'.
func mainGuard(s *statement) bool {
	return s.keyword() == "if" && slices.ContainsFunc(s.tokens, func(t token) bool { return t.name("__name__") })
}

// sticky finds a decision that outlives the call: a value of the module that a
// call makes true and the next one finds true. Lambda keeps the module between
// calls.
func (u *unit) sticky() {
	for name, s := range u.moduleValues() {
		decision := slices.ContainsFunc(s.tokens, func(t token) bool { return t.text == "allowProvisioning" })
		flag := len(s.tokens) > 0 && isBool(s.tokens[len(s.tokens)-1]) && u.answersWith(name)
		if !decision && !flag {
			continue
		}
		for _, f := range functions(u.statements) {
			if line, bad := u.sticks(f, name); bad {
				u.add("hook-sticky", line, "%s belongs to the module (line %d), which Lambda keeps between calls: once it says true, every device is admitted. Make the answer inside of the handler", cut(name), s.line)
			}
		}
	}
}

func isBool(t token) bool {
	return t.name("True") || t.name("False") || t.name("true") || t.name("false")
}

// answersWith reports whether a name is the value of allowProvisioning somewhere.
func (u *unit) answersWith(name string) bool {
	for i, t := range u.tokens {
		if t.text == "allowProvisioning" && i+2 < len(u.tokens) {
			for _, n := range u.tokens[i+1 : min(i+4, len(u.tokens))] {
				if n.name(name) {
					return true
				}
			}
		}
	}
	return false
}

// sticks reports whether a function sets the value, and does not first set it back
// whatever happens.
func (u *unit) sticks(f *function, name string) (int, bool) {
	if slices.Contains(f.params, name) {
		return 0, false
	}
	for _, s := range f.body {
		if s.keyword() == "global" {
			continue
		}
		if u.sets(s, name) && s.body == nil && s.keyword() != "if" && s.keyword() != "for" && s.keyword() != "while" {
			if u.declares(s) || u.python && !f.outer[name] && plainAssignment(s, name) {
				return 0, false // a variable of its own
			}
			return s.line, isTrue(s) // what is set whatever happens does not stay
		}
		if s.body != nil || slices.ContainsFunc(s.tokens, func(t token) bool { return t.name(name) }) {
			break
		}
	}
	bad := 0
	local := false
	each(f.body, false, func(s *statement, _ []*statement) {
		if !u.sets(s, name) {
			return
		}
		if u.declares(s) || u.python && !f.outer[name] && plainAssignment(s, name) {
			local = true
		}
		if bad == 0 && isTrue(s) {
			bad = s.line
		}
	})
	return bad, bad > 0 && !local
}

// sets reports whether a statement assigns to a name or to a part of it.
func (u *unit) sets(s *statement, name string) bool {
	for i, t := range s.tokens {
		if t.op("=") && i > 0 {
			return slices.ContainsFunc(s.tokens[:i], func(t token) bool { return t.name(name) })
		}
	}
	return false
}

func (u *unit) declares(s *statement) bool {
	k := s.keyword()
	return k == "const" || k == "let" || k == "var"
}

// plainAssignment is name = ..., not name['x'] = ...
func plainAssignment(s *statement, name string) bool {
	return len(s.tokens) > 1 && s.tokens[0].name(name) && s.tokens[1].op("=")
}

func isTrue(s *statement) bool {
	return slices.ContainsFunc(s.tokens, func(t token) bool { return t.name("True") || t.name("true") })
}

// failsOpen finds a hook that admits when it could not ask.
func (u *unit) failsOpen() {
	each(u.statements, true, func(s *statement, path []*statement) {
		handling := s.keyword() == "except" || s.keyword() == "catch"
		for _, p := range path {
			handling = handling || p.keyword() == "except" || p.keyword() == "catch"
		}
		if !handling {
			return
		}
		for i, t := range s.tokens {
			if t.text != "allowProvisioning" {
				continue
			}
			for _, n := range s.tokens[i+1 : min(i+4, len(s.tokens))] {
				if n.name("True") || n.name("true") {
					u.add("hook-fails-open", t.line, "it admits the device when something has failed: refuse, the device asks again")
				}
			}
		}
	})
}

// trust finds a rotation hook that believes the serial number in the request: the
// claim there is a device's own certificate, and says which device asks.
func (u *unit) trust() {
	if !u.hook.rotation || len(u.hook.reads) == 0 {
		return
	}
	if u.uses("claimCertificateId") {
		return
	}
	name, line := "", 0
	for n, l := range u.hook.reads {
		if line == 0 || l < line {
			name, line = n, l
		}
	}
	u.add("rotation-trust", line, "it takes %s from the request for the device that asks: any device could rotate another's certificate. Look up whose certificate claimCertificateId is (ListPrincipalThings) and compare", cut(name))
}

// uses reports whether the event's field is used for more than the log.
func (u *unit) uses(field string) bool {
	holders := map[string]bool{}
	used := false
	each(u.statements, true, func(s *statement, _ []*statement) {
		logs := slices.ContainsFunc(s.tokens, func(t token) bool {
			return t.name("print") || t.name("logger") || t.name("logging") || t.name("console") || t.name("log")
		})
		for i, t := range s.tokens {
			switch {
			case t.kind <= stringToken && t.text == field:
				if v, _ := target(s.tokens, i); v != "" && len(sites(s.tokens)) <= 1 {
					holders[v] = true
				} else if !logs {
					used = true
				}
			case t.kind == nameToken && holders[t.text] && !logs:
				if v, _ := target(s.tokens, i); v != t.text {
					used = true
				}
			}
		}
	})
	return used
}

// prefixOnly finds a hook that admits whatever begins right.
func (u *unit) prefixOnly() {
	line := 0
	for _, c := range sites(u.tokens) {
		switch c.name {
		case "startswith", "match", "fullmatch", "test", "endswith":
			line = u.tokens[c.at].line
		case "getitem", "query", "updateitem", "putitem", "transactwriteitems", "batchgetitem", "send", "fetch", "urlopen", "request", "post",
			"describething", "searchindex", "listthings", "listprincipalthings", "listthingprincipals", "invoke", "execute", "getobject":
			return
		}
	}
	if line > 0 {
		u.add("hook-prefix", line, "it admits every serial number that looks right, and each any number of times: look it up in a list of devices that are expected, and take it off the list")
	}
}
