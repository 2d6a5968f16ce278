package awsreg

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// IAMPolicy is the IAM policy that the server's credentials need for a target:
// what Plan, Apply, Status, Deliver, Beat, Reconcile and the claims call, and
// nothing else. Actions that take no resource in IAM, or took none in an edition
// of the reference, stand under "*".
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
//
// A target with a role has it for that role; whoever assumes the role needs
// sts:AssumeRole beside it, and the role must trust them.
//
// A target whose names or ARNs AWS would refuse has no policy: a wildcard among
// them would widen it.
func IAMPolicy(t Target) (string, error) {
	if err := t.Validate(); err != nil {
		return "", err
	}
	policies, err := t.Policies()
	if err != nil {
		return "", err
	}
	for _, p := range preflightTarget(t) {
		if why := refusedBy(p.list); why != "" {
			return "", fmt.Errorf("AWS target %q: %s", t.Name, why)
		}
	}
	g := &grants{target: t, actions: make(map[string]map[string]bool), roles: make(map[string]bool)}
	g.cas()
	g.certificates()
	g.functions()
	for _, p := range policies {
		g.policy(p.Name)
	}
	g.things()
	for _, f := range t.Fleets {
		g.fleet(f)
	}
	if t.Rotation != nil {
		g.rule(t.Rotation.rule(), false)
	}
	if t.Provider != nil {
		provider := t.arn("iot", "certificateprovider:"+t.Provider.name())
		g.allow(provider, "iot:DescribeCertificateProvider", "iot:CreateCertificateProvider", "iot:UpdateCertificateProvider")
		g.allow("*", "iot:ListCertificateProviders")
	}
	body, err := json.MarshalIndent(g.document(), "", "  ")
	if err != nil {
		return "", fmt.Errorf("encoding the IAM policy: %w", err)
	}
	return string(body) + "\n", nil
}

// grants gathers the actions that are allowed on each resource.
type grants struct {
	target  Target
	actions map[string]map[string]bool
	roles   map[string]bool // that may be passed to AWS IoT
}

func (g *grants) allow(resource string, actions ...string) {
	if g.actions[resource] == nil {
		g.actions[resource] = make(map[string]bool)
	}
	for _, a := range actions {
		g.actions[resource][a] = true
	}
}

// owned allows to read, and to change unless the target's stack does that.
func (g *grants) owned(resource string, read []string, change ...string) {
	g.allow(resource, read...)
	if !g.target.StackOwned {
		g.allow(resource, change...)
	}
}

func (g *grants) cas() {
	t := g.target
	all := t.arn("iot", "cacert/*")
	g.allow("*", "iot:DescribeEndpoint", "iot:ListCACertificates", "iot:ListTagsForResource")
	// Those of ours that have left the configuration are looked for among all.
	g.allow(all, "iot:DescribeCACertificate")
	for _, ca := range t.CAs {
		if ca.Mode == ModeNone {
			continue
		}
		g.allow(all, "iot:UpdateCACertificate")
		g.allow("*", "iot:ListCertificatesByCA")
		if ca.registered() {
			g.allow("*", "iot:RegisterCACertificate")
			g.allow(all, "iot:TagResource")
		}
		if ca.registered() && ca.Mode == ModeDefault {
			g.allow("*", "iot:GetRegistrationCode")
		}
		if ca.state() == StateDeleted {
			g.allow(all, "iot:DeleteCACertificate")
		}
		if ca.registered() && ca.Use == UseJITP {
			g.roles[ca.JITP.RoleARN] = true
		}
	}
}

// certificates are what is told of each device certificate.
func (g *grants) certificates() {
	t := g.target
	certificates := t.arn("iot", "cert/*")
	if len(t.CAs) > 0 || t.decides() {
		g.allow(certificates, "iot:DescribeCertificate", "iot:UpdateCertificate")
		g.allow("*", "iot:ListCertificates", "iot:ListThingPrincipals")
	}
	for _, ca := range t.CAs {
		switch ca.Use {
		case UseJITP:
			// A device that is revoked before it ever came is registered as revoked.
			g.allow("*", "iot:RegisterCertificate")
		case UseRegister:
			if ca.Mode == ModeNone {
				g.allow("*", "iot:RegisterCertificateWithoutCA")
			} else {
				g.allow("*", "iot:RegisterCertificate")
			}
			g.allow("*", "iot:AttachThingPrincipal")
			g.allow(t.arn("iot", "thing/*"), "iot:CreateThing", "iot:DescribeThing", "iot:AddThingToThingGroup")
			g.allow(certificates, "iot:AttachPolicy")
			for _, name := range ca.Register.Groups {
				g.allow(t.arn("iot", "thinggroup/"+name), "iot:AddThingToThingGroup")
			}
		}
	}
}

// functions are the tables that the functions decide from, and the topic rules
// of just-in-time registration.
func (g *grants) functions() {
	t := g.target
	// BatchWriteItem deletes, too, and needs no other permission for it.
	table := func(name string, actions ...string) {
		g.allow(t.arn("dynamodb", "table/"+name), append(actions, "dynamodb:DescribeTable", "dynamodb:CreateTable",
			"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:BatchGetItem")...)
	}
	if t.decides() {
		table(t.Manifest.table(), "dynamodb:BatchWriteItem")
		// Claims of a fleet that has left the configuration are found by their policy.
		g.allow("*", "iot:ListTargetsForPolicy", "iot:ListAttachedPolicies")
	}
	if t.Rotation != nil {
		table(t.Rotation.table(), "dynamodb:UpdateItem")
	}
	if t.JITR != nil {
		g.rule(t.JITR.rule()+"_*", true)
	}
}

func (g *grants) rule(name string, removable bool) {
	rule := g.target.arn("iot", "rule/"+name)
	g.owned(rule, []string{"iot:GetTopicRule"}, "iot:CreateTopicRule", "iot:ReplaceTopicRule")
	if removable {
		g.owned(rule, nil, "iot:DeleteTopicRule")
	}
	g.allow("*", "iot:ListTopicRules")
}

func (g *grants) policy(name string) {
	g.owned(g.target.arn("iot", "policy/"+name), []string{"iot:GetPolicy"},
		"iot:CreatePolicy", "iot:CreatePolicyVersion", "iot:DeletePolicyVersion")
	g.owned("*", nil, "iot:ListPolicyVersions")
}

func (g *grants) things() {
	for _, name := range g.target.ThingTypes() {
		g.owned(g.target.arn("iot", "thingtype/"+name), []string{"iot:DescribeThingType"}, "iot:CreateThingType")
	}
	for _, name := range g.target.ThingGroups() {
		g.owned(g.target.arn("iot", "thinggroup/"+name), []string{"iot:DescribeThingGroup"}, "iot:CreateThingGroup")
	}
}

// fleet is a fleet's templates and its claims.
func (g *grants) fleet(f Fleet) {
	t := g.target
	for _, template := range Templates(t, f) {
		g.owned(t.arn("iot", "provisioningtemplate/"+template.Name), []string{"iot:DescribeProvisioningTemplate"},
			"iot:CreateProvisioningTemplate", "iot:UpdateProvisioningTemplate",
			"iot:ListProvisioningTemplateVersions", "iot:CreateProvisioningTemplateVersion", "iot:DeleteProvisioningTemplateVersion")
	}
	if !t.StackOwned {
		g.roles[f.RoleARN] = true
	}
	g.allow("*", "iot:RegisterCertificateWithoutCA", "iot:CreateCertificateFromCsr")
	g.allow(t.arn("iot", "cert/*"), "iot:AttachPolicy")
}

// document puts the resources with the same actions into one statement.
func (g *grants) document() policyDocument {
	doc := policyDocument{Version: "2012-10-17"}
	index := make(map[string]int)
	for _, resource := range slices.Sorted(maps.Keys(g.actions)) {
		actions := slices.Sorted(maps.Keys(g.actions[resource]))
		if len(actions) == 0 {
			continue
		}
		key := fmt.Sprint(actions)
		if i, ok := index[key]; ok {
			doc.Statement[i].Resource = append(doc.Statement[i].Resource, resource)
			continue
		}
		index[key] = len(doc.Statement)
		doc.Statement = append(doc.Statement, statement{Effect: "Allow", Action: actions, Resource: []string{resource}})
	}
	if roles := slices.Sorted(maps.Keys(g.roles)); len(roles) > 0 {
		doc.Statement = append(doc.Statement, statement{
			Effect: "Allow", Action: []string{"iam:PassRole"}, Resource: roles,
			Condition: map[string]map[string]any{"StringEquals": {"iam:PassedToService": "iot.amazonaws.com"}},
		})
	}
	return doc
}
