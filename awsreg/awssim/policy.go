package awssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// maxPolicy is the longest policy document, white space not counted (API
// reference, CreatePolicy, policyDocument).
const maxPolicy = 2048

// policyActions are the actions of AWS IoT policies (AWS IoT developer guide,
// iot-policy-actions). A name that is not here is a mistake: iot:PublishRetain,
// for one, is often written and does not exist (iot:RetainPublish does). Whether
// AWS refuses a policy for it is not documented; the simulator does.
var policyActions = []string{
	"iot:Connect", "iot:DeleteConnection", "iot:Publish", "iot:Receive", "iot:RetainPublish", "iot:Subscribe",
	"iot:GetRetainedMessage", "iot:ListRetainedMessages",
	"iot:DeleteThingShadow", "iot:GetThingShadow", "iot:ListNamedShadowsForThing", "iot:UpdateThingShadow",
	"iot:DescribeJobExecution", "iot:GetPendingJobExecutions", "iot:UpdateJobExecution", "iot:StartNextPendingJobExecution",
	"iot:AssumeRoleWithCertificate",
}

// policyDoc is a parsed AWS IoT policy.
type policyDoc struct {
	statements []statement
}

type statement struct {
	deny      bool
	actions   []string
	resources []string
	condition []condition
}

type condition struct {
	operator string // StringEquals, StringLike or Bool
	key      string
	values   []string
}

// parsePolicy reads a policy document. What the simulator cannot evaluate it
// refuses, so that no policy means less here than it does at AWS.
func parsePolicy(text string) (*policyDoc, error) {
	bad := func(format string, args ...any) (*policyDoc, error) {
		return nil, iotError("MalformedPolicyException", format, args...)
	}
	n := 0
	for _, r := range text {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	if n == 0 {
		return bad("Policy document is empty")
	}
	if n > maxPolicy {
		return bad("Policy document has %d characters besides white space, the limit is %d", n, maxPolicy)
	}
	var doc struct {
		Version   string
		ID        string `json:"Id"`
		Statement oneOrMany[rawStatement]
	}
	if err := decodeStrict([]byte(text), &doc); err != nil {
		return bad("Policy document is malformed: %v", err)
	}
	if doc.Version != "2012-10-17" {
		return bad("Policy document is malformed: Version must be 2012-10-17")
	}
	if len(doc.Statement) == 0 {
		return bad("Policy document is malformed: no Statement")
	}
	out := &policyDoc{}
	for i, raw := range doc.Statement {
		st, err := raw.parse()
		if err != nil {
			return bad("Policy document is malformed: statement %d: %v", i+1, err)
		}
		out.statements = append(out.statements, st)
	}
	return out, nil
}

type rawStatement struct {
	Sid         string
	Effect      string
	Action      oneOrMany[string]
	NotAction   json.RawMessage
	Resource    oneOrMany[string]
	NotResource json.RawMessage
	Principal   json.RawMessage
	Condition   map[string]map[string]oneOrMany[string]
}

func (raw rawStatement) parse() (statement, error) {
	var st statement
	switch {
	case raw.NotAction != nil:
		return st, fmt.Errorf("this AWS simulator does not have NotAction")
	case raw.NotResource != nil:
		return st, fmt.Errorf("this AWS simulator does not have NotResource")
	case raw.Principal != nil:
		return st, fmt.Errorf("an AWS IoT policy has no Principal")
	case raw.Effect != "Allow" && raw.Effect != "Deny":
		return st, fmt.Errorf("member Effect must be Allow or Deny, not %q", raw.Effect)
	case len(raw.Action) == 0:
		return st, fmt.Errorf("no Action")
	case len(raw.Resource) == 0:
		return st, fmt.Errorf("no Resource")
	}
	st.deny = raw.Effect == "Deny"
	for _, a := range raw.Action {
		if !knownAction(a) {
			return st, fmt.Errorf("%q is not an action of AWS IoT policies", a)
		}
		st.actions = append(st.actions, a)
	}
	for _, r := range raw.Resource {
		if r != "*" && !strings.HasPrefix(r, "arn:") {
			return st, fmt.Errorf("member Resource: %q is neither * nor an ARN", r)
		}
		if err := checkVariables(r); err != nil {
			return st, err
		}
		st.resources = append(st.resources, r)
	}
	for op, keys := range raw.Condition {
		switch op {
		case "StringEquals", "StringLike", "Bool":
		default:
			return st, fmt.Errorf("this AWS simulator does not have the condition operator %q", op)
		}
		for key, values := range keys {
			if !knownVariable(key) {
				return st, fmt.Errorf("this AWS simulator does not have the condition key %q", key)
			}
			if len(values) == 0 {
				return st, fmt.Errorf("the condition on %q has no values", key)
			}
			for _, v := range values {
				if err := checkVariables(v); err != nil {
					return st, err
				}
			}
			st.condition = append(st.condition, condition{op, key, values})
		}
	}
	return st, nil
}

// knownAction accepts an action, or a pattern that matches at least one.
func knownAction(a string) bool {
	if a == "*" {
		return true
	}
	for _, known := range policyActions {
		if glob(strings.ToLower(a), strings.ToLower(known)) {
			return true
		}
	}
	return false
}

// variables resolves policy variables; false means not available.
type variables func(name string) (string, bool)

// evaluate decides one action on one resource over all policies of a principal:
// an explicit Deny wins, then any Allow, then deny (AWS IoT developer guide,
// iot-policies).
func evaluate(docs []*policyDoc, action, resource string, vars variables) bool {
	allowed := false
	for _, doc := range docs {
		for _, st := range doc.statements {
			if !st.matches(action, resource, vars) {
				continue
			}
			if st.deny {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

func (st *statement) matches(action, resource string, vars variables) bool {
	hit := false
	for _, a := range st.actions {
		if a == "*" || glob(strings.ToLower(a), strings.ToLower(action)) {
			hit = true
		}
	}
	if !hit {
		return false
	}
	hit = false
	for _, r := range st.resources {
		if pattern, ok := substitute(r, vars); ok && glob(pattern, resource) {
			hit = true
		}
	}
	if !hit {
		return false
	}
	for _, c := range st.condition {
		if !c.holds(vars) {
			return false
		}
	}
	return true
}

// holds reports whether the key has one of the values. A key that is not
// available fulfils no condition.
func (c *condition) holds(vars variables) bool {
	have, ok := vars(c.key)
	if !ok {
		return false
	}
	for _, v := range c.values {
		want, ok := substitute(v, vars)
		if !ok {
			continue
		}
		switch c.operator {
		case "StringEquals":
			ok = have == want
		case "StringLike":
			ok = glob(want, have)
		case "Bool":
			ok = strings.EqualFold(have, want)
		}
		if ok {
			return true
		}
	}
	return false
}

// glob matches s with a pattern of * and ?. The MQTT wildcards + and # are plain
// characters in a policy (AWS IoT developer guide, pub-sub-policy).
func glob(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// oneOrMany is a JSON value or a list of them.
type oneOrMany[T any] []T

func (l *oneOrMany[T]) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		*l = make([]T, len(list))
		for i := range list {
			if err := decodeStrict(list[i], &(*l)[i]); err != nil {
				return err
			}
		}
		return nil
	}
	*l = make([]T, 1)
	return decodeStrict(b, &(*l)[0])
}

// decodeStrict decodes one JSON document without unknown members.
func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("data after the document")
	}
	return nil
}
