package issuer

import (
	"crypto/x509/pkix"
	"fmt"
)

// DeviceIn returns the device that a subject identifies under the profile's
// rule: the pattern of its device attribute, or the group named device in it. attribute is where the value stands in
// this subject, commonName or serialNumber; empty for where the profile has it.
func (p *Profile) DeviceIn(subject pkix.Name, attribute string) (string, error) {
	if p.device == nil {
		return "", fmt.Errorf("profile %s is not for devices", p.Name)
	}
	rule := p.device
	oid := rule.oid
	if attribute == "" {
		attribute = p.deviceID
	}
	for _, a := range attributes {
		if a.name == attribute {
			oid = a.oid
		}
	}
	found := attributeValues(subject, oid)
	switch {
	case len(found) != 1:
		return "", fmt.Errorf("its subject has %d values for %s, which identifies the device; it must have one", len(found), attribute)
	case len([]rune(found[0])) > rule.max || !rule.pattern.MatchString(found[0]):
		return "", fmt.Errorf("%s %q does not match the pattern of profile %s: %s", attribute, found[0], p.Name, rule.source)
	}
	device := rule.identifier(found[0])
	if device == "" {
		return "", fmt.Errorf("%s %q names no device by the pattern of profile %s: %s", attribute, found[0], p.Name, rule.source)
	}
	return device, nil
}
