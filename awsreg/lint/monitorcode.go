package lint

import (
	"slices"
	"strings"

	"mintmark/internal/pattern"
)

// Operations that give their results in pages.
var pagedOperations = words(`searchindex listthings listcertificates listcertificatesbyca listcacertificates listthingsinthinggroup
	listthingsinbillinggroup listpolicies listtargetsforpolicy listoutgoingcertificates listthinggroups
	listthingregistrationtasks listprovisioningtemplates`)

// pagination finds a query of which only the first page is read.
func (u *unit) pagination() {
	check := func(list []*statement, name string) {
		tokens := []token{}
		each(list, false, func(s *statement, _ []*statement) { tokens = append(tokens, s.tokens...) })
		paged := slices.ContainsFunc(tokens, func(t token) bool {
			word := t.api
			return t.kind <= stringToken && (word == "nexttoken" || word == "nextmarker" || word == "marker" || strings.HasPrefix(word, "paginat") || word == "getpaginator")
		})
		each(list, false, func(s *statement, path []*statement) {
			loop := looping(s)
			for _, p := range path {
				loop = loop || looping(p)
			}
			for _, c := range sites(s.tokens) {
				if c.name == operation(name) && name != "" {
					loop = true // calls itself for the next page
				}
				if !pagedOperations[c.name] || u.local(s.tokens[c.at].text) {
					continue
				}
				if !paged || !loop && !recursive(list, name) {
					u.add("pagination", s.tokens[c.at].line, "it reads the first page only (%d at most): go on with nextToken until there is none, or devices are forgotten once the fleet has grown", 500)
				}
			}
		})
	}
	check(u.statements, "")
	for _, f := range functions(u.statements) {
		check(f.body, f.name)
	}
}

// local reports whether a name is a function of the file itself.
func (u *unit) local(name string) bool {
	return slices.ContainsFunc(functions(u.statements), func(f *function) bool { return f.name == name })
}

func looping(s *statement) bool {
	switch s.keyword() {
	case "for", "while", "do":
		return true
	}
	return false
}

func recursive(list []*statement, name string) bool {
	if name == "" {
		return false
	}
	return slices.ContainsFunc(sites(tokensOf(list)), func(c site) bool { return c.name == operation(name) })
}

// deactivating reports whether tokens take a certificate out of service, by
// themselves or by a function of the file.
func (u *unit) deactivating(tokens []token, known map[string]bool) bool {
	for _, c := range sites(tokens) {
		name := tokens[c.at].text
		switch c.name {
		case "updatecertificate":
			for _, t := range tokens[c.at:min(len(tokens), matching(tokens, c.at+1)+1)] {
				if t.kind == stringToken && (t.text == "INACTIVE" || t.text == "REVOKED") {
					return true
				}
			}
		case "deletecertificate", "detachthingprincipal":
			if !u.local(name) {
				return true
			}
		}
		if known[name] {
			return true
		}
	}
	return false
}

// deactivators are the functions that take certificates out of service.
func (u *unit) deactivators() map[string]bool {
	known := map[string]bool{}
	for range 20 { // through so many functions that call each other
		before := len(known)
		for _, f := range functions(u.statements) {
			if f.name != "" && !known[f.name] && u.deactivating(tokensOf(f.body), known) {
				known[f.name] = true
			}
		}
		if len(known) == before {
			break
		}
	}
	return known
}

var (
	issueWord = pattern.New(`(?i)issu|cert_?date|creat(ion|ed)`)
	ageWord   = pattern.New(`(?i)(^|_)(age|days|elapsed)($|_)|days_?old|[a-z]Age$|ageIn`)
	nowWord   = pattern.New(`(?i)^(now|today|current_?date)$`)
)

// grace finds a test of the grace period that is the wrong way round: it takes
// those certificates out of service that are younger than the limit.
func (u *unit) grace() {
	known := u.deactivators()
	var walk func(list []*statement)
	walk = func(list []*statement) {
		young := false // what the condition before an else selects is old, so that the else is young
		for _, s := range list {
			switch s.keyword() {
			case "if", "elif", "else":
				inline := s.tokens
				condition := s.tokens
				if i := slices.IndexFunc(s.tokens, func(t token) bool { return t.op("(") }); i >= 0 && !u.python {
					end := matching(s.tokens, i)
					condition, inline = s.tokens[:end], s.tokens[end:]
				}
				acts := u.deactivating(tokensOf(s.body), known) || !u.python && u.deactivating(inline, known)
				which := selects(condition)
				if s.keyword() == "else" && which == 0 && young {
					which = -1
				}
				if which < 0 && acts {
					u.add("grace-inverted", s.line, "this takes certificates out of service that were issued after the limit, while their grace period still runs, and never those before it: turn the comparison round")
				}
				young = which > 0
			default:
				young = false
			}
			walk(s.body)
		}
	}
	walk(u.statements)
}

// selects says whether a condition selects old certificates (1), young ones (-1),
// or speaks of something else (0).
func selects(tokens []token) int {
	for i, t := range tokens {
		if t.kind != operatorToken {
			continue
		}
		sign := map[string]int{"<": 1, "<=": 1, ">": -1, ">=": -1}[t.text]
		if sign == 0 {
			continue
		}
		left, right := operandBefore(tokens, i), operandAfter(tokens, i)
		switch {
		case speaks(left, nowWord) && speaks(right, issueWord): // now < issued + grace
			return -sign
		case speaks(left, issueWord) && !speaks(left, ageWord) && !speaks(left, nowWord):
			return sign
		case speaks(left, ageWord), speaks(left, nowWord) && speaks(left, issueWord): // now - issued < limit
			return -sign
		case speaks(right, ageWord), speaks(right, nowWord) && speaks(right, issueWord):
			return sign
		case speaks(right, issueWord):
			return -sign
		}
	}
	return 0
}

func speaks(tokens []token, word *pattern.Pattern) bool {
	return slices.ContainsFunc(tokens, func(t token) bool { return t.kind <= stringToken && word.MatchString(t.text) })
}

func joins(t token) bool {
	return t.name("and") || t.name("or") || t.name("if") || t.name("elif") || t.op("&&") || t.op("||") || t.op(":")
}

func operandBefore(tokens []token, i int) []token {
	j := i
	for j > 0 && !joins(tokens[j-1]) {
		j--
	}
	return tokens[j:i]
}

func operandAfter(tokens []token, i int) []token {
	j := i + 1
	for j < len(tokens) && !joins(tokens[j]) {
		j++
	}
	return tokens[i+1 : j]
}

// deactivation finds the old certificate taken out of service before the new one
// is known to work: by the hook, which runs before the device has the new one, or
// by a job that looks at dates only.
func (u *unit) deactivation() {
	if u.handlerFunction() == nil {
		return
	}
	connected := slices.ContainsFunc(u.tokens, func(t token) bool {
		return t.kind <= stringToken && (t.text == "principalIdentifier" || t.text == "eventType" || strings.Contains(t.text, "$aws/events/presence") || t.text == "principalId")
	})
	if connected && u.hook == nil {
		return
	}
	each(u.statements, true, func(s *statement, _ []*statement) {
		if u.deactivating(s.tokens, nil) {
			if u.hook != nil {
				u.add("early-deactivation", s.line, "the hook runs before the device has its new certificate: if that never arrives, the device is lost. Deactivate the old one when a presence event shows a connection with the new one")
			} else {
				u.add("early-deactivation", s.line, "it takes a certificate out of service without having seen its successor connect: a device that was switched off is lost. Wait for a presence event with the new certificate's principal")
			}
		}
	})
}

// moduleDates finds a date that is computed once, when the function starts, and
// used by every call afterwards.
func (u *unit) moduleDates() {
	for name, s := range u.moduleValues() {
		if !readsClock(s.tokens) {
			continue
		}
		for _, f := range functions(u.statements) {
			if slices.ContainsFunc(tokensOf(f.body), func(t token) bool { return t.name(name) }) {
				u.add("module-date", s.line, "%s is computed when the function starts and stays as it is for hours or days: compute it inside of the handler", cut(name))
				break
			}
		}
	}
}

func readsClock(tokens []token) bool {
	for i, t := range tokens {
		if t.name("Date") && i > 0 && tokens[i-1].name("new") {
			return true
		}
		if t.kind == nameToken && i+1 < len(tokens) && tokens[i+1].op("(") && i > 1 && tokens[i-1].op(".") {
			switch owner := tokens[i-2].text; {
			case (t.text == "now" || t.text == "utcnow" || t.text == "today") && (owner == "datetime" || owner == "date" || owner == "Date" || owner == "dt"):
				return true
			case t.text == "time" && owner == "time":
				return true
			}
		}
	}
	return false
}
