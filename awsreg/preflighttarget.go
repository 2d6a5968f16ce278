package awsreg

import (
	"fmt"
	"strings"

	"mintmark/internal/pattern"
)

// AWS's patterns of what a provisioning template says of a thing.
// https://docs.aws.amazon.com/iot/latest/apireference/API_AttributePayload.html
var (
	rolePattern           = pattern.New(`^arn:[a-z-]+:iam::[0-9]{12}:role/.+$`)
	attributePattern      = pattern.New(`^[a-zA-Z0-9_.,@/:#-]{1,128}$`)
	attributeValuePattern = pattern.New(`^[a-zA-Z0-9_.,@/:#-]{0,800}$`)
)

const (
	// templateSize is in characters.
	// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateProvisioningTemplate.html
	templateSize = 10240
	// A thing without a type has few attributes, and a thing is in few groups.
	// https://docs.aws.amazon.com/iot/latest/developerguide/thing-types.html
	// https://docs.aws.amazon.com/general/latest/gr/iot_device_management.html
	untypedAttributes = 3
	typedAttributes   = 50
	groupsOfThing     = 10
)

// preflightTarget predicts what AWS would say to what surrounds the CAs, each
// thing on its own.
func preflightTarget(t Target) []*findings {
	var list []*findings
	if t.JITR != nil {
		list = append(list, preflightJITR(t))
	}
	for _, f := range t.Fleets {
		list = append(list, preflightFleet(t, f))
	}
	for _, ca := range t.CAs {
		if ca.Register != nil && !ca.other() {
			p := &findings{subject: fmt.Sprintf("registration under CA %q", ca.Issuer), kind: kindCA, name: ca.Issuer}
			p.groups(ca.Register.Groups)
			list = append(list, p)
		}
	}
	if r := t.Rotation; r != nil {
		p := &findings{subject: "rotation", kind: kindRule, name: r.rule()}
		p.function(t, r.Presence)
		list = append(list, p)
	}
	if t.Provider != nil {
		p := &findings{subject: fmt.Sprintf("certificate provider %q", t.Provider.name()), kind: kindProvider, name: t.Provider.name()}
		p.function(t, t.Provider.Function)
		list = append(list, p)
	}
	return list
}

// preflightJITR predicts what AWS would say to the surroundings of the Lambda.
func preflightJITR(t Target) *findings {
	j := *t.JITR
	p := &findings{subject: "just-in-time registration", kind: "jitr", name: j.Function}
	p.function(t, j.Function)
	if name := j.ruleName(strings.Repeat("0", 64)); !rulePattern.MatchString(name) {
		p.refused("rule-name", "Value at 'ruleName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_]+$", "the prefix %q of the rules' names must be 1 to 111 letters, digits and underscores", j.rule())
	}
	if !tablePattern.MatchString(t.Manifest.table()) {
		p.refused("table-name", "Value at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+", "the name %q of the table must be 3 to 255 letters, digits and _ . -", t.Manifest.table())
	}
	return p
}

// preflightFleet predicts what AWS would say to a fleet's templates, and to the
// things that they would make. Names are checked by Validate.
func preflightFleet(t Target, f Fleet) *findings {
	p := &findings{subject: fmt.Sprintf("fleet %q", f.Template), kind: kindTemplate, name: f.Template}
	p.role("provisioningRoleArn", f.RoleARN, t.AccountID)
	for _, template := range Templates(t, f) {
		p.function(t, template.Hook)
		// In bytes, as characters beyond ASCII are not allowed anywhere in it.
		if n := len(template.Body); n > templateSize {
			p.refused("template-size", "Value at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to 10240", "the template %q is %d characters long", template.Name, n)
		}
	}
	if t.Rotation != nil && f.Hook == f.RotationHook {
		p.add(Advice, "rotation-hook", "", "the function %q decides about claims and rotations alike: they need different handlers, so give each a function of its own", f.Hook)
	}
	limit, with := untypedAttributes, "without a thing type"
	if f.ThingType != "" {
		limit, with = typedAttributes, "with a thing type"
	}
	if n := len(f.Attributes) + 2; n > limit {
		p.refused("attributes", wrongRequest, "a thing %s has at most %d attributes, and this one would have %d with %s and %s", with, limit, n, serialAttribute, dateAttribute)
	}
	for name, value := range f.Attributes {
		if !attributePattern.MatchString(name) || !attributeValuePattern.MatchString(value) {
			p.refused("attributes", wrongRequest, "the attribute %q: names have 1 to 128 and values at most 800 letters, digits and _ . , @ / : # -", name)
		}
	}
	if n := len(f.ThingPrefix); n > 64 {
		p.add(Advice, "thing-name", "", "the prefix %q leaves %d characters for serial numbers: the name of a thing has at most 128", f.ThingPrefix, 128-n)
	}
	p.groups(f.Groups)
	return p
}

func (p *findings) groups(groups []string) {
	if len(groups) > groupsOfThing {
		p.refused("groups", overLimit, "a thing is in at most %d groups, not in %d", groupsOfThing, len(groups))
	}
}

// function checks the ARN of a Lambda function that AWS IoT is to call.
func (p *findings) function(t Target, function string) {
	if want := t.arn("lambda", "function:"); !strings.HasPrefix(function, want) || len(function) == len(want) || strings.ContainsAny(function, "*? ") {
		p.refused("function", "Invalid function ARN", "%q is not a function of this account and region; its ARN would begin with %s", function, want)
	}
}

// role checks the ARN of a role that AWS IoT is to assume; with an account, it
// must be a role of it, because one can pass a role of one's own account only.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
func (p *findings) role(member, role, account string) {
	switch n := len(role); {
	case n < 20 || n > 2048:
		p.refused("role", fmt.Sprintf("Value at '%s' failed to satisfy constraint: Member must have length between 20 and 2048", member), "the ARN of the provisioning role is %d characters long", n)
	case !rolePattern.MatchString(role) || strings.ContainsAny(role, "*?"):
		p.refused("role", "Invalid role ARN", "%q is not the ARN of a role", role)
	case account != "" && !strings.Contains(role, "::"+account+":"):
		p.refused("role", "Cross-account pass role is not allowed.", "%q is a role of another account than %s", role, account)
	}
}
