package render_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/internal/reconcile"
)

// TestStackIsWhatApplyWants makes what the stack iot.json says, as CloudFormation
// would, and asks the reconciler what differs: nothing may, with the stack as the
// owner and without.
func TestStackIsWhatApplyWants(t *testing.T) {
	account := awssim.Account{ID: "123456789012", AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}
	sim, err := awssim.Start(t.Context(), awssim.Config{Accounts: []awssim.Account{account}})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	keys := credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, "")
	client := iot.New(iot.Options{Region: "eu-central-1", BaseEndpoint: aws.String(sim.ControlURL()), Credentials: keys})

	in := everything()
	in.Target.CAs, in.Target.JITR, in.Target.Provider, in.CAs = nil, nil, nil, nil
	in.Target.StackOwned, in.Target.Endpoint = true, sim.ControlURL()
	var stack struct {
		Resources map[string]struct {
			Type       string
			Properties struct {
				PolicyName, ThingTypeName, ThingGroupName, TemplateName, TemplateBody, ProvisioningRoleArn, Description, RuleName string
				PolicyDocument                                                                                                    json.RawMessage
				PreProvisioningHook                                                                                               struct{ TargetArn, PayloadVersion string }
				TopicRulePayload                                                                                                  struct {
					Sql, AwsIotSqlVersion, Description string
					Actions                            []struct{ Lambda struct{ FunctionArn string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(files(t, in)["iot.json"]), &stack); err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, kind := range []string{"ThingType", "ThingGroup", "Policy", "ProvisioningTemplate", "TopicRule"} {
		for id, r := range stack.Resources {
			if r.Type != "AWS::IoT::"+kind {
				continue
			}
			p := r.Properties
			var err error
			switch kind {
			case "ThingType":
				_, err = client.CreateThingType(t.Context(), &iot.CreateThingTypeInput{ThingTypeName: &p.ThingTypeName})
			case "ThingGroup":
				_, err = client.CreateThingGroup(t.Context(), &iot.CreateThingGroupInput{ThingGroupName: &p.ThingGroupName})
			case "Policy":
				_, err = client.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: &p.PolicyName, PolicyDocument: aws.String(string(p.PolicyDocument))})
			case "ProvisioningTemplate":
				_, err = client.CreateProvisioningTemplate(t.Context(), &iot.CreateProvisioningTemplateInput{
					TemplateName: &p.TemplateName, TemplateBody: &p.TemplateBody, ProvisioningRoleArn: &p.ProvisioningRoleArn, Description: &p.Description, Enabled: aws.Bool(true),
					PreProvisioningHook: &types.ProvisioningHook{TargetArn: &p.PreProvisioningHook.TargetArn, PayloadVersion: &p.PreProvisioningHook.PayloadVersion},
				})
			case "TopicRule":
				rule := p.TopicRulePayload
				_, err = client.CreateTopicRule(t.Context(), &iot.CreateTopicRuleInput{RuleName: &p.RuleName, TopicRulePayload: &types.TopicRulePayload{
					Sql: &rule.Sql, AwsIotSqlVersion: &rule.AwsIotSqlVersion, Description: &rule.Description,
					Actions: []types.Action{{Lambda: &types.LambdaAction{FunctionArn: &rule.Actions[0].Lambda.FunctionArn}}},
				}})
			}
			if err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			made++
		}
	}
	if made != len(stack.Resources) || made != 1+2+4+4+1 {
		t.Fatalf("%d of %d resources were made", made, len(stack.Resources))
	}

	registrar, err := awsreg.New(awsreg.Config{
		Credentials: keys,
		Issuer:      func(context.Context, string) (awsreg.Issuer, error) { return awsreg.Issuer{}, errors.New("no issuer") },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, owned := range []bool{true, false} {
		in.Target.StackOwned = owned
		plan, err := registrar.Plan(t.Context(), in.Target)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, c := range plan.Changes {
			if c.Kind == "table" {
				continue // apply's own
			}
			if seen++; c.Action != reconcile.None {
				t.Errorf("stack owned %v: %s %s: %s: %s, wanted %s", owned, c.Kind, c.Subject, c.Action, c.Before, c.After)
			}
		}
		if seen != made {
			t.Errorf("stack owned %v: the plan has %d resources, the stack %d", owned, seen, made)
		}
	}
}
