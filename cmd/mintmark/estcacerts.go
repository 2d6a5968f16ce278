package main

import (
	"crypto/x509"

	"github.com/spf13/cobra"

	"mintmark/issuer/est"
)

func newESTCACerts(a *app) *cobra.Command {
	var f estFlags
	var out string
	c := a.command("cacerts --url URL [--ca FILE | --pin SHA256] [flags]", "Fetch the CA certificates",
		`Cacerts fetches the trust anchors and issuing CAs of a server (RFC 7030, Section
4.1). They can be trusted as far as --ca vouches for the server.

A device that has no trust anchor yet is given the fingerprint of the root with
--pin, by a person who has compared it (RFC 7030, Section 4.1.1). The answer is
written only if it holds that root and the root vouches for the server. There
is no way to trust whoever answers.`,
		`  mintmark est cacerts --url https://ca.example.org:8443 --ca root.pem --out anchors.pem
  mintmark est cacerts --url https://ca.example.org:8443 --pin 93:ab:51:... --out anchors.pem`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			list, err := a.anchors(c, &f)
			if err != nil {
				return err
			}
			if out != "" || !a.json {
				if err := a.writeOut(out, certificatePEM(list...)); err != nil {
					return err
				}
			}
			for _, one := range list {
				if one.CheckSignatureFrom(one) == nil {
					a.say("root %s, SHA-256 %s, until %s", printable(one.Subject.String()), est.PinOf(one), date(one.NotAfter))
				}
			}
			if a.json {
				answer := struct {
					Certificates []enrolled `json:"certificates"`
				}{[]enrolled{}}
				for _, one := range list {
					answer.Certificates = append(answer.Certificates, describeEnrolled(one))
				}
				return a.printJSON(answer)
			}
			return nil
		})
	f.bind(c)
	f.bindCredentials(c)
	c.Flags().StringVar(&out, "out", "", "`file` to write (default standard output)")
	return c
}

// anchors fetches the CA certificates.
func (a *app) anchors(c *cobra.Command, f *estFlags) (list []*x509.Certificate, err error) {
	done, err := a.openEST(c.Context(), f)
	if err != nil {
		return nil, err
	}
	defer done()
	err = a.repeat(c.Context(), f.wait, func() (err error) {
		list, err = f.client.CACerts(c.Context())
		return err
	})
	return list, err
}
