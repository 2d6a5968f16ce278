package render

import (
	"encoding/json"
	"fmt"
	"slices"

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
	for _, d := range policies(t) {
		add("Policy", d.name, map[string]any{"PolicyName": d.name, "PolicyDocument": json.RawMessage(d.body)})
	}
	var types, groups []string
	for _, f := range t.Fleets {
		types, groups = append(types, f.ThingType), append(groups, f.Groups...)
	}
	for _, ca := range t.CAs {
		if ca.Register != nil {
			types, groups = append(types, ca.Register.ThingType), append(groups, ca.Register.Groups...)
		}
	}
	var after []string
	for _, name := range unique(types) {
		after = append(after, add("ThingType", name, map[string]any{"ThingTypeName": name}))
	}
	for _, name := range unique(groups) {
		after = append(after, add("ThingGroup", name, map[string]any{"ThingGroupName": name}))
	}
	for _, d := range templates(t) {
		add("ProvisioningTemplate", d.name, map[string]any{
			"TemplateName": d.name, "TemplateType": "FLEET_PROVISIONING", "Enabled": true,
			"ProvisioningRoleArn": d.role, "TemplateBody": d.body,
			"PreProvisioningHook": map[string]any{"TargetArn": d.hook, "PayloadVersion": "2020-04-01"},
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

// document is a policy or a provisioning template.
type document struct {
	name, body string
	role, hook string // of a template
}

// policies are the IoT policies of a target, each once.
func policies(t awsreg.Target) []document {
	var list []document
	add := func(name, body string) {
		if !slices.ContainsFunc(list, func(d document) bool { return d.name == name }) {
			list = append(list, document{name: name, body: body})
		}
	}
	if t.JITR != nil {
		add(t.JITR.Policy, t.JITR.PolicyDocument)
	}
	for _, ca := range t.CAs {
		if ca.JITP != nil {
			add(ca.JITP.Policy, or(ca.JITP.PolicyDocument, awsreg.DevicePolicy(t)))
		}
		if ca.Register != nil {
			add(ca.Register.Policy, or(ca.Register.PolicyDocument, awsreg.DevicePolicy(t)))
		}
	}
	for _, f := range t.Fleets {
		add(f.Policy, f.PolicyDocument)
		add(f.ClaimPolicy, awsreg.ClaimPolicy(t, f))
	}
	return list
}

// templates are the provisioning templates of a target's fleets.
func templates(t awsreg.Target) []document {
	var list []document
	for _, f := range t.Fleets {
		list = append(list, document{f.Template, awsreg.FleetTemplate(t, f), f.RoleARN, f.Hook})
		if t.Rotation != nil {
			list = append(list, document{f.RotationTemplate, awsreg.RotationTemplate(t, f), f.RoleARN, f.RotationHook})
		}
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
	for _, d := range policies(t) {
		if err := add(d.name+".policy.json", d.body); err != nil {
			return nil, err
		}
	}
	for _, d := range templates(t) {
		if err := add(d.name+".template.json", d.body); err != nil {
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
	permissions, err := awsreg.IAMPolicy(in.Target)
	if err != nil {
		return nil, err
	}
	return files, add("server.iam-policy.json", permissions)
}

// unique sorts, and drops what is empty or there twice.
func unique(names []string) []string {
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(s string) bool { return s == "" })
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
