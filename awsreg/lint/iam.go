package lint

import (
	"strings"

	"mintmark/internal/pattern"
)

// Managed policies that give a function far more than it needs.
var widePolicies = pattern.New(`(^|/|\b)(AdministratorAccess|PowerUserAccess|IAMFullAccess|AWSIoTFullAccess|AWSLambda_FullAccess|AmazonS3FullAccess|AmazonDynamoDBFullAccess)$`)

// iamResource checks a role or a policy of IAM.
func (u *unit) iamResource(r resource) {
	u.about("IAM %s %s", strings.ToLower(strings.TrimPrefix(r.kind, "AWS::IAM::")), quoted(r.id))
	for _, name := range []string{"ManagedPolicyArns", "managedPolicies"} {
		for _, p := range r.props.get(name).list() {
			u.managedPolicy(p)
		}
	}
	if doc := r.props.get("PolicyDocument"); doc != nil {
		u.iamPolicy(doc)
	}
	for _, p := range r.props.get("Policies").list() {
		u.iamPolicy(p.get("PolicyDocument"))
	}
}

func (u *unit) managedPolicy(p *node) {
	p.walk(func(n *node) {
		if n.is(text) {
			if m := widePolicies.FindString(n.text); m != "" {
				u.add("iam-wide", n.line, "it has %s: whoever gets the code to run owns the account. Name the actions and resources that it needs", strings.TrimPrefix(m, "/"))
			}
		}
	})
}

// iamPolicy checks a policy for IAM.
func (u *unit) iamPolicy(doc *node) {
	for _, g := range grants(doc) {
		u.iamGrant(g)
	}
}

func (u *unit) iamGrant(g grant) {
	everywhere := false
	for _, r := range g.resources {
		everywhere = everywhere || r.value() == "*"
	}
	for _, a := range g.actions {
		v := a.value()
		service, name := verb(v)
		switch {
		case g.allow && service == "*":
			u.add("iam-wide", a.line, "it allows every action (%q): name the actions and resources that it needs", cut(v))
		case g.allow && everywhere && strings.Trim(name, "*") == "" && name != "":
			u.add("iam-wide", a.line, "it allows every action of %s on every resource: name the actions and resources that it needs", service)
		case service != "iot" || strings.Contains(v, "${"):
		case strings.ContainsAny(name, "*?"):
			if !matchesAny(name, controlActions) {
				u.add("iam-action", a.line, "%s matches no action of AWS IoT", cut(v))
			}
		case name == "publishretain":
			u.add("iam-action", a.line, "there is no action iot:PublishRetain; it is called iot:RetainPublish")
		case !controlActions[name]:
			u.add("iam-action", a.line, "there is no action %s", cut(v))
		}
	}
}
