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

// ruleResource is the topic rule that hands the registration events of one CA to
// the Lambda function. One rule a CA: it can be switched off with its CA, and the
// function's permission names rules.
// https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html
func ruleResource(api ruleAPI, j JITR, certificateID string) resource {
	name := j.ruleName(certificateID)
	want := types.TopicRulePayload{
		Sql:              aws.String("SELECT * FROM '$aws/events/certificates/registered/" + certificateID + "'"),
		AwsIotSqlVersion: aws.String(sqlVersion),
		Description:      aws.String("mintmark: activates devices under CA " + certificateID),
		Actions:          []types.Action{{Lambda: &types.LambdaAction{FunctionArn: aws.String(j.Function)}}},
		RuleDisabled:     aws.Bool(false),
	}
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: "topic-rule", Subject: name, After: ruleText(want.Sql, want.AwsIotSqlVersion, want.Actions, want.ErrorAction, want.RuleDisabled)}
		have, err := getRule(ctx, api, name)
		if err != nil {
			return change, nil, err
		}
		if have == nil {
			change.Action = reconcile.Create
			return change, func(ctx context.Context) error {
				_, err := api.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String(name), TopicRulePayload: &want})
				if code(err) == codeExists {
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
			_, err := api.ReplaceTopicRule(ctx, &iot.ReplaceTopicRuleInput{RuleName: aws.String(name), TopicRulePayload: &want})
			return explain(fmt.Sprintf("replacing topic rule %q", name), err)
		}, nil
	}
	return resource{examine}
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
