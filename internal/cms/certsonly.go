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
		set = append(set, c.Raw)
	}
	// X.690, Section 11.6: the elements of a SET OF ascend by their encodings.
	slices.SortFunc(set, bytes.Compare)
	return certsOnly(slices.CompactFunc(set, bytes.Equal))
}

// CertsOnlyInOrder is CertsOnly with the certificates in the order given. Some
// clients present what cacerts gave them as the chain of their certificate, as
// it stands there. RFC 5652, Section 5.1 makes CertificateSet a SET, whose order BER leaves
// to the sender, and demands DER of signed attributes alone; so the message is BER
// in this one point and DER otherwise.
func CertsOnlyInOrder(certificates []*x509.Certificate) ([]byte, error) {
	set := make([][]byte, 0, len(certificates))
	for _, c := range certificates {
		if !slices.ContainsFunc(set, func(there []byte) bool { return bytes.Equal(there, c.Raw) }) {
			set = append(set, c.Raw)
		}
	}
	return certsOnly(set)
}

func certsOnly(set [][]byte) ([]byte, error) {
	if len(set) == 0 {
		return nil, errors.New("encoding certs-only message: no certificates")
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)                                      // RFC 5652, Section 5.1: v1, as for every certs-only message
		b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {})      // digestAlgorithms
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // encapContentInfo, without eContent
			b.AddASN1ObjectIdentifier(Data)
		})
		b.AddASN1(tag0, func(b *cryptobyte.Builder) { // certificates
			for _, der := range set {
				if len(der) == 0 {
					b.SetError(errors.New("a certificate has no DER"))
				}
				b.AddBytes(der)
			}
		})
		b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {}) // signerInfos
	})
	signedData, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding certs-only message: %w", err)
	}
	return ContentInfo(SignedData, signedData)
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
	signedData, err := readContentInfo(&input, SignedData, "SignedData")
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
	if !signedData.ReadOptionalASN1(&set, &present, tag0) {
		return nil, errors.New("malformed certificates")
	}
	if !signedData.SkipOptionalASN1(tag1) {
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
