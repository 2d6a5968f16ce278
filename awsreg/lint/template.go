package lint

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"maps"
	"slices"
	"strings"

	"mintmark/internal/pattern"
)

// template is a provisioning template that was found somewhere.
type template struct {
	name     string
	line     int
	declared []string // parameters, AWS's own left out
	serials  []string // those of them that look like a serial number's
	hook     bool     // it has, or must have, a pre-provisioning hook
}

const certificateParameter = "AWS::IoT::Certificate::"

// What AWS fills in from a certificate's subject, and the attribute's object
// identifier.
// https://docs.aws.amazon.com/iot/latest/developerguide/jit-provisioning.html
var subjectParameters = map[string]asn1.ObjectIdentifier{
	"Country":                    {2, 5, 4, 6},
	"Organization":               {2, 5, 4, 10},
	"OrganizationalUnit":         {2, 5, 4, 11},
	"DistinguishedNameQualifier": {2, 5, 4, 46},
	"StateName":                  {2, 5, 4, 8},
	"CommonName":                 {2, 5, 4, 3},
	"SerialNumber":               {2, 5, 4, 5},
}

// isTemplate tells a provisioning template from a stack, which has resources of
// the same types.
func isTemplate(n *node) bool {
	resources := n.get("Resources")
	if !resources.is(object) || len(resources.members) == 0 || n.get("AWSTemplateFormatVersion") != nil || n.get("Transform") != nil {
		return false
	}
	known := false
	for _, m := range resources.members {
		kind := m.value.get("Type").str()
		switch kind {
		case "AWS::IoT::Thing", "AWS::IoT::Certificate", "AWS::IoT::Policy":
			known = true
		default:
			if strings.HasPrefix(kind, "AWS::") {
				return false
			}
		}
	}
	return known
}

// provisioning checks a provisioning template. Jitp is set where it is known to be
// one of just-in-time provisioning.
// https://docs.aws.amazon.com/iot/latest/developerguide/provision-template.html
func (c *checker) provisioning(u *unit, n *node, name string, jitp bool) *template {
	u.about("provisioning template %s", quoted(name))
	t := &template{name: name, line: n.line}
	declared := map[string]int{}
	for _, m := range n.get("Parameters").members0() {
		declared[m.name] = m.line
		short, own := strings.CutPrefix(m.name, certificateParameter)
		if own && short != "Id" {
			jitp = true
		}
		if !own {
			t.declared = append(t.declared, m.name)
			if strings.Contains(strings.ToLower(m.name), "serial") {
				t.serials = append(t.serials, m.name)
			}
		}
		if kind := m.value.get("Type"); kind.str() != "String" {
			u.add("template-parameter", m.line, "parameter %s has type %q; only String is there", m.name, cut(kind.value()))
		}
	}
	if size := compactSize(n); size > 10240 {
		u.add("template-size", n.line, "it is %d characters long; AWS takes 10240", size)
	}
	used := u.references(n, declared)
	if jitp {
		c.subject(u, n, declared, used)
	}
	u.templateResources(n, jitp)
	return t
}

// members0 is members of a node that may be nil.
func (n *node) members0() []member {
	if n == nil {
		return nil
	}
	return n.members
}

// references checks that what is used is declared, and returns what is used.
func (u *unit) references(n *node, declared map[string]int) map[string]bool {
	used := make(map[string]bool)
	use := func(name string, line int) {
		used[name] = true
		if _, ok := declared[name]; !ok && !strings.Contains(name, "${") {
			u.add("template-reference", line, "it uses %s, which its Parameters do not declare", cut(name))
		}
	}
	n.get("Resources").walk(func(n *node) {
		switch name, arg := n.function(); name {
		case "Ref":
			if arg.is(text) && !arg.partial {
				use(arg.text, arg.line)
			}
		case "Fn::Sub":
			format := arg.str()
			own := map[string]bool{}
			if arg.is(array) && len(arg.items) == 2 {
				format = arg.items[0].str()
				for _, m := range arg.items[1].members {
					own[m.name] = true
				}
			}
			for _, v := range placeholder.FindAllString(format, -1) {
				if v := v[2 : len(v)-1]; !own[v] && !strings.HasPrefix(v, "!") && !strings.HasPrefix(v, "iot:") {
					use(v, arg.line)
				}
			}
		}
	})
	return used
}

// subject checks the parameters of a JITP template, which AWS fills in from the
// subject of the device's certificate.
func (c *checker) subject(u *unit, n *node, declared map[string]int, used map[string]bool) {
	have, known := c.attributes()
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		short, own := strings.CutPrefix(name, certificateParameter)
		line := declared[name]
		switch _, ok := subjectParameters[short]; {
		case own && short == "Id":
		case !own || !ok:
			u.add("jitp-parameter", line, "parameter %s cannot be filled in: just-in-time provisioning has those of the certificate only (%s...)", name, certificateParameter)
		case known && !have[short]:
			u.add("jitp-parameter", line, "it declares %s, which the subject of the devices' certificates does not have: AWS would say {Ref=%s} and provision no device. Take the parameter out, or put the attribute into every subject", name, name)
		case !used[name]:
			u.add("jitp-unused", line, "it declares %s and does not use it; a certificate without that attribute is refused all the same", name)
		}
	}
	n.get("Resources").walk(func(n *node) {
		if name, _ := n.function(); strings.HasPrefix(name, "Fn::") {
			u.add("jitp-intrinsic", n.line, "%s is documented for fleet provisioning only; just-in-time provisioning may not know it", name)
		}
	})
}

// attributes are what the subjects of the devices' certificates have, if that is
// known.
func (c *checker) attributes() (map[string]bool, bool) {
	have := make(map[string]bool)
	for _, name := range c.Subject {
		have[name] = true
	}
	certs := []*x509.Certificate{c.Certificate}
	if c.Certificate == nil {
		for _, u := range c.units {
			if len(u.chain) > 0 && !u.chain[0].IsCA && !registrationCode.MatchString(u.chain[0].Subject.CommonName) {
				certs = append(certs, u.chain[0])
			}
		}
	}
	known := len(c.Subject) > 0
	for _, cert := range certs {
		if cert == nil {
			continue
		}
		known = true
		for name, id := range subjectParameters {
			if slices.ContainsFunc(cert.Subject.Names, func(a pkix.AttributeTypeAndValue) bool { return a.Type.Equal(id) }) {
				have[name] = true
			}
		}
	}
	return have, known
}

var (
	thingName     = pattern.New(`^[a-zA-Z0-9:_-]+$`)
	attributeName = pattern.New(`^[a-zA-Z0-9_.,@/:#-]+$`)
	attributeText = pattern.New(`^[a-zA-Z0-9_.,@/:#=\[\]-]*$`)
)

func (u *unit) templateResources(n *node, jitp bool) {
	types := map[string]int{}
	for _, m := range n.get("Resources").members0() {
		kind, properties := m.value.get("Type").str(), m.value.get("Properties")
		types[kind]++
		switch kind {
		case "AWS::IoT::Thing":
			u.thing(m, properties)
			u.overrides(m.value.get("OverrideSettings"))
		case "AWS::IoT::Certificate":
			u.templateCertificate(m, properties)
		case "AWS::IoT::Policy":
			if properties.get("PolicyName") == nil && properties.get("PolicyDocument") == nil {
				u.add("template-resource", m.line, "resource %s has neither PolicyName nor PolicyDocument", m.name)
			}
		default:
			u.add("template-resource", m.line, "resource %s has type %q; a provisioning template has things, certificates and policies", m.name, cut(kind))
		}
	}
	if types["AWS::IoT::Certificate"] == 0 {
		u.add("template-resource", n.line, "it has no AWS::IoT::Certificate: the device's certificate is never made active")
	}
	if types["AWS::IoT::Policy"] == 0 {
		u.add("template-policy", n.line, "it attaches no policy: AWS closes the connection of a device that has none, without a reason")
	}
	if d := n.get("DeviceConfiguration"); d != nil {
		for _, m := range d.members {
			if m.value.is(array) || m.value.is(object) {
				if name, _ := m.value.function(); name == "" {
					u.add("device-configuration", m.line, "%s is nested; DeviceConfiguration is a flat list of names and texts", m.name)
				}
			}
		}
	}
}

func (u *unit) thing(m member, properties *node) {
	name := properties.get("ThingName")
	if name == nil {
		u.add("thing-name", m.line, "resource %s has no ThingName", m.name)
	} else {
		known := placeholder.ReplaceAllString(name.value(), "")
		if known != "" && !thingName.MatchString(known) {
			u.add("thing-name", name.line, "the thing's name %q has characters that AWS does not take: letters, digits and : _ - are left", cut(name.value()))
		}
		if len(known) > 128 || known == "" && name.is(text) && name.text == "" {
			u.add("thing-name", name.line, "the thing's name has %d characters; AWS takes 1 to 128", len(known))
		}
		if name.is(text) && !name.partial && !strings.Contains(name.text, "${") && name.text != "" {
			u.add("thing-name-fixed", name.line, "every device becomes the same thing %q: put a parameter into the name", cut(name.text))
		}
	}
	attributes := properties.at("AttributePayload").members0()
	for _, a := range attributes {
		if len(a.name) > 128 || !attributeName.MatchString(a.name) {
			u.add("thing-attribute", a.line, "the attribute's name %q must be up to 128 letters, digits and _ . , @ / : # -", cut(a.name))
		}
		if v := placeholder.ReplaceAllString(a.value.value(), ""); len(v) > 800 || !attributeText.MatchString(v) {
			u.add("thing-attribute", a.line, "the value %q of %s must be up to 800 letters, digits and _ . , @ / : # = [ ] -", cut(a.value.value()), cut(a.name))
		}
	}
	if len(attributes) > 3 && properties.get("ThingTypeName") == nil {
		u.add("thing-attribute", m.line, "a thing without a type has at most 3 attributes, this one has %d: give it a ThingTypeName", len(attributes))
	}
	if len(attributes) > 50 {
		u.add("thing-attribute", m.line, "a thing has at most 50 attributes, this one has %d", len(attributes))
	}
}

// https://docs.aws.amazon.com/iot/latest/developerguide/provision-template.html#override-settings
func (u *unit) overrides(settings *node) {
	for _, m := range settings.members0() {
		value := strings.ToUpper(m.value.str())
		switch value {
		case "DO_NOTHING", "REPLACE", "FAIL":
		case "MERGE":
			if m.name != "AttributePayload" && m.name != "ThingGroups" {
				u.add("override-settings", m.line, "%s cannot be merged: MERGE is for AttributePayload and ThingGroups", m.name)
			}
		case "":
			if !m.value.is(unknown) {
				u.add("override-settings", m.line, "%s has no value", m.name)
			}
		default:
			u.add("override-settings", m.line, "%s is %q; it is DO_NOTHING, REPLACE, FAIL or, for AttributePayload and ThingGroups, MERGE", m.name, cut(m.value.str()))
		}
	}
}

func (u *unit) templateCertificate(m member, properties *node) {
	source := false
	for _, name := range []string{"CertificateId", "CertificateSigningRequest", "CertificatePem", "CACertificatePem"} {
		source = source || properties.get(name) != nil
	}
	if !source {
		u.add("template-resource", m.line, "resource %s says of no certificate which it is: add CertificateId with Ref AWS::IoT::Certificate::Id", m.name)
	}
	u.status(properties.get("Status"))
}

// status checks the status of a certificate that is provisioned; AWS takes it in
// any case.
func (u *unit) status(s *node) {
	if s == nil || !s.is(text) || s.partial || strings.Contains(s.text, "${") {
		return
	}
	switch strings.ToUpper(s.text) {
	case "ACTIVE", "INACTIVE":
	default:
		u.add("certificate-status", s.line, "the certificate's status is %q; it can be provisioned as ACTIVE or INACTIVE", cut(s.text))
	}
}
