package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"math/bits"
	"time"
)

// crypto/x509 encodes by reflection, which costs a quarter of what the signature and its
// verification do. What nearly all certificates of devices are is encoded here, to the same
// bytes (FuzzEncode holds them against each other), and everything else there.

// DER identifiers and other elements that are always the same.
var (
	versionThree       = []byte{0xa0, 3, 2, 1, 2}
	derTrue            = []byte{1, 1, 0xff}
	derECDSAWithSHA256 = []byte{0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2}
	derECDSAWithSHA384 = []byte{0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3}
	derP256            = []byte{0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}
	derKeyUsage        = []byte{6, 3, 0x55, 29, 15}
	derExtKeyUsage     = []byte{6, 3, 0x55, 29, 37}
	derBasics          = []byte{6, 3, 0x55, 29, 19}
	derAKI             = []byte{6, 3, 0x55, 29, 35}
	derAIA             = []byte{6, 8, 0x2b, 6, 1, 5, 5, 7, 1, 1}
	derAIAOCSP         = []byte{6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1}
	derAIAIssuers      = []byte{6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2}
	derCRLs            = []byte{6, 3, 0x55, 29, 31}
	derClientAuth      = []byte{6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2}
	derServerAuth      = []byte{6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1}
)

// maxEncoded is far below what the two octets of a length can say.
const maxEncoded = 32 << 10

// encodeTBS returns what buildTBS does, or false for a template, an issuer or a key that is not
// of the common kind: an end entity with a P-256 key, an encoded subject, no alternative names and
// no encoded extensions.
func encodeTBS(t, parent *x509.Certificate, pub crypto.PublicKey) ([]byte, bool) {
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || !common(t, parent) {
		return nil, false
	}
	if _, ok := parent.PublicKey.(*ecdsa.PublicKey); !ok {
		return nil, false
	}
	algorithm := derECDSAWithSHA256
	switch t.SignatureAlgorithm {
	case x509.ECDSAWithSHA256:
	case x509.ECDSAWithSHA384:
		algorithm = derECDSAWithSHA384
	default:
		return nil, false
	}
	point, err := key.Bytes()
	if err != nil {
		return nil, false
	}
	serial := t.SerialNumber.Bytes()
	if len(serial) == 0 || serial[0] >= 0x80 {
		serial = append([]byte{0}, serial...)
	}
	validity, ok := encodeDate(make([]byte, 0, 40), t.NotBefore)
	if ok {
		validity, ok = encodeDate(validity, t.NotAfter)
	}
	extensions, okToo := encodeExtensions(t, parent)
	if !ok || !okToo || len(parent.RawSubject)+len(t.RawSubject)+len(extensions) > maxEncoded {
		return nil, false
	}
	body := make([]byte, 0, 256+len(parent.RawSubject)+len(t.RawSubject)+len(extensions))
	body = append(body, versionThree...)
	body = element(body, 2, serial)
	body = append(append(body, algorithm...), parent.RawSubject...)
	body = element(body, 0x30, validity)
	body = append(body, t.RawSubject...)
	body = element(body, 0x30, derP256, element(nil, 3, []byte{0}, point))
	body = element(body, 0xa3, element(nil, 0x30, extensions))
	return element(make([]byte, 0, len(body)+4), 0x30, body), true
}

// common reports whether a template sets nothing that encodeTBS does not encode.
func common(t, parent *x509.Certificate) bool {
	names := len(t.DNSNames) + len(t.EmailAddresses) + len(t.IPAddresses) + len(t.URIs) + len(t.Policies) + len(t.PolicyIdentifiers)
	constraints := len(t.PermittedDNSDomains) + len(t.ExcludedDNSDomains) + len(t.PermittedIPRanges) + len(t.ExcludedIPRanges) +
		len(t.PermittedEmailAddresses) + len(t.ExcludedEmailAddresses) + len(t.PermittedURIDomains) + len(t.ExcludedURIDomains)
	return !t.IsCA && (!t.BasicConstraintsValid || t.MaxPathLen == -1 || t.MaxPathLen == 0 && !t.MaxPathLenZero) &&
		names == 0 && constraints == 0 && len(t.ExtraExtensions) == 0 && len(t.UnknownExtKeyUsage) == 0 &&
		len(t.RawSubject) > 0 && len(t.SubjectKeyId) > 0 && t.SerialNumber.Sign() > 0 &&
		len(parent.RawSubject) > 0 && len(parent.SubjectKeyId) > 0 && !bytes.Equal(t.RawSubject, parent.RawSubject)
}

// encodeExtensions writes the extensions in the order of crypto/x509.
func encodeExtensions(t, parent *x509.Certificate) ([]byte, bool) {
	b := make([]byte, 0, 384)
	if t.KeyUsage != 0 {
		usage := []byte{bits.Reverse8(byte(t.KeyUsage)), bits.Reverse8(byte(t.KeyUsage >> 8))}
		if usage[1] == 0 {
			usage = usage[:1]
		}
		// X.690, Section 11.2.2: no trailing zero bits.
		unused := byte(bits.TrailingZeros8(usage[len(usage)-1]))
		if t.KeyUsage < 0 || t.KeyUsage >= 1<<9 {
			return nil, false
		}
		b = element(b, 0x30, derKeyUsage, derTrue, element(nil, 4, element(nil, 3, []byte{unused}, usage)))
	}
	if len(t.ExtKeyUsage) > 0 {
		var usages []byte
		for _, u := range t.ExtKeyUsage {
			switch u {
			case x509.ExtKeyUsageClientAuth:
				usages = append(usages, derClientAuth...)
			case x509.ExtKeyUsageServerAuth:
				usages = append(usages, derServerAuth...)
			default:
				return nil, false
			}
		}
		b = element(b, 0x30, derExtKeyUsage, element(nil, 4, element(nil, 0x30, usages)))
	}
	if t.BasicConstraintsValid {
		b = element(b, 0x30, derBasics, derTrue, []byte{4, 2, 0x30, 0})
	}
	b = element(b, 0x30, derSKI, element(nil, 4, element(nil, 4, t.SubjectKeyId)))
	b = element(b, 0x30, derAKI, element(nil, 4, element(nil, 0x30, element(nil, 0x80, parent.SubjectKeyId))))
	var access []byte
	for _, u := range t.OCSPServer {
		access = element(access, 0x30, derAIAOCSP, element(nil, 0x86, []byte(u)))
	}
	for _, u := range t.IssuingCertificateURL {
		access = element(access, 0x30, derAIAIssuers, element(nil, 0x86, []byte(u)))
	}
	if len(access) > 0 {
		b = element(b, 0x30, derAIA, element(nil, 4, element(nil, 0x30, access)))
	}
	var points []byte
	for _, u := range t.CRLDistributionPoints {
		points = element(points, 0x30, element(nil, 0xa0, element(nil, 0xa0, element(nil, 0x86, []byte(u)))))
	}
	if len(points) > 0 {
		b = element(b, 0x30, derCRLs, element(nil, 4, element(nil, 0x30, points)))
	}
	return b, true
}

// encodeDate appends a time in the type that RFC 5280, Section 4.1.2.5 asks for.
func encodeDate(b []byte, t time.Time) ([]byte, bool) {
	t = t.UTC()
	text := make([]byte, 0, 16)
	switch y := t.Year(); {
	case y >= 1950 && y < 2050:
		return element(b, asn1.TagUTCTime, t.AppendFormat(text, "060102150405Z")), true
	case y >= 2050 && y <= 9999:
		return element(b, asn1.TagGeneralizedTime, t.AppendFormat(text, "20060102150405Z")), true
	}
	return nil, false
}

// element appends a DER element with the given tag of less than 64 KiB.
func element(b []byte, tag byte, content ...[]byte) []byte {
	n := 0
	for _, c := range content {
		n += len(c)
	}
	b = append(b, tag)
	switch {
	case n < 0x80:
		b = append(b, byte(n))
	case n < 0x100:
		b = append(b, 0x81, byte(n))
	default:
		b = append(b, 0x82, byte(n>>8), byte(n))
	}
	for _, c := range content {
		b = append(b, c...)
	}
	return b
}
