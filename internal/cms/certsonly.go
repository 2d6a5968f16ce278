package cms

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// CertsOnly encodes certificates as a SignedData without content and without
// signers (RFC 5272, Section 4.1; RFC 7030, Section 4.1.3). A certificate that
// occurs twice is written once. The order is that of the DER SET, so it says
// nothing about the certification path.
func CertsOnly(certificates []*x509.Certificate) ([]byte, error) {
	set := make([][]byte, 0, len(certificates))
	for _, c := range certificates {
		if len(c.Raw) == 0 {
			return nil, errors.New("encoding certs-only message: a certificate has no DER")
		}
		set = append(set, c.Raw)
	}
	if len(set) == 0 {
		return nil, errors.New("encoding certs-only message: no certificates")
	}
	// X.690, Section 11.6: the elements of a SET OF ascend by their encodings.
	slices.SortFunc(set, bytes.Compare)
	set = slices.CompactFunc(set, bytes.Equal)

	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)                                      // RFC 5652, Section 5.1: v1, as for every certs-only message
				b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {})      // digestAlgorithms
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // encapContentInfo, without eContent
					b.AddASN1ObjectIdentifier(oidData)
				})
				b.AddASN1(tagCertificates, func(b *cryptobyte.Builder) {
					for _, der := range set {
						b.AddBytes(der)
					}
				})
				b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {}) // signerInfos
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding certs-only message: %w", err)
	}
	return der, nil
}

// ParseCertsOnly returns the certificates of a certs-only message in the order
// in which they stand there. It accepts what other implementations write: a
// CertificateSet in any order, and CRLs, which it ignores. It refuses content
// and signers, and anything but DER tags and lengths.
func ParseCertsOnly(der []byte) ([]*x509.Certificate, error) {
	certificates, err := parseCertsOnly(der)
	if err != nil {
		return nil, fmt.Errorf("parsing certs-only message: %w", err)
	}
	return certificates, nil
}

func parseCertsOnly(der []byte) ([]*x509.Certificate, error) {
	input := cryptobyte.String(der)
	signedData, err := contentInfo(&input)
	if err != nil {
		return nil, err
	}
	var version int64
	if !signedData.ReadASN1Integer(&version) {
		return nil, errors.New("malformed version")
	}
	// 1 for certificates alone, up to 5 with other kinds of certificates or CRLs.
	if version < 1 || version > 5 {
		return nil, fmt.Errorf("unknown SignedData version %d", version)
	}
	if !signedData.SkipASN1(asn1.SET) {
		return nil, errors.New("malformed digestAlgorithms")
	}
	var encapsulated cryptobyte.String
	if !signedData.ReadASN1(&encapsulated, asn1.SEQUENCE) || !encapsulated.SkipASN1(asn1.OBJECT_IDENTIFIER) {
		return nil, errors.New("malformed encapContentInfo")
	}
	if !encapsulated.Empty() {
		return nil, errors.New("message has content")
	}
	var set cryptobyte.String
	var present bool
	if !signedData.ReadOptionalASN1(&set, &present, tagCertificates) {
		return nil, errors.New("malformed certificates")
	}
	if !signedData.SkipOptionalASN1(tagCRLs) {
		return nil, errors.New("malformed crls")
	}
	var signers cryptobyte.String
	if !signedData.ReadASN1(&signers, asn1.SET) || !signedData.Empty() {
		return nil, errors.New("malformed signerInfos")
	}
	if !signers.Empty() {
		return nil, errors.New("message is signed")
	}
	return parseSet(set)
}

// contentInfo unwraps the ContentInfo that holds a SignedData.
func contentInfo(input *cryptobyte.String) (cryptobyte.String, error) {
	var info, content, signedData cryptobyte.String
	if !input.ReadASN1(&info, asn1.SEQUENCE) {
		return nil, errors.New("not a DER ContentInfo")
	}
	if !input.Empty() {
		return nil, errors.New("data after the ContentInfo")
	}
	var contentType cryptobyte.String
	if !info.ReadASN1Element(&contentType, asn1.OBJECT_IDENTIFIER) {
		return nil, errors.New("malformed contentType")
	}
	if !bytes.Equal(contentType, encodedSignedData) {
		return nil, errors.New("contentType is not SignedData")
	}
	if !info.ReadASN1(&content, asn1.Tag(0).Constructed().ContextSpecific()) || !info.Empty() ||
		!content.ReadASN1(&signedData, asn1.SEQUENCE) || !content.Empty() {
		return nil, errors.New("malformed SignedData")
	}
	return signedData, nil
}

func parseSet(set cryptobyte.String) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	for !set.Empty() {
		var der cryptobyte.String
		// The other alternatives of CertificateChoices have context tags.
		if !set.ReadASN1Element(&der, asn1.SEQUENCE) {
			return nil, errors.New("CertificateSet holds something that is not a certificate")
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, errors.New("no certificates")
	}
	return certificates, nil
}
