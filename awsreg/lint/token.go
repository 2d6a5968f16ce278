package lint

import "strings"

// tokenKind sorts the tokens of Python, JavaScript and TypeScript.
type tokenKind int

const (
	nameToken tokenKind = iota
	numberToken
	stringToken
	operatorToken
	newlineToken // end of a logical line, Python only
	indentToken
	dedentToken
)

// token is one token of code. A string's text is its value: what stands in it of
// expressions is ${expression}.
type token struct {
	kind    tokenKind
	text    string
	line    int
	partial bool   // a string with expressions in it
	fresh   bool   // the first one on its line
	api     string // as operation spells it, of names and short strings
}

func (t token) op(text string) bool   { return t.kind == operatorToken && t.text == text }
func (t token) name(text string) bool { return t.kind == nameToken && t.text == text }

type comment struct {
	line int
	text string
}

// scanner has what the tokenizers of both languages share.
type scanner struct {
	src      string
	pos      int
	line     int
	fresh    bool
	tokens   []token
	comments []comment
}

func newScanner(src string) *scanner {
	return &scanner{src: strings.ReplaceAll(src, "\r\n", "\n"), line: 1, fresh: true}
}

func (s *scanner) more() bool { return s.pos < len(s.src) }

func (s *scanner) has(prefix string) bool { return strings.HasPrefix(s.src[s.pos:], prefix) }

func (s *scanner) emit(k tokenKind, text string, line int) {
	t := token{kind: k, text: text, line: line, fresh: s.fresh}
	if k == nameToken || k == stringToken && len(text) < 40 {
		t.api = operation(text)
	}
	s.tokens = append(s.tokens, t)
	s.fresh = false
}

// skip takes n bytes and counts their lines.
func (s *scanner) skip(n int) string {
	n = min(n, len(s.src)-s.pos)
	text := s.src[s.pos : s.pos+n]
	s.line += strings.Count(text, "\n")
	s.pos += n
	return text
}

// upTo takes everything before a text, or the rest.
func (s *scanner) upTo(end string) string {
	i := strings.Index(s.src[s.pos:], end)
	if i < 0 {
		i = len(s.src) - s.pos
	}
	return s.skip(i)
}

func (s *scanner) remark(text string, line int) {
	s.comments = append(s.comments, comment{line, strings.TrimSpace(text)})
}

func letter(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// word takes a name.
func (s *scanner) word() string {
	n := 0
	for s.pos+n < len(s.src) && (letter(s.src[s.pos+n]) || digit(s.src[s.pos+n])) {
		n++
	}
	return s.skip(n)
}

// numeral takes a number, roughly: 0x1f, 1_000, 1.5e-3.
func (s *scanner) numeral() {
	n := 0
	for s.pos+n < len(s.src) {
		c := s.src[s.pos+n]
		sign := (c == '+' || c == '-') && n > 0 && (s.src[s.pos+n-1]|0x20) == 'e' && !strings.HasPrefix(s.src[s.pos:], "0x")
		if !letter(c) && !digit(c) && c != '.' && !sign {
			break
		}
		n++
	}
	s.emit(numberToken, strings.ReplaceAll(s.skip(n), "_", ""), s.line)
}

// operators of more than one character that the rules tell apart; longest first.
var operators = []string{
	"===", "!==", "**=", "//=", "...", "<<=", ">>=", "&&=", "||=", "??=",
	"==", "!=", "<=", ">=", "=>", "->", ":=", "+=", "-=", "*=", "/=", "&&", "||", "??", "?.", "**", "//", "++", "--",
}

func (s *scanner) operator() string {
	for _, op := range operators {
		if s.has(op) {
			return s.skip(len(op))
		}
	}
	return s.skip(1)
}

// escaped is what an escape in a string stands for; unknown ones stay as they are.
func escaped(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'r':
		return "\r"
	case '\n':
		return ""
	case '\\', '\'', '"', '`', '$', '{', '/':
		return string(c)
	}
	return "\\" + string(c)
}
