package issuer

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
)

// MaxRequest is the most that a certification request may measure, in bytes of
// DER: ample for RSA-4096 with names.
const MaxRequest = 16 << 10

var (
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidECDSAWithSHA256  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
)

// request is a certification request.
type request struct {
	*x509.CertificateRequest // as it came

	// names is whose names count: the request itself, unless it asks for others.
	names  *x509.CertificateRequest
	change *pkcs10.ChangeSubject // what it asks for; nil for none

	asksCA     bool // basicConstraints says cA, or cannot be read
	unreadable bool // basicConstraints

	public crypto.PublicKey // of the certificate: the request's own, or one that the server made
	key    [32]byte         // SHA-256 of its SubjectPublicKeyInfo
}

// parseRequest is the part of step 2 that needs no profile. Nothing in the
// request is believed yet.
func parseRequest(der []byte) (*request, error) {
	if len(der) > MaxRequest {
		return nil, refuse(Malformed, "csr-size", "the certification request measures %d bytes; %d are allowed", len(der), MaxRequest)
	}
	parsed, err := x509.ParseCertificateRequest(der)
	if err != nil {
		r := refuse(Malformed, "csr-syntax", "the certification request cannot be parsed as PKCS #10; a malformed extensionRequest attribute is a frequent cause")
		r.Err = err
		return nil, r
	}
	if err := checkSize(parsed); err != nil {
		return nil, err
	}
	csr := &request{CertificateRequest: parsed, names: parsed, public: parsed.PublicKey}
	seen := make(map[string]bool, len(csr.Extensions))
	for _, extension := range csr.Extensions {
		id := extension.Id.String()
		if seen[id] {
			return nil, refuse(Malformed, "csr-extension", "extension %s is requested twice", id)
		}
		seen[id] = true
		if extension.Id.Equal(oidBasicConstraints) {
			csr.asksCA, csr.unreadable = requestsCA(extension.Value)
		}
	}
	return csr, nil
}

// checkRequest is the rest of step 2: it verifies the signature of the request
// and its key, or looks at neither if the server has made the key. Names are
// not believed yet.
func (p *Profile) checkRequest(csr *request, generated crypto.PublicKey) error {
	if generated != nil {
		// RFC 7030, Section 4.4.1: key and signature of the request are ignored.
		der, err := x509.MarshalPKIXPublicKey(generated)
		if err != nil {
			return fmt.Errorf("encoding the key that the server has made: %w", err)
		}
		csr.public, csr.key = generated, sha256.Sum256(der)
		if err := p.CheckKey(generated); err != nil {
			return err
		}
	} else {
		if err := p.CheckKey(csr.PublicKey); err != nil {
			return err
		}
		switch csr.SignatureAlgorithm {
		case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.MD2WithRSA:
			return refuse(Malformed, "csr-signature", "the certification request is signed with %v; use SHA-256 or stronger", csr.SignatureAlgorithm)
		}
		// RFC 7030, Section 3.4: the signature proves possession of the key.
		if err := csr.CheckSignature(); err != nil {
			r := refuse(Malformed, "csr-signature", "the signature of the certification request does not verify with its own key")
			r.Err = err
			return r
		}
		csr.key = hashKey(csr)
	}
	return p.checkCA(csr, generated != nil)
}

// hashKey returns the SHA-256 of the SubjectPublicKeyInfo in a request.
func hashKey(csr *request) [32]byte { return sha256.Sum256(csr.RawSubjectPublicKeyInfo) }

// checkCA holds what the request says of being a CA against the profile.
func (p *Profile) checkCA(csr *request, generated bool) error {
	gateway := p.Purpose == ledger.ForGateway
	switch {
	case !gateway && csr.asksCA:
		return refuse(Forbidden, "csr-ca", "the request asks for a CA certificate, which profile %s does not issue", p.Name)
	case gateway && !csr.asksCA:
		return refuse(Malformed, "csr-ca", "profile %s issues CA certificates of gateways and nothing else, and the request asks for none: set cA in its basicConstraints", p.Name)
	case gateway && csr.unreadable:
		return refuse(Malformed, "csr-extension", "the basicConstraints of the request cannot be parsed")
	case gateway && generated:
		return refuse(Forbidden, "csr-ca", "the key of a CA is made where it is used, and not by this server")
	}
	return nil
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
func requestsCA(der []byte) (asks, unreadable bool) {
	var constraints struct {
		IsCA       bool `asn1:"optional"`
		MaxPathLen int  `asn1:"optional,default:-1"`
	}
	rest, err := asn1.Unmarshal(der, &constraints)
	unreadable = err != nil || len(rest) > 0
	return unreadable || constraints.IsCA, unreadable
}
