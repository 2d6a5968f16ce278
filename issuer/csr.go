package issuer

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"

	"mintmark/ca"
)

// MaxRequest is the most that a certification request may measure, in bytes of
// DER: ample for RSA-4096 with names.
const MaxRequest = 16 << 10

var (
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// request is a checked certification request.
type request struct {
	*x509.CertificateRequest
	key [32]byte // SHA-256 of the SubjectPublicKeyInfo
}

// checkRequest is step 2 of the issuance cycle: it parses the request, and
// verifies its signature and its key. Nothing in it is believed yet.
func (p *Profile) checkRequest(der []byte) (*request, error) {
	if len(der) > MaxRequest {
		return nil, refuse(Malformed, "csr-size", "the certification request measures %d bytes; %d are allowed", len(der), MaxRequest)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		r := refuse(Malformed, "csr-syntax", "the certification request cannot be parsed as PKCS #10; a malformed extensionRequest attribute is a frequent cause")
		r.Err = err
		return nil, r
	}
	if err := p.CheckKey(csr.PublicKey); err != nil {
		return nil, err
	}
	switch csr.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.MD2WithRSA:
		return nil, refuse(Malformed, "csr-signature", "the certification request is signed with %v; use SHA-256 or stronger", csr.SignatureAlgorithm)
	}
	// RFC 7030, Section 3.4: the signature proves possession of the key.
	if err := csr.CheckSignature(); err != nil {
		r := refuse(Malformed, "csr-signature", "the signature of the certification request does not verify with its own key")
		r.Err = err
		return nil, r
	}
	seen := make(map[string]bool, len(csr.Extensions))
	for _, extension := range csr.Extensions {
		id := extension.Id.String()
		if seen[id] {
			return nil, refuse(Malformed, "csr-extension", "extension %s is requested twice", id)
		}
		seen[id] = true
		if extension.Id.Equal(oidBasicConstraints) && requestsCA(extension.Value) {
			return nil, refuse(Forbidden, "csr-ca", "the request asks for a CA certificate, which profile %s does not issue", p.Name)
		}
	}
	return &request{csr, sha256.Sum256(csr.RawSubjectPublicKeyInfo)}, nil
}

// CheckKey refuses a public key that certificates of the profile cannot hold.
func (p *Profile) CheckKey(key crypto.PublicKey) error {
	allowed := make([]string, len(p.keys))
	for i, k := range p.keys {
		allowed[i] = string(k)
	}
	algorithm, err := ca.AlgorithmOf(key)
	switch {
	case err != nil:
		return refuse(Malformed, "key-type", "the key is of a type that no profile allows; profile %s allows %s", p.Name, strings.Join(allowed, ", "))
	case !slices.Contains(p.keys, algorithm):
		return refuse(Malformed, "key-type", "profile %s does not allow a key of type %s; it allows %s", p.Name, algorithm, strings.Join(allowed, ", "))
	}
	if err := ca.CheckKey(key); err != nil {
		r := refuse(Malformed, "key-weak", "the key is weak: make a new one with a sound random generator")
		r.Err = err
		return r
	}
	return nil
}

// requestsCA reports whether basicConstraints says cA, or cannot be read.
func requestsCA(der []byte) bool {
	var constraints struct {
		IsCA       bool `asn1:"optional"`
		MaxPathLen int  `asn1:"optional,default:-1"`
	}
	rest, err := asn1.Unmarshal(der, &constraints)
	return err != nil || len(rest) > 0 || constraints.IsCA
}

// sameIdentity reports whether a request has the subject and the subject
// alternative names of the certificate that it renews (RFC 7030, Section
// 4.2.2). Values are compared, not bytes: a client may encode a string as
// UTF8String that stands in the certificate as PrintableString, and may order
// its alternative names as it likes.
func sameIdentity(csr *x509.CertificateRequest, old *x509.Certificate) error {
	if !sameName(csr.Subject, old.Subject) {
		return refuse(Malformed, "renewal-subject", "the request's subject %q is not the subject %q of the certificate being renewed", csr.Subject.String(), old.Subject.String())
	}
	requested, err := generalNames(csr.Extensions)
	if err != nil {
		return err
	}
	held, err := generalNames(old.Extensions)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(requested, held, bytes.Equal) {
		return refuse(Malformed, "renewal-san", "the request's subject alternative names are not those of the certificate being renewed")
	}
	return nil
}

// sameName compares two names attribute by attribute.
func sameName(a, b pkix.Name) bool {
	return slices.EqualFunc(a.Names, b.Names, func(x, y pkix.AttributeTypeAndValue) bool {
		sx, okx := x.Value.(string)
		sy, oky := y.Value.(string)
		return x.Type.Equal(y.Type) && okx && oky && sx == sy
	})
}

// generalNames returns the alternative names among extensions, encoded and
// sorted. The context tags of GeneralName leave one encoding per value.
func generalNames(extensions []pkix.Extension) ([][]byte, error) {
	var names [][]byte
	for _, extension := range extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		var sequence []asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &sequence); err != nil || len(rest) > 0 {
			return nil, refuse(Malformed, "csr-extension", "the subject alternative names cannot be parsed")
		}
		for _, name := range sequence {
			names = append(names, name.FullBytes)
		}
	}
	slices.SortFunc(names, bytes.Compare)
	return names, nil
}
