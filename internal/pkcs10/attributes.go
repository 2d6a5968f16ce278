// Package pkcs10 reads what crypto/x509 leaves unread of a certification
// request (RFC 2986): the attributes by which EST clients ask for more than a
// certificate. It believes nothing of them.
package pkcs10

import "encoding/asn1"

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

// ParseAttributes reads the attributes of a certification request in DER. It
// does not check the request's signature. An attribute that it knows and that
// is malformed or there twice is an error.
func ParseAttributes(csr []byte) (Attributes, error) { return Attributes{}, nil }
