// Package cms holds the few structures of the Cryptographic Message Syntax
// (RFC 5652) that EST speaks: certs-only messages, SignedData with one signer,
// and EnvelopedData for one recipient of each kind.
//
// The usual Go packages for PKCS #7 leave the CertificateSet unsorted and write
// an empty crls field, which is not DER and which strict parsers refuse; they
// encrypt for RSA keys only, and with OAEP in a form that OpenSSL cannot read.
// This one writes DER, and reads what the others write.
package cms

import (
	"crypto"
	_ "crypto/sha1" // the default of RSAES-OAEP, read and never written
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/asn1"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Content types.
var (
	Data       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	SignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	// AsymmetricKeyPackage holds private keys: RFC 5958.
	AsymmetricKeyPackage = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 2, 1, 2, 78, 5}

	oidEnvelopedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}
)

// Algorithms of EnvelopedData, by the names that SMIMECapabilities have for them.
var (
	AES128CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	AES192CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}
	AES256CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}

	AES128Wrap = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 5}
	AES192Wrap = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 25}
	AES256Wrap = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 45}

	RSAEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1} // PKCS #1 v1.5
	RSAOAEP       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7}

	// Ephemeral-static ECDH with the key derivation of X9.63: RFC 5753.
	ECDHSHA256 = asn1.ObjectIdentifier{1, 3, 132, 1, 11, 1}
	ECDHSHA384 = asn1.ObjectIdentifier{1, 3, 132, 1, 11, 2}
)

var (
	oidMGF1        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidSHA1        = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

// Context tags of optional and IMPLICIT fields.
var (
	tag0          = cryptobyteasn1.Tag(0).Constructed().ContextSpecific()
	tag1          = cryptobyteasn1.Tag(1).Constructed().ContextSpecific()
	tag2          = cryptobyteasn1.Tag(2).Constructed().ContextSpecific()
	tagOctets0    = cryptobyteasn1.Tag(0).ContextSpecific()
	tagOctetsWith = cryptobyteasn1.OCTET_STRING.Constructed()
)

// keyLength is the length in bytes of the key of an AES cipher or wrap; zero for
// any other algorithm.
func keyLength(algorithm asn1.ObjectIdentifier) int {
	switch {
	case algorithm.Equal(AES128CBC), algorithm.Equal(AES128Wrap):
		return 16
	case algorithm.Equal(AES192CBC), algorithm.Equal(AES192Wrap):
		return 24
	case algorithm.Equal(AES256CBC), algorithm.Equal(AES256Wrap):
		return 32
	}
	return 0
}

func isWrap(algorithm asn1.ObjectIdentifier) bool {
	return algorithm.Equal(AES128Wrap) || algorithm.Equal(AES192Wrap) || algorithm.Equal(AES256Wrap)
}

func hashOf(algorithm asn1.ObjectIdentifier) (crypto.Hash, bool) {
	switch {
	case algorithm.Equal(oidSHA1):
		return crypto.SHA1, true
	case algorithm.Equal(oidSHA256):
		return crypto.SHA256, true
	case algorithm.Equal(oidSHA384):
		return crypto.SHA384, true
	case algorithm.Equal(oidSHA512):
		return crypto.SHA512, true
	}
	return 0, false
}

// derivation is the hash of the key derivation of an ECDH scheme.
func derivation(scheme asn1.ObjectIdentifier) (crypto.Hash, bool) {
	switch {
	case scheme.Equal(ECDHSHA256):
		return crypto.SHA256, true
	case scheme.Equal(ECDHSHA384):
		return crypto.SHA384, true
	}
	return 0, false
}

// addAlgorithm writes an AlgorithmIdentifier; parameters may be nil.
func addAlgorithm(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, parameters func(*cryptobyte.Builder)) {
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if parameters != nil {
			parameters(b)
		}
	})
}

// readAlgorithm reads an AlgorithmIdentifier; parameters are empty where absent.
func readAlgorithm(s *cryptobyte.String) (oid asn1.ObjectIdentifier, parameters cryptobyte.String, err error) {
	if !s.ReadASN1(&parameters, cryptobyteasn1.SEQUENCE) || !parameters.ReadASN1ObjectIdentifier(&oid) {
		return nil, nil, errors.New("malformed AlgorithmIdentifier")
	}
	rest := parameters
	var value cryptobyte.String
	var tag cryptobyteasn1.Tag
	if !rest.Empty() && (!rest.ReadAnyASN1(&value, &tag) || !rest.Empty()) {
		return nil, nil, errors.New("malformed AlgorithmIdentifier")
	}
	return oid, parameters, nil
}

// ContentInfo wraps the DER of a content type: RFC 5652, Section 3.
func ContentInfo(contentType asn1.ObjectIdentifier, content []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(contentType)
		b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	})
	return b.Bytes()
}

// readContentInfo unwraps the ContentInfo of a SEQUENCE type.
func readContentInfo(input *cryptobyte.String, want asn1.ObjectIdentifier, name string) (cryptobyte.String, error) {
	var info, content, sequence cryptobyte.String
	if !input.ReadASN1(&info, cryptobyteasn1.SEQUENCE) {
		return nil, errors.New("not a DER ContentInfo")
	}
	if !input.Empty() {
		return nil, errors.New("data after the ContentInfo")
	}
	var contentType asn1.ObjectIdentifier
	if !info.ReadASN1ObjectIdentifier(&contentType) {
		return nil, errors.New("malformed contentType")
	}
	if !contentType.Equal(want) {
		return nil, errors.New("contentType is not " + name)
	}
	if !info.ReadASN1(&content, tag0) || !info.Empty() || !content.ReadASN1(&sequence, cryptobyteasn1.SEQUENCE) || !content.Empty() {
		return nil, errors.New("malformed " + name)
	}
	return sequence, nil
}

// try reads an element if it has that tag; ReadASN1 would move on in any case.
func try(s, out *cryptobyte.String, tag cryptobyteasn1.Tag) bool {
	return s.PeekASN1Tag(tag) && s.ReadASN1(out, tag)
}

// readOctets reads an OCTET STRING, or an IMPLICIT one of that tag, whole or in
// segments: BER allows them, and encoders that stream write them.
func readOctets(s *cryptobyte.String, whole, segmented cryptobyteasn1.Tag) ([]byte, bool) {
	var octets cryptobyte.String
	if try(s, &octets, whole) {
		return octets, true
	}
	var segments cryptobyte.String
	if !s.ReadASN1(&segments, segmented) {
		return nil, false
	}
	joined := []byte{}
	for !segments.Empty() {
		if !segments.ReadASN1(&octets, cryptobyteasn1.OCTET_STRING) {
			return nil, false
		}
		joined = append(joined, octets...)
	}
	return joined, true
}
