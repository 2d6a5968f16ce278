package est

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Pin is the SHA-256 of a certificate in DER, which a person has compared or
// which was put into the device.
type Pin [sha256.Size]byte

// ParsePin reads a pin as openssl and browsers print it: 64 hexadecimal digits,
// with or without colons and blanks, also behind "sha256 Fingerprint=".
func ParsePin(text string) (Pin, error) {
	if i := strings.LastIndexByte(text, '='); i >= 0 {
		text = text[i+1:]
	}
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(text))
	if err != nil || len(b) != len(Pin{}) {
		return Pin{}, fmt.Errorf("%q is not a SHA-256 fingerprint in 64 hexadecimal digits", text)
	}
	return Pin(b), nil
}

// String is the pin in lower-case hexadecimal.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// PinOf is the pin of a certificate.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.Raw) }

// Bootstrap fetches the CA certificates of a server that nothing vouches for yet
// but the fingerprint of its root (RFC 7030, Section 4.1.1). RootCAs do not count,
// and neither the client's certificate nor its password is sent.
//
// The answer is believed if it holds the self-signed certificate with that
// fingerprint, and if that root verifies the certificate by which the server
// authenticated the very connection of the answer. The root comes first in the
// result. An error means that nothing of the answer may be used.
func (c *Client) Bootstrap(ctx context.Context, root Pin) ([]*x509.Certificate, error) {
	certificates, err := c.bootstrap(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("fetching CA certificates by their fingerprint: %w", err)
	}
	return certificates, nil
}

func (c *Client) bootstrap(ctx context.Context, root Pin) ([]*x509.Certificate, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("parsing server URL: %w", errors.Unwrap(err))
	}
	var presented []*x509.Certificate
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DisableKeepAlives: true, // one connection, the one that is judged
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			MaxVersion: c.MaxVersion,
			ServerName: u.Hostname(),
			// What this leaves out is done below, when the root is known. Until then
			// nothing is sent but a GET of what is public.
			InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				presented = state.PeerCertificates
				return nil
			},
		},
	}
	defer transport.CloseIdleConnections()
	a, err := c.do(ctx, c.over(transport), ask{method: http.MethodGet, op: "cacerts", anonymous: true})
	if err != nil {
		return nil, err
	}
	list, err := a.certificates()
	if err != nil {
		return nil, err
	}
	return believe(list, presented, root, u.Hostname())
}

// believe holds what a server sent, and the certificates by which it
// authenticated, against the pin of the root.
func believe(list, presented []*x509.Certificate, pin Pin, host string) ([]*x509.Certificate, error) {
	var root *x509.Certificate
	var rest []*x509.Certificate
	var roots []string
	for _, certificate := range list {
		switch {
		case root == nil && PinOf(certificate) == pin:
			root = certificate
		default:
			rest = append(rest, certificate)
			if certificate.CheckSignatureFrom(certificate) == nil {
				roots = append(roots, PinOf(certificate).String())
			}
		}
	}
	if root == nil {
		if len(roots) == 0 {
			roots = []string{"none, for it sent no root"}
		}
		return nil, fmt.Errorf("the server sent no certificate with the SHA-256 %s: its roots have %s", pin, strings.Join(roots, ", "))
	}
	if err := root.CheckSignatureFrom(root); err != nil {
		return nil, fmt.Errorf("the certificate with this fingerprint is not a root: %w", err)
	}
	if len(presented) == 0 {
		return nil, errors.New("the server has no certificate")
	}
	options := x509.VerifyOptions{DNSName: host, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	options.Roots.AddCert(root)
	for _, certificate := range append(presented[1:len(presented):len(presented)], rest...) {
		options.Intermediates.AddCert(certificate)
	}
	if _, err := presented[0].Verify(options); err != nil {
		return nil, &tls.CertificateVerificationError{UnverifiedCertificates: presented, Err: err}
	}
	return append([]*x509.Certificate{root}, rest...), nil
}
