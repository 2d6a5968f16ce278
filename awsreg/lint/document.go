package lint

import (
	"strings"

	"mintmark/internal/pattern"
)

// document checks a JSON or YAML document by its shape.
func (c *checker) document(u *unit) {
	doc := u.doc
	switch {
	case doc.get("Statement") != nil:
		c.policyFile(u, doc)
	case isTemplate(doc):
		t := c.provisioning(u, doc, "", false)
		u.templates = append(u.templates, t)
	case doc.get("Resources").is(object):
		u.resources = stackResources(doc)
		c.stack(u)
		u.cycles(doc)
	case doc.get("allowProvisioning") != nil:
		u.hookAnswer(doc)
	case doc.get("claimCertificateId") != nil || doc.get("caCertificateId") != nil:
		u.hookEvent(doc)
	case doc.get("sql") != nil || doc.at("topicRulePayload", "sql") != nil:
		r := resource{kind: "AWS::IoT::TopicRule", id: doc.get("ruleName").str(), line: doc.line, props: doc}
		if p := doc.get("topicRulePayload"); p != nil {
			r.props = p
		}
		c.topicRule(u, r, r.props)
	case doc.get("templateBody") != nil:
		c.templateOf(u, resource{kind: "AWS::IoT::ProvisioningTemplate", line: doc.line, props: doc})
	default:
		u.strange = !c.parts(u, doc)
	}
}

// parts checks documents that stand inside of others, as in the input of the aws
// CLI, and reports whether there was any.
func (c *checker) parts(u *unit, n *node) (found bool) {
	n.walk(func(n *node) {
		switch {
		case n.kind != object:
		case n.get("Statement") != nil:
			found = true
			c.anyPolicy(u, n, "")
		case isTemplate(n):
			found = true
			u.templates = append(u.templates, c.provisioning(u, n, "", false))
		}
	})
	return found
}

// policyFile checks a policy that is alone in its file.
func (c *checker) policyFile(u *unit, doc *node) {
	name := u.file[strings.LastIndexAny(u.file, `/\`)+1:]
	name, _, _ = strings.Cut(name, ".")
	c.anyPolicy(u, doc, name)
}

// anyPolicy tells a device's policy from one for IAM.
func (c *checker) anyPolicy(u *unit, doc *node, name string) {
	if c.Role == IAM || c.Role != Device && c.Role != Claim && forIAM(doc) {
		u.about("IAM policy %s", quoted(name))
		u.iamPolicy(doc)
		return
	}
	role := c.Role
	if role != Device && role != Claim {
		role = ""
	}
	c.iotPolicy(u, doc, name, role)
}

// forIAM tells a policy for IAM: it has a principal, or more actions that only IAM
// has than ones of devices.
func forIAM(doc *node) bool {
	iam, device := 0, 0
	for _, g := range grants(doc) {
		if g.node.get("Principal") != nil || g.node.get("Principals") != nil {
			return true
		}
		for _, a := range g.actions {
			service, name := verb(a.value())
			switch {
			case service != "iot" && service != "greengrass":
				iam++
			case deviceActions[name] || name == "*" || name == "publishretain":
				device++
			case controlActions[name]:
				iam++
			}
		}
	}
	return iam > device
}

var templateName = pattern.New(`^[0-9A-Za-z_-]{1,36}$`)

// templateOf checks a provisioning template with what stands around its body.
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateProvisioningTemplate.html
func (c *checker) templateOf(u *unit, r resource) {
	name := r.props.get("TemplateName")
	u.about("provisioning template %s", quoted(name.str()))
	if known(name) && !templateName.MatchString(name.text) {
		u.add("template-name", name.line, "its name %q must be 1 to 36 letters, digits and _ -", cut(name.text))
	}
	jitp := r.props.get("TemplateType").str() == "JITP" || r.props.get("type").str() == "JITP"
	hook := r.props.get("PreProvisioningHook")
	switch {
	case jitp && hook != nil:
		u.add("hook-jitp", hook.line, "just-in-time provisioning has no hook: which devices come in is decided by the CA that signs them")
	case !jitp && hook == nil:
		u.add("hook-missing", r.line, "it has no pre-provisioning hook: whoever has a claim registers any thing, those of other devices too")
	}
	if v := hook.get("PayloadVersion"); known(v) && v.text != "2020-04-01" {
		u.add("hook-payload-version", v.line, "the hook's payload version is %q; there is 2020-04-01 only", cut(v.text))
	}
	u.role(r.props.get("ProvisioningRoleArn"))
	if body, ok := inner(r.props.get("TemplateBody")); ok {
		t := c.provisioning(u, body, name.str(), jitp)
		t.hook = hook != nil
		u.templates = append(u.templates, t)
	}
}

// known reports whether a value is a text that is there in full.
func known(n *node) bool {
	return n.is(text) && !n.partial && !strings.Contains(n.text, "${")
}

// inner reads a document that is a text inside of another, or an object that code
// makes a text of.
func inner(n *node) (*node, bool) {
	switch {
	case n == nil:
		return nil, false
	case n.is(object) && n.get("Resources") != nil:
		return n, true
	case n.is(call) && len(n.items) > 0:
		return inner(n.items[0])
	}
	if name, arg := n.function(); name == "Fn::Sub" {
		n = arg
		if arg.is(array) && len(arg.items) > 0 {
			n = arg.items[0]
		}
	}
	if !n.is(text) || !strings.HasPrefix(strings.TrimSpace(n.text), "{") {
		return nil, false
	}
	doc, err := parseJSON([]byte(n.text))
	if err != nil || !doc.get("Resources").is(object) {
		return nil, false
	}
	doc.walk(func(d *node) {
		d.line += n.line - 1
		for i := range d.members {
			d.members[i].line += n.line - 1
		}
	})
	return doc, true
}

var roleARN = pattern.New(`^arn:[a-z-]+:iam::[0-9]{12}:role/.+$`)

// role checks the ARN of a role, where it is written out.
func (u *unit) role(n *node) {
	if known(n) && (len(n.text) < 20 || len(n.text) > 2048 || !roleARN.MatchString(n.text)) {
		u.add("role-arn", n.line, "%q is not the ARN of a role, as in arn:aws:iam::123456789012:role/provisioning", cut(n.text))
	}
}
