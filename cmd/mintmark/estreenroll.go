package main

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/internal/pkcs10"
	"mintmark/issuer/est"
)

// oidSubjectAltName is the extension of subject alternative names.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

func newESTReenroll(a *app) *cobra.Command {
	var f estFlags
	var change changeFlags
	var newKey, keyType, out string
	var proof proofFlag
	var chain chainFlags
	c := a.command("reenroll --url URL --cert FILE --key FILE --out FILE [flags]", "Renew a certificate",
		`Reenroll renews the certificate that it authenticates with (RFC 7030, Section
4.2.2): same subject, same names. It keeps the key, or changes it with
--new-key. The flags --change-... ask for other names, which few servers grant.
est renew does this when it is due, and puts the new certificate in the place
of the old.`,
		`  mintmark est reenroll --url https://ca.example.org:8443 --ca root.pem --cert press.pem --key press.key --out press.pem
  mintmark est reenroll --url https://ca.example.org:8443 --ca root.pem --cert press.pem --key press.key --new-key press2.key --out press2.pem
  mintmark est reenroll --url https://ca.example.org:8443 --ca root.pem --cert press.pem --key press.key --change-dns press.hall-2.example.org --out press.pem`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if err := errors.Join(checkKeyType(keyType), checkOut(out)); err != nil {
				return err
			}
			done, err := a.openEST(c.Context(), &f)
			if err != nil {
				return err
			}
			defer done()
			current := f.client.Certificate
			key := current.PrivateKey.(crypto.Signer)
			closeKey := func() error { return nil }
			switch {
			case newKey == "":
			case exists(newKey) || isToken(newKey):
				key, closeKey, err = a.openNewKey(c.Context(), newKey, keyType)
			default:
				if keyType == "" {
					if keyType, err = keyKind(current.Leaf.PublicKey); err != nil {
						return err
					}
				}
				key, err = createKey(newKey, keyType)
			}
			if err != nil {
				return err
			}
			defer closeKey()
			r := est.Request{Template: repeating(current.Leaf), Key: key, Link: proof.link}
			if r.Attributes.ChangeSubject, err = change.attribute(current.Leaf); err != nil {
				return err
			}
			asked, err := readable(r.Template, r.Attributes.ChangeSubject)
			if err != nil {
				return err
			}
			var certificate *x509.Certificate
			err = a.repeat(c.Context(), f.wait, func() (err error) {
				certificate, err = f.client.ReenrollRequest(c.Context(), r)
				return err
			})
			if err != nil {
				return err
			}
			return a.writeEnrolled(c, &f, asked, certificate, out, chain)
		})
	f.bind(c)
	f.bindCredentials(c)
	bindResult(c, &out, &chain)
	change.bind(c)
	proof.bind(c)
	c.Flags().StringVar(&newKey, "new-key", "", "`file` with a new key to certify, made if there is none; or the pkcs11: URI of one that there is")
	c.Flags().StringVar(&keyType, "key-type", "", "`type` of a key to make: P-256, P-384, RSA-2048, RSA-3072 (default that of the old key)")
	require(c, "cert", "key")
	return c
}

// repeating is a request with the subject and the names of a certificate.
func repeating(old *x509.Certificate) *x509.CertificateRequest {
	template := &x509.CertificateRequest{RawSubject: old.RawSubject}
	for _, e := range old.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: e.Id, Critical: e.Critical, Value: e.Value})
		}
	}
	return template
}

// changeFlags ask for other names than those of the old certificate.
type changeFlags struct {
	name         string
	dns, ip, uri []string
}

func (f *changeFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.name, "change-name", "", "ask for another `commonName`")
	flags.StringArrayVar(&f.dns, "change-dns", nil, "ask for this DNS `name`, in place of all alternative names; may be repeated")
	flags.StringArrayVar(&f.ip, "change-ip", nil, "ask for this IP `address`, in place of all alternative names; may be repeated")
	flags.StringArrayVar(&f.uri, "change-uri", nil, "ask for this `URI`, in place of all alternative names; may be repeated")
}

// attribute is ChangeSubjectName (RFC 6402, Section 2.8), or nil if nothing
// is to change.
func (f *changeFlags) attribute(old *x509.Certificate) (*pkcs10.ChangeSubject, error) {
	var change pkcs10.ChangeSubject
	if f.name != "" {
		subject, err := renamed(old.RawSubject, f.name)
		if err != nil {
			return nil, err
		}
		change.Subject = subject
	}
	if len(f.dns)+len(f.ip)+len(f.uri) > 0 {
		names := requestFlags{name: "change", dns: f.dns, ip: f.ip, uri: f.uri}
		template, err := names.template()
		if err != nil {
			return nil, fmt.Errorf("names to change to: %w", err)
		}
		for _, e := range template.ExtraExtensions {
			if e.Id.Equal(oidSubjectAltName) {
				change.SubjectAlt = e.Value
			}
		}
	}
	if change.Subject == nil && change.SubjectAlt == nil {
		return nil, nil
	}
	return &change, nil
}

// renamed is a subject with another commonName.
func renamed(subject []byte, name string) ([]byte, error) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(subject, &rdns); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("reading the subject of the certificate: %w", err)
	}
	found := false
	for _, rdn := range rdns {
		for i := range rdn {
			if rdn[i].Type.Equal(oidCommonName) {
				rdn[i].Value, found = name, true
			}
		}
	}
	if !found {
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: oidCommonName, Value: name}})
	}
	der, err := asn1.Marshal(rdns)
	if err != nil {
		return nil, fmt.Errorf("encoding the new subject: %w", err)
	}
	return der, nil
}

// isToken reports whether a key is named by a URI.
func isToken(name string) bool { return strings.HasPrefix(strings.ToLower(name), "pkcs11:") }
