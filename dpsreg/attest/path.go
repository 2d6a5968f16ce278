package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// pathLength is how many certificates of a chain, from its first one on, have each
// been signed by the next one.
func pathLength(chain []*x509.Certificate) int {
	n := 1
	for n < len(chain) && Signed(chain[n-1], chain[n]) {
		n++
	}
	return min(n, len(chain))
}

// Signed reports whether the key of issuer has signed cert, and its name is there. What
// the extensions of issuer allow is not asked.
func Signed(cert, issuer *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, issuer.RawSubject) &&
		issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// SelfSigned reports whether a certificate is signed with its own key: the chain ends there.
func SelfSigned(cert *x509.Certificate) bool { return Signed(cert, cert) }

// broken says why the path ends before it comes to a verified certificate; last is the
// index of its last certificate.
func broken(chain []*x509.Certificate, last int, verified func(*x509.Certificate) bool) (rule, why string) {
	cert, rest := chain[last], chain[last+1:]
	selfIssued := bytes.Equal(cert.RawIssuer, cert.RawSubject)
	if len(rest) > 0 && !selfIssued && bytes.Equal(cert.RawIssuer, rest[0].RawSubject) {
		return "signature", fmt.Sprintf("%s names %s as its issuer and is not signed with its key: another certificate of that name, from another key, must follow", label(chain, last), label(chain, last+1))
	}
	later := slices.ContainsFunc(rest, func(c *x509.Certificate) bool { return Signed(cert, c) })
	switch {
	case later && !selfIssued && slices.ContainsFunc(rest, verified):
		if cert.Equal(rest[0]) {
			return "order", fmt.Sprintf("%s comes twice in a row: leave one out", label(chain, last))
		}
		return "order", fmt.Sprintf("%s is followed by %s, which has not signed it: send the device's certificate first, and after each one its issuer", label(chain, last), label(chain, last+1))
	case selfIssued:
		return "unverified", fmt.Sprintf("the chain ends with %s, which is not verified: upload it to DPS and prove the possession of its key", label(chain, last))
	default:
		return "verified", fmt.Sprintf("%s is not verified, and its issuer %q does not follow: send all certificates up to the verified one, or verify one that is sent", label(chain, last), cut(cert.Issuer.CommonName))
	}
}

// label names a certificate of a chain in a sentence.
func label(chain []*x509.Certificate, i int) string {
	kind := "certificate"
	if i == 0 {
		kind = "the device's certificate"
	}
	return fmt.Sprintf("%s %d (%q)", kind, i+1, cut(chain[i].Subject.CommonName))
}

// checkPath applies RFC 5280 to the certificates of a path, the device's first: their
// times, and what the CAs among them may do. whole is the chain they are the beginning of.
func checkPath(whole []*x509.Certificate, n int, now time.Time) (rule, why string) {
	for i := range n {
		if rule, why = checkTime(whole, i, now); rule != "" {
			return rule, why
		}
	}
	below := 0 // CAs that count against path lengths: all but self-issued ones
	for i := 1; i < n; i++ {
		ca := whole[i]
		switch {
		case !ca.BasicConstraintsValid || !ca.IsCA:
			return "issuer-ca", fmt.Sprintf("%s has signed the one before it and is no CA: it lacks basicConstraints CA:TRUE", label(whole, i))
		case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
			return "issuer-usage", fmt.Sprintf("%s has signed the one before it, which its key usage does not allow (keyCertSign)", label(whole, i))
		case (ca.MaxPathLen > 0 || ca.MaxPathLenZero) && below > ca.MaxPathLen:
			return "path-length", fmt.Sprintf("%s allows %d CAs below it, and %d are: what such a CA issues to CAs is worth nothing", label(whole, i), ca.MaxPathLen, below)
		}
		if !bytes.Equal(ca.RawSubject, ca.RawIssuer) {
			below++
		}
	}
	return "", ""
}

func checkTime(chain []*x509.Certificate, i int, now time.Time) (rule, why string) {
	cert := chain[i]
	switch {
	case now.After(cert.NotAfter):
		return "expired", fmt.Sprintf("%s expired at %s: renew it", label(chain, i), cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return "not-yet-valid", fmt.Sprintf("%s is valid only from %s: check the clocks, or wait", label(chain, i), cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return "", ""
}

// notes lists what is seen in a chain whose first n certificates are the path, and of
// which it is unknown what DPS makes of it.
func notes(chain []*x509.Certificate, n int) []Note {
	var list []Note
	add := func(rule, format string, args ...any) { list = append(list, Note{rule, fmt.Sprintf(format, args...)}) }
	leaf := chain[0]
	switch {
	case len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0:
		add("client-auth", "%s has no extended key usage: issue it with clientAuth", label(chain, 0))
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		add("client-auth", "the extended key usages of %s lack clientAuth: issue it with that", label(chain, 0))
	}
	if leaf.IsCA {
		add("device-ca", "%s says CA:TRUE: whoever has the device's key could issue certificates", label(chain, 0))
	}
	for i := range n {
		if kind := KeyKind(chain[i]); !usualKeys[kind] {
			add("key", "%s has a key that Microsoft's samples do not use (%s): take P-256 or RSA with 2048 bits", label(chain, i), kind)
		}
	}
	for i := range n {
		if a := chain[i].SignatureAlgorithm; (a == x509.SHA1WithRSA || a == x509.ECDSAWithSHA1) && !SelfSigned(chain[i]) {
			add("algorithm", "%s is signed with %s: issue it again with SHA-256", label(chain, i), a)
		}
	}
	for i := n; i < len(chain); i++ {
		if !Signed(chain[i-1], chain[i]) || SelfSigned(chain[i-1]) {
			add("extra", "%s does not continue the chain: leave it out", label(chain, i))
			break
		}
	}
	return list
}

// usualKeys are those of Microsoft's samples; there is no table of what DPS takes.
var usualKeys = map[string]bool{"RSA-2048": true, "RSA-3072": true, "RSA-4096": true, "P-256": true, "P-384": true}

// KeyKind names the key of a certificate, as in P-256 or RSA-2048.
func KeyKind(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", key.N.BitLen())
	}
	return cert.PublicKeyAlgorithm.String()
}
