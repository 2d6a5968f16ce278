package est

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"net/http"
	"slices"

	"mintmark/internal/cms"
	"mintmark/internal/pkcs10"
)

// Rules of serverkeygen, of the closed set in rules.go.
const (
	ruleKeygenRequest    = "csr-syntax" // the issuer's
	ruleKeygenKey        = "keygen-key"
	ruleKeygenUsage      = "keygen-key-usage"
	ruleKeygenAlgorithms = "keygen-algorithms"
	ruleKeygenPlain      = "keygen-plain"
)

// decryptCertificate finds the certificate whose key an
// AsymmetricDecryptKeyIdentifier names. It is the one by which the client
// authenticated: the server knows of it that the client has the private key.
// That of another certificate would hand the key to another device.
func (x *exchange) decryptCertificate(who identity, identifier []byte) (*x509.Certificate, error) {
	// Beside a password, a certificate that was refused may have been presented.
	switch who.requester.Kind {
	case "certificate", "maker", "claim", "ra":
	default:
		return nil, fail(http.StatusBadRequest, ruleKeygenKey, "an AsymmetricDecryptKeyIdentifier must name the key of the TLS client certificate, and the client did not authenticate by one")
	}
	c := x.client
	if !identifies(identifier, c) {
		return nil, fail(http.StatusBadRequest, ruleKeygenKey, "the AsymmetricDecryptKeyIdentifier must be the subject key identifier of the TLS client certificate %s, and is not", serial(c))
	}
	// RFC 7030, Section 4.4.1.2: the use of a certified key must be
	// unrestricted, or include what it is used for here.
	need, name := x509.KeyUsageKeyAgreement, "keyAgreement"
	if c.PublicKeyAlgorithm == x509.RSA {
		need, name = x509.KeyUsageKeyEncipherment, "keyEncipherment"
	}
	if c.KeyUsage != 0 && c.KeyUsage&need == 0 {
		return nil, fail(http.StatusBadRequest, ruleKeygenUsage, "the TLS client certificate %s has a keyUsage without %s, so that nothing may be encrypted for its key (RFC 7030, Section 4.4.1.2)", serial(c), name)
	}
	return c, nil
}

// identifies reports whether an identifier is that of a certificate's key: the
// one that stands in the certificate, or one derived from the key as RFC 5280,
// Section 4.2.1.2 and RFC 7093, Section 2 derive them.
func identifies(identifier []byte, c *x509.Certificate) bool {
	if len(c.SubjectKeyId) > 0 && bytes.Equal(identifier, c.SubjectKeyId) {
		return true
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil || len(rest) > 0 {
		return false
	}
	one, two, all := sha1.Sum(info.Key.Bytes), sha256.Sum256(info.Key.Bytes), sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return bytes.Equal(identifier, one[:]) || bytes.Equal(identifier, two[:20]) || bytes.Equal(identifier, all[:])
}

// bits is the strength of the AES algorithms.
func bits(algorithm asn1.ObjectIdentifier) int {
	switch {
	case algorithm.Equal(cms.AES128CBC), algorithm.Equal(cms.AES128Wrap):
		return 128
	case algorithm.Equal(cms.AES192CBC), algorithm.Equal(cms.AES192Wrap):
		return 192
	case algorithm.Equal(cms.AES256CBC), algorithm.Equal(cms.AES256Wrap):
		return 256
	}
	return 0
}

var (
	ciphers = []asn1.ObjectIdentifier{cms.AES128CBC, cms.AES192CBC, cms.AES256CBC}
	wraps   = []asn1.ObjectIdentifier{cms.AES128Wrap, cms.AES192Wrap, cms.AES256Wrap}
)

// choose completes a recipient with the algorithms that fit its key, of those
// that the client can do, in the client's order of preference (RFC 8551,
// Section 2.5.2). RFC 7030, Section 4.4.2 wants the key of the content to be as strong as
// the recipient's (NIST SP 800-57 part 1, table 2): less is not chosen.
func (x *exchange) choose(r *cms.Recipient, capabilities []pkcs10.Capability) (*cms.Recipient, error) {
	if len(capabilities) == 0 {
		return nil, fail(http.StatusBadRequest, ruleKeygenAlgorithms, "the request names a key to encrypt with, and lacks the SMIMECapabilities attribute that says by which algorithms (RFC 7030, Section 4.4.1)")
	}
	// first returns the first of some algorithms that the client lists.
	first := func(of []asn1.ObjectIdentifier, strength int) asn1.ObjectIdentifier {
		for _, c := range capabilities {
			if bits(c.Algorithm) >= strength && slices.ContainsFunc(of, c.Algorithm.Equal) {
				return c.Algorithm
			}
		}
		return nil
	}
	strength, wanted := 0, ""
	switch key := r.Key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return nil, fail(http.StatusBadRequest, ruleKeygenAlgorithms, "the key to encrypt with is an RSA key of %d bits: 2048 are the least", key.N.BitLen())
		}
		wanted = "id-RSAES-OAEP with SHA-256, or rsaEncryption"
		strength = 128 // also for the 112 of RSA-2048
		if key.N.BitLen() >= 7680 {
			strength = 192
		}
		r.KeyEncryption = transport(capabilities)
	case *ecdsa.PublicKey:
		wanted = "dhSinglePass-stdDH-sha256kdf or -sha384kdf, with an AES key wrap as strong as the curve"
		switch key.Curve {
		case elliptic.P256():
			strength = 128
		case elliptic.P384():
			strength = 192
		default:
			return nil, fail(http.StatusBadRequest, ruleKeygenAlgorithms, "the key to encrypt with is neither RSA nor on P-256 or P-384")
		}
		r.KeyEncryption, r.KeyWrap = agreement(capabilities, first(wraps, strength), strength)
	case []byte:
		strength = 8 * len(key)
		r.KeyEncryption = first(wraps[len(key)/8-2:len(key)/8-1], strength)
		wanted = "the AES key wrap of the symmetric key's length"
	default:
		return nil, fail(http.StatusBadRequest, ruleKeygenAlgorithms, "the key to encrypt with is neither RSA nor on P-256 or P-384")
	}
	r.Content = first(ciphers, strength)
	if r.KeyEncryption == nil {
		return nil, fail(http.StatusBadRequest, ruleKeygenAlgorithms, "the SMIMECapabilities of the request hold no key encryption for the key that it names: it takes %s", wanted)
	}
	if r.Content == nil {
		return nil, fail(http.StatusBadRequest, ruleKeygenAlgorithms, "the SMIMECapabilities of the request hold no AES-CBC of at least %d bits, which is what the key that it names is worth", strength)
	}
	x.note(slog.String("key_encryption", r.KeyEncryption.String()), slog.String("key_cipher", r.Content.String()))
	return r, nil
}

// transport chooses OAEP wherever the client can do it: PKCS #1 v1.5 is what
// padding oracles are about.
func transport(capabilities []pkcs10.Capability) asn1.ObjectIdentifier {
	var v15 asn1.ObjectIdentifier
	for _, c := range capabilities {
		switch {
		case c.Algorithm.Equal(cms.RSAOAEP) && cms.OAEPWithSHA256(c.Parameters):
			return c.Algorithm
		case c.Algorithm.Equal(cms.RSAEncryption):
			v15 = c.Algorithm
		}
	}
	return v15
}

// agreement chooses a scheme and its key wrap: the one in the parameters of the
// scheme (RFC 5753, Section 8), or one that the client lists by itself.
func agreement(capabilities []pkcs10.Capability, alone asn1.ObjectIdentifier, strength int) (scheme, wrap asn1.ObjectIdentifier) {
	for _, c := range capabilities {
		if !c.Algorithm.Equal(cms.ECDHSHA256) && !c.Algorithm.Equal(cms.ECDHSHA384) {
			continue
		}
		wrap := alone
		if c.Parameters != nil {
			var with pkix.AlgorithmIdentifier
			if rest, err := asn1.Unmarshal(c.Parameters, &with); err != nil || len(rest) > 0 || !slices.ContainsFunc(wraps, with.Algorithm.Equal) || bits(with.Algorithm) < strength {
				continue
			}
			wrap = with.Algorithm
		}
		if wrap != nil {
			return c.Algorithm, wrap
		}
	}
	return nil, nil
}
