package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/internal/keystore"
	"mintmark/issuer/est"
)

func newESTEnroll(a *app) *cobra.Command {
	var f estFlags
	var request requestFlags
	var newKey, keyType, out string
	var proof proofFlag
	var chain chainFlags
	c := a.command("enroll --url URL (--csr FILE | --name NAME --new-key FILE) --out FILE [flags]",
		"Get a first certificate",
		`Enroll sends a certification request (RFC 7030, Section 4.2.1) and writes the
certificate. The key is made unless --new-key exists, so that a request which
was cut off can be repeated and gets the same certificate.

A request that is made here is linked to the TLS connection (RFC 7030, Section
3.5) where the server's csrattrs wants it; --proof decides otherwise. One from
a file cannot be.`,
		`  mintmark est enroll --url https://ca.example.org:8443 --ca root.pem --password-file enroll --name press-0042 --new-key press.key --out press.pem
  mintmark est enroll --url https://ca.example.org:8443 --pin 93:ab:51:... --password-file enroll --name press-0042 --new-key press.key --out press.pem --proof always
  mintmark est enroll --url https://ca.example.org:8443 --ca root.pem --cert idevid.pem --key idevid.key --csr press.csr --out press.pem`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if request.file != "" && proof.link == est.LinkAlways {
				return usagef("the request in %s is signed already and cannot be linked to a connection: make it here, with --name and --new-key", request.file)
			}
			if err := errors.Join(checkKeyType(keyType), checkOut(out)); err != nil {
				return err
			}
			done, err := a.openEST(c.Context(), &f)
			if err != nil {
				return err
			}
			defer done()
			e, err := a.enrollment(c.Context(), &f, request, newKey, keyType, proof.link)
			if err != nil {
				return err
			}
			defer e.close()
			var certificate *x509.Certificate
			err = a.repeat(c.Context(), f.wait, func() (err error) {
				certificate, err = e.send()
				return err
			})
			if err != nil {
				return err
			}
			return a.writeEnrolled(c, &f, e.asked, certificate, out, chain)
		})
	f.bind(c)
	f.bindCredentials(c)
	request.bind(c)
	bindResult(c, &out, &chain)
	proof.bind(c)
	c.Flags().StringVar(&newKey, "new-key", "", "`file` with the key to certify, made if there is none; or the pkcs11: URI of one that there is")
	c.Flags().StringVar(&keyType, "key-type", "", "`type` of a key to make: P-256, P-384, RSA-2048, RSA-3072 (default what the server's csrattrs asks for, or P-256)")
	c.MarkFlagsMutuallyExclusive("csr", "new-key")
	c.MarkFlagsOneRequired("csr", "new-key")
	return c
}

// enrollment is a request that is ready to be sent, any number of times.
type enrollment struct {
	asked *x509.CertificateRequest
	send  func() (*x509.Certificate, error)
	close func() error // the token of the key
}

// enrollment prepares the request in the file, or one for the key.
func (a *app) enrollment(ctx context.Context, f *estFlags, request requestFlags, newKey, keyType string, link est.Link) (*enrollment, error) {
	e := &enrollment{close: func() error { return nil }}
	if request.file != "" {
		der, err := request.read()
		if err != nil {
			return nil, err
		}
		e.send = func() (*x509.Certificate, error) { return f.client.Enroll(ctx, der) }
		e.asked, err = x509.ParseCertificateRequest(der)
		return e, err
	}
	template, err := request.template()
	if err != nil {
		return nil, err
	}
	if e.asked, err = readable(template, nil); err != nil {
		return nil, err
	}
	var key crypto.Signer
	if exists(newKey) || isToken(newKey) {
		key, e.close, err = a.openNewKey(ctx, newKey, keyType)
	} else {
		if keyType == "" {
			// What else the answer says needs no second question.
			if keyType, link, err = a.wanted(ctx, f, link); err != nil {
				return nil, err
			}
		}
		key, err = createKey(newKey, keyType)
	}
	if err != nil {
		return nil, err
	}
	r := est.Request{Template: template, Key: key, Link: link}
	e.send = func() (*x509.Certificate, error) { return f.client.EnrollRequest(ctx, r) }
	return e, nil
}

// openNewKey opens a key that is there and is to be certified, of that type if one is
// named. The returned function closes its token.
func (a *app) openNewKey(ctx context.Context, name, keyType string) (crypto.Signer, func() error, error) {
	key, done, err := a.openSigner(ctx, name)
	if isToken(name) && errors.Is(err, keystore.ErrNotFound) {
		err = fmt.Errorf("%w: it must be made there first, as with pkcs11-tool --keypairgen --key-type EC:prime256v1", err)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := a.checkKey(name, key, keyType); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return key, done, nil
}

// template is what the flags describe.
func (f *requestFlags) template() (*x509.CertificateRequest, error) {
	var der []byte
	var err error
	if f.file != "" {
		der, err = f.read()
	} else {
		// Under a key of no consequence.
		var passing crypto.Signer
		if passing, err = newKey("P-256"); err == nil {
			der, err = f.make(passing)
		}
	}
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the certification request: %w", err)
	}
	return &x509.CertificateRequest{RawSubject: csr.RawSubject, ExtraExtensions: csr.Extensions, PublicKey: csr.PublicKey}, nil
}

// defaultKeyType is that of a device that is told nothing else.
const defaultKeyType = "P-256"

// wanted is the type of key that the server asks for, of those that can be made
// here, and whether it wants the request linked to the connection where that is
// left to it.
func (a *app) wanted(ctx context.Context, f *estFlags, link est.Link) (string, est.Link, error) {
	var wants est.CSRAttrs
	err := a.repeat(ctx, f.wait, func() (err error) {
		wants, err = f.client.CSRAttrs(ctx)
		return err
	})
	var status *est.StatusError
	switch {
	case err == nil, errors.Is(err, est.ErrNone):
	case errors.As(err, &status):
		return defaultKeyType, link, nil // not every server offers to say
	default:
		return "", link, err
	}
	if link == est.LinkAuto {
		link = est.LinkNever
		if wants.Link {
			link = est.LinkAlways
		}
	}
	kind, err := chooseKey(wants)
	return kind, link, err
}

// proofFlag says whether to link a request to the connection.
type proofFlag struct{ link est.Link }

func (p *proofFlag) bind(c *cobra.Command) {
	p.link = est.LinkAuto
	c.Flags().Var(p, "proof", "link the request to the TLS connection: `auto` (where csrattrs wants it), always or never")
}

func (p *proofFlag) String() string { return string(p.link) }

func (p *proofFlag) Type() string { return "auto" }

func (p *proofFlag) Set(text string) error {
	switch link := est.Link(text); link {
	case est.LinkAuto, est.LinkAlways, est.LinkNever:
		p.link = link
		return nil
	}
	return fmt.Errorf("%q is none of auto, always, never", text)
}
