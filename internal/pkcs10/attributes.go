// Package pkcs10 reads and writes what crypto/x509 leaves out of a
// certification request (RFC 2986): the attributes by which EST clients ask for
// more than a certificate. It believes nothing of them.
package pkcs10

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds on what is read. RFC 2985, Section 5.4.1 gives a challengePassword at
// most 255 characters; the others are ample for every client that is known.
const (
	maxRequest      = 64 << 10
	maxAttributes   = 64
	maxPassword     = 255
	maxCapabilities = 64
	maxIdentifier   = 256
	maxNames        = 64 // attributes of a subject, and alternative names
)

// Attributes are those of a certification request that mintmark knows. Others
// are passed over.
type Attributes struct {
	// ChallengePassword links the request to a TLS connection (RFC 7030, Section
	// 3.5). Linked says whether it is there: it may be there and empty.
	ChallengePassword string
	Linked            bool

	// ChangeSubject asks for other names than those of the request (RFC 7030,
	// Section 4.2.2; RFC 6402, Section 2.8); nil if it is not there.
	ChangeSubject *ChangeSubject

	// Capabilities are the algorithms that the client can decrypt with, best
	// first (RFC 8551, Section 2.5.2).
	Capabilities []Capability
	// DecryptKeyIdentifier names a symmetric key that both sides have (RFC 4108,
	// Section 2.2.5; RFC 7030, Section 4.4.1.1); nil for none.
	DecryptKeyIdentifier []byte
	// AsymmetricDecryptKeyIdentifier names the key pair to encrypt for (RFC 7030,
	// Section 4.4.1.2); nil for none.
	AsymmetricDecryptKeyIdentifier []byte
}

// ChangeSubject holds new names in DER; nil leaves out that kind.
type ChangeSubject struct {
	Subject    []byte // Name
	SubjectAlt []byte // GeneralNames, with the tag of a SEQUENCE
}

// Capability is one algorithm of SMIMECapabilities.
type Capability struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters []byte // DER; nil for none
}

var (
	oidChallengePassword    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	oidChangeSubjectName    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 7, 36}
	oidSMIMECapabilities    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 15}
	oidDecryptKeyID         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 37}
	oidAsymmetricDecryptKey = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 54}
)

// kind is an attribute that is known: its name for errors, its type and how its
// only value is read.
type kind struct {
	name string
	oid  asn1.ObjectIdentifier
	read func(value *cryptobyte.String, a *Attributes) error
}

var kinds = []kind{
	{"challengePassword", oidChallengePassword, readPassword},
	{"ChangeSubjectName", oidChangeSubjectName, readChangeSubject},
	{"SMIMECapabilities", oidSMIMECapabilities, readCapabilities},
	{"DecryptKeyIdentifier", oidDecryptKeyID, func(value *cryptobyte.String, a *Attributes) (err error) {
		a.DecryptKeyIdentifier, err = readIdentifier(value)
		return err
	}},
	{"AsymmetricDecryptKeyIdentifier", oidAsymmetricDecryptKey, func(value *cryptobyte.String, a *Attributes) (err error) {
		a.AsymmetricDecryptKeyIdentifier, err = readIdentifier(value)
		return err
	}},
}

// tagAttributes is the IMPLICIT SET OF Attribute.
var tagAttributes = cryptobyteasn1.Tag(0).Constructed().ContextSpecific()

// ParseAttributes reads the attributes of a certification request in DER. It
// does not check the request's signature. An attribute that it knows and that
// is malformed or there twice is an error.
func ParseAttributes(csr []byte) (Attributes, error) {
	a, err := parseAttributes(csr)
	if err != nil {
		return Attributes{}, fmt.Errorf("parsing attributes of certification request: %w", err)
	}
	return a, nil
}

func parseAttributes(csr []byte) (a Attributes, err error) {
	r, err := parseRequest(csr)
	if err != nil {
		return a, err
	}
	seen := make(map[string]bool)
	for n := 0; !r.attributes.Empty(); n++ {
		if n == maxAttributes {
			return a, fmt.Errorf("there are more than %d attributes", maxAttributes)
		}
		var attribute, id cryptobyte.String
		if !r.attributes.ReadASN1(&attribute, cryptobyteasn1.SEQUENCE) || !attribute.ReadASN1Element(&id, cryptobyteasn1.OBJECT_IDENTIFIER) {
			return a, errors.New("malformed attribute")
		}
		k := lookup(id)
		if k == nil {
			continue
		}
		if seen[k.name] {
			return a, fmt.Errorf("attribute %s is there twice", k.name)
		}
		seen[k.name] = true
		var value cryptobyte.String
		if !attribute.ReadASN1(&value, cryptobyteasn1.SET) || !attribute.Empty() {
			return a, fmt.Errorf("attribute %s is malformed", k.name)
		}
		if err := k.read(&value, &a); err != nil {
			return a, fmt.Errorf("attribute %s: %w", k.name, err)
		}
		// Each of them is SINGLE VALUE.
		if !value.Empty() {
			return a, fmt.Errorf("attribute %s has more than one value", k.name)
		}
	}
	return a, nil
}

// lookup finds a kind by the DER of its type. A type whose arcs are too large to
// hold is none that is known.
func lookup(id cryptobyte.String) *kind {
	var oid asn1.ObjectIdentifier
	if !id.ReadASN1ObjectIdentifier(&oid) {
		return nil
	}
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.oid.Equal(oid) })
	if i < 0 {
		return nil
	}
	return &kinds[i]
}

// request is a certification request taken apart.
type request struct {
	version, subject, key cryptobyte.String // with their tags
	attributes            cryptobyte.String // content of the SET
}

func parseRequest(der []byte) (r request, err error) {
	if len(der) > maxRequest {
		return r, fmt.Errorf("it is larger than %d bytes", maxRequest)
	}
	input := cryptobyte.String(der)
	var outer, info cryptobyte.String
	if !input.ReadASN1(&outer, cryptobyteasn1.SEQUENCE) || !input.Empty() ||
		!outer.ReadASN1(&info, cryptobyteasn1.SEQUENCE) ||
		!outer.SkipASN1(cryptobyteasn1.SEQUENCE) || !outer.SkipASN1(cryptobyteasn1.BIT_STRING) || !outer.Empty() {
		return r, errors.New("it is not a CertificationRequest in DER")
	}
	if !info.ReadASN1Element(&r.version, cryptobyteasn1.INTEGER) || !info.ReadASN1Element(&r.subject, cryptobyteasn1.SEQUENCE) ||
		!info.ReadASN1Element(&r.key, cryptobyteasn1.SEQUENCE) || !info.ReadASN1(&r.attributes, tagAttributes) || !info.Empty() {
		return r, errors.New("malformed CertificationRequestInfo")
	}
	return r, nil
}
