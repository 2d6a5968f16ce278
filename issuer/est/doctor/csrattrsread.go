package doctor

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// attributes is the content of csrattrs: CsrAttrs of RFC 7030, Section 4.5.2.
type attributes struct{ list []csrAttribute }

// csrAttribute is an OID alone, or an Attribute with values.
type csrAttribute struct {
	oid    string
	alone  bool
	values []element
}

// maxAttributes bounds what is read of csrattrs.
const maxAttributes = 200

// parseAttributes reads the body of csrattrs.
func parseAttributes(body []byte) (attributes, error) {
	var found attributes
	der, err := decodeBase64(body)
	if err != nil {
		return found, err
	}
	outer, err := whole(der, tagSequence)
	if err != nil {
		return found, fmt.Errorf("CsrAttrs: %w", err)
	}
	if err := checkDER(der, nil); err != nil {
		return found, fmt.Errorf("CsrAttrs: %w", err)
	}
	items, err := outer.children()
	if err != nil {
		return found, err
	}
	if len(items) > maxAttributes {
		return found, fmt.Errorf("%d attributes", len(items))
	}
	for _, item := range items {
		a, err := parseAttribute(item)
		if err != nil {
			return found, err
		}
		found.list = append(found.list, a)
	}
	return found, nil
}

func parseAttribute(item element) (csrAttribute, error) {
	if item.tag == tagOID {
		id := item.oid()
		if id == "" {
			return csrAttribute{}, errors.New("an OID that cannot be read")
		}
		return csrAttribute{oid: id, alone: true}, nil
	}
	parts, err := item.children()
	if err != nil || item.tag != tagSequence || len(parts) != 2 || parts[0].oid() == "" || parts[1].tag != tagSet {
		return csrAttribute{}, errors.New("an element that is neither an OID nor an Attribute")
	}
	values, err := parts[1].children()
	if err != nil {
		return csrAttribute{}, fmt.Errorf("the values of %s: %w", parts[0].oid(), err)
	}
	return csrAttribute{oid: parts[0].oid(), values: values}, nil
}

func (a attributes) has(oid string) bool {
	return slices.ContainsFunc(a.list, func(c csrAttribute) bool { return c.oid == oid })
}

func (a attributes) all(oid string) []csrAttribute {
	var found []csrAttribute
	for _, c := range a.list {
		if c.oid == oid {
			found = append(found, c)
		}
	}
	return found
}

var curves = map[string]string{"1.2.840.10045.3.1.7": "P-256", "1.3.132.0.34": "P-384", "1.3.132.0.35": "P-521"}

// keys are the types of keys that are announced, as in P-256 and RSA-2048; empty
// if none are.
func (a attributes) keys() []string {
	var found []string
	for _, c := range a.list {
		switch c.oid {
		case oidECPublicKey:
			for _, v := range c.values {
				if name := curves[v.oid()]; name != "" {
					found = append(found, name)
				}
			}
		case oidRSA:
			for _, v := range c.values {
				if v.tag == tagInteger && len(v.content) <= 3 {
					found = append(found, fmt.Sprintf("RSA-%d", new(big.Int).SetBytes(v.content)))
				}
			}
		}
		// RFC 7030 lets the OID of a curve stand alone, or as an attribute's.
		if name := curves[c.oid]; name != "" {
			found = append(found, name)
		}
	}
	return found
}

// checkExtensions holds Extensions against RFC 5280, Section 4.1.
func checkExtensions(e element) error {
	list, err := e.children()
	if err != nil || e.tag != tagSequence || len(list) == 0 {
		return errors.New("the value is not Extensions")
	}
	seen := make(map[string]bool)
	for _, extension := range list {
		parts, err := extension.children()
		if err != nil || extension.tag != tagSequence || len(parts) < 2 || len(parts) > 3 || parts[0].oid() == "" || parts[len(parts)-1].tag != tagOctets {
			return errors.New("an element that is no Extension")
		}
		if seen[parts[0].oid()] {
			return fmt.Errorf("extension %s occurs twice", parts[0].oid())
		}
		seen[parts[0].oid()] = true
	}
	return nil
}

// Extension templates of RFC 9908, Section 3.4.
const oidExtensionTemplate = "1.2.840.113549.1.9.16.2.62"

// checkTemplate holds a CertificationRequestInfoTemplate against RFC 9908, Section
// 3.4: version 0, a NameTemplate, optional key information [0] and attributes [1].
func checkTemplate(t element) error {
	parts, err := t.children()
	if err != nil || t.tag != tagSequence || len(parts) < 2 {
		return errors.New("the template is not a SEQUENCE of at least version and attributes")
	}
	if parts[0].tag != tagInteger || len(parts[0].content) != 1 || parts[0].content[0] != 0 {
		return fmt.Errorf("the template has version %x, not 0", parts[0].content)
	}
	requests := 0
	for i, part := range parts[1:] {
		switch {
		case part.tag == tagSequence && i == 0:
			if err := checkNameTemplate(part); err != nil {
				return err
			}
		case part.tag == 0xa0:
		case part.tag == 0xa1:
			attributes, err := part.children()
			if err != nil {
				return fmt.Errorf("attributes of the template: %w", err)
			}
			for _, e := range attributes {
				a, err := parseAttribute(e)
				if err != nil || a.alone {
					return errors.New("an attribute of the template that is none")
				}
				if a.oid == oidExtensionRequest || a.oid == oidExtensionTemplate {
					requests++
				}
			}
		default:
			return fmt.Errorf("the template holds a field with tag %#02x", part.tag)
		}
	}
	if requests > 1 {
		return errors.New("the template holds more than one of extensionRequest and extensionReqTemplate")
	}
	return nil
}

// checkNameTemplate reads an RDNSequenceTemplate: the value of an attribute may be
// left out for the client to fill in.
func checkNameTemplate(name element) error {
	sets, err := name.children()
	if err != nil {
		return fmt.Errorf("subject of the template: %w", err)
	}
	for _, set := range sets {
		attributes, err := set.children()
		if err != nil || set.tag != tagSet || len(attributes) == 0 {
			return errors.New("the subject of the template holds something that is no RDN")
		}
		for _, a := range attributes {
			parts, err := a.children()
			if err != nil || a.tag != tagSequence || len(parts) < 1 || len(parts) > 2 || parts[0].oid() == "" {
				return errors.New("the subject of the template holds something that is no attribute")
			}
		}
	}
	return nil
}
