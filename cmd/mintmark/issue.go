package main

import (
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newIssue(a *app) *cobra.Command {
	var in admin.Issue
	var request requestFlags
	var key keyFlags
	var out string
	c := a.command("issue --profile NAME --issuer NAME (--csr FILE | --name NAME --out-key FILE) [flags]",
		"Issue one certificate",
		`Issue has one certificate issued, as the profile allows: for the request in a
file, for the key in --key, or for a new key that is made here and written to
--out-key, mode 0600. It writes the certificate and the chain below the root. A
profile of preset registration-authority is for security officers, of whom a
second one must agree.`,
		`  mintmark issue --profile device --issuer issuing --csr device.csr --out device.pem --dir ./factory
  mintmark issue --profile device --issuer issuing --name press-0042 --out-key press.key --out press.pem --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				der, err := key.request(request)
				if err != nil {
					return err
				}
				in.CSR = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
				issued, err := client.Issue(c.Context(), in)
				if err != nil {
					return key.undo(err)
				}
				return a.printIssued(issued, out)
			})
		})
	f := c.Flags()
	f.StringVar(&in.Profile, "profile", "", "`name` of the profile")
	f.StringVar(&in.Issuer, "issuer", "", "`name` of the issuing CA")
	f.StringVar(&in.Order, "order", "", "work `order` that pays for it")
	f.StringVar(&key.file, "key", "", "`file` with the key to certify")
	f.StringVar(&key.out, "out-key", "", "`file` for a new key; it must not exist")
	f.StringVar(&key.kind, "key-type", "P-256", "`type` of the new key: P-256, P-384, RSA-2048, RSA-3072")
	f.StringVar(&out, "out", "", "`file` for certificate and chain (default standard output)")
	request.bind(c)
	require(c, "profile", "issuer")
	c.MarkFlagsMutuallyExclusive("csr", "key", "out-key")
	c.MarkFlagsOneRequired("csr", "key", "out-key")
	return c
}

// keyFlags name the key to certify: one that is there, or one to make.
type keyFlags struct{ file, out, kind string }

// request reads the request, or makes one for the key.
func (k keyFlags) request(request requestFlags) ([]byte, error) {
	if request.file != "" {
		return request.read()
	}
	var key crypto.Signer
	var err error
	if k.file != "" {
		key, err = readKey(k.file)
	} else {
		key, err = createKey(k.out, k.kind)
	}
	if err != nil {
		return nil, err
	}
	return request.make(key)
}

// undo removes a key that was made for a request which was refused. Where the
// outcome is not known the key stays: a certificate may exist for it.
func (k keyFlags) undo(err error) error {
	if k.out == "" {
		return err
	}
	var proposed *admin.Proposed
	if errors.As(err, &proposed) {
		return fmt.Errorf("%w\nthe key stays in %s: mintmark approval run %s --out FILE brings its certificate", err, k.out, proposed.Approval.ID)
	}
	var refusal *admin.Error
	if errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError {
		return errors.Join(err, os.Remove(k.out))
	}
	return fmt.Errorf("%w\nthe key stays in %s: repeat the request with --key %s in place of --out-key", err, k.out, k.out)
}

// printIssued writes a new certificate and its chain.
func (a *app) printIssued(issued admin.Issued, out string) error {
	one := issued.Certificate
	if issued.Prior {
		a.say("the same request was answered before: this is that certificate")
	}
	a.say("certificate %s for %s, valid until %s", one.Serial, printable(one.Subject), date(one.NotAfter))
	if out != "" || !a.json {
		if err := a.writeOut(out, []byte(one.PEM+issued.Chain)); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(issued)
	}
	return nil
}
