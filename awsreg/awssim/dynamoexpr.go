package awssim

import (
	"regexp"
	"strings"
)

// expression evaluates condition, key and update expressions. The grammar is a
// part of DynamoDB's: comparisons of an attribute with a value, attribute_exists
// and attribute_not_exists, NOT, AND, OR and parentheses, and SET of values
// (DynamoDB developer guide, Expressions.OperatorsAndFunctions and
// Expressions.UpdateExpressions). What is not in it is refused by name.
type expression struct {
	kind   string // as the request member is called
	tokens []string
	pos    int
	names  map[string]string
	values map[string]any
	used   map[string]bool
	depth  int
	it     item
}

const maxExpression = 4096 // DynamoDB developer guide, ServiceQuotas

var exprToken = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*|#[A-Za-z0-9_]+|:[A-Za-z0-9_]+|<>|<=|>=|[=<>(),])`)

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

func (p *placeholders) expression(kind, text string, it item) (*expression, error) {
	if len(text) > maxExpression {
		return nil, validation("Invalid %s: Expression size has exceeded the maximum allowed size", kind)
	}
	e := &expression{kind: kind, names: p.names, values: p.values, used: p.used, it: it}
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

// condition evaluates a boolean expression on an item, nil for one that is not
// there. An empty text holds.
func (p *placeholders) condition(kind, text string, it item) (bool, error) {
	if text == "" {
		return true, nil
	}
	e, err := p.expression(kind, text, it)
	if err != nil {
		return false, err
	}
	ok, err := e.or()
	if err != nil {
		return false, err
	}
	if e.pos < len(e.tokens) {
		return false, e.unexpected()
	}
	return ok, nil
}

func (e *expression) peek() string {
	if e.pos < len(e.tokens) {
		return e.tokens[e.pos]
	}
	return ""
}

func (e *expression) take() string {
	t := e.peek()
	e.pos++
	return t
}

func (e *expression) unexpected() error {
	t := e.peek()
	if t == "" {
		t = "<EOF>"
	}
	return validation("Invalid %s: Syntax error, or something that this AWS simulator does not understand; token: %q", e.kind, clip(t, 64))
}

func (e *expression) keyword(word string) bool {
	if strings.EqualFold(e.peek(), word) {
		e.pos++
		return true
	}
	return false
}

func (e *expression) or() (bool, error) {
	out, err := e.and()
	for err == nil && e.keyword("OR") {
		var next bool
		next, err = e.and()
		out = out || next
	}
	return out, err
}

func (e *expression) and() (bool, error) {
	out, err := e.unary()
	for err == nil && e.keyword("AND") {
		var next bool
		next, err = e.unary()
		out = out && next
	}
	return out, err
}

func (e *expression) unary() (bool, error) {
	if e.depth++; e.depth > 300 {
		return false, validation("Invalid %s: too deeply nested", e.kind)
	}
	defer func() { e.depth-- }()
	switch {
	case e.keyword("NOT"):
		v, err := e.unary()
		return !v, err
	case e.peek() == "(":
		e.pos++
		v, err := e.or()
		if err == nil && e.take() != ")" {
			e.pos--
			err = e.unexpected()
		}
		return v, err
	}
	if e.pos+1 < len(e.tokens) && e.tokens[e.pos+1] == "(" {
		return e.call()
	}
	return e.comparison()
}

func (e *expression) call() (bool, error) {
	name := e.take()
	e.pos++ // the parenthesis
	if name != "attribute_exists" && name != "attribute_not_exists" {
		return false, validation("Invalid %s: this AWS simulator does not have the function %q", e.kind, clip(name, 64))
	}
	attr, err := e.attribute()
	if err != nil {
		return false, err
	}
	if e.peek() != ")" {
		return false, e.unexpected()
	}
	e.pos++
	_, exists := e.it[attr]
	return exists == (name == "attribute_exists"), nil
}

func (e *expression) comparison() (bool, error) {
	left, okLeft, err := e.operand()
	if err != nil {
		return false, err
	}
	op := e.peek()
	switch op {
	case "=", "<>", "<", "<=", ">", ">=":
		e.pos++
	default:
		return false, e.unexpected()
	}
	right, okRight, err := e.operand()
	if err != nil {
		return false, err
	}
	if !okLeft || !okRight { // an attribute that is not there differs from everything
		return op == "<>", nil
	}
	switch op {
	case "=":
		return equal(left, right), nil
	case "<>":
		return !equal(left, right), nil
	}
	n, ordered := compare(left, right)
	switch {
	case !ordered:
		return false, nil
	case op == "<":
		return n < 0, nil
	case op == "<=":
		return n <= 0, nil
	case op == ">":
		return n > 0, nil
	}
	return n >= 0, nil
}

func (e *expression) operand() (any, bool, error) {
	if strings.HasPrefix(e.peek(), ":") {
		v, err := e.value()
		return v, true, err
	}
	attr, err := e.attribute()
	if err != nil {
		return nil, false, err
	}
	v, ok := e.it[attr]
	return v, ok, nil
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
	t := e.take()
	v, ok := e.values[t]
	if !ok {
		return nil, validation("Invalid %s: An expression attribute value used in expression is not defined; attribute value: %s", e.kind, t)
	}
	e.used[t] = true
	return v, nil
}

// set evaluates "SET a = :b, c = :d" to the attributes that it sets.
func (p *placeholders) set(text string) (item, error) {
	e, err := p.expression("UpdateExpression", text, nil)
	if err != nil {
		return nil, err
	}
	if !e.keyword("SET") {
		return nil, validation("Invalid UpdateExpression: this AWS simulator has only SET a = :b; token: %q", clip(e.peek(), 64))
	}
	out := item{}
	for {
		attr, err := e.attribute()
		if err != nil {
			return nil, err
		}
		if e.take() != "=" || !strings.HasPrefix(e.peek(), ":") {
			return nil, validation("Invalid UpdateExpression: this AWS simulator has only SET a = :b; token: %q", clip(e.peek(), 64))
		}
		v, err := e.value()
		if err != nil {
			return nil, err
		}
		if _, twice := out[attr]; twice {
			return nil, validation("Invalid UpdateExpression: Two document paths overlap with each other; path one: [%s]", clip(attr, 64))
		}
		out[attr] = v
		if e.peek() == "" {
			return out, nil
		}
		if e.take() != "," {
			e.pos--
			return nil, e.unexpected()
		}
	}
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
