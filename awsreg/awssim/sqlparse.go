package awssim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// maxSQLDepth bounds the nesting of expressions.
const maxSQLDepth = 50

// sqlParser parses expressions by recursive descent. From the weakest: OR, AND, NOT,
// comparison, + -, * / %, sign, member. The developer guide does not say how
// operators bind; this is the order of standard SQL.
type sqlParser struct {
	tokens  []sqlToken
	pos     int
	depth   int
	version string
	names   bool // an expression refers to a member of the payload
}

func newSQLParser(sql, version string) (*sqlParser, error) {
	if len(sql) > maxSQL {
		return nil, fmt.Errorf("a statement has at most %d bytes here", maxSQL)
	}
	tokens, err := sqlTokens(sql)
	if err != nil {
		return nil, err
	}
	return &sqlParser{tokens: tokens, version: version}, nil
}

func (p *sqlParser) at(n int) sqlToken {
	if p.pos+n >= len(p.tokens) {
		return sqlToken{}
	}
	return p.tokens[p.pos+n]
}

func (p *sqlParser) peek() sqlToken { return p.at(0) }

func (p *sqlParser) next() sqlToken {
	t := p.at(0)
	p.pos++
	return t
}

func (p *sqlParser) accept(text string) bool {
	if p.peek().is(text) {
		p.pos++
		return true
	}
	return false
}

func (p *sqlParser) expect(text string) error {
	if t := p.next(); !t.is(text) {
		return fmt.Errorf("expected %s, found %s", text, t)
	}
	return nil
}

// since2016 refuses what came with the second version.
func (p *sqlParser) since2016(what string) error {
	if p.version == sqlVersion2015 {
		return fmt.Errorf("%s needs awsIotSqlVersion %s, the rule has %s", what, sqlVersion2016, p.version)
	}
	return nil
}

func (p *sqlParser) expression() (sqlNode, error) {
	if p.depth++; p.depth > maxSQLDepth {
		return nil, fmt.Errorf("expressions are nested more than %d deep", maxSQLDepth)
	}
	defer func() { p.depth-- }()
	return p.binary(0)
}

// sqlOperators are the binary operators by strength; NOT stands between the second
// and the third level.
var sqlOperators = [][]string{
	{"OR"}, {"AND"}, {"=", "<>", "<", "<=", ">", ">="}, {"+", "-"}, {"*", "/", "%"},
}

const comparisonLevel = 2

func (p *sqlParser) binary(level int) (sqlNode, error) {
	if level == len(sqlOperators) {
		return p.signed()
	}
	if level == comparisonLevel && p.accept("NOT") {
		if p.depth++; p.depth > maxSQLDepth {
			return nil, fmt.Errorf("expressions are nested more than %d deep", maxSQLDepth)
		}
		defer func() { p.depth-- }()
		node, err := p.binary(level)
		return notNode{node}, err
	}
	left, err := p.binary(level + 1)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		op := p.peek()
		if !slices.ContainsFunc(sqlOperators[level], op.is) {
			return left, nil
		}
		if level == comparisonLevel && n > 0 {
			return nil, fmt.Errorf("two comparisons in a row need parentheses")
		}
		// A chain of operators makes a tree as deep as the chain is long.
		if n > 1000 {
			return nil, fmt.Errorf("more than 1000 operators in a row")
		}
		p.next()
		right, err := p.binary(level + 1)
		if err != nil {
			return nil, err
		}
		left = binaryNode{strings.ToUpper(op.text), left, right}
	}
}

func (p *sqlParser) signed() (sqlNode, error) {
	if p.accept("-") {
		if t := p.peek(); t.kind == tokenNumber {
			p.next()
			return numberLiteral("-" + t.text)
		}
		node, err := p.member()
		return binaryNode{"-", literalNode{json.Number("0")}, node}, err
	}
	return p.member()
}

func (p *sqlParser) member() (sqlNode, error) {
	node, err := p.primary()
	if err != nil {
		return nil, err
	}
	for p.accept(".") {
		name := p.next()
		if name.kind != tokenName {
			return nil, fmt.Errorf("expected the name of a member after the dot, found %s", name)
		}
		node = nestedNode{node, name.text}
		if p.depth++; p.depth > maxSQLDepth {
			return nil, fmt.Errorf("members are nested more than %d deep", maxSQLDepth)
		}
		defer func() { p.depth-- }()
	}
	return node, nil
}

func numberLiteral(text string) (sqlNode, error) {
	if !json.Valid([]byte(text)) {
		return nil, fmt.Errorf("%q is not a number", clip(text, 64))
	}
	return literalNode{json.Number(text)}, nil
}

func (p *sqlParser) primary() (sqlNode, error) {
	switch t := p.next(); {
	case t.kind == tokenString:
		return literalNode{t.text}, nil
	case t.kind == tokenNumber:
		return numberLiteral(t.text)
	case t.is("("):
		if p.peek().is("SELECT") {
			return nil, fmt.Errorf("nested SELECT is not here")
		}
		node, err := p.expression()
		if err != nil {
			return nil, err
		}
		return groupNode{node}, p.expect(")")
	case t.is("["):
		items, err := p.list("]")
		if err != nil {
			return nil, err
		}
		return arrayNode{items}, p.since2016("an array")
	case t.is("{"):
		return p.object()
	case t.is("TRUE"), t.is("FALSE"):
		return literalNode{t.is("TRUE")}, nil
	case t.is("NULL"):
		return literalNode{nil}, nil
	case t.is("UNDEFINED"):
		return literalNode{undefined}, nil
	case t.is("CASE"):
		return p.caseOf()
	case t.kind == tokenName && p.peek().is("("):
		p.next()
		return p.function(t.text)
	case t.kind == tokenName && !keywords[strings.ToLower(t.text)]:
		p.names = true
		return memberNode{t.text}, nil
	default:
		return nil, fmt.Errorf("expected an expression, found %s", t)
	}
}

// list parses expressions up to the closing symbol.
func (p *sqlParser) list(end string) ([]sqlNode, error) {
	items := []sqlNode{}
	if p.accept(end) {
		return items, nil
	}
	for {
		node, err := p.expression()
		if err != nil {
			return nil, err
		}
		items = append(items, node)
		if p.accept(end) {
			return items, nil
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
}

func (p *sqlParser) object() (sqlNode, error) {
	out := objectNode{map[string]sqlNode{}}
	for !p.accept("}") {
		if len(out.members) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		key := p.next()
		if key.kind != tokenString {
			return nil, fmt.Errorf("expected a key in quotes, found %s", key)
		}
		if err := p.expect(":"); err != nil {
			return nil, err
		}
		node, err := p.expression()
		if err != nil {
			return nil, err
		}
		if _, twice := out.members[key.text]; twice {
			return nil, fmt.Errorf("the key %s is there twice", key)
		}
		out.members[key.text] = node
	}
	return out, p.since2016("an object")
}

// caseOf parses CASE v WHEN t THEN r ... [ELSE e] END (AWS IoT developer guide,
// iot-sql-case).
func (p *sqlParser) caseOf() (sqlNode, error) {
	out := caseNode{other: literalNode{undefined}}
	var err error
	if out.value, err = p.expression(); err != nil {
		return nil, err
	}
	for p.accept("WHEN") {
		when, err := p.expression()
		if err != nil {
			return nil, err
		}
		if err := p.expect("THEN"); err != nil {
			return nil, err
		}
		then, err := p.expression()
		if err != nil {
			return nil, err
		}
		out.when, out.then = append(out.when, when), append(out.then, then)
	}
	if len(out.when) == 0 {
		return nil, fmt.Errorf("expected WHEN, found %s", p.peek())
	}
	if p.accept("ELSE") {
		if out.other, err = p.expression(); err != nil {
			return nil, err
		}
	}
	return out, p.expect("END")
}

// function parses the arguments of a function, up to its closing parenthesis.
func (p *sqlParser) function(name string) (sqlNode, error) {
	name = strings.ToLower(name)
	f, ok := sqlFunctions[name]
	if !ok {
		return nil, fmt.Errorf("the function %s is not here", clip(name, 64))
	}
	if f.since2016 {
		if err := p.since2016("the function " + name); err != nil {
			return nil, err
		}
	}
	out := functionNode{name: name, f: f}
	if name == "cast" {
		return p.cast(out)
	}
	// encode(*, 'base64') takes the payload as it is (AWS IoT developer guide,
	// iot-sql-functions).
	if name == "encode" && p.peek().is("*") && p.at(1).is(",") {
		p.pos += 2
		out.args = append(out.args, payloadNode{})
	}
	args, err := p.list(")")
	if err != nil {
		return nil, err
	}
	out.args = append(out.args, args...)
	if len(out.args) < f.min || f.max >= 0 && len(out.args) > f.max {
		return nil, fmt.Errorf("the function %s does not take %d arguments", name, len(out.args))
	}
	if f.check != nil {
		if err := f.check(out.args); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// cast parses the rest of cast(value AS type).
func (p *sqlParser) cast(out functionNode) (sqlNode, error) {
	value, err := p.expression()
	if err != nil {
		return nil, err
	}
	if err := p.expect("AS"); err != nil {
		return nil, err
	}
	kind := strings.ToLower(p.next().text)
	switch kind {
	case "string", "nvarchar", "text", "ntext", "varchar":
		kind = "string"
	case "int", "integer":
		kind = "int"
	case "double":
		kind = "decimal"
	case "decimal", "bool", "boolean":
		if err := p.since2016("cast to " + kind); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%q is not a type of cast", clip(kind, 64))
	}
	out.args = []sqlNode{value, literalNode{kind}}
	return out, p.expect(")")
}
