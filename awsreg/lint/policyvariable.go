package lint

import (
	"strings"

	"mintmark/internal/pattern"
)

// What may stand in ${...} of an IoT policy.
// https://docs.aws.amazon.com/iot/latest/developerguide/iot-policy-variables.html
var (
	plainVariables = words(`iot:ClientId iot:DomainName aws:SourceIp
		iot:Connection.Thing.ThingName iot:Connection.Thing.ThingTypeName iot:Connection.Thing.IsAttached
		iot:Certificate.SerialNumber`)
	attributeVariable   = pattern.New(`(?i)^iot:Connection\.Thing\.Attributes\[[^\]]{1,128}\]$`)
	certificateVariable = pattern.New(`(?i)^iot:Certificate\.(Subject|Issuer)\.(DistinguishedNameQualifier|Country|Organization|OrganizationalUnit|State|CommonName|SerialNumber|Title|Surname|GivenName|Initials|Pseudonym|GenerationQualifier)(\.[0-9]+)?$`)
	alternativeVariable = pattern.New(`(?i)^iot:Certificate\.(Subject|Issuer)\.AlternativeName\.(RFC822Name|DNSName|DirectoryName|UniformResourceIdentifier|IPAddress)(\.[0-9]+)?$`)
	otherVariable       = pattern.New(`(?i)^(iot:Certificate\.AvailableKeys|credentials-iot:(ThingName|ThingTypeName|AwsCertificateId))$`)
)

func knownVariable(name string) bool {
	return plainVariables[strings.ToLower(name)] || attributeVariable.MatchString(name) || certificateVariable.MatchString(name) ||
		alternativeVariable.MatchString(name) || otherVariable.MatchString(name)
}

// variables finds policy variables that do not exist. They are never substituted,
// so that the statement matches nothing. What has no colon in it belongs to
// CloudFormation or to code, unless the document is plain.
func (u *unit) variables(g grant) {
	for _, r := range g.resources {
		plain := r.is(text) && !r.partial
		for _, v := range placeholder.FindAllString(r.value(), -1) {
			name := v[2 : len(v)-1]
			switch {
			case strings.HasPrefix(name, "AWS::"), knownVariable(name), name == "*", name == "?", name == "$":
			case strings.Contains(name, "(") || strings.Contains(name, " "):
			case strings.HasPrefix(strings.ToLower(name), "iot:") || plain && !strings.Contains(name, ":") && u.format == formatDocument:
				u.add("policy-variable", r.line, "there is no policy variable ${%s}; the thing's name is ${iot:Connection.Thing.ThingName}, the client id ${iot:ClientId}", cut(name))
			}
		}
	}
}

// subVariables finds policy variables that Fn::Sub would take for its own.
func (u *unit) subVariables(policy *node) {
	policy.walk(func(n *node) {
		name, arg := n.function()
		if name != "Fn::Sub" {
			return
		}
		format := arg.str()
		if arg.is(array) && len(arg.items) > 0 {
			format = arg.items[0].str()
		}
		for _, v := range placeholder.FindAllString(format, -1) {
			if v := v[2 : len(v)-1]; !strings.HasPrefix(v, "!") && (strings.HasPrefix(v, "iot:") || strings.HasPrefix(v, "credentials-iot:")) {
				u.add("sub-variable", n.line, "Fn::Sub takes ${%s} for a parameter of the stack: write ${!%s}", cut(v), cut(v))
			}
		}
	})
}
