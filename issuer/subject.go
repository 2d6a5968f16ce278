package issuer

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// attribute is a kind of subject attribute.
type attribute struct {
	name string
	oid  asn1.ObjectIdentifier
	max  int // upper bound in characters
}

// attributes are the subject attributes that profiles know, in the order in
// which they stand in a subject (RFC 5280, Appendix A; X.520).
var attributes = []attribute{
	{"country", asn1.ObjectIdentifier{2, 5, 4, 6}, 2},
	{"stateOrProvince", asn1.ObjectIdentifier{2, 5, 4, 8}, 128},
	{"locality", asn1.ObjectIdentifier{2, 5, 4, 7}, 128},
	{"organization", asn1.ObjectIdentifier{2, 5, 4, 10}, 64},
	{"organizationalUnit", asn1.ObjectIdentifier{2, 5, 4, 11}, 64},
	{"dnQualifier", asn1.ObjectIdentifier{2, 5, 4, 46}, 64},
	{"commonName", asn1.ObjectIdentifier{2, 5, 4, 3}, 64},
	{"serialNumber", asn1.ObjectIdentifier{2, 5, 4, 5}, 64},
}

// subjectRule is one attribute of a profile's subject.
type subjectRule struct {
	attribute string
	oid       asn1.ObjectIdentifier
	max       int
	value     string         // fixed, if pattern is nil
	pattern   *regexp.Regexp // matched against the request's value
	group     int            // of the pattern: what matches is the device; 0 for the whole value
	source    string         // the pattern as configured, for texts
	optional  bool
}

func newSubjectRules(config map[string]Attribute) ([]subjectRule, error) {
	for name := range config {
		if !slices.ContainsFunc(attributes, func(a attribute) bool { return a.name == name }) {
			return nil, fmt.Errorf("unknown attribute %q: use country, stateOrProvince, locality, organization, organizationalUnit, dnQualifier, commonName, serialNumber", name)
		}
	}
	var rules []subjectRule
	for _, a := range attributes {
		c, ok := config[a.name]
		if !ok {
			continue
		}
		rule := subjectRule{attribute: a.name, oid: a.oid, max: a.max, value: c.Value, optional: c.Optional}
		switch {
		case c.Value != "" && (c.Pattern != "" || c.Optional):
			return nil, fmt.Errorf("%s: a fixed value excludes pattern and optional", a.name)
		case c.Value != "":
			if len([]rune(c.Value)) > a.max {
				return nil, fmt.Errorf("%s: %q is longer than %d characters", a.name, c.Value, a.max)
			}
		case c.Pattern != "":
			var err error
			rule.source = c.Pattern
			if rule.pattern, err = whole(c.Pattern); err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			if rule.group, err = deviceGroup(rule.pattern); err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
		default:
			return nil, fmt.Errorf("%s: needs a value or a pattern", a.name)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// deviceGroup returns the index of a pattern's group named device; 0 for none.
func deviceGroup(pattern *regexp.Regexp) (int, error) {
	group := pattern.SubexpIndex("device")
	if group < 0 {
		return 0, nil
	}
	if slices.Contains(pattern.SubexpNames()[group+1:], "device") {
		return 0, errors.New("it has two groups named device")
	}
	parsed, err := syntax.Parse(pattern.String(), syntax.Perl)
	if err != nil {
		return 0, err
	}
	if captured := capture(parsed, group); captured != nil && regexp.MustCompile(`\A(?:`+captured.Sub[0].String()+`)\z`).MatchString("") {
		return 0, errors.New("the group named device matches nothing at all, which is no device")
	}
	return group, nil
}

// capture finds a group in a pattern.
func capture(re *syntax.Regexp, group int) *syntax.Regexp {
	if re.Op == syntax.OpCapture && re.Cap == group {
		return re
	}
	for _, sub := range re.Sub {
		if found := capture(sub, group); found != nil {
			return found
		}
	}
	return nil
}

// identifier returns the device that a value of the identifying attribute
// names; empty if none.
func (r *subjectRule) identifier(value string) string {
	if r.group == 0 {
		return value
	}
	if parts := r.pattern.FindStringSubmatch(value); parts != nil {
		return parts[r.group]
	}
	return ""
}

// buildSubject makes the subject of a certificate: step 4. It returns the
// attribute values by name beside the DER.
func (p *Profile) buildSubject(requested pkix.Name) (der []byte, values map[string]string, err error) {
	values = make(map[string]string, len(p.subject))
	sequence := make(pkix.RDNSequence, 0, len(p.subject))
	for _, rule := range p.subject {
		value := rule.value
		if rule.pattern != nil {
			found := attributeValues(requested, rule.oid)
			switch {
			case len(found) == 0 && rule.optional:
				continue
			case len(found) == 0:
				return nil, nil, refuse(Malformed, "subject", "the subject has no %s, which profile %s demands", rule.attribute, p.Name)
			case len(found) > 1:
				return nil, nil, refuse(Malformed, "subject", "the subject has %d values for %s; one is allowed", len(found), rule.attribute)
			}
			value = found[0]
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return nil, nil, refuse(Malformed, "subject", "%s is not valid UTF-8 text", rule.attribute)
			}
			if len([]rune(value)) > rule.max {
				return nil, nil, refuse(Malformed, "subject", "%s is longer than %d characters", rule.attribute, rule.max)
			}
			if !rule.pattern.MatchString(value) {
				return nil, nil, refuse(Malformed, "subject", "%s %q does not match the pattern of profile %s: %s", rule.attribute, value, p.Name, rule.source)
			}
		}
		values[rule.attribute] = value
		sequence = append(sequence, pkix.RelativeDistinguishedNameSET{{Type: rule.oid, Value: value}})
	}
	der, err = asn1.Marshal(sequence)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the subject: %w", err)
	}
	return der, values, nil
}

// attributeValues returns the string values of one attribute.
func attributeValues(name pkix.Name, oid asn1.ObjectIdentifier) []string {
	var found []string
	for _, a := range name.Names {
		if a.Type.Equal(oid) {
			if s, ok := a.Value.(string); ok {
				found = append(found, s)
			}
		}
	}
	return found
}
