package est

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CSRAttrs is what a server wants of certification requests: RFC 7030, Section
// 4.5.2.
type CSRAttrs struct {
	// Link wants a challengePassword that links the request to the connection.
	Link bool
	// FromTemplate says that the following is from the template of RFC 9908,
	// Section 3.4, and not from single elements, which do not count then.
	FromTemplate bool
	// Keys are the types of keys that are wanted; one, from a server that keeps to
	// RFC 9908.
	Keys []KeyWanted
	// Subject are the attributes of the subject, in its order; only a template
	// has them.
	Subject    []ValueWanted
	Extensions []ValueWanted
	// Elements are the types of all elements as they stand there: signature
	// algorithms, too, and whatever else is not described above.
	Elements []asn1.ObjectIdentifier
}

// KeyWanted describes a key.
type KeyWanted struct {
	Type  asn1.ObjectIdentifier
	Curve asn1.ObjectIdentifier // nil for any
	Bits  int                   // of an RSA modulus; 0 for any
}

// ValueWanted is an attribute of the subject or an extension.
type ValueWanted struct {
	Type     asn1.ObjectIdentifier
	Critical bool
	// Value is the DER of an attribute's value, or what stands in an extension;
	// nil leaves it to the client.
	Value []byte
}

// Bounds on what a server may want.
const (
	maxCSRAttrs = 64 << 10
	maxWanted   = 128
	maxModulus  = 16384
)

// ParseCSRAttrs reads CsrAttrs in DER. What it does not know it passes over, as
// RFC 7030, Section 4.5.2 demands; what it knows and what RFC 9908 forbids, it
// refuses. An empty sequence is nothing wanted.
func ParseCSRAttrs(der []byte) (CSRAttrs, error) {
	a, err := parseCSRAttrs(der)
	if err != nil {
		return CSRAttrs{}, fmt.Errorf("parsing CSR attributes: %w", err)
	}
	return a, nil
}

func parseCSRAttrs(der []byte) (a CSRAttrs, err error) {
	input := cryptobyte.String(der)
	var list cryptobyte.String
	if len(der) > maxCSRAttrs {
		return a, fmt.Errorf("they measure more than %d bytes", maxCSRAttrs)
	}
	if !input.ReadASN1(&list, cryptobyteasn1.SEQUENCE) || !input.Empty() {
		return a, errors.New("they are not a SEQUENCE in DER")
	}
	var template *CSRAttrs
	requests := 0
	for n := 0; !list.Empty(); n++ {
		if n == maxWanted {
			return a, fmt.Errorf("there are more than %d", maxWanted)
		}
		var id asn1.ObjectIdentifier
		if list.PeekASN1Tag(cryptobyteasn1.OBJECT_IDENTIFIER) {
			if !list.ReadASN1ObjectIdentifier(&id) {
				return a, errors.New("malformed object identifier")
			}
			a.Elements = append(a.Elements, id)
			a.Link = a.Link || id.Equal(oidChallengePassword)
			continue
		}
		id, values, err := readAttribute(&list)
		if err != nil {
			return a, err
		}
		a.Elements = append(a.Elements, id)
		switch {
		case id.Equal(oidChallengePassword):
			a.Link = true
		case id.Equal(oidExtensionRequest):
			if requests++; requests > 1 {
				return a, errors.New("there is more than one extensionRequest")
			}
			if a.Extensions, err = onlyExtensions(values, false); err != nil {
				return a, fmt.Errorf("extensionRequest: %w", err)
			}
		case id.Equal(oidRSAKey), id.Equal(oidECKey):
			key, err := readKeyAttribute(id, values)
			if err != nil {
				return a, err
			}
			a.Keys = append(a.Keys, key)
		case id.Equal(oidRequestTemplate):
			if template != nil {
				return a, errors.New("there is more than one template")
			}
			if template, err = readTemplate(values); err != nil {
				return a, fmt.Errorf("template: %w", err)
			}
		}
	}
	if template != nil {
		// RFC 9908, Section 4: who knows the template looks at nothing else. A
		// link that is wanted beside it costs nothing, and may be enforced.
		template.Link = template.Link || a.Link
		template.Elements, template.FromTemplate = a.Elements, true
		return *template, nil
	}
	return a, nil
}

// readAttribute reads an Attribute and returns the content of its SET.
func readAttribute(list *cryptobyte.String) (id asn1.ObjectIdentifier, values cryptobyte.String, err error) {
	var attribute cryptobyte.String
	if !list.ReadASN1(&attribute, cryptobyteasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&id) ||
		!attribute.ReadASN1(&values, cryptobyteasn1.SET) || !attribute.Empty() {
		return nil, nil, errors.New("malformed attribute")
	}
	return id, values, nil
}

// readKeyAttribute reads what follows the type of a key: a curve, a number of
// bits, or nothing.
func readKeyAttribute(id asn1.ObjectIdentifier, values cryptobyte.String) (KeyWanted, error) {
	key := KeyWanted{Type: id}
	if values.Empty() {
		return key, nil
	}
	ok := false
	if id.Equal(oidECKey) {
		ok = values.ReadASN1ObjectIdentifier(&key.Curve)
	} else {
		ok = values.ReadASN1Integer(&key.Bits) && key.Bits > 0 && key.Bits <= maxModulus
	}
	if !ok || !values.Empty() {
		return KeyWanted{}, fmt.Errorf("the values of the key type %v are not one curve or one number of bits", id)
	}
	return key, nil
}

// onlyExtensions reads the only value of an attribute, a list of extensions, whose
// values may be missing where template is true.
func onlyExtensions(values cryptobyte.String, template bool) ([]ValueWanted, error) {
	var list cryptobyte.String
	if !values.ReadASN1(&list, cryptobyteasn1.SEQUENCE) || !values.Empty() || list.Empty() {
		return nil, errors.New("it does not have exactly one list of extensions as its value")
	}
	var extensions []ValueWanted
	seen := make(map[string]bool)
	for !list.Empty() {
		var extension, value cryptobyte.String
		e := ValueWanted{}
		if len(extensions) == maxWanted {
			return nil, fmt.Errorf("there are more than %d extensions", maxWanted)
		}
		if !list.ReadASN1(&extension, cryptobyteasn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&e.Type) {
			return nil, errors.New("malformed extension")
		}
		if extension.PeekASN1Tag(cryptobyteasn1.BOOLEAN) && !extension.ReadASN1Boolean(&e.Critical) {
			return nil, errors.New("malformed extension")
		}
		switch {
		case extension.Empty() && template:
		case !extension.ReadASN1(&value, cryptobyteasn1.OCTET_STRING) || !extension.Empty():
			return nil, errors.New("malformed extension")
		default:
			e.Value = append([]byte{}, value...)
		}
		if seen[e.Type.String()] {
			return nil, fmt.Errorf("extension %v is there twice", e.Type)
		}
		seen[e.Type.String()] = true
		extensions = append(extensions, e)
	}
	return extensions, nil
}

// readTemplate reads the only value of a template attribute.
func readTemplate(values cryptobyte.String) (*CSRAttrs, error) {
	malformed := errors.New("malformed CertificationRequestInfoTemplate")
	var fields, attributes cryptobyte.String
	var version int64
	if !values.ReadASN1(&fields, cryptobyteasn1.SEQUENCE) || !values.Empty() || !fields.ReadASN1Integer(&version) {
		return nil, malformed
	}
	if version != 0 {
		return nil, fmt.Errorf("its version is %d and must be 0", version)
	}
	t := &CSRAttrs{}
	if fields.PeekASN1Tag(cryptobyteasn1.SEQUENCE) {
		var name cryptobyte.String
		if !fields.ReadASN1(&name, cryptobyteasn1.SEQUENCE) {
			return nil, malformed
		}
		var err error
		if t.Subject, err = readNameTemplate(name); err != nil {
			return nil, err
		}
	}
	if fields.PeekASN1Tag(tagTemplateKey) {
		var info cryptobyte.String
		if !fields.ReadASN1(&info, tagTemplateKey) {
			return nil, malformed
		}
		key, err := readKeyTemplate(info)
		if err != nil {
			return nil, err
		}
		t.Keys = []KeyWanted{key}
	}
	if !fields.ReadASN1(&attributes, tagTemplateAttributes) || !fields.Empty() {
		return nil, malformed
	}
	requests := 0
	for !attributes.Empty() {
		id, values, err := readAttribute(&attributes)
		if err != nil {
			return nil, err
		}
		switch {
		case id.Equal(oidChallengePassword):
			t.Link = true
		case id.Equal(oidExtensionRequest), id.Equal(oidExtensionTemplate):
			if requests++; requests > 1 {
				return nil, errors.New("it has more than one extensionRequest and extensionReqTemplate")
			}
			if t.Extensions, err = onlyExtensions(values, id.Equal(oidExtensionTemplate)); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// readNameTemplate reads the RDNs of a NameTemplate.
func readNameTemplate(name cryptobyte.String) ([]ValueWanted, error) {
	var subject []ValueWanted
	for !name.Empty() {
		var rdn cryptobyte.String
		if !name.ReadASN1(&rdn, cryptobyteasn1.SET) || rdn.Empty() {
			return nil, errors.New("malformed NameTemplate")
		}
		for !rdn.Empty() {
			var attribute, value cryptobyte.String
			var tag cryptobyteasn1.Tag
			w := ValueWanted{}
			if len(subject) == maxWanted || !rdn.ReadASN1(&attribute, cryptobyteasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&w.Type) {
				return nil, errors.New("malformed NameTemplate")
			}
			if !attribute.Empty() {
				if !attribute.ReadAnyASN1Element(&value, &tag) || !attribute.Empty() {
					return nil, errors.New("malformed NameTemplate")
				}
				w.Value = append([]byte{}, value...)
			}
			subject = append(subject, w)
		}
	}
	return subject, nil
}

// readKeyTemplate reads a SubjectPublicKeyInfoTemplate.
func readKeyTemplate(info cryptobyte.String) (key KeyWanted, err error) {
	malformed := errors.New("malformed SubjectPublicKeyInfoTemplate")
	var element cryptobyte.String
	var algorithm pkix.AlgorithmIdentifier
	if !info.ReadASN1Element(&element, cryptobyteasn1.SEQUENCE) {
		return key, malformed
	}
	if rest, err := asn1.Unmarshal(element, &algorithm); err != nil || len(rest) > 0 {
		return key, malformed
	}
	key.Type = algorithm.Algorithm
	if parameters := cryptobyte.String(algorithm.Parameters.FullBytes); key.Type.Equal(oidECKey) && len(parameters) > 0 {
		if !parameters.ReadASN1ObjectIdentifier(&key.Curve) || !parameters.Empty() {
			return key, malformed
		}
	}
	if info.Empty() {
		return key, nil
	}
	var bits asn1.BitString
	if !info.ReadASN1BitString(&bits) || !info.Empty() {
		return key, malformed
	}
	if !key.Type.Equal(oidRSAKey) {
		return key, nil
	}
	// The modulus is a placeholder: only its length counts.
	placeholder := cryptobyte.String(bits.RightAlign())
	var fields, modulus cryptobyte.String
	if !placeholder.ReadASN1(&fields, cryptobyteasn1.SEQUENCE) || !placeholder.Empty() ||
		!fields.ReadASN1(&modulus, cryptobyteasn1.INTEGER) || !fields.SkipASN1(cryptobyteasn1.INTEGER) || !fields.Empty() {
		return key, malformed
	}
	n := modulusBits(modulus)
	if n == 0 || n > maxModulus {
		return key, errors.New("the placeholder of the RSA key has no usable length")
	}
	key.Bits = n
	return key, nil
}

// modulusBits is the length of a positive INTEGER in bits.
func modulusBits(content []byte) int {
	if len(content) == 0 || content[0]&0x80 != 0 {
		return 0
	}
	return new(big.Int).SetBytes(content).BitLen()
}
