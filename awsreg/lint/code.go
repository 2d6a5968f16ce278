package lint

import (
	"strings"
)

// code checks a program: as a function, as a client, and as a CDK stack.
func (c *checker) code(u *unit) {
	u.about("code")
	u.resources = codeResources(u.doc)
	c.stack(u)
	u.about("code")
	c.constructs(u)
	u.about("code")
	u.rotation = c.Role == Rotation
	u.rules()
}

// constructs checks what stands in a CDK program outside of the constructs that
// have rules: policies, statements, template bodies.
func (c *checker) constructs(u *unit) {
	covered := map[*node]bool{}
	for _, r := range u.resources {
		switch r.kind {
		case "AWS::IoT::Policy", "AWS::IoT::ProvisioningTemplate", "AWS::IoT::CACertificate", "AWS::IAM::Role":
			r.props.walk(func(n *node) { covered[n] = true })
		}
	}
	u.doc.walk(func(n *node) {
		switch {
		case covered[n]:
		case n.kind == object && n.get("Statement") != nil:
			c.anyPolicy(u, n, "")
		case n.kind == object && isTemplate(n):
			u.templates = append(u.templates, c.provisioning(u, n, "", false))
		}
		if n.kind == call {
			c.constructCall(u, n)
		}
	})
}

func (c *checker) constructCall(u *unit, n *node) {
	switch last(n.text) {
	case "PolicyStatement":
		u.about("IAM statement")
		u.iamGrant(grantOf(n))
	case "fromAwsManagedPolicyName", "from_aws_managed_policy_name", "fromManagedPolicyArn", "from_managed_policy_arn":
		u.about("IAM role")
		u.managedPolicy(&node{items: n.items})
	}
}

// rules runs the rules about how a program works.
func (u *unit) rules() {
	u.hook = u.findHook()
	u.operations()
	u.pagination()
	u.grace()
	u.deactivation()
	u.printStatement()
	if u.handlerFunction() != nil {
		u.moduleDates()
	}
	if u.hook != nil {
		u.sticky()
		u.failsOpen()
		u.trust()
		u.prefixOnly()
		u.doc.walk(func(n *node) {
			if n.kind == object && n.get("allowProvisioning") != nil {
				u.answer(n)
			}
		})
	}
}

// site is where an operation is called.
type site struct {
	name string // as operation spells it
	at   int    // index of the token of the name
}

// sites lists the calls among tokens.
func sites(tokens []token) []site {
	var list []site
	for i, t := range tokens {
		if t.kind == nameToken && i+1 < len(tokens) && tokens[i+1].op("(") {
			list = append(list, site{t.api, i})
		}
	}
	return list
}

// handlerFunction is the function that Lambda calls, if there is one.
func (u *unit) handlerFunction() *function {
	for _, f := range functions(u.statements) {
		name := strings.ToLower(f.name)
		if name == "handler" || strings.HasSuffix(name, "_handler") || len(f.params) == 2 && f.params[0] == "event" && f.params[1] == "context" {
			return f
		}
	}
	return nil
}

// tokensOf are all tokens of statements, those of their blocks included.
func tokensOf(list []*statement) []token {
	var all []token
	each(list, true, func(s *statement, _ []*statement) { all = append(all, s.tokens...) })
	return all
}

// operations finds calls that are wrong whatever is around them.
func (u *unit) operations() {
	made := map[string]int{}
	each(u.statements, true, func(s *statement, _ []*statement) {
		for _, c := range sites(s.tokens) {
			line := s.tokens[c.at].line
			made[c.name] = line
			switch c.name {
			case keysOperation:
				u.add("cloud-key", line, "it has AWS make the private key, which then travels: make the key in the device and use CreateCertificateFromCsr")
			case "registercertificate", "registercertificatewithoutca":
				for _, t := range s.tokens[c.at:matching(s.tokens, c.at+1)] {
					if t.kind == stringToken && t.text == "PENDING_ACTIVATION" {
						u.add("register-pending", t.line, "a certificate cannot be registered as PENDING_ACTIVATION: use INACTIVE or ACTIVE")
					}
				}
			}
		}
		for _, t := range s.tokens {
			if t.kind == stringToken && (strings.HasPrefix(t.text, "$aws/certificates/create/json") || strings.HasPrefix(t.text, "$aws/certificates/create/cbor")) {
				u.add("cloud-key", t.line, "%s has AWS make the private key and send it: make the key in the device and use $aws/certificates/create-from-csr", cut(t.text))
			}
			if t.kind == stringToken && strings.Contains(t.text, "create-keys-and-certificate") {
				u.add("cloud-key", t.line, "create-keys-and-certificate has AWS make the private key: make the key where it is used")
			}
		}
	})
	if line, ok := made["createpolicyversion"]; ok {
		if _, deletes := made["deletepolicyversion"]; !deletes {
			u.add("policy-versions", line, "a policy has five versions at most: delete the oldest that is not in force (DeletePolicyVersion) before the sixth")
		}
	}
}

// printStatement finds Python 2.
func (u *unit) printStatement() {
	if !u.python {
		return
	}
	each(u.statements, true, func(s *statement, _ []*statement) {
		if len(s.tokens) > 1 && s.tokens[0].name("print") && s.tokens[1].kind == stringToken {
			u.add("runtime", s.line, "this is Python 2, which Lambda no longer runs")
		}
	})
}
