package render

import (
	"encoding/json"
	"fmt"

	"mintmark/awsreg"
)

// resources is the stack of IoT resources, JSON. CloudFormation makes the same
// documents from it that `aws apply` would.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/AWS_IoT.html
func (in Input) resources() ([]byte, error) {
	t := in.Target.WithDefaults()
	r := make(map[string]any)
	// The id of a resource in its stack takes letters and digits only.
	add := func(kind, id string, properties map[string]any, after ...string) string {
		logical := fmt.Sprintf("%s%x", kind, id)
		if len(logical) > 255 {
			logical = logical[:255]
		}
		body := map[string]any{"Type": "AWS::IoT::" + kind, "Properties": properties}
		if len(after) > 0 {
			body["DependsOn"] = after
		}
		r[logical] = body
		return logical
	}
	policies, err := t.Policies()
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		add("Policy", p.Name, map[string]any{"PolicyName": p.Name, "PolicyDocument": json.RawMessage(p.Document)})
	}
	var after []string
	for _, name := range t.ThingTypes() {
		after = append(after, add("ThingType", name, map[string]any{"ThingTypeName": name}))
	}
	for _, name := range t.ThingGroups() {
		after = append(after, add("ThingGroup", name, map[string]any{"ThingGroupName": name}))
	}
	for _, p := range templates(t) {
		add("ProvisioningTemplate", p.Name, map[string]any{
			"TemplateName": p.Name, "TemplateType": "FLEET_PROVISIONING", "Enabled": true, "Description": p.Description,
			"ProvisioningRoleArn": p.RoleARN, "TemplateBody": p.Body,
			"PreProvisioningHook": map[string]any{"TargetArn": p.Hook, "PayloadVersion": "2020-04-01"},
		}, after...)
	}
	for _, rule := range in.rules(t) {
		add("TopicRule", rule.Name, map[string]any{"RuleName": rule.Name, "TopicRulePayload": map[string]any{
			"Sql": rule.SQL, "AwsIotSqlVersion": rule.SQLVersion, "Description": rule.Description, "RuleDisabled": false,
			"Actions": []any{map[string]any{"Lambda": map[string]any{"FunctionArn": rule.Function}}},
		}})
	}
	body, err := json.MarshalIndent(map[string]any{
		"AWSTemplateFormatVersion": "2010-09-09",
		"Description":              fmt.Sprintf("mintmark: the IoT policies, templates, rules, thing types and groups of the target %s. Written by mintmark aws render; change mintmark.yaml, not this.", t.Name),
		"Resources":                r,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the stack: %w", err)
	}
	return append(body, '\n'), nil
}

// templates are the provisioning templates of a target's fleets.
func templates(t awsreg.Target) []awsreg.ProvisioningTemplate {
	var list []awsreg.ProvisioningTemplate
	for _, f := range t.Fleets {
		list = append(list, awsreg.Templates(t, f)...)
	}
	return list
}

func (in Input) rules(t awsreg.Target) []awsreg.TopicRule {
	var list []awsreg.TopicRule
	if t.JITR != nil {
		for _, id := range in.CAs {
			list = append(list, awsreg.JITRRule(t, id))
		}
	}
	if t.Rotation != nil {
		list = append(list, awsreg.PresenceRule(t))
	}
	return list
}

// documents are the same as files that the aws command takes.
func (in Input) documents() ([]File, error) {
	t := in.Target.WithDefaults()
	var files []File
	add := func(name, body string) error {
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			return fmt.Errorf("the document %s is no JSON: %w", name, err)
		}
		content, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		files = append(files, File{Name: "documents/" + name, Content: append(content, '\n')})
		return nil
	}
	policies, err := t.Policies()
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		if err := add(p.Name+".policy.json", p.Document); err != nil {
			return nil, err
		}
	}
	for _, p := range templates(t) {
		if err := add(p.Name+".template.json", p.Body); err != nil {
			return nil, err
		}
	}
	for _, rule := range in.rules(t) {
		body, err := json.Marshal(map[string]any{
			"sql": rule.SQL, "awsIotSqlVersion": rule.SQLVersion, "description": rule.Description,
			"actions": []any{map[string]any{"lambda": map[string]any{"functionArn": rule.Function}}},
		})
		if err != nil {
			return nil, err
		}
		if err := add(rule.Name+".rule.json", string(body)); err != nil {
			return nil, err
		}
	}
	for _, rule := range in.ingestRules() {
		body, err := json.Marshal(rule.payload)
		if err != nil {
			return nil, err
		}
		if err := add(rule.name+".rule.json", string(body)); err != nil {
			return nil, err
		}
	}
	permissions, err := awsreg.IAMPolicy(in.Target)
	if err != nil {
		return nil, err
	}
	return files, add("server.iam-policy.json", permissions)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
