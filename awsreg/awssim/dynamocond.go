package awssim

import (
	"encoding/base64"
	"strings"
)

// comparison parses "a op b", "a BETWEEN b AND c" and "a IN (b, c)".
func (e *expression) comparison() (predicate, error) {
	left, err := e.operand()
	if err != nil {
		return nil, err
	}
	if e.keyword("BETWEEN") {
		return e.between(left)
	}
	if e.keyword("IN") {
		return e.in(left)
	}
	op := e.peek()
	switch op {
	case "=", "<>", "<", "<=", ">", ">=":
		e.pos++
	default:
		return nil, e.unexpected()
	}
	right, err := e.operand()
	if err != nil {
		return nil, err
	}
	return func(it item) bool { return holds(left, op, right, it) }, nil
}

// holds compares two operands. An attribute that is not there differs from
// everything.
func holds(left operand, op string, right operand, it item) bool {
	a, okA := left.get(it)
	b, okB := right.get(it)
	if !okA || !okB {
		return op == "<>"
	}
	switch op {
	case "=":
		return equal(a, b)
	case "<>":
		return !equal(a, b)
	}
	n, ordered := compare(a, b)
	switch {
	case !ordered:
		return false
	case op == "<":
		return n < 0
	case op == "<=":
		return n <= 0
	case op == ">":
		return n > 0
	}
	return n >= 0
}

func (e *expression) between(left operand) (predicate, error) {
	low, err := e.operand()
	if err != nil {
		return nil, err
	}
	if !e.keyword("AND") {
		return nil, e.unexpected()
	}
	high, err := e.operand()
	return func(it item) bool { return holds(left, ">=", low, it) && holds(left, "<=", high, it) }, err
}

// in takes up to 100 operands (DynamoDB developer guide,
// Expressions.OperatorsAndFunctions).
func (e *expression) in(left operand) (predicate, error) {
	if err := e.expect("("); err != nil {
		return nil, err
	}
	var list []operand
	for {
		o, err := e.operand()
		if err != nil {
			return nil, err
		}
		if list = append(list, o); len(list) > 100 {
			return nil, validation("Invalid %s: too many operands of IN", e.kind)
		}
		if e.peek() == ")" {
			e.pos++
			break
		}
		if err := e.expect(","); err != nil {
			return nil, err
		}
	}
	return func(it item) bool {
		for _, o := range list {
			if holds(left, "=", o, it) {
				return true
			}
		}
		return false
	}, nil
}

// call parses a function of the condition grammar.
func (e *expression) call() (predicate, error) {
	name := e.peek()
	switch name {
	case "attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains":
	default:
		return nil, validation("Invalid %s: this AWS simulator does not have the function %q", e.kind, clip(name, 64))
	}
	e.pos += 2 // the name and the parenthesis
	attr, err := e.attribute()
	if err != nil {
		return nil, err
	}
	var arg any
	if name != "attribute_exists" && name != "attribute_not_exists" {
		if err := e.expect(","); err != nil {
			return nil, err
		}
		if arg, err = e.value(); err != nil {
			return nil, err
		}
	}
	if err := e.expect(")"); err != nil {
		return nil, err
	}
	kind, text := scalar(arg)
	switch name {
	case "attribute_exists":
		return func(it item) bool { _, ok := it[attr]; return ok }, nil
	case "attribute_not_exists":
		return func(it item) bool { _, ok := it[attr]; return !ok }, nil
	case "attribute_type":
		if kind != "S" || !contains([]string{"S", "N", "B", "SS", "NS", "BS", "M", "L", "BOOL", "NULL"}, text) {
			return nil, validation("Invalid %s: Invalid attribute type name found; type: %s", e.kind, clip(text, 16))
		}
		return func(it item) bool {
			m, _ := it[attr].(map[string]any)
			_, ok := m[text]
			return ok
		}, nil
	case "begins_with":
		if kind != "S" && kind != "B" {
			return nil, validation("Invalid %s: Incorrect operand type for operator or function; operator or function: begins_with, operand type: %s", e.kind, kind)
		}
		return func(it item) bool { return beginsWith(it[attr], kind, text) }, nil
	}
	return func(it item) bool { return holdsElement(it[attr], arg) }, nil
}

// scalar returns the type of an attribute value and its text, if it has one.
func scalar(v any) (kind, text string) {
	m, _ := v.(map[string]any)
	for k, x := range m {
		s, _ := x.(string)
		return k, s
	}
	return "", ""
}

func beginsWith(v any, kind, prefix string) bool {
	k, s := scalar(v)
	if k != kind {
		return false
	}
	if kind == "S" {
		return strings.HasPrefix(s, prefix)
	}
	a, err1 := base64.StdEncoding.DecodeString(s)
	b, err2 := base64.StdEncoding.DecodeString(prefix)
	return err1 == nil && err2 == nil && strings.HasPrefix(string(a), string(b))
}

// holdsElement is the function contains: a substring of a text, or an element of
// a set or a list.
func holdsElement(v, element any) bool {
	m, _ := v.(map[string]any)
	kind, text := scalar(element)
	for k, x := range m {
		switch k {
		case "S":
			s, _ := x.(string)
			return kind == "S" && strings.Contains(s, text)
		case "SS", "NS", "BS":
			list, _ := x.([]any)
			for _, one := range list {
				if kind == k[:1] && equal(map[string]any{kind: one}, element) {
					return true
				}
			}
		case "L":
			list, _ := x.([]any)
			for _, one := range list {
				if equal(one, element) {
					return true
				}
			}
		}
	}
	return false
}
