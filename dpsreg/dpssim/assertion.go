package dpssim

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// assertionType is how a client says that it proves itself by a certificate (RFC 7523,
// section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertion bounds a client assertion, in bytes: some carry their chain.
const maxAssertion = 64 << 10

// assertion is a client assertion: a JWT that an application signs with the key of a
// certificate that Entra knows
// (https://learn.microsoft.com/entra/identity-platform/certificate-credentials).
type assertion struct {
	algorithm  string // RS256 or PS256
	thumbprint []byte // of the certificate: SHA-256 or SHA-1
	claims     claims
	signed     []byte
	signature  []byte
}

type claims struct {
	Audience  string `json:"aud"`
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Expires   int64  `json:"exp"`
	NotBefore int64  `json:"nbf"`
}

// parseAssertion reads a client assertion. It checks nothing that depends on who asks.
func parseAssertion(text string) (*assertion, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || len(text) > maxAssertion {
		return nil, errors.New("the client assertion is no JWT")
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return nil, errors.New("the client assertion is not base64url")
		}
	}
	var header struct {
		Algorithm string `json:"alg"`
		SHA1      string `json:"x5t"`
		SHA256    string `json:"x5t#S256"`
	}
	a := &assertion{signed: []byte(parts[0] + "." + parts[1]), signature: raw[2]}
	if err := decodeOne(raw[0], &header); err != nil {
		return nil, errors.New("the header of the client assertion cannot be read")
	}
	if err := decodeOne(raw[1], &a.claims); err != nil {
		return nil, errors.New("the claims of the client assertion cannot be read")
	}
	a.algorithm = header.Algorithm
	if a.algorithm != "RS256" && a.algorithm != "PS256" {
		return nil, fmt.Errorf("the client assertion is signed with %q, not RS256 or PS256", clip(a.algorithm, 32))
	}
	thumbprint, size := header.SHA256, sha256.Size
	if thumbprint == "" {
		thumbprint, size = header.SHA1, sha1.Size
	}
	var err error
	// MSAL for Go writes plain base64 with padding, where RFC 7515 has base64url.
	if a.thumbprint, err = base64.RawURLEncoding.DecodeString(urlDigits.Replace(thumbprint)); err != nil || len(a.thumbprint) != size {
		return nil, errors.New("the client assertion has no thumbprint of a certificate")
	}
	return a, nil
}

var urlDigits = strings.NewReplacer("+", "-", "/", "_", "=", "")

// verify checks an assertion of a client for a token endpoint. code is Entra's number of
// the error (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
func (a *assertion) verify(c *x509.Certificate, clientID, audience string, now time.Time) (code int, err error) {
	if c == nil {
		return 700027, errors.New("the application has no certificate")
	}
	long, short := sha256.Sum256(c.Raw), sha1.Sum(c.Raw)
	key, isRSA := c.PublicKey.(*rsa.PublicKey)
	digest := sha256.Sum256(a.signed)
	switch {
	case !bytes.Equal(a.thumbprint, long[:]) && !bytes.Equal(a.thumbprint, short[:]):
		return 700027, errors.New("the certificate of the client assertion is not that of the application")
	case !isRSA:
		return 700027, errors.New("the certificate of the application has no RSA key")
	case a.algorithm == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], a.signature) != nil,
		a.algorithm == "PS256" && rsa.VerifyPSS(key, crypto.SHA256, digest[:], a.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) != nil:
		return 50013, errors.New("the signature of the client assertion is not good")
	case !strings.EqualFold(a.claims.Issuer, clientID) || !strings.EqualFold(a.claims.Subject, clientID):
		return 700021, errors.New("issuer and subject of the client assertion are not client_id")
	case a.claims.Audience != audience:
		return 700023, errors.New("the client assertion is for another token endpoint")
	case now.Unix() >= a.claims.Expires || now.Unix() < a.claims.NotBefore-300 || now.After(c.NotAfter):
		return 700024, errors.New("the client assertion, or the certificate, is not within its validity")
	}
	return 0, nil
}
