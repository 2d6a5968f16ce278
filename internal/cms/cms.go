// Package cms holds the few structures of the Cryptographic Message Syntax
// (RFC 5652) that EST speaks.
//
// The usual Go packages for PKCS #7 leave the CertificateSet unsorted and write
// an empty crls field, which is not DER and which strict parsers refuse. This
// one writes DER, and reads what the others write.
package cms

import (
	"encoding/asn1"

	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// encodedSignedData is the DER of the content type, for comparing.
var encodedSignedData = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}

// Tags of SignedData's optional fields: both IMPLICIT SETs.
var (
	tagCertificates = cryptobyteasn1.Tag(0).Constructed().ContextSpecific()
	tagCRLs         = cryptobyteasn1.Tag(1).Constructed().ContextSpecific()
)
