package lint

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"path"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// verificationLifetime is how long a verification certificate may live before
// that is worth a word: it is shown once, within minutes of being made.
const verificationLifetime = 7 * 24 * time.Hour

// certificates checks the certificates and requests of a PEM or DER file.
func (c *checker) certificates(u *unit) {
	all := newLines(u.data)
	rest := u.data
	for n := 0; n < 100; n++ {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		begin := bytes.Index(rest, []byte("-----BEGIN "))
		line := all.at(len(u.data) - len(rest) + max(0, begin))
		rest = after
		switch block.Type {
		case "CERTIFICATE", "TRUSTED CERTIFICATE":
			c.certificate(u, line, block.Bytes)
		case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			c.request(&u.report, line, block.Bytes)
		}
	}
	if len(u.chain) == 0 && !bytes.Contains(u.data, []byte("-----BEGIN ")) {
		c.certificate(u, 0, u.data)
	}
	u.path()
}

var registrationCode = pattern.New(`^(0x)?[0-9a-fA-F]{64}$`)

func (c *checker) certificate(u *unit, line int, der []byte) {
	u.about("certificate")
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		rule := "syntax"
		if strings.Contains(err.Error(), "curve") {
			rule = "key"
		}
		u.add(rule, line, "the certificate cannot be read: %v", err)
		return
	}
	name := cert.Subject.CommonName
	u.about("certificate %q", cut(name))
	u.chain = append(u.chain, cert)
	u.key(line, cert.PublicKey, cert.PublicKeyAlgorithm.String())
	u.signature(line, cert.SignatureAlgorithm)
	if c.Now.Before(cert.NotBefore) {
		u.add("validity", line, "it is valid only from %s: check the clocks, or wait", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	if c.Now.After(cert.NotAfter) {
		u.add("validity", line, "it expired at %s. AWS writes nothing of an expired certificate into its logs: the device sees a TLS alert and no more", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	switch role := c.roleOf(u, cert); role {
	case CA:
		c.authority(u, line, cert)
	case Verification:
		c.verification(u, line, cert)
	default:
		c.endEntity(u, line, cert)
	}
}

// roleOf says what a certificate is for.
func (c *checker) roleOf(u *unit, cert *x509.Certificate) Role {
	first := len(u.chain) == 1
	switch {
	case c.Role == CA || c.Role == Verification || c.Role == Device:
		if first {
			return c.Role
		}
	case first && registrationCode.MatchString(cert.Subject.CommonName):
		return Verification
	}
	if cert.IsCA || first && caFile.MatchString(strings.ToLower(path.Base(u.file))) {
		return CA
	}
	return Device
}

// caFile matches names of files that hold a CA's certificate: ca.pem, rootCA.pem,
// my-ca-cert.pem; not certificate.pem.
var caFile = pattern.New(`(^|[^a-z])(ca|root)([^a-z]|$)|(^|[^a-z])(ca_?-?cert|rootca|caroot)`)

func selfIssued(cert *x509.Certificate) bool { return bytes.Equal(cert.RawSubject, cert.RawIssuer) }

// https://docs.aws.amazon.com/iot/latest/developerguide/manage-your-CA-certs.html
func (c *checker) authority(u *unit, line int, cert *x509.Certificate) {
	if !cert.BasicConstraintsValid || !cert.IsCA {
		u.add("ca-true", line, "a CA's certificate must say CA:TRUE (openssl: -addext basicConstraints=critical,CA:TRUE)")
	}
	if n := len(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})); n > 65536 {
		u.add("certificate-size", line, "it is %d characters long in PEM; AWS takes 65536", n)
	}
}

// https://docs.aws.amazon.com/iot/latest/developerguide/register-CA-cert.html
func (c *checker) verification(u *unit, line int, cert *x509.Certificate) {
	name := cert.Subject.CommonName
	switch {
	case c.RegistrationCode != "" && name != c.RegistrationCode:
		u.add("registration-code", line, "its common name is %q, and the account's registration code is another: make it with CN = the code that `aws iot get-registration-code` prints for this account and region", cut(name))
	case c.RegistrationCode == "" && !registrationCode.MatchString(name):
		u.add("registration-code", line, "its common name %q is no registration code, which has 64 hexadecimal digits", cut(name))
	}
	if selfIssued(cert) || cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil {
		u.add("verification-self-signed", line, "it is signed with its own key, which proves nothing about the CA's: have the CA sign it (openssl x509 -req -CA -CAkey)")
	} else if c.CA != nil && !signedBy(cert, c.CA) {
		u.add("verification-signer", line, "it is not signed by the CA %q: the CA that is registered must sign it itself, not one above or below it", cut(c.CA.Subject.CommonName))
	}
	if c.CA != nil && samePublicKey(cert, c.CA) {
		u.add("verification-key", line, "it has the CA's own key: make a key for it and throw that away")
	}
	if life := cert.NotAfter.Sub(cert.NotBefore); life > verificationLifetime {
		u.add("verification-lifetime", line, "it lives for %d days and is used once, minutes after it was made: a day is plenty", int(life.Hours()/24))
	}
}

func (c *checker) endEntity(u *unit, line int, cert *x509.Certificate) {
	if cert.IsCA {
		u.add("device-ca", line, "it says CA:TRUE: whoever has this device's key could issue certificates")
	}
	if c.CA != nil {
		if !signedBy(cert, c.CA) {
			u.add("device-signer", line, "it is not signed by the CA %q", cut(c.CA.Subject.CommonName))
		} else if cert.NotAfter.After(c.CA.NotAfter) {
			u.add("outlives-ca", line, "it is valid until %s and its CA only until %s", cert.NotAfter.UTC().Format(time.DateOnly), c.CA.NotAfter.UTC().Format(time.DateOnly))
		}
	}
}

func signedBy(cert, ca *x509.Certificate) bool {
	// Not CheckSignatureFrom: what the CA's own extensions lack is said elsewhere.
	return bytes.Equal(cert.RawIssuer, ca.RawSubject) && verifies(cert, ca)
}

func verifies(cert, ca *x509.Certificate) bool {
	err := ca.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	var insecure x509.InsecureAlgorithmError
	return err == nil || errors.As(err, &insecure) // SHA-1 is said elsewhere
}

func samePublicKey(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

// path checks a file with several certificates: the end entity's, then each
// issuer's.
func (u *unit) path() {
	if len(u.chain) < 2 || u.chain[0].IsCA {
		for i, cert := range u.chain {
			if i > 0 && !cert.IsCA && u.chain[0].IsCA && signedBy(cert, u.chain[0]) {
				u.about("chain")
				u.add("chain-order", 0, "the CA's certificate stands before the device's: TLS wants the device's first, then the CA that signed it (cat device.pem ca.pem)")
				return
			}
		}
		return
	}
	for i := 1; i < len(u.chain); i++ {
		below, above := u.chain[i-1], u.chain[i]
		u.about("chain")
		if !signedBy(below, above) {
			u.add("chain-order", 0, "certificate %d (%q) is not signed by certificate %d (%q) that follows it", i, cut(below.Subject.CommonName), i+1, cut(above.Subject.CommonName))
		} else if i == 1 && below.NotAfter.After(above.NotAfter) {
			u.add("outlives-ca", 0, "the device's certificate is valid until %s and its CA only until %s", below.NotAfter.UTC().Format(time.DateOnly), above.NotAfter.UTC().Format(time.DateOnly))
		}
	}
}

// request checks a certification request.
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateCertificateFromCsr.html
func (c *checker) request(r *report, line int, der []byte) {
	r.about("certification request")
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		rule := "csr"
		if strings.Contains(err.Error(), "curve") {
			rule = "key"
		}
		r.add(rule, line, "it cannot be read: %v", err)
		return
	}
	r.about("certification request %q", cut(csr.Subject.CommonName))
	r.key(line, csr.PublicKey, csr.PublicKeyAlgorithm.String())
	var insecure x509.InsecureAlgorithmError
	if err := csr.CheckSignature(); err != nil && !errors.As(err, &insecure) {
		r.add("csr", line, "its signature is not its key's: %v", err)
	} else if errors.As(err, &insecure) {
		r.signature(line, csr.SignatureAlgorithm)
	}
	if n := len(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})); n > 4096 {
		r.add("csr", line, "it is %d characters long; AWS takes 4096", n)
	}
}

// https://docs.aws.amazon.com/iot/latest/developerguide/x509-client-certs.html
func (r *report) key(line int, public any, algorithm string) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 {
			r.add("key", line, "its RSA key has %d bits; AWS wants at least 2048", bits)
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384():
		case elliptic.P521():
			r.add("key-uncertain", line, "its key is on P-521, which not every version of AWS's documentation lists: P-256 and P-384 are safe")
		default:
			r.add("key", line, "its key is on %s: use P-256 or P-384", key.Curve.Params().Name)
		}
	default:
		r.add("key", line, "its key is %s; AWS takes RSA and ECDSA", algorithm)
	}
}

func (r *report) signature(line int, algorithm x509.SignatureAlgorithm) {
	switch algorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.DSAWithSHA256,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
	case x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		r.add("signature-uncertain", line, "it is signed with %s, which not every version of AWS's documentation lists", algorithm)
	default:
		r.add("signature", line, "it is signed with %s; AWS takes SHA-256, SHA-384 and SHA-512 with RSA or ECDSA", algorithm)
	}
}
