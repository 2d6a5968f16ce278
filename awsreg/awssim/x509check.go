package awssim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"time"
)

// maxPEM is the longest caCertificate and certificatePem (API reference,
// RegisterCACertificate and RegisterCertificate).
const maxPEM = 65536

// signatureAlgorithms are those that AWS IoT takes (AWS IoT developer guide,
// x509-client-certs, "Certificate signing algorithms supported by AWS IoT"). DSA
// is on that page too, but Go cannot verify it. RSASSA-PSS is only on newer
// versions of the page; whether it holds for CA certificates is not known, so it
// is refused here.
var signatureAlgorithms = map[x509.SignatureAlgorithm]bool{
	x509.SHA256WithRSA:   true,
	x509.SHA384WithRSA:   true,
	x509.SHA512WithRSA:   true,
	x509.ECDSAWithSHA256: true,
	x509.ECDSAWithSHA384: true,
	x509.ECDSAWithSHA512: true,
}

// parseCertificate reads exactly one PEM certificate.
func parseCertificate(field, text string) (*x509.Certificate, error) {
	if text == "" {
		return nil, invalid("%s must not be empty", field)
	}
	if len(text) > maxPEM {
		return nil, invalid("%s is longer than %d characters", field, maxPEM)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, invalidCert("%s is not a PEM certificate", field)
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, invalidCert("%s holds more than one certificate", field)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, invalidCert("%s cannot be parsed: %v", field, err)
	}
	return cert, nil
}

// certificateID is the id that AWS gives a certificate: the lower-case hex
// SHA-256 of its DER. The API reference does not say so; StackOverflow question
// 55847788 and moto's use_valid_cert do, so a client should take it as a hint.
func certificateID(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// checkKeyAndSignature applies the rules that hold for every certificate
// registered (AWS IoT developer guide, x509-client-certs).
func checkKeyAndSignature(field string, cert *x509.Certificate) error {
	if !signatureAlgorithms[cert.SignatureAlgorithm] {
		return invalidCert("The signature algorithm %s of the %s is not supported", cert.SignatureAlgorithm, field)
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return invalidCert("The key in the certificate is not valid: RSA keys need at least 2048 bits, the %s has %d", field, key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return invalidCert("The key in the certificate is not valid: the curve of the %s is not P-256, P-384 or P-521", field)
		}
	default:
		return invalidCert("The key in the certificate is not valid: the %s has neither an RSA nor an ECDSA key", field)
	}
	return nil
}

// checkValidity refuses certificates outside their validity period (AWS IoT
// developer guide, register-CA-cert and x509-client-certs).
func checkValidity(field string, cert *x509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) {
		return invalidCert("The %s is not valid before %s", field, cert.NotBefore.UTC().Format(time.RFC3339))
	}
	if now.After(cert.NotAfter) {
		return invalidCert("The %s has expired at %s", field, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkCA applies the rules for a CA certificate.
func checkCA(cert *x509.Certificate, now time.Time) error {
	// The text is AWS's own, as users have reported it.
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return invalidCert("CA certificate is not valid. The CA certificate does not have the basicConstraints extension as true")
	}
	if err := checkKeyAndSignature("CA certificate", cert); err != nil {
		return err
	}
	return checkValidity("CA certificate", cert, now)
}

// checkVerification applies the rules for a private key verification certificate
// (AWS IoT developer guide, register-CA-cert: the common name is the registration
// code, and the CA key signs it directly).
func checkVerification(ver, ca *x509.Certificate, code string, now time.Time) error {
	// Which of the two exceptions AWS gives for a wrong name and for a wrong signer
	// is not documented; this follows their names.
	if code == "" || ver.Subject.CommonName != code {
		return iotError("RegistrationCodeValidationException", "The common name of the verification certificate is not the registration code of this account and Region")
	}
	if err := checkKeyAndSignature("verification certificate", ver); err != nil {
		return err
	}
	if err := checkValidity("verification certificate", ver, now); err != nil {
		return err
	}
	if samePublicKey(ver, ca) {
		return invalidCert("The verification certificate must have a key pair of its own, not that of the CA")
	}
	if !signedBy(ver, ca) {
		return invalidCert("The verification certificate is not signed by the private key of the CA certificate")
	}
	return nil
}

// signedBy reports whether ca's key really signed cert. It looks at names and
// signature only, because which extensions AWS asks of the CA beyond
// basicConstraints is not documented.
func signedBy(cert, ca *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, ca.RawSubject) &&
		ca.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

func samePublicKey(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}
