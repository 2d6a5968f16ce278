package lint

import (
	"strings"

	"mintmark/internal/pattern"
)

// Actions of rules that AWS carries out under a role.
// https://docs.aws.amazon.com/iot/latest/developerguide/iot-rule-actions.html
var roleActions = words(`cloudwatchAlarm cloudwatchLogs cloudwatchMetric dynamoDB dynamoDBv2 elasticsearch firehose
	iotAnalytics iotEvents iotSiteWise kinesis location openSearch republish s3 sns sqs stepFunctions timestream`)

var (
	ruleName   = pattern.New(`^[a-zA-Z0-9_]{1,128}$`)
	fromClause = pattern.New(`(?is)\bFROM\s+'([^']*)'`)
	selection  = pattern.New(`(?is)^\s*SELECT\b`)
	registered = pattern.New(`^\$aws/events/certificates/registered/([0-9a-f]{64}|\+|#)$`)
)

// topicRule checks a topic rule.
func (c *checker) topicRule(u *unit, r resource, payload *node) {
	name := r.props.get("RuleName")
	if name == nil {
		name = u.doc.get("ruleName")
	}
	u.about("topic rule %s", quoted(or(name.str(), r.id)))
	if known(name) && !ruleName.MatchString(name.text) {
		u.add("rule-name", name.line, "its name %q must be 1 to 128 letters, digits and _", cut(name.text))
	}
	sql := payload.get("Sql")
	statement := sql.value()
	switch {
	case sql == nil:
		u.add("rule-sql", r.line, "it has no SQL statement")
	case known(sql) && !selection.MatchString(statement):
		u.add("rule-sql", sql.line, "its statement does not begin with SELECT")
	}
	if from := fromClause.FindStringSubmatch(statement); from != nil {
		c.source(u, payload, sql.line, from[1])
	}
	actions := payload.get("Actions")
	if actions.is(array) && len(actions.items) == 0 {
		u.add("rule-action", actions.line, "it has no action")
	}
	for _, a := range append(actions.list(), payload.get("ErrorAction").list()...) {
		for _, m := range a.members0() {
			if role := m.value.get("RoleArn"); role != nil {
				u.role(role)
			} else if roleActions[strings.ToLower(strings.ReplaceAll(m.name, "_", ""))] && (m.value.is(object) || m.value.is(call)) {
				u.add("rule-role", m.line, "action %s has no role: AWS may not write there, and the messages are lost", m.name)
			}
		}
	}
}

// source checks the topic that a rule reads.
func (c *checker) source(u *unit, payload *node, line int, topic string) {
	if rest, ok := strings.CutPrefix(topic, "$aws/events/certificates/registered/"); ok && !strings.Contains(topic, "${") && !registered.MatchString(topic) {
		u.add("rule-topic", line, "%q is not the id of a CA certificate, which has 64 hexadecimal digits in lower case: the event never comes", cut(rest))
	}
	if strings.HasPrefix(topic, "$aws/") {
		return
	}
	claimed := mentions(payload.get("Description").str(), basicIngestWords)
	for _, other := range c.units {
		if _, ok := other.says(basicIngestWords...); ok {
			claimed = true
		}
		if other.doc != nil && mentions(other.doc.get("Description").str(), basicIngestWords) {
			claimed = true
		}
	}
	if claimed && !c.explained() {
		u.add("basic-ingest", line, "%q goes through the message broker and is charged: with Basic Ingest devices publish to $aws/rules/<rule>/..., and the statement has no FROM", cut(topic))
	}
}

// explained reports whether some file says to which topic of a rule devices are
// to publish: then the rule may read the broker's topic beside it.
func (c *checker) explained() bool {
	for _, u := range c.units {
		if basicIngestTopic.Match(u.data) {
			return true
		}
	}
	return false
}

var basicIngestTopic = pattern.New(`\$aws/rules/[<{$a-zA-Z0-9]`)

var basicIngestWords = []string{"basic ingest", "basicingest", "basic-ingest", "basic_ingest"}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

var monitorHint = pattern.New(`(?i)cert|rotat|monitor|expir`)

// schedule finds a daily job that runs every few minutes.
func (u *unit) schedule(r resource) {
	description := r.props.get("Description").str()
	expression := r.props.get("ScheduleExpression")
	if expression == nil {
		expression = r.props.get("Schedule")
	}
	minutes, ok := period(expression)
	if !ok || minutes >= 60 {
		return
	}
	about := monitorHint.MatchString(r.id) || monitorHint.MatchString(description)
	r.props.get("Targets").walk(func(n *node) {
		about = about || (n.is(text) || n.is(unknown)) && monitorHint.MatchString(n.text)
	})
	if about {
		u.about("schedule %s", quoted(r.id))
		u.add("schedule", expression.line, "certificates grow older by the day, and this runs %d times a day, alerting each device every time: use rate(1 day)", 1440/max(1, minutes))
	}
}

var rate = pattern.New(`^rate\(\s*([0-9]{1,6})\s+(minute|hour|day)s?\s*\)$`)

// period is how many minutes are between two runs.
func period(n *node) (int, bool) {
	if n == nil {
		return 0, false
	}
	if n.is(call) {
		if last(n.text) == "rate" && len(n.items) == 1 {
			s, ok := seconds(n.items[0])
			return s / 60, ok
		}
		if last(n.text) == "expression" && len(n.items) == 1 {
			return period(n.items[0])
		}
		return 0, false
	}
	m := rate.FindStringSubmatch(n.str())
	if m == nil {
		return 0, false
	}
	v, _ := seconds(&node{kind: number, text: m[1]})
	return v * map[string]int{"minute": 1, "hour": 60, "day": 1440}[m[2]], true
}
