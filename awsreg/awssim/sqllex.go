package awssim

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenString
	tokenNumber
	tokenSymbol
)

// sqlToken is a token of the rules SQL. Strings are without their quotes.
type sqlToken struct {
	kind   tokenKind
	text   string
	double bool // a string in double quotes
}

func (t sqlToken) String() string {
	if t.kind == tokenEnd {
		return "the end"
	}
	return fmt.Sprintf("%q", clip(t.text, 64))
}

// is reports whether t is a symbol, or a keyword in any case.
func (t sqlToken) is(text string) bool {
	return t.kind == tokenSymbol && t.text == text || t.kind == tokenName && strings.EqualFold(t.text, text)
}

// sqlTokens cuts a statement into tokens. Strings stand in single or double quotes,
// as in the examples of the developer guide, which does not say how a quote or a
// backslash gets into one: a backslash is refused here.
func sqlTokens(sql string) ([]sqlToken, error) {
	if !utf8.ValidString(sql) {
		return nil, fmt.Errorf("the statement is not UTF-8")
	}
	var out []sqlToken
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '\'' || c == '"':
			end := strings.IndexByte(sql[i+1:], c)
			if end < 0 {
				return nil, fmt.Errorf("unterminated string")
			}
			text := sql[i+1 : i+1+end]
			if strings.ContainsRune(text, '\\') {
				return nil, fmt.Errorf("a backslash in a string")
			}
			out = append(out, sqlToken{tokenString, text, c == '"'})
			i += end + 2
		case '0' <= c && c <= '9':
			j := numberEnd(sql, i)
			if j < len(sql) && isNameByte(sql[j]) {
				return nil, fmt.Errorf("%q is neither a number nor a name", clip(sql[i:j+1], 64))
			}
			out = append(out, sqlToken{tokenNumber, sql[i:j], false})
			i = j
		case isNameByte(c):
			j := i
			for j < len(sql) && isNameByte(sql[j]) {
				j++
			}
			out = append(out, sqlToken{tokenName, sql[i:j], false})
			i = j
		default:
			n := 1
			if i+1 < len(sql) && (sql[i:i+2] == "<>" || sql[i:i+2] == "<=" || sql[i:i+2] == ">=") {
				n = 2
			}
			if strings.IndexByte("*,.()[]{}:=<>+-/%", c) < 0 {
				r, _ := utf8.DecodeRuneInString(sql[i:])
				return nil, fmt.Errorf("unexpected character %q", r)
			}
			out = append(out, sqlToken{tokenSymbol, sql[i : i+n], false})
			i += n
		}
	}
	return out, nil
}

// numberEnd is the end of the number that begins at i: digits, a fraction, an
// exponent.
func numberEnd(s string, i int) int {
	digits := func(i int) int {
		for i < len(s) && '0' <= s[i] && s[i] <= '9' {
			i++
		}
		return i
	}
	i = digits(i)
	if i+1 < len(s) && s[i] == '.' && digits(i+1) > i+1 {
		i = digits(i + 1)
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if k := digits(j); k > j {
			i = k
		}
	}
	return i
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
