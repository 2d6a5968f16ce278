package doctor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
)

// OIDs of certification requests.
const (
	oidExtensionRequest  = "1.2.840.113549.1.9.14"
	oidChallengePassword = "1.2.840.113549.1.9.7"
	oidSMIMECapabilities = "1.2.840.113549.1.9.15"
	oidChangeSubjectName = "1.3.6.1.5.5.7.7.36"         // RFC 6402, Section 2.8
	oidDecryptKeyID      = "1.2.840.113549.1.9.16.2.37" // RFC 7030, Section 4.4.1.1
	oidAsymmetricKeyID   = "1.2.840.113549.1.9.16.2.54" // Section 4.4.1.2
	oidTemplate          = "1.2.840.113549.1.9.16.2.61" // RFC 9908, Section 3.4
	oidCommonName        = "2.5.4.3"
	oidSubjectAltName    = "2.5.29.17"
	oidRSA               = "1.2.840.113549.1.1.1"
	oidECPublicKey       = "1.2.840.10045.2.1"
)

// csr is a certification request that may be wrong where a point wants it so.
type csr struct {
	key       crypto.Signer
	subject   []byte // DER of the Name
	names     []byte // value of the extension subjectAltName; nil for none
	challenge string
	more      [][]byte // further attributes, DER
	broken    bool     // with a signature that does not verify
}

// commonName is a Name of one commonName.
func commonName(text string) []byte { return nameOf(oidCommonName, tagUTF8, text) }

func nameOf(oid string, tag byte, text string) []byte {
	return tlv(tagSequence, tlv(tagSet, tlv(tagSequence, encodeOID(oid), tlv(tag, []byte(text)))))
}

// attribute encodes an attribute of a certification request.
func attribute(oid string, values ...[]byte) []byte {
	return tlv(tagSequence, encodeOID(oid), tlv(tagSet, values...))
}

// extensions is the value of an extensionRequest.
func extensions(list ...[]byte) []byte { return tlv(tagSequence, list...) }

func extension(oid string, value []byte) []byte {
	return tlv(tagSequence, encodeOID(oid), tlv(tagOctets, value))
}

// der encodes and signs the request: RFC 2986, Section 4.
func (c csr) der() ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(c.key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	attributes := append([][]byte{}, c.more...)
	if c.names != nil {
		attributes = append(attributes, attribute(oidExtensionRequest, extensions(extension(oidSubjectAltName, c.names))))
	}
	if c.challenge != "" {
		attributes = append(attributes, attribute(oidChallengePassword, tlv(tagPrintable, []byte(c.challenge))))
	}
	info := tlv(tagSequence, []byte{tagInteger, 1, 0}, c.subject, spki, sortedSet(0xa0, attributes))
	algorithm := tlv(tagSequence, encodeOID("1.2.840.113549.1.1.11"), []byte{tagNull, 0}) // sha256WithRSAEncryption
	if _, ok := c.key.(*ecdsa.PrivateKey); ok {
		algorithm = tlv(tagSequence, encodeOID("1.2.840.10045.4.3.2")) // ecdsa-with-SHA256
	}
	signed := info
	if c.broken {
		signed = append([]byte("another request: "), info...)
	}
	digest := sha256.Sum256(signed)
	signature, err := c.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing a certification request: %w", err)
	}
	return tlv(tagSequence, info, algorithm, tlv(tagBits, []byte{0}, signature)), nil
}

// encode is the body of a request: base64 in one line (RFC 8951, Section 3).
func encode(der []byte) []byte { return base64.StdEncoding.AppendEncode(nil, der) }

const typePKCS10 = "Content-Type: application/pkcs10"

// post is a request that carries a body of type PKCS #10.
func (p *probe) post(op string, cred *credential, body []byte, header ...string) request {
	if len(header) == 0 {
		header = []string{typePKCS10}
	}
	return request{method: http.MethodPost, path: p.path(op), cred: cred, header: header, body: body}
}
