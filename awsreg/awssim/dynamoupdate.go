package awssim

import (
	"maps"
	"math/big"
	"strconv"
	"strings"
)

// update is a parsed update expression: what it does to each attribute.
type update struct {
	actions []action
	touched []string // attribute names, in the order of the expression
}

// action computes the new value of one attribute from the item as it was before
// the update, as DynamoDB does for all of them. A nil value removes it.
type action struct {
	attr string
	next func(old item) (any, error)
}

// update parses SET, REMOVE, ADD and DELETE clauses, each at most once (DynamoDB
// developer guide, Expressions.UpdateExpressions).
func (p *placeholders) update(text string) (*update, error) {
	u := &update{}
	if text == "" {
		return u, nil
	}
	e, err := p.expression("UpdateExpression", text)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for e.peek() != "" {
		clause := strings.ToUpper(e.peek())
		parse := map[string]func() (action, error){
			"SET": e.setAction, "REMOVE": e.removeAction, "ADD": e.addAction, "DELETE": e.deleteAction,
		}[clause]
		if parse == nil {
			return nil, e.unexpected()
		}
		if seen[clause] {
			return nil, validation("Invalid UpdateExpression: The %q section can only be used once in an update expression;", clause)
		}
		seen[clause] = true
		e.pos++
		for {
			a, err := parse()
			if err != nil {
				return nil, err
			}
			if contains(u.touched, a.attr) {
				return nil, e.overlap(a.attr)
			}
			u.actions = append(u.actions, a)
			u.touched = append(u.touched, a.attr)
			if e.peek() != "," {
				break
			}
			e.pos++
		}
	}
	return u, nil
}

// run applies the update to an item, which it leaves as it is.
func (u *update) run(old item) (item, error) {
	out := maps.Clone(old)
	for _, a := range u.actions {
		v, err := a.next(old)
		if err != nil {
			return nil, err
		}
		if v == nil {
			delete(out, a.attr)
		} else {
			out[a.attr] = v
		}
	}
	return out, nil
}

// evaluated is an operand of SET: it fails on an attribute that is not there.
type evaluated func(old item) (any, error)

// setAction parses "a = x", "a = x + y" and "a = x - y".
func (e *expression) setAction() (action, error) {
	attr, err := e.attribute()
	if err != nil {
		return action{}, err
	}
	if err := e.expect("="); err != nil {
		return action{}, err
	}
	left, err := e.setOperand()
	if err != nil {
		return action{}, err
	}
	op := e.peek()
	if op != "+" && op != "-" {
		return action{attr, left}, nil
	}
	e.pos++
	right, err := e.setOperand()
	return action{attr, func(old item) (any, error) {
		a, err := left(old)
		if err != nil {
			return nil, err
		}
		b, err := right(old)
		if err != nil {
			return nil, err
		}
		return arithmetic(a, op, b)
	}}, err
}

// setOperand parses a value, an attribute or if_not_exists(attribute, operand).
func (e *expression) setOperand() (evaluated, error) {
	if e.pos+1 < len(e.tokens) && e.tokens[e.pos+1] == "(" && !strings.HasPrefix(e.peek(), ":") {
		if e.peek() != "if_not_exists" {
			return nil, validation("Invalid %s: this AWS simulator does not have the function %q", e.kind, clip(e.peek(), 64))
		}
		if e.depth++; e.depth > 300 {
			return nil, validation("Invalid %s: too deeply nested", e.kind)
		}
		defer func() { e.depth-- }()
		e.pos += 2
		attr, err := e.attribute()
		if err != nil {
			return nil, err
		}
		if err := e.expect(","); err != nil {
			return nil, err
		}
		other, err := e.setOperand()
		if err != nil {
			return nil, err
		}
		return func(old item) (any, error) {
			if v, ok := old[attr]; ok {
				return v, nil
			}
			return other(old)
		}, e.expect(")")
	}
	o, err := e.operand()
	return func(old item) (any, error) {
		v, ok := o.get(old)
		if !ok {
			return nil, validation("The provided expression refers to an attribute that does not exist in the item")
		}
		return v, nil
	}, err
}

func (e *expression) removeAction() (action, error) {
	attr, err := e.attribute()
	return action{attr, func(item) (any, error) { return nil, nil }}, err
}

// addAction parses "a :v": v is added to a number, or its members to a set. What
// is not there counts as zero or as empty.
func (e *expression) addAction() (action, error) {
	attr, err := e.attribute()
	if err != nil {
		return action{}, err
	}
	v, err := e.value()
	if err != nil {
		return action{}, err
	}
	kind, _ := scalar(v)
	if kind != "N" && !isSet(kind) {
		return action{}, validation("Invalid UpdateExpression: Incorrect operand type for operator or function; operator: ADD, operand type: %s", kind)
	}
	return action{attr, func(old item) (any, error) {
		have, ok := old[attr]
		switch {
		case !ok:
			return v, nil
		case kind == "N":
			return arithmetic(have, "+", v)
		}
		return combine(have, v, true)
	}}, nil
}

// deleteAction parses "a :v": the members of the set v leave the set a. A set
// that becomes empty goes.
func (e *expression) deleteAction() (action, error) {
	attr, err := e.attribute()
	if err != nil {
		return action{}, err
	}
	v, err := e.value()
	if err != nil {
		return action{}, err
	}
	if kind, _ := scalar(v); !isSet(kind) {
		return action{}, validation("Invalid UpdateExpression: Incorrect operand type for operator or function; operator: DELETE, operand type: %s", kind)
	}
	return action{attr, func(old item) (any, error) {
		have, ok := old[attr]
		if !ok {
			return nil, nil
		}
		return combine(have, v, false)
	}}, nil
}

func isSet(kind string) bool { return kind == "SS" || kind == "NS" || kind == "BS" }

const operandType = "An operand in the update expression has an incorrect data type"

// combine adds the members of a set to another, or takes them away.
func combine(have, change any, add bool) (any, error) {
	kind, _ := scalar(change)
	m, _ := have.(map[string]any)
	list, ok := m[kind].([]any)
	if !ok {
		return nil, validation("%s", operandType)
	}
	other, _ := change.(map[string]any)[kind].([]any)
	var out []any
	for _, x := range list {
		if add || !member(other, kind, x) {
			out = append(out, x)
		}
	}
	for _, x := range other {
		if add && !member(out, kind, x) {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return map[string]any{kind: out}, nil
}

func member(list []any, kind string, x any) bool {
	for _, y := range list {
		if equal(map[string]any{kind[:1]: x}, map[string]any{kind[:1]: y}) {
			return true
		}
	}
	return false
}

// arithmetic adds or subtracts two numbers exactly. A result of more than 38
// significant digits overflows, where DynamoDB may round one of a fraction.
func arithmetic(a any, op string, b any) (any, error) {
	ka, sa := scalar(a)
	kb, sb := scalar(b)
	x, ok1 := new(big.Rat).SetString(sa)
	y, ok2 := new(big.Rat).SetString(sb)
	if ka != "N" || kb != "N" || !ok1 || !ok2 {
		return nil, validation("%s", operandType)
	}
	if op == "-" {
		y.Neg(y)
	}
	s, ok := decimal(x.Add(x, y))
	if !ok {
		return nil, validation("Number overflow. Attempting to store a number with magnitude larger than supported range")
	}
	return map[string]any{"N": s}, nil
}

// decimal writes a number that has a finite decimal expansion.
func decimal(r *big.Rat) (string, bool) {
	digits, exact := r.FloatPrec()
	if !exact {
		return "", false
	}
	s := r.FloatString(digits)
	sign := ""
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		sign, s = "-", rest
	}
	all := strings.TrimLeft(strings.Replace(s, ".", "", 1), "0")
	significant := strings.TrimRight(all, "0")
	switch {
	case len(significant) > 38:
		return "", false
	case len(s) <= 38:
		return sign + s, true
	}
	return sign + significant + "E" + strconv.Itoa(len(all)-len(significant)-digits), true
}
