package awssim

import (
	"regexp"
	"strings"
	"time"
)

// maxRules is the number of rules per account (AWS General Reference, AWS IoT Core
// endpoints and quotas).
const maxRules = 1000

var ruleName = regexp.MustCompile(`^[a-zA-Z0-9_]{1,128}$`)

type topicRule struct {
	seq      int64
	name     string
	payload  topicRulePayload
	sql      *ruleSQL
	created  time.Time
	disabled bool
}

type topicRulePayload struct {
	SQL          string       `json:"sql"`
	Description  string       `json:"description,omitempty"`
	Actions      []ruleAction `json:"actions"`
	RuleDisabled bool         `json:"ruleDisabled"`
	SQLVersion   string       `json:"awsIotSqlVersion,omitempty"`
}

// ruleAction is one of the two actions that the simulator runs.
type ruleAction struct {
	Lambda    *lambdaAction    `json:"lambda,omitempty"`
	Republish *republishAction `json:"republish,omitempty"`
}

type lambdaAction struct {
	FunctionARN string `json:"functionArn"`
}

type republishAction struct {
	RoleARN string `json:"roleArn"`
	Topic   string `json:"topic"`
	QoS     int    `json:"qos"`
}

func (w *world) ruleARN(name string) string { return w.arn("iot", "rule/"+name) }

func (c *call) rulePayload() (topicRulePayload, *ruleSQL, error) {
	var p topicRulePayload
	if err := c.decode(&p); err != nil {
		return p, nil, err
	}
	switch p.SQLVersion {
	case "", "2015-10-08", "2016-03-23", "beta":
	default:
		return p, nil, invalid("awsIotSqlVersion %q is not a version of the rules SQL", clip(p.SQLVersion, 32))
	}
	sql, err := parseSQL(p.SQL)
	if err != nil {
		return p, nil, err
	}
	if len(p.Actions) == 0 || len(p.Actions) > 10 { // API reference, TopicRulePayload
		return p, nil, invalid("a rule has 1 to 10 actions, not %d", len(p.Actions))
	}
	for _, a := range p.Actions {
		if (a.Lambda == nil) == (a.Republish == nil) {
			return p, nil, invalid("an action is exactly one of lambda and republish")
		}
		if a.Lambda != nil && functionOf(a.Lambda.FunctionARN) == "" {
			return p, nil, invalid("%q is not the ARN of a Lambda function", clip(a.Lambda.FunctionARN, 200))
		}
		if r := a.Republish; r != nil {
			switch {
			case r.RoleARN == "" || r.Topic == "":
				return p, nil, invalid("republish needs roleArn and topic")
			case strings.Contains(r.Topic, "${"):
				return p, nil, noOperation("substitution templates in the topic of republish")
			case strings.ContainsAny(r.Topic, "+#") || r.QoS < 0 || r.QoS > 1:
				return p, nil, invalid("republish needs a topic without wildcards and a qos of 0 or 1")
			}
		}
	}
	return p, sql, nil
}

func createTopicRule(c *call) (any, error) {
	name := c.path["ruleName"]
	if !ruleName.MatchString(name) {
		return nil, invalid("ruleName %q: want 1 to 128 letters, digits or underscores", clip(name, 128))
	}
	p, sql, err := c.rulePayload()
	if err != nil {
		return nil, err
	}
	var tags []tag
	if h := c.r.Header.Get("X-Amz-Tagging"); h != "" {
		for _, kv := range strings.Split(h, "&") {
			k, v, _ := strings.Cut(kv, "=")
			tags = append(tags, tag{k, v})
		}
		if err := checkTags(tags); err != nil {
			return nil, err
		}
	}
	if _, ok := c.w.rules[name]; ok {
		return nil, alreadyExists(name, c.w.ruleARN(name), "Rule already exists. Use ReplaceTopicRule to change it")
	}
	if len(c.w.rules) >= maxRules {
		return nil, iotError("LimitExceededException", "an account has at most %d rules", maxRules)
	}
	c.w.rules[name] = &topicRule{seq: c.w.next(), name: name, payload: p, sql: sql, created: c.w.now(), disabled: p.RuleDisabled}
	c.w.setTags(c.w.ruleARN(name), tags)
	return nil, nil
}

// findRule answers for a rule that does not exist what the real service answers:
// not ResourceNotFoundException but that access was denied (the comment on it in
// terraform-provider-aws, and the service model, which has no other exception).
func (c *call) findRule() (*topicRule, error) {
	name := c.path["ruleName"]
	if r, ok := c.w.rules[name]; ok {
		return r, nil
	}
	return nil, iotError("UnauthorizedException", "Access to topic rule '%s' was denied", clip(name, 128))
}

func getTopicRule(c *call) (any, error) {
	r, err := c.findRule()
	if err != nil {
		return nil, err
	}
	m := map[string]any{
		"ruleName": r.name, "sql": r.payload.SQL, "description": r.payload.Description, "createdAt": epoch(r.created),
		"actions": r.payload.Actions, "ruleDisabled": r.disabled,
	}
	if m["awsIotSqlVersion"] = r.payload.SQLVersion; r.payload.SQLVersion == "" {
		m["awsIotSqlVersion"] = "2015-10-08" // the default (AWS IoT developer guide, iot-rule-sql-version)
	}
	return map[string]any{"ruleArn": c.w.ruleARN(r.name), "rule": m}, nil
}

func replaceTopicRule(c *call) (any, error) {
	r, err := c.findRule()
	if err != nil {
		return nil, err
	}
	p, sql, err := c.rulePayload()
	if err != nil {
		return nil, err
	}
	r.payload, r.sql, r.disabled = p, sql, p.RuleDisabled
	return nil, nil
}

func deleteTopicRule(c *call) (any, error) {
	r, err := c.findRule()
	if err != nil {
		return nil, err
	}
	delete(c.w.rules, r.name)
	delete(c.w.tags, c.w.ruleARN(r.name))
	return nil, nil
}

func listTopicRules(c *call) (any, error) {
	if c.query.Get("topic") != "" {
		return nil, noOperation("the parameter topic of ListTopicRules")
	}
	var list []*topicRule
	want := c.query.Get("ruleDisabled")
	for _, r := range sorted(c.w.rules, func(r *topicRule) int64 { return r.seq }) {
		if want == "" || (want == "true") == r.disabled {
			list = append(list, r)
		}
	}
	page, token, err := paginate(c, list, func(r *topicRule) int64 { return r.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, r := range page {
		out = append(out, map[string]any{
			"ruleArn": c.w.ruleARN(r.name), "ruleName": r.name, "topicPattern": r.sql.filter,
			"createdAt": epoch(r.created), "ruleDisabled": r.disabled,
		})
	}
	return withMarker(map[string]any{"rules": out}, "nextToken", token), nil
}
