package station

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkRequest refuses a request that is not the device's.
func checkRequest(der []byte, device string) (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the device's certification request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the signature of the device's certification request is wrong: %w", err)
	}
	names := append([]string{csr.Subject.CommonName, csr.Subject.SerialNumber}, csr.DNSNames...)
	for _, u := range csr.URIs {
		names = append(names, u.String())
	}
	if !slices.Contains(names, device) {
		return nil, fmt.Errorf("the device says that it is %s, and its certification request is for %q", device, csr.Subject.String())
	}
	return csr, nil
}

// checkIssued refuses a certificate that must not go into the device, and returns its
// chain: issuing CAs from the list, upwards, to one of the trust anchors.
func checkIssued(csr *x509.CertificateRequest, c *x509.Certificate, list, anchors []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	if !bytes.Equal(csr.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) {
		return nil, errors.New("the certificate is not for the key of the request")
	}
	if lacks := lacking(csr, c); len(lacks) > 0 {
		return nil, &lacksError{fmt.Sprintf("%x", c.SerialNumber.Bytes()), lacks}
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range anchors {
		roots.AddCert(a)
	}
	for _, i := range list {
		between.AddCert(i)
	}
	chains, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return nil, fmt.Errorf("the certificate does not lead to the trust anchors of this station: %w%s", err, clockHint(err, now))
	}
	shortest := slices.MinFunc(chains, func(a, b []*x509.Certificate) int { return len(a) - len(b) })
	if len(shortest)-2 > maxChain {
		return nil, fmt.Errorf("%d issuing CAs stand above the certificate", len(shortest)-2)
	}
	return shortest[1 : len(shortest)-1], nil
}

// clockHint tells of a clock that is wrong here.
func clockHint(err error, now time.Time) string {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Sprintf(" (this PC's clock says %s: is that right?)", now.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return ""
}

// lacksError is a certificate without names that its request asks for.
type lacksError struct {
	serial string
	lacks  []string
}

func (e *lacksError) Error() string {
	return fmt.Sprintf("certificate %s lacks what the request asks for: %s: change the request, or what the profile allows, and revoke the certificate", e.serial, strings.Join(e.lacks, ", "))
}

// lacking lists what a request asks for and a certificate does not have.
func lacking(csr *x509.CertificateRequest, c *x509.Certificate) []string {
	var list []string
	for _, asked := range csr.Subject.Names {
		if asked.Type.Equal(oidEmail) {
			continue // goes to the alternative names, where it goes at all
		}
		if !slices.ContainsFunc(c.Subject.Names, func(n pkix.AttributeTypeAndValue) bool { return n.Type.Equal(asked.Type) && n.Value == asked.Value }) {
			list = append(list, fmt.Sprintf("subject %v=%v", asked.Type, asked.Value))
		}
	}
	for _, name := range csr.DNSNames {
		if !slices.ContainsFunc(c.DNSNames, func(n string) bool { return strings.EqualFold(n, name) }) {
			list = append(list, "DNS:"+name)
		}
	}
	for _, ip := range csr.IPAddresses {
		if !slices.ContainsFunc(c.IPAddresses, ip.Equal) {
			list = append(list, "IP:"+ip.String())
		}
	}
	has := make(map[string]bool)
	for _, u := range c.URIs {
		has[u.String()] = true
	}
	for _, u := range csr.URIs {
		if !has[u.String()] {
			list = append(list, "URI:"+u.String())
		}
	}
	return list
}

var oidEmail = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// checkProof returns how the device has shown that it holds the certificate. wants is
// ByProof, ByFingerprint, or empty for the best that the device can do.
func checkProof(p Proof, c Challenge, wants Verification) (Verification, error) {
	sum := sha256.Sum256(c.Leaf.Raw)
	if p.Fingerprint != sum {
		return "", fmt.Errorf("the device holds the certificate with the SHA-256 %x, and was given that with %x", p.Fingerprint, sum)
	}
	if len(p.Signature) == 0 {
		if wants == ByProof {
			return "", errors.New("the device signs nothing, and verify: proof wants a signature: verify: fingerprint does without")
		}
		return ByFingerprint, nil
	}
	digest := sha256.Sum256(c.Message(sum))
	var right bool
	switch key := c.Leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		right = ecdsa.VerifyASN1(key, digest[:], p.Signature)
	case *rsa.PublicKey:
		right = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], p.Signature) == nil
	default:
		return "", fmt.Errorf("signatures of a %T are not known here: set verify: fingerprint", key)
	}
	if !right {
		return "", errors.New("the device's signature is not by the key of its certificate: it cannot use that key")
	}
	return ByProof, nil
}

// keyKind names the type of a key in the record.
func keyKind(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", key.N.BitLen())
	}
	return fmt.Sprintf("%T", key)
}

// newKey makes a key for a device that cannot.
func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "", "P-256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "RSA-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("key type %q is none of P-256, P-384, RSA-2048, RSA-3072", kind)
}

func selfSigned(c *x509.Certificate) bool { return c.CheckSignatureFrom(c) == nil }
