package awssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Bounds of what a statement makes out of a message, in bytes. They are the
// simulator's own.
const (
	maxSQLText   = 1 << 20         // of one value
	maxSQLWork   = 16 << 20        // of all values that operators and functions take and functions return
	maxSQLOutput = maxEventPayload // more can be sent nowhere: no message, and no event of a function, is larger
)

// sqlEnv is what a statement is evaluated against.
type sqlEnv struct {
	w       *world
	msg     *message
	version string
	doc     any  // the payload, if it is JSON
	isJSON  bool // false means raw bytes
	spent   int  // bytes that expressions have gone through
	err     error
}

func newSQLEnv(w *world, m *message, version string) *sqlEnv {
	env := &sqlEnv{w: w, msg: m, version: version}
	env.doc, env.isJSON = decodeJSON(m.payload)
	return env
}

// decodeJSON decodes one JSON document and keeps the text of its numbers.
func decodeJSON(b []byte) (any, bool) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, false
	}
	_, err := dec.Token()
	return v, err == io.EOF
}

// fail ends an evaluation whose result would be too large.
func (env *sqlEnv) fail(format string, args ...any) any {
	if env.err == nil {
		env.err = fmt.Errorf(format, args...)
	}
	return undefined
}

// spend counts what going through a value costs. It returns the value, or undefined
// if that is too much for one value or for the evaluation.
func (env *sqlEnv) spend(v any) any {
	if env.err != nil {
		return undefined
	}
	n := weigh(v, maxSQLText)
	if n > maxSQLText {
		return env.fail("an expression makes a value of more than %d bytes", maxSQLText)
	}
	if env.spent += n; env.spent > maxSQLWork {
		return env.fail("the expressions go through more than %d bytes for one message", maxSQLWork)
	}
	return v
}

func (env *sqlEnv) text(s string) any {
	if len(s) > maxSQLText {
		return env.fail("an expression makes a string of more than %d bytes", maxSQLText)
	}
	return s
}

// sqlNode is a node of an expression. Its value is nil (Null), undefined, a bool, a
// string, a json.Number (Int and Decimal), a []any or a map[string]any.
type sqlNode interface {
	eval(*sqlEnv) any
}

type (
	literalNode struct{ value any }
	memberNode  struct{ name string }
	payloadNode struct{} // * as an argument
	groupNode   struct{ inner sqlNode }
	nestedNode  struct {
		of   sqlNode
		name string
	}
	arrayNode  struct{ items []sqlNode }
	objectNode struct{ members map[string]sqlNode }
	notNode    struct{ of sqlNode }
	binaryNode struct {
		op          string
		left, right sqlNode
	}
	caseNode struct {
		value      sqlNode
		when, then []sqlNode
		other      sqlNode
	}
	functionNode struct {
		name string
		f    sqlFunction
		args []sqlNode
	}
)

func (n literalNode) eval(*sqlEnv) any    { return n.value }
func (n groupNode) eval(env *sqlEnv) any  { return n.inner.eval(env) }
func (payloadNode) eval(env *sqlEnv) any  { return env.spend(string(env.msg.payload)) }
func (n memberNode) eval(env *sqlEnv) any { return memberOf(env.doc, n.name) }
func (n nestedNode) eval(env *sqlEnv) any { return memberOf(n.of.eval(env), n.name) }
func (n notNode) eval(env *sqlEnv) any    { return negate(n.of.eval(env)) }
func (n arrayNode) eval(env *sqlEnv) any  { return evalAll(env, n.items) }
func (n functionNode) eval(env *sqlEnv) any {
	args := evalAll(env, n.args)
	for _, a := range args {
		env.spend(a)
	}
	if env.err != nil {
		return undefined
	}
	return env.spend(n.f.run(env, args))
}

func (n objectNode) eval(env *sqlEnv) any {
	out := map[string]any{}
	for k, v := range n.members {
		out[k] = v.eval(env)
	}
	return out
}

func evalAll(env *sqlEnv, nodes []sqlNode) []any {
	out := make([]any, len(nodes))
	for i, n := range nodes {
		out[i] = n.eval(env)
	}
	return out
}

func memberOf(v any, name string) any {
	if m, ok := v.(map[string]any); ok {
		if v, ok := m[name]; ok {
			return v
		}
	}
	return undefined
}

// eval compares the value with each WHEN; the first that is equal decides. An
// undefined value gives undefined (AWS IoT developer guide, iot-sql-case).
func (n caseNode) eval(env *sqlEnv) any {
	v := n.value.eval(env)
	if v == undefined {
		return undefined
	}
	for i, when := range n.when {
		w := when.eval(env)
		if env.spend(v); env.spend(w) != undefined && sameValue(v, w) {
			return n.then[i].eval(env)
		}
	}
	return n.other.eval(env)
}

// eval follows the tables of the developer guide, iot-sql-operators.
func (n binaryNode) eval(env *sqlEnv) any {
	l := env.spend(n.left.eval(env))
	if env.err != nil {
		return undefined
	}
	r := env.spend(n.right.eval(env))
	if env.err != nil {
		return undefined
	}
	switch n.op {
	case "AND", "OR":
		a, ok1 := asBool(l)
		b, ok2 := asBool(r)
		if !ok1 || !ok2 {
			return undefined
		}
		if n.op == "AND" {
			return a && b
		}
		return a || b
	case "=", "<>":
		if l == undefined || r == undefined {
			return undefined
		}
		return sameValue(l, r) == (n.op == "=")
	case "<", "<=", ">", ">=":
		a, ok1 := asNumber(l)
		b, ok2 := asNumber(r)
		if !ok1 || !ok2 {
			return undefined
		}
		c := compareNumbers(a, b)
		return n.op == "<" && c < 0 || n.op == "<=" && c <= 0 || n.op == ">" && c > 0 || n.op == ">=" && c >= 0
	case "+":
		_, isText1 := l.(string)
		_, isText2 := r.(string)
		if isText1 || isText2 {
			a, ok1 := asText(l)
			b, ok2 := asText(r)
			if !ok1 || !ok2 {
				return undefined
			}
			return env.text(a + b)
		}
	}
	a, ok1 := asNumber(l)
	b, ok2 := asNumber(r)
	if !ok1 || !ok2 {
		return undefined
	}
	return calculate(n.op, a, b)
}

func negate(v any) any {
	if b, ok := asBool(v); ok {
		return !b
	}
	return undefined
}

// sameValue is =, for values that are defined. Values of different types differ.
func sameValue(l, r any) bool {
	switch a := l.(type) {
	case json.Number:
		b, ok := r.(json.Number)
		return ok && compareNumbers(a, b) == 0
	case []any:
		b, ok := r.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameValue(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := r.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			v, there := b[k]
			if !there || !sameValue(a[k], v) {
				return false
			}
		}
		return true
	}
	return reflect.TypeOf(l) == reflect.TypeOf(r) && l == r
}

// asBool converts to Boolean: booleans, and the strings true and false.
func asBool(v any) (bool, bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		return strings.EqualFold(v, "true"), strings.EqualFold(v, "true") || strings.EqualFold(v, "false")
	}
	return false, false
}
