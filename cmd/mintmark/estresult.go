package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func bindResult(c *cobra.Command, out *string, chain *chainFlags) {
	c.Flags().StringVar(out, "out", "", "`file` for the certificate")
	chain.bind(c, "add the issuing CAs that the server's cacerts hold, for TLS clients")
	require(c, "out")
}

// enrolled describes a certificate to a program.
type enrolled struct {
	Serial   string    `json:"serial"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
	PEM      string    `json:"pem"`
	// Lacks is what the request asked for and the certificate does not have.
	Lacks []string `json:"lacks,omitempty"`
}

func describeEnrolled(c *x509.Certificate) enrolled {
	return enrolled{
		Serial: hex.EncodeToString(c.SerialNumber.Bytes()), Subject: c.Subject.String(), Issuer: c.Issuer.String(), NotAfter: c.NotAfter.UTC(),
		PEM: string(certificatePEM(c)),
	}
}

// writeEnrolled writes what the server answered, and says what of the request it
// does not have.
func (a *app) writeEnrolled(c *cobra.Command, f *estFlags, asked *x509.CertificateRequest, certificate *x509.Certificate, out string, chain chainFlags) error {
	list := []*x509.Certificate{certificate}
	var chainErr error
	if chain.any() {
		// The certificate is written even if its chain cannot be had.
		var above []*x509.Certificate
		above, chainErr = chain.chainAbove(c.Context(), f, certificate, nil)
		list = append(list, above...)
	}
	if err := replaceFile(out, certificatePEM(list...), 0o644); err != nil {
		return errors.Join(err, chainErr)
	}
	one := describeEnrolled(certificate)
	a.say("certificate %s for %s in %s, valid until %s", one.Serial, printable(one.Subject), out, date(one.NotAfter))
	one.Lacks = a.warnLacking(asked, certificate)
	if chainErr != nil {
		return chainErr
	}
	if a.json {
		return a.printJSON(one)
	}
	return nil
}

// certificateWith reads the certificate of a key, and its chain.
func certificateWith(certFile, keyFile string, key crypto.Signer) (*tls.Certificate, error) {
	chain, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	if !samePublicKey(chain[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("%s is not the key of the first certificate in %s", keyFile, certFile)
	}
	certificate := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	return certificate, nil
}

// samePublicKey compares two keys of the kinds that certificates hold here.
func samePublicKey(a, b crypto.PublicKey) bool {
	switch a := a.(type) {
	case *ecdsa.PublicKey:
		return a.Equal(b)
	case *rsa.PublicKey:
		return a.Equal(b)
	}
	return false
}

// keyKind is the type of a key as --key-type names it.
func keyKind(key crypto.PublicKey) (string, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return key.Curve.Params().Name, nil
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", key.N.BitLen()), nil
	}
	name := strings.TrimPrefix(fmt.Sprintf("%T", key), "*")
	if name == "ed25519.PublicKey" {
		name = "Ed25519"
	}
	return "", fmt.Errorf("keys of type %s are not taken: use P-256, P-384 or RSA", name)
}
