package awsreg

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// IAMPolicy is the IAM policy that the server's credentials need for a target:
// what Plan, Apply, Status, Deliver and Beat call, and nothing else. Actions that
// take no resource in IAM stand alone under "*".
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
func IAMPolicy(t Target) (string, error) {
	if err := t.Validate(); err != nil {
		return "", err
	}
	allow := func(resource string, actions ...string) statement {
		return statement{Effect: "Allow", Action: actions, Resource: []string{resource}}
	}
	doc := policyDocument{Version: "2012-10-17", Statement: []statement{
		allow("*", "iot:GetRegistrationCode", "iot:RegisterCACertificate"),
		allow(t.arn("iot", "cacert/*"), "iot:DescribeCACertificate", "iot:UpdateCACertificate"),
		allow(t.arn("iot", "cert/*"), "iot:DescribeCertificate", "iot:UpdateCertificate"),
	}}
	policies := make(map[string]bool)
	for _, ca := range t.CAs {
		if ca.Use != UseJITP {
			continue
		}
		policies[ca.JITP.Policy] = true
		pass := allow(ca.JITP.RoleARN, "iam:PassRole")
		pass.Condition = map[string]map[string]any{"StringEquals": {"iam:PassedToService": "iot.amazonaws.com"}}
		doc.Statement = append(doc.Statement, allow("*", "iot:RegisterCertificate"), pass)
	}
	if j := t.JITR; j != nil {
		policies[j.policy()] = true
		doc.Statement = append(doc.Statement,
			allow(t.arn("iot", "rule/"+j.rule()+"_*"), "iot:GetTopicRule", "iot:CreateTopicRule", "iot:ReplaceTopicRule"),
			allow("*", "iot:ListTopicRules"),
			allow(t.arn("dynamodb", "table/"+t.Manifest.table()), "dynamodb:DescribeTable", "dynamodb:CreateTable", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:BatchWriteItem"),
		)
	}
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		doc.Statement = append(doc.Statement, allow(t.arn("iot", "policy/"+name),
			"iot:GetPolicy", "iot:CreatePolicy", "iot:CreatePolicyVersion", "iot:ListPolicyVersions", "iot:DeletePolicyVersion"))
	}
	body, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encoding the IAM policy: %w", err)
	}
	return string(body) + "\n", nil
}
