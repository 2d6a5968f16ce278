package lint

import (
	"strings"

	"mintmark/internal/pattern"
)

// grant is one statement of a policy.
type grant struct {
	node      *node
	allow     bool
	actions   []*node
	resources []*node
	condition *node
}

// grants are the statements of a policy document; CDK writes PolicyStatement with
// lists named actions and resources.
func grants(policy *node) []grant {
	var list []grant
	for _, s := range policy.get("Statement").list() {
		list = append(list, grantOf(s))
	}
	for _, s := range policy.get("statements").list() {
		list = append(list, grantOf(s))
	}
	return list
}

func grantOf(s *node) grant {
	if s.is(call) && len(s.items) == 1 && s.items[0].is(object) {
		s = s.items[0]
	}
	g := grant{node: s, allow: true, condition: s.get("Condition")}
	if effect := s.get("Effect"); effect != nil {
		g.allow = !strings.EqualFold(last(effect.value()), "Deny")
		if effect.is(unknown) {
			g.allow = !strings.EqualFold(last(effect.text), "DENY")
		}
	}
	for _, name := range []string{"Action", "Actions"} {
		g.actions = append(g.actions, s.get(name).list()...)
	}
	for _, name := range []string{"Resource", "Resources"} {
		g.resources = append(g.resources, s.get(name).list()...)
	}
	return g
}

// service and verb split iot:Publish; "*" is every service and every verb.
func verb(action string) (service, name string) {
	service, name, ok := strings.Cut(action, ":")
	if !ok {
		return action, "*"
	}
	return strings.ToLower(service), strings.ToLower(name)
}

// does reports whether the statement is about an action, wildcards included.
func (g grant) does(action string) bool {
	for _, a := range g.actions {
		if a.value() != "" && glob(strings.ToLower(a.value()), strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// glob matches * and ? of policies. What the text does not show, ${...}, is like
// a star, but only in patterns.
func glob(pattern, s string) bool {
	pattern = placeholder.ReplaceAllString(pattern, "*")
	// Iterative, so that no pattern takes exponential time.
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			p = star + 1
			mark++
			i = mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

var placeholder = pattern.New(`\$\{[^}]*\}`)

// resourceOf splits arn:aws:iot:region:account:topic/x into topic and x.
func resourceOf(arn string) (kind, name string) {
	masked := placeholder.ReplaceAllStringFunc(arn, func(s string) string { return strings.ReplaceAll(s, ":", "\x00") })
	parts := strings.SplitN(masked, ":", 6)
	rest := masked
	switch {
	case len(parts) == 6 && parts[0] == "arn":
		rest = parts[5]
	case strings.HasPrefix(masked, "arn:"):
		return "", ""
	default: // an ARN whose beginning is computed
		for _, k := range []string{"client/", "topicfilter/", "topic/"} {
			if i := strings.Index(masked, k); i >= 0 {
				rest = masked[i:]
				break
			}
		}
	}
	kind, name, _ = strings.Cut(rest, "/")
	return kind, strings.ReplaceAll(name, "\x00", ":")
}

// iotPolicy checks a policy of AWS IoT Core.
// https://docs.aws.amazon.com/iot/latest/developerguide/iot-policies.html
func (c *checker) iotPolicy(u *unit, policy *node, name string, role Role) {
	u.about("IoT policy %s", quoted(name))
	size := compactSize(policy)
	if size > 2048 {
		u.add("policy-size", policy.line, "it is %d characters long without white space; AWS takes 2048: use wildcards and policy variables, or two policies", size)
	}
	if policy.get("Statement") != nil && len(grants(policy)) == 0 {
		u.add("policy-syntax", policy.line, "it has no statement")
	}
	if v := policy.get("Version"); v.is(text) && !v.partial && v.text != "2012-10-17" {
		u.add("policy-syntax", v.line, "its version is %q; variables work in 2012-10-17 only", cut(v.text))
	}
	u.subVariables(policy)
	if role == "" {
		role = policyRole(policy, name)
	}
	claims := role == Claim
	for _, g := range grants(policy) {
		u.deviceActions(g)
		u.variables(g)
		u.resourceKinds(g)
		if g.allow && !claims {
			u.deviceScope(g)
		}
	}
	if claims {
		u.claimPolicy(policy)
	}
}

func quoted(name string) string {
	if name == "" {
		return "without a name"
	}
	return `"` + cut(name) + `"`
}

// policyRole tells a claim policy: it is called so, or allows provisioning topics
// only.
func policyRole(policy *node, name string) Role {
	name = strings.ToLower(name)
	if strings.Contains(name, "claim") || strings.Contains(name, "bootstrap") {
		return Claim
	}
	provisioning, other := false, false
	for _, g := range grants(policy) {
		for _, r := range g.resources {
			switch kind, topic := resourceOf(r.value()); {
			case provisioningTopic(topic):
				provisioning = true
			case kind == "topic" || kind == "topicfilter":
				other = true
			}
		}
	}
	if provisioning && !other {
		return Claim
	}
	return Device
}

func provisioningTopic(topic string) bool {
	return strings.HasPrefix(topic, "$aws/certificates/create") || strings.HasPrefix(topic, "$aws/provisioning-templates/")
}

func (u *unit) deviceActions(g grant) {
	for _, a := range g.actions {
		service, name := verb(a.value())
		switch {
		case a.value() == "" || strings.Contains(a.value(), "${"):
		case service == "*", service == "iot" && strings.Trim(name, "*") == "":
			if g.allow {
				u.add("policy-action-wide", a.line, "%q allows a device everything that there will ever be: name the actions", a.value())
			}
		case service == "greengrass":
		case service != "iot":
			u.add("policy-action", a.line, "%s is no action of a device's policy; those begin with iot:", cut(a.value()))
		case strings.ContainsAny(name, "*?"):
			if !matchesAny(name, deviceActions) {
				u.add("policy-action", a.line, "%s matches no action that a device's policy can grant", cut(a.value()))
			}
		case name == "publishretain":
			u.add("policy-action", a.line, "there is no action iot:PublishRetain; it is called iot:RetainPublish. Whether AWS refuses the policy is not documented; if not, the statement grants nothing")
		case deviceActions[name]:
		case controlActions[name]:
			u.add("policy-action", a.line, "%s is an action of IAM; in a device's policy it grants nothing", cut(a.value()))
		default:
			u.add("policy-action", a.line, "there is no action %s; whether AWS refuses the policy is not documented", cut(a.value()))
		}
	}
}

func matchesAny(pattern string, set map[string]bool) bool {
	for name := range set {
		if glob(pattern, name) {
			return true
		}
	}
	return false
}

// wantedKind is what resource an action of a device is about.
var wantedKind = map[string]string{
	"connect": "client", "publish": "topic", "receive": "topic", "retainpublish": "topic",
	"getretainedmessage": "topic", "subscribe": "topicfilter",
	"getthingshadow": "thing", "updatethingshadow": "thing", "deletethingshadow": "thing", "listnamedshadowsforthing": "thing",
	"assumerolewithcertificate": "rolealias",
}

// resourceKinds finds actions none of whose resources is of the kind that they are
// about: the ARN of a topic where that of a topic filter is wanted.
func (u *unit) resourceKinds(g grant) {
	for _, a := range g.actions {
		service, name := verb(a.value())
		want, ok := wantedKind[name]
		if service != "iot" || !ok || len(g.resources) == 0 {
			continue
		}
		fits := false
		var have []string
		for _, r := range g.resources {
			kind, _ := resourceOf(r.value())
			if r.value() == "*" || !r.is(text) && kind == "" || strings.ContainsAny(kind, "*$?") || kind == want {
				fits = true
			}
			have = append(have, kind+"/")
		}
		if !fits {
			u.add("policy-resource-kind", a.line, "%s is about ...:%s/..., and its resource is ...:%s...: it grants nothing", a.value(), want, cut(strings.Join(have, ", ")))
		}
	}
	for _, r := range g.resources {
		if kind, name := resourceOf(r.value()); kind == "topic" && (strings.HasSuffix(name, "/#") || strings.Contains("/"+name+"/", "/+/") || name == "#") {
			u.add("policy-wildcard", r.line, "%q: + and # are no wildcards in a policy, only * and ? are", cut(name))
		}
	}
}

// deviceScope finds what lets one device act as another.
func (u *unit) deviceScope(g grant) {
	attached := g.condition.at("Bool", "iot:Connection.Thing.IsAttached") != nil
	for _, r := range g.resources {
		v := r.value()
		kind, name := resourceOf(v)
		wide := v == "*" || kind == "*" || strings.Trim(name, "*") == "" && name != ""
		switch {
		case g.does("iot:Connect") && (wide || kind == "client" && strings.Trim(name, "*?") == ""):
			if !attached {
				u.add("policy-client", r.line, "it may connect under every client id, and so push other devices off: use client/${iot:Connection.Thing.ThingName}")
			}
			if len(g.actions) > 1 && wide && kind != "client" {
				u.add("policy-resource", r.line, "it allows every resource (%q): any device can act as any other", v)
			}
		case wide && g.only("iot:ListRetainedMessages"):
		case wide:
			u.add("policy-resource", r.line, "it allows every resource (%q): any device can act as any other", cut(v))
		case (kind == "topic" || kind == "topicfilter") && ruleWildcard(name):
			u.add("policy-resource", r.line, "%q reaches every rule of the account: name the rule, as in $aws/rules/<rule>/...", cut(name))
		case (kind == "topic" || kind == "topicfilter") && (name == "$aws/*" || name == "$aws/things/*"):
			u.add("policy-resource", r.line, "%q reaches what belongs to other devices", cut(name))
		}
	}
}

func ruleWildcard(name string) bool {
	rest, ok := strings.CutPrefix(name, "$aws/rules/")
	return ok && (strings.HasPrefix(rest, "*") || rest == "")
}

func (g grant) only(action string) bool {
	for _, a := range g.actions {
		if !strings.EqualFold(a.value(), action) {
			return false
		}
	}
	return len(g.actions) > 0
}
