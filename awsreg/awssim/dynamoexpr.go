package awssim

import (
	"strings"

	"mintmark/internal/pattern"
)

// expression parses condition, filter and update expressions. The grammar is a
// part of DynamoDB's (developer guide, Expressions.OperatorsAndFunctions and
// Expressions.UpdateExpressions): conditions are comparisons, BETWEEN, IN,
// attribute_exists, attribute_not_exists, attribute_type, begins_with, contains,
// NOT, AND, OR and parentheses; updates are in dynamoupdate.go. Attributes are
// those on the top level of an item. What is not in it is refused by name.
//
// An expression is parsed once and then evaluated on any number of items.
type expression struct {
	kind   string // as the request member is called
	tokens []string
	pos    int
	names  map[string]string
	values map[string]any
	used   map[string]bool
	depth  int
}

// predicate is a parsed condition. A nil item is one that is not there.
type predicate func(item) bool

// operand is a parsed value: of the request, or of the item if it has it.
type operand struct {
	value any                    // of the request
	get   func(item) (any, bool) // of the item or the request
	attr  string                 // the attribute's name, empty for a value
}

const maxExpression = 4096 // DynamoDB developer guide, ServiceQuotas

var exprToken = pattern.New(`^(?:[A-Za-z_][A-Za-z0-9_]*|#[A-Za-z0-9_]+|:[A-Za-z0-9_]+|<>|<=|>=|[=<>(),+-])`)

// placeholders are the names and values of a request. done refuses those that no
// expression used, as DynamoDB does.
type placeholders struct {
	names  map[string]string
	values map[string]any
	used   map[string]bool
}

func newPlaceholders(names map[string]string, values map[string]any) (*placeholders, error) {
	for k, v := range values {
		if !strings.HasPrefix(k, ":") {
			return nil, validation("ExpressionAttributeValues contains invalid key: Syntax error; key: %q", clip(k, 64))
		}
		if err := checkValue(v, 0); err != nil {
			return nil, err
		}
	}
	for k := range names {
		if !strings.HasPrefix(k, "#") {
			return nil, validation("ExpressionAttributeNames contains invalid key: Syntax error; key: %q", clip(k, 64))
		}
	}
	return &placeholders{names, values, map[string]bool{}}, nil
}

func (p *placeholders) done() error {
	for k := range p.values {
		if !p.used[k] {
			return validation("Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", clip(k, 64))
		}
	}
	for k := range p.names {
		if !p.used[k] {
			return validation("Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", clip(k, 64))
		}
	}
	return nil
}

func (p *placeholders) expression(kind, text string) (*expression, error) {
	if len(text) > maxExpression {
		return nil, validation("Invalid %s: Expression size has exceeded the maximum allowed size", kind)
	}
	e := &expression{kind: kind, names: p.names, values: p.values, used: p.used}
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		t := exprToken.FindString(rest)
		if t == "" {
			return nil, validation("Invalid %s: this AWS simulator does not understand %q", kind, clip(rest, 64))
		}
		e.tokens = append(e.tokens, t)
		rest = rest[len(t):]
	}
	if len(e.tokens) == 0 {
		return nil, validation("Invalid %s: The expression can not be empty;", kind)
	}
	return e, nil
}

// condition parses a boolean expression. An empty text holds.
func (p *placeholders) condition(kind, text string) (predicate, error) {
	if text == "" {
		return func(item) bool { return true }, nil
	}
	e, err := p.expression(kind, text)
	if err != nil {
		return nil, err
	}
	cond, err := e.or()
	if err != nil {
		return nil, err
	}
	if e.pos < len(e.tokens) {
		return nil, e.unexpected()
	}
	return cond, nil
}

// projection parses a list of attributes and returns what it leaves of an item.
func (p *placeholders) projection(text string) (func(item) item, error) {
	if text == "" {
		return func(it item) item { return it }, nil
	}
	e, err := p.expression("ProjectionExpression", text)
	if err != nil {
		return nil, err
	}
	var attrs []string
	for {
		attr, err := e.attribute()
		if err != nil {
			return nil, err
		}
		if contains(attrs, attr) {
			return nil, e.overlap(attr)
		}
		attrs = append(attrs, attr)
		if e.peek() == "" {
			break
		}
		if err := e.expect(","); err != nil {
			return nil, err
		}
	}
	return func(it item) item {
		out := item{}
		for _, a := range attrs {
			if v, ok := it[a]; ok {
				out[a] = v
			}
		}
		return out
	}, nil
}

func (e *expression) peek() string {
	if e.pos < len(e.tokens) {
		return e.tokens[e.pos]
	}
	return ""
}

func (e *expression) expect(t string) error {
	if e.peek() != t {
		return e.unexpected()
	}
	e.pos++
	return nil
}

func (e *expression) unexpected() error {
	t := e.peek()
	if t == "" {
		t = "<EOF>"
	}
	return validation("Invalid %s: Syntax error, or something that this AWS simulator does not understand; token: %q", e.kind, clip(t, 64))
}

func (e *expression) overlap(attr string) error {
	return validation("Invalid %s: Two document paths overlap with each other; path one: [%s]", e.kind, clip(attr, 64))
}

func (e *expression) keyword(word string) bool {
	if strings.EqualFold(e.peek(), word) {
		e.pos++
		return true
	}
	return false
}

func (e *expression) or() (predicate, error) {
	out, err := e.and()
	for err == nil && e.keyword("OR") {
		left := out
		var right predicate
		right, err = e.and()
		out = func(it item) bool { return left(it) || right(it) }
	}
	return out, err
}

func (e *expression) and() (predicate, error) {
	out, err := e.unary()
	for err == nil && e.keyword("AND") {
		left := out
		var right predicate
		right, err = e.unary()
		out = func(it item) bool { return left(it) && right(it) }
	}
	return out, err
}

func (e *expression) unary() (predicate, error) {
	if e.depth++; e.depth > 300 {
		return nil, validation("Invalid %s: too deeply nested", e.kind)
	}
	defer func() { e.depth-- }()
	switch {
	case e.keyword("NOT"):
		v, err := e.unary()
		return func(it item) bool { return !v(it) }, err
	case e.peek() == "(":
		e.pos++
		v, err := e.or()
		if err == nil {
			err = e.expect(")")
		}
		return v, err
	}
	if e.pos+1 < len(e.tokens) && e.tokens[e.pos+1] == "(" && !strings.HasPrefix(e.peek(), ":") {
		return e.call()
	}
	return e.comparison()
}

// operand reads an attribute or a value.
func (e *expression) operand() (operand, error) {
	if strings.HasPrefix(e.peek(), ":") {
		v, err := e.value()
		return operand{value: v, get: func(item) (any, bool) { return v, true }}, err
	}
	attr, err := e.attribute()
	return operand{attr: attr, get: func(it item) (any, bool) {
		v, ok := it[attr]
		return v, ok
	}}, err
}

// attribute reads an attribute name or its placeholder.
func (e *expression) attribute() (string, error) {
	t := e.peek()
	switch {
	case strings.HasPrefix(t, "#"):
		name, ok := e.names[t]
		if !ok {
			return "", validation("Invalid %s: An expression attribute name used in the document path is not defined; attribute name: %s", e.kind, t)
		}
		e.used[t] = true
		e.pos++
		return name, nil
	case t == "" || !(t[0] == '_' || t[0] >= 'A'):
		return "", e.unexpected()
	case reserved[strings.ToUpper(t)]:
		return "", validation("Invalid %s: Attribute name is a reserved keyword; reserved keyword: %s", e.kind, t)
	}
	e.pos++
	return t, nil
}

func (e *expression) value() (any, error) {
	t := e.peek()
	v, ok := e.values[t]
	if !ok {
		return nil, validation("Invalid %s: An expression attribute value used in expression is not defined; attribute value: %s", e.kind, clip(t, 64))
	}
	e.pos++
	e.used[t] = true
	return v, nil
}

// reserved are words that cannot be written as attribute names in expressions
// (DynamoDB developer guide, ReservedWords). The list is those that a device
// registry is likely to use; the real one has 573.
var reserved = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`ACTION ADD ALL AND ANY AS ATTRIBUTE ATTRIBUTES BATCH BEGIN BETWEEN BINARY BOOLEAN BY
		CALL CLUSTER COLUMN COMMENT CONDITION CONNECT CONNECTION CONSTRAINT COUNT COUNTER CREATE CURRENT DATA DATE DATETIME DAY
		DEFAULT DELETE DESCRIBE DESCRIPTOR DISCONNECT DOMAIN DROP DURATION DYNAMIC EACH END ENABLE ENCODING ERROR EVENT EXISTS
		EXPLAIN EXPORT FALSE FILE FILTER FIRST FOR FORMAT FOUND FROM FUNCTION GENERAL GET GLOBAL GO GRANT GROUP GROUPS HASH HOST
		HOUR IDENTIFIED IDENTITY IF IN INDEX INPUT INSERT INTEGER INTERVAL INTO IS ITEM ITEMS KEY KEYS LAST LEVEL LIKE LIMIT
		LIST LOCAL LOCATION LOCK LONG LOOP MAP MATCH METHOD METRICS MINUTE MODE MODEL MONTH NAME NAMES NATIONAL NEW NEXT NO NOT
		NULL NUMBER OBJECT OF OFFSET OLD ON ONLY OPEN OPERATION OPTION OR ORDER OUTPUT OWNER PARAMETER PARTITION PATH PLAN
		POOL POSITION PRIMARY PRIVATE PROPERTY PUBLIC QUERY RANGE RAW READ REF REGION RELEASE REMOVE REPLACE REQUEST RESET
		RESOURCE RESPONSE RESULT RETURN REVOKE ROLE ROOT ROW RULE SCAN SCHEMA SCOPE SECOND SELECT SEQUENCE SESSION SET SIZE
		SOURCE START STATE STATEMENT STATIC STATISTICS STATUS STORAGE STRING SUM TABLE TAG TEMP TEMPORARY TEXT THEN TIME
		TIMESTAMP TIMEZONE TO TOKEN TOTAL TRANSACTION TRUE TTL TYPE UNIQUE UNIT UNKNOWN UPDATE URL USAGE USE USER USERS USING
		UUID VALUE VALUED VALUES VIEW VIEWS WHEN WHERE WITH WORK WRITE YEAR ZONE`) {
		m[w] = true
	}
	return m
}()
