package awssim

import (
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// maxRules is the number of rules per account (AWS General Reference, AWS IoT Core
// endpoints and quotas).
const maxRules = 1000

var ruleName = pattern.New(`^[a-zA-Z0-9_]{1,128}$`)

type topicRule struct {
	seq     int64
	name    string
	payload topicRulePayload
	ruleParts
	created  time.Time
	disabled bool
}

type topicRulePayload struct {
	SQL          string       `json:"sql"`
	Description  string       `json:"description,omitempty"`
	Actions      []ruleAction `json:"actions"`
	ErrorAction  *ruleAction  `json:"errorAction,omitempty"`
	RuleDisabled bool         `json:"ruleDisabled"`
	SQLVersion   string       `json:"awsIotSqlVersion,omitempty"`
}

// version is the SQL version of the rule; without one it is the first (AWS IoT
// developer guide, iot-rule-sql-version).
func (p topicRulePayload) version() string {
	if p.SQLVersion == "" {
		return sqlVersion2015
	}
	return p.SQLVersion
}

// ruleParts is what a payload parses to.
type ruleParts struct {
	sql         *ruleSQL
	actions     []preparedAction
	errorAction *preparedAction
}

func (w *world) ruleARN(name string) string { return w.arn("iot", "rule/"+name) }

func (c *call) rulePayload() (topicRulePayload, ruleParts, error) {
	var p topicRulePayload
	var parts ruleParts
	if err := c.decode(&p); err != nil {
		return p, parts, err
	}
	switch p.version() {
	case sqlVersion2015, sqlVersion2016, sqlVersionBeta:
	default:
		return p, parts, invalid("awsIotSqlVersion %q is not a version of the rules SQL", clip(p.SQLVersion, 32))
	}
	var err error
	if parts.sql, err = parseSQL(p.SQL, p.version()); err != nil {
		return p, parts, err
	}
	if len(p.Actions) == 0 || len(p.Actions) > 10 { // API reference, TopicRulePayload
		return p, parts, invalid("a rule has 1 to 10 actions, not %d", len(p.Actions))
	}
	for _, a := range p.Actions {
		prepared, err := a.prepare(p.version())
		if err != nil {
			return p, parts, err
		}
		parts.actions = append(parts.actions, prepared)
	}
	if p.ErrorAction != nil {
		prepared, err := p.ErrorAction.prepare(p.version())
		if err != nil {
			return p, parts, err
		}
		parts.errorAction = &prepared
	}
	return p, parts, nil
}

func createTopicRule(c *call) (any, error) {
	name := c.path["ruleName"]
	if !ruleName.MatchString(name) {
		return nil, invalid("ruleName %q: want 1 to 128 letters, digits or underscores", clip(name, 128))
	}
	p, parts, err := c.rulePayload()
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
	c.w.rules[name] = &topicRule{seq: c.w.next(), name: name, payload: p, ruleParts: parts, created: c.w.now(), disabled: p.RuleDisabled}
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
		"awsIotSqlVersion": r.payload.version(),
	}
	if r.payload.ErrorAction != nil {
		m["errorAction"] = r.payload.ErrorAction
	}
	return map[string]any{"ruleArn": c.w.ruleARN(r.name), "rule": m}, nil
}

func replaceTopicRule(c *call) (any, error) {
	r, err := c.findRule()
	if err != nil {
		return nil, err
	}
	p, parts, err := c.rulePayload()
	if err != nil {
		return nil, err
	}
	r.payload, r.ruleParts, r.disabled = p, parts, p.RuleDisabled
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
