package awssim

import (
	"fmt"
	"strings"
)

// The versions of the rules SQL (AWS IoT developer guide, iot-rule-sql-version).
const (
	sqlVersion2015 = "2015-10-08" // the default
	sqlVersion2016 = "2016-03-23"
	sqlVersionBeta = "beta"
)

// maxSQL is the longest statement that the simulator reads. AWS bounds the rule as
// a whole.
const maxSQL = 64 << 10

// ruleSQL is a statement of the rules SQL (AWS IoT developer guide,
// iot-sql-reference):
//
//	SELECT * | [*,] item, ... | VALUE expression [FROM 'filter'] [WHERE expression]
//
// An item is a member of the payload, or an expression with AS and an alias.
type ruleSQL struct {
	filter string // empty without FROM: for Basic Ingest only
	all    bool   // * is among the items
	items  []selectItem
	value  sqlNode // SELECT VALUE
	where  sqlNode // nil without WHERE
	names  bool    // refers to members of the payload
}

type selectItem struct {
	alias string
	node  sqlNode
}

// keywords cannot be names of members.
var keywords = map[string]bool{
	"select": true, "from": true, "where": true, "as": true, "and": true, "or": true, "not": true, "case": true, "when": true,
	"then": true, "else": true, "end": true, "true": true, "false": true, "null": true, "undefined": true, "in": true, "exists": true,
	"like": true, "is": true, "between": true, "set": true, "with": true, "group": true, "order": true, "having": true, "limit": true,
}

// parseSQL parses a statement of a version. What the simulator cannot do as AWS
// documents it is refused here with a SqlParseException, never ignored.
func parseSQL(sql, version string) (*ruleSQL, error) {
	q, err := parseStatement(sql, version)
	if err != nil {
		return nil, iotError("SqlParseException", "%v (docs/aws-simulator.md says which SQL this AWS simulator runs)", err)
	}
	return q, nil
}

func parseStatement(sql, version string) (*ruleSQL, error) {
	p, err := newSQLParser(sql, version)
	if err != nil {
		return nil, err
	}
	q := &ruleSQL{}
	if err := p.expect("SELECT"); err != nil {
		return nil, err
	}
	if err := p.selection(q); err != nil {
		return nil, err
	}
	if p.accept("FROM") {
		if err := p.from(q); err != nil {
			return nil, err
		}
	}
	if p.accept("WHERE") {
		if q.where, err = p.expression(); err != nil {
			return nil, err
		}
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, fmt.Errorf("unexpected %s", t)
	}
	q.names = p.names
	return q, nil
}

// selection parses what stands between SELECT and FROM.
func (p *sqlParser) selection(q *ruleSQL) error {
	if p.peek().is("VALUE") && p.valueKeyword() {
		p.next()
		if p.accept("*") {
			q.all = true
			return nil
		}
		var err error
		q.value, err = p.expression()
		return err
	}
	seen := map[string]bool{}
	for {
		if p.accept("*") {
			if q.all {
				return fmt.Errorf("* is selected twice")
			}
			q.all = true
		} else {
			item, err := p.item()
			if err != nil {
				return err
			}
			if seen[item.alias] {
				return fmt.Errorf("%q is selected twice", clip(item.alias, 64))
			}
			seen[item.alias] = true
			q.items = append(q.items, item)
		}
		if !p.accept(",") {
			return nil
		}
	}
}

// valueKeyword tells SELECT VALUE expression from SELECT value, a member.
func (p *sqlParser) valueKeyword() bool {
	next := p.at(1)
	switch next.kind {
	case tokenString, tokenNumber:
		return true
	case tokenName:
		return !keywords[strings.ToLower(next.text)] || next.is("CASE") || next.is("NOT") || next.is("NULL") || next.is("TRUE") || next.is("FALSE")
	case tokenSymbol:
		return next.text == "(" || next.text == "[" || next.text == "{" || next.text == "*" && (p.at(2).kind == tokenEnd || p.at(2).is("FROM"))
	}
	return false
}

// item parses one item of the list. Under which key AWS returns an expression
// without an alias is documented for members of the payload only.
func (p *sqlParser) item() (selectItem, error) {
	first := p.peek()
	node, err := p.expression()
	if err != nil {
		return selectItem{}, err
	}
	if p.accept("AS") {
		alias := p.next()
		if alias.kind != tokenName || keywords[strings.ToLower(alias.text)] {
			return selectItem{}, fmt.Errorf("expected an alias after AS, found %s", alias)
		}
		return selectItem{alias.text, node}, nil
	}
	if _, member := node.(memberNode); !member {
		return selectItem{}, fmt.Errorf("the expression that begins with %s needs AS and an alias", first)
	}
	return selectItem{first.text, node}, nil
}

func (p *sqlParser) from(q *ruleSQL) error {
	t := p.next()
	if t.kind != tokenString || t.double {
		return fmt.Errorf("expected a topic filter in single quotes after FROM, found %s", t)
	}
	if err := checkFilter(t.text); err != nil {
		return err
	}
	// A rule cannot subscribe to Basic Ingest topics (AWS IoT developer guide,
	// iot-basic-ingest).
	if strings.HasPrefix(t.text, basicIngest) {
		return fmt.Errorf("rules cannot subscribe to %s", basicIngest)
	}
	q.filter = t.text
	return nil
}

// verbatim reports whether the statement hands the payload on as it came.
func (q *ruleSQL) verbatim() bool { return q.all && len(q.items) == 0 && q.value == nil }

// run evaluates the statement for a message. matched is false if the WHERE clause
// is not true. Payloads that are not JSON only suit statements that name no member,
// with * alone or functions alone (AWS IoT developer guide, binary-payloads).
func (q *ruleSQL) run(env *sqlEnv) (out []byte, matched bool, err error) {
	if !env.isJSON && (q.names || q.all && !q.verbatim()) {
		return nil, false, fmt.Errorf("the payload is not JSON, and the statement refers to its members")
	}
	if q.where != nil {
		if v := q.where.eval(env); env.err != nil || v != any(true) {
			return nil, false, env.err
		}
	}
	var selected any
	switch {
	case q.verbatim():
		return env.msg.payload, true, nil
	case q.value != nil:
		selected = q.value.eval(env)
	default:
		object := map[string]any{}
		if q.all {
			doc, ok := env.doc.(map[string]any)
			if !ok {
				return nil, false, fmt.Errorf("the payload is not a JSON object, and the statement adds items to it")
			}
			for k, v := range doc {
				object[k] = v
			}
		}
		for _, item := range q.items {
			object[item.alias] = item.node.eval(env)
		}
		selected = object
	}
	if env.err != nil {
		return nil, false, env.err
	}
	if weigh(selected, maxSQLOutput) > maxSQLOutput {
		return nil, false, fmt.Errorf("the statement makes more than %d bytes of the message", maxSQLOutput)
	}
	out, err = encodeValue(selected)
	return out, err == nil, err
}
