package lint

import (
	"strings"
)

// stack checks the resources of a stack, and how they belong together.
func (c *checker) stack(u *unit) {
	for _, r := range u.resources {
		switch r.kind {
		case "AWS::IoT::Policy":
			name := r.props.get("PolicyName").value()
			if name == "" || strings.HasPrefix(name, "${") {
				name = r.id
			}
			if doc := r.props.get("PolicyDocument"); doc.is(object) && doc.get("Statement") != nil {
				role := policyRole(doc, name)
				c.iotPolicy(u, doc, name, role)
			}
		case "AWS::IoT::ProvisioningTemplate":
			c.templateOf(u, r)
		case "AWS::IoT::CACertificate":
			c.registration(u, r)
		case "AWS::IoT::TopicRule":
			payload := r.props.get("TopicRulePayload")
			if payload == nil {
				payload = r.props
			}
			c.topicRule(u, r, payload)
		case "AWS::Lambda::Function":
			u.lambda(r)
		case "AWS::Lambda::Permission":
			u.permission(r)
		case "AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy":
			u.iamResource(r)
		case "AWS::Events::Rule":
			u.schedule(r)
		case "Custom::AWS":
			u.customResource(r)
		}
	}
	u.hooks(c.Role)
}

// registration checks the registration of a CA.
// https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterCACertificate.html
func (c *checker) registration(u *unit, r resource) {
	u.about("CA certificate %s", quoted(r.id))
	mode, proof := r.props.get("CertificateMode"), r.props.get("VerificationCertificatePem")
	if name, _ := proof.function(); name == "Fn::If" {
		return // depends on a condition, as the mode may
	}
	switch {
	case mode.str() == "SNI_ONLY" && proof != nil:
		u.add("ca-mode", proof.line, "in mode SNI_ONLY there must be no verification certificate")
	case (mode == nil || mode.str() == "DEFAULT") && proof == nil:
		u.add("ca-mode", r.line, "in mode DEFAULT there must be a verification certificate, signed by the CA")
	case known(mode) && mode.text != "SNI_ONLY" && mode.text != "DEFAULT":
		u.add("ca-mode", mode.line, "the mode %q is neither DEFAULT nor SNI_ONLY", cut(mode.text))
	}
	config := r.props.get("RegistrationConfig")
	u.role(config.get("RoleArn"))
	if name := config.get("TemplateName"); known(name) && !templateName.MatchString(name.text) {
		u.add("template-name", name.line, "the template's name %q must be 1 to 36 letters, digits and _ -", cut(name.text))
	}
	if body, ok := inner(config.get("TemplateBody")); ok {
		u.templates = append(u.templates, c.provisioning(u, body, "", true))
	}
}

// functions of AWS that make private keys.
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateKeysAndCertificate.html
const keysOperation = "createkeysandcertificate"

// customResource finds a stack that has AWS make keys: they end up in the stack's
// outputs, in S3, and in the log.
func (u *unit) customResource(r resource) {
	r.props.walk(func(n *node) {
		if n.is(text) && operation(n.text) == keysOperation {
			u.about("custom resource %s", quoted(r.id))
			u.add("cloud-key", n.line, "it has AWS make a certificate with its private key, which then lies in the cloud: make the key where it is used and send a certification request")
		}
	})
}

var separators = strings.NewReplacer("_", "", "-", "")

// operation is an API's name in one spelling: create_thing, createThing and
// CreateThingCommand are the same.
func operation(name string) string {
	return strings.TrimSuffix(strings.ToLower(separators.Replace(name)), "command")
}
