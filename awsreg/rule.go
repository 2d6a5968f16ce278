package awsreg

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/reconcile"
)

const sqlVersion = "2016-03-23"

// TopicRule is a topic rule that hands what it selects to a Lambda function.
type TopicRule struct {
	Name        string
	SQL         string
	SQLVersion  string
	Description string
	Function    string // ARN
}

// JITRRule is the topic rule that hands the registration events of one CA to the
// activating function. One rule a CA: it comes and goes with its CA, and the
// function's permission names rules. The target must have a JITR.
// https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html
func JITRRule(t Target, certificateID string) TopicRule {
	return TopicRule{
		Name:        t.JITR.ruleName(certificateID),
		SQL:         "SELECT * FROM '$aws/events/certificates/registered/" + certificateID + "'",
		SQLVersion:  sqlVersion,
		Description: "mintmark: activates devices under CA " + certificateID,
		Function:    t.JITR.Function,
	}
}

// PresenceRule is the topic rule that hands connections to the function which
// takes the old certificate of a device out of service. Every connection in the
// account and region comes by: the event does not say whose certificate it is
// before the function has looked. The target must have a Rotation.
// https://docs.aws.amazon.com/iot/latest/developerguide/life-cycle-events.html
func PresenceRule(t Target) TopicRule {
	return TopicRule{
		Name:        t.Rotation.rule(),
		SQL:         "SELECT * FROM '$aws/events/presence/connected/+'",
		SQLVersion:  sqlVersion,
		Description: "mintmark: sees the first connection under a device's next certificate",
		Function:    t.Rotation.Presence,
	}
}

func (r TopicRule) payload() *types.TopicRulePayload {
	return &types.TopicRulePayload{
		Sql:              aws.String(r.SQL),
		AwsIotSqlVersion: aws.String(r.SQLVersion),
		Description:      aws.String(r.Description),
		Actions:          []types.Action{{Lambda: &types.LambdaAction{FunctionArn: aws.String(r.Function)}}},
		RuleDisabled:     aws.Bool(false),
	}
}

// ruleResource is a topic rule: created if absent, replaced if it does anything
// else.
func ruleResource(api ruleAPI, rule TopicRule) resource {
	name, want := rule.Name, rule.payload()
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindRule, Subject: name, After: ruleText(want.Sql, want.AwsIotSqlVersion, want.Actions, want.ErrorAction, want.RuleDisabled)}
		have, err := getRule(ctx, api, name)
		if err != nil {
			return change, nil, err
		}
		if have == nil {
			change.Action = reconcile.Create
			return change, func(ctx context.Context) error {
				_, err := api.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String(name), TopicRulePayload: want})
				if code(err) == codeExists { // made by a call whose answer was lost
					return nil
				}
				return explain(fmt.Sprintf("creating topic rule %q", name), err)
			}, nil
		}
		change.Before = ruleText(have.Sql, have.AwsIotSqlVersion, have.Actions, have.ErrorAction, have.RuleDisabled)
		if change.Before == change.After {
			change.Action = reconcile.None
			return change, nil, nil
		}
		change.Action = reconcile.Update
		return change, func(ctx context.Context) error {
			_, err := api.ReplaceTopicRule(ctx, &iot.ReplaceTopicRuleInput{RuleName: aws.String(name), TopicRulePayload: want})
			return explain(fmt.Sprintf("replacing topic rule %q", name), err)
		}, nil
	}
	return resource{examine: examine}
}

const absent = "absent"

// noRuleResource is a topic rule that is to be gone.
func noRuleResource(api ruleAPI, name string) resource {
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindRule, Subject: name, Action: reconcile.None, After: absent}
		have, err := getRule(ctx, api, name)
		if err != nil || have == nil {
			return change, nil, err
		}
		change.Action = reconcile.Delete
		change.Before = ruleText(have.Sql, have.AwsIotSqlVersion, have.Actions, have.ErrorAction, have.RuleDisabled)
		return change, func(ctx context.Context) error {
			_, err := api.DeleteTopicRule(ctx, &iot.DeleteTopicRuleInput{RuleName: aws.String(name)})
			return explain(fmt.Sprintf("deleting topic rule %q", name), err)
		}, nil
	}
	return resource{examine: examine}
}

// getRule returns nil for a rule that does not exist. AWS hides whether a rule
// exists from who may not read it, and answers UnauthorizedException for one that
// does not; so that answer is settled by the list of rules.
// https://github.com/hashicorp/terraform-provider-aws/issues/12520
func getRule(ctx context.Context, api ruleAPI, name string) (*types.TopicRule, error) {
	doing := fmt.Sprintf("reading topic rule %q", name)
	out, err := api.GetTopicRule(ctx, &iot.GetTopicRuleInput{RuleName: aws.String(name)})
	switch code(err) {
	case "":
		if err != nil {
			return nil, explain(doing, err)
		}
		return out.Rule, nil
	case codeNotFound:
		return nil, nil
	case codeUnauthorized:
		var next *string
		for {
			page, listErr := api.ListTopicRules(ctx, &iot.ListTopicRulesInput{NextToken: next})
			if listErr != nil {
				return nil, explain(doing, listErr)
			}
			for _, rule := range page.Rules {
				if aws.ToString(rule.RuleName) == name {
					return nil, explain(doing, err)
				}
			}
			if next = page.NextToken; aws.ToString(next) == "" {
				return nil, nil
			}
		}
	}
	return nil, explain(doing, err)
}

// ruleText says what a rule does, as plans print and compare it.
func ruleText(sql, version *string, actions []types.Action, onError *types.Action, disabled *bool) string {
	parts := []string{aws.ToString(sql), "SQL version " + aws.ToString(version)}
	for _, a := range actions {
		parts = append(parts, "action "+actionText(a))
	}
	if onError != nil {
		parts = append(parts, "on error "+actionText(*onError))
	}
	if aws.ToBool(disabled) {
		parts = append(parts, "disabled")
	}
	return strings.Join(parts, "; ")
}

func actionText(a types.Action) string {
	if a.Lambda != nil {
		return "lambda " + aws.ToString(a.Lambda.FunctionArn)
	}
	return "of another kind"
}
