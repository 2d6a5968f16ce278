package awssim

import (
	"encoding/json"
	"fmt"
	"strings"
)

// ruleSQL is the part of the rules SQL that the simulator runs:
//
//	SELECT * FROM 'topic/filter' [WHERE member[.member] = 'text']
type ruleSQL struct {
	filter string
	path   []string // empty without WHERE
	text   string
}

// parseSQL parses a statement. Everything else that the real rules SQL can do is
// refused here with a SqlParseException, never ignored.
func parseSQL(sql string) (*ruleSQL, error) {
	bad := func(format string, args ...any) (*ruleSQL, error) {
		return nil, iotError("SqlParseException", "%s; this AWS simulator runs only SELECT * FROM 'filter' [WHERE member = 'text']", fmt.Sprintf(format, args...))
	}
	tokens, err := sqlTokens(sql)
	if err != nil {
		return bad("%v", err)
	}
	if len(tokens) != 4 && len(tokens) != 8 {
		return bad("Expected a statement of four or eight tokens, found %d", len(tokens))
	}
	for i, want := range []string{"SELECT", "*", "FROM"} {
		if tokens[i].quoted || !strings.EqualFold(tokens[i].text, want) {
			return bad("Expected %s, found %q", want, clip(tokens[i].text, 64))
		}
	}
	if !tokens[3].quoted {
		return bad("Expected a topic filter in single quotes, found %q", clip(tokens[3].text, 64))
	}
	out := &ruleSQL{filter: tokens[3].text}
	if err := checkFilter(out.filter); err != nil {
		return bad("%v", err)
	}
	// A rule cannot subscribe to Basic Ingest topics (AWS IoT developer guide,
	// iot-basic-ingest).
	if strings.HasPrefix(out.filter, basicIngest) {
		return bad("Rules cannot subscribe to %s", basicIngest)
	}
	if len(tokens) == 4 {
		return out, nil
	}
	where, path, eq, text := tokens[4], tokens[5], tokens[6], tokens[7]
	if where.quoted || !strings.EqualFold(where.text, "WHERE") || path.quoted || eq.quoted || eq.text != "=" || !text.quoted {
		return bad("Expected WHERE member = 'text'")
	}
	out.path, out.text = strings.Split(path.text, "."), text.text
	for _, p := range out.path {
		if !isName(p) {
			return bad("%q is not a member name", clip(path.text, 64))
		}
	}
	return out, nil
}

// matches reports whether a payload fulfils the WHERE clause.
func (q *ruleSQL) matches(payload []byte) bool {
	if len(q.path) == 0 {
		return true
	}
	var v any
	if json.Unmarshal(payload, &v) != nil {
		return false
	}
	for _, p := range q.path {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		v = m[p]
	}
	return v == q.text
}

type sqlToken struct {
	text   string
	quoted bool
}

func sqlTokens(sql string) ([]sqlToken, error) {
	var out []sqlToken
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '\'':
			end := strings.IndexByte(sql[i+1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("unterminated string")
			}
			out = append(out, sqlToken{sql[i+1 : i+1+end], true})
			i += end + 2
		case c == '*' || c == '=':
			out = append(out, sqlToken{string(c), false})
			i++
		default:
			j := i
			for j < len(sql) && (isNameByte(sql[j]) || sql[j] == '.') {
				j++
			}
			if j == i {
				return nil, fmt.Errorf("unexpected character %q", c)
			}
			out = append(out, sqlToken{sql[i:j], false})
			i = j
		}
		if len(out) > 8 {
			return nil, fmt.Errorf("unexpected %q", clip(out[8].text, 64))
		}
	}
	return out, nil
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isName(s string) bool {
	if s == "" || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return true
}

// checkFilter checks an MQTT topic filter (MQTT 3.1.1, section 4.7.1).
func checkFilter(filter string) error {
	if filter == "" || len(filter) > 256 {
		return fmt.Errorf("a topic filter has 1 to 256 bytes")
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if strings.Contains(l, "#") && (l != "#" || i != len(levels)-1) {
			return fmt.Errorf("# must be the last level of a topic filter")
		}
		if strings.Contains(l, "+") && l != "+" {
			return fmt.Errorf("+ must be a whole level of a topic filter")
		}
	}
	return nil
}

// matchFilter matches a topic with a filter (MQTT 3.1.1, section 4.7). Wildcards
// at the start match no topic that begins with $.
func matchFilter(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, l := range f {
		if l == "#" {
			return true
		}
		if i >= len(t) || l != "+" && l != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}
