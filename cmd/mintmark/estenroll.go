package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// oidSubjectAltName is the extension of subject alternative names.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

func newESTEnroll(a *app) *cobra.Command {
	var f estFlags
	var request requestFlags
	var newKey, keyType, out string
	var chain bool
	c := a.command("enroll --url URL (--csr FILE | --name NAME --new-key FILE) --out FILE [flags]",
		"Get a first certificate",
		`Enroll sends a certification request (RFC 7030, Section 4.2.1) and writes the
certificate. The key is made unless --new-key exists, so that a request which was
cut off can be repeated and gets the same certificate.`,
		`  mintmark est enroll --url https://ca.example.org:8443 --ca root.pem --password-file enroll --name press-0042 --new-key press.key --out press.pem
  mintmark est enroll --url https://ca.example.org:8443 --ca root.pem --cert idevid.pem --key idevid.key --csr press.csr --out press.pem`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if err := f.open(); err != nil {
				return err
			}
			der, err := enrollmentRequest(request, newKey, keyType)
			if err != nil {
				return err
			}
			var certificate *x509.Certificate
			err = a.repeat(c.Context(), f.wait, func() (err error) {
				certificate, err = f.client.Enroll(c.Context(), der)
				return err
			})
			if err != nil {
				return err
			}
			return a.writeEnrolled(c, &f, certificate, out, chain)
		})
	f.bind(c)
	f.bindCredentials(c)
	request.bind(c)
	bindResult(c, &out, &chain)
	c.Flags().StringVar(&newKey, "new-key", "", "`file` with the key to certify; made if there is none")
	c.Flags().StringVar(&keyType, "key-type", "P-256", "`type` of a key to make: P-256, P-384, RSA-2048, RSA-3072")
	c.MarkFlagsMutuallyExclusive("csr", "new-key")
	c.MarkFlagsOneRequired("csr", "new-key")
	return c
}

func newESTReenroll(a *app) *cobra.Command {
	var f estFlags
	var newKey, keyType, out string
	var chain bool
	c := a.command("reenroll --url URL --cert FILE --key FILE --out FILE [flags]", "Renew a certificate",
		`Reenroll renews the certificate that it authenticates with (RFC 7030, Section
4.2.2): same subject, same names. It keeps the key, or changes it with --new-key.`,
		`  mintmark est reenroll --url https://ca.example.org:8443 --ca root.pem --cert press.pem --key press.key --out press.pem
  mintmark est reenroll --url https://ca.example.org:8443 --ca root.pem --cert press.pem --key press.key --new-key press2.key --out press2.pem`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if err := f.open(); err != nil {
				return err
			}
			key, err := readKey(f.key)
			if newKey != "" {
				key, err = ensureKey(newKey, keyType)
			}
			if err != nil {
				return err
			}
			der, err := renewal(f.client.Certificate.Leaf, key)
			if err != nil {
				return err
			}
			var certificate *x509.Certificate
			err = a.repeat(c.Context(), f.wait, func() (err error) {
				certificate, err = f.client.Reenroll(c.Context(), der)
				return err
			})
			if err != nil {
				return err
			}
			return a.writeEnrolled(c, &f, certificate, out, chain)
		})
	f.bind(c)
	f.bindCredentials(c)
	bindResult(c, &out, &chain)
	c.Flags().StringVar(&newKey, "new-key", "", "`file` with a new key to certify; made if there is none")
	c.Flags().StringVar(&keyType, "key-type", "P-256", "`type` of a key to make: P-256, P-384, RSA-2048, RSA-3072")
	require(c, "cert", "key")
	return c
}

func bindResult(c *cobra.Command, out *string, chain *bool) {
	c.Flags().StringVar(out, "out", "", "`file` for the certificate")
	c.Flags().BoolVar(chain, "chain", false, "add the issuing CAs that the server's cacerts hold, for TLS clients")
	require(c, "out")
}

// enrollmentRequest is the request in the file, or one for the key.
func enrollmentRequest(request requestFlags, newKey, keyType string) ([]byte, error) {
	if request.file != "" {
		return request.read()
	}
	key, err := ensureKey(newKey, keyType)
	if err != nil {
		return nil, err
	}
	return request.make(key)
}

// ensureKey reads the key in a file, or makes it.
func ensureKey(name, kind string) (crypto.Signer, error) {
	if exists(name) {
		return readKey(name)
	}
	return createKey(name, kind)
}

// renewal is the request that repeats subject and names of a certificate.
func renewal(old *x509.Certificate, key crypto.Signer) ([]byte, error) {
	template := &x509.CertificateRequest{RawSubject: old.RawSubject}
	for _, e := range old.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: e.Id, Critical: e.Critical, Value: e.Value})
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("making the certification request: %w", err)
	}
	return der, nil
}

// enrolled describes a certificate to a program.
type enrolled struct {
	Serial   string    `json:"serial"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
	PEM      string    `json:"pem"`
}

func describeEnrolled(c *x509.Certificate) enrolled {
	return enrolled{hex.EncodeToString(c.SerialNumber.Bytes()), c.Subject.String(), c.Issuer.String(), c.NotAfter.UTC(), string(certificatePEM(c))}
}

// writeEnrolled writes what the server answered.
func (a *app) writeEnrolled(c *cobra.Command, f *estFlags, certificate *x509.Certificate, out string, chain bool) error {
	list := []*x509.Certificate{certificate}
	var chainErr error
	if chain {
		// The certificate is written even if its chain cannot be had.
		above, err := f.client.CACerts(c.Context())
		if err == nil {
			list = append(list, issuersOf(certificate, above)...)
		}
		chainErr = err
	}
	if err := replaceFile(out, certificatePEM(list...), 0o644); err != nil {
		return errors.Join(err, chainErr)
	}
	one := describeEnrolled(certificate)
	a.say("certificate %s for %s in %s, valid until %s", one.Serial, printable(one.Subject), out, date(one.NotAfter))
	if chainErr != nil {
		return chainErr
	}
	if a.json {
		return a.printJSON(one)
	}
	return nil
}

// issuersOf finds the path above a certificate, without the root.
func issuersOf(certificate *x509.Certificate, list []*x509.Certificate) []*x509.Certificate {
	var path []*x509.Certificate
	for child := certificate; len(path) < len(list); {
		var parent *x509.Certificate
		for _, c := range list {
			if child.CheckSignatureFrom(c) == nil {
				parent = c
				break
			}
		}
		if parent == nil || parent.CheckSignatureFrom(parent) == nil {
			return path
		}
		path = append(path, parent)
		child = parent
	}
	return path
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
