package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newOrderSecret(a *app) *cobra.Command {
	var credential credentialFlags
	c := a.command("secret ID --secret-out FILE", "Replace the secret of a work order", `Secret gives a work order a new secret and writes the line ID:secret to a file,
mode 0400. The old one is refused from now on.`,
		"  mintmark order secret WO-117 --secret-out WO-117.credential --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				return credential.create(a, args[0], func(string) (admin.OrderCredential, error) {
					return client.NewOrderSecret(c.Context(), args[0])
				})
			})
		})
	credential.bind(c, true, false)
	return c
}

func newOrderClaim(a *app) *cobra.Command {
	var credential credentialFlags
	c := a.command("claim ID --claim-out FILE", "Make another claim certificate of a work order", `Claim makes a key and has a claim certificate of the work order issued for it,
which ends with the window of the order. Those that there are stay valid.`,
		"  mintmark order claim WO-117 --claim-out WO-117.pem --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				return credential.create(a, args[0], func(csr string) (admin.OrderCredential, error) {
					return client.NewOrderClaim(c.Context(), args[0], csr)
				})
			})
		})
	credential.bind(c, false, true)
	return c
}

// credentialFlags say where the credential of a work order is written.
type credentialFlags struct{ secretOut, claimOut, keyType string }

func (f *credentialFlags) bind(c *cobra.Command, secret, claim bool) {
	var names []string
	if secret {
		c.Flags().StringVar(&f.secretOut, "secret-out", "", "`file` for the line ID:secret; it must not exist (- prints it)")
		names = append(names, "secret-out")
	}
	if claim {
		c.Flags().StringVar(&f.claimOut, "claim-out", "", "`file` for key, claim certificate and chain; it must not exist")
		c.Flags().StringVar(&f.keyType, "key-type", "P-256", "`type` of the key: P-256, P-384, RSA-2048, RSA-3072")
		names = append(names, "claim-out")
	}
	if len(names) == 1 {
		c.MarkFlagsOneRequired(names...)
	}
	c.MarkFlagsMutuallyExclusive(names...)
}

// fleetPrefix begins the labels of work orders for fleets at AWS.
const fleetPrefix = "aws:"

// fits says why the flags do not suit a label. A fleet takes no secrets, and has
// as many claim certificates as mintmark aws claim create makes.
func (f *credentialFlags) fits(label string) error {
	switch fleet := strings.HasPrefix(label, fleetPrefix); {
	case fleet && f.secretOut != "":
		return usagef("a fleet at AWS takes claim certificates and no secrets: leave out --secret-out, and make them with mintmark aws claim create")
	case !fleet && f.secretOut == "" && f.claimOut == "":
		return usagef("one of --secret-out and --claim-out must be given")
	}
	return nil
}

// create makes the file before it asks, so that a credential that is shown once
// has a place, and writes what it gets. ask takes the request for a claim
// certificate, empty for a secret.
func (f *credentialFlags) create(a *app, id string, ask func(csr string) (admin.OrderCredential, error)) error {
	if f.secretOut == "" && f.claimOut == "" { // an order for a fleet
		got, err := ask("")
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(got)
		}
		return a.printOrder(got.Order)
	}
	if f.secretOut == "-" {
		got, err := ask("")
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(got)
		}
		_, err = fmt.Fprintf(a.out, "%s:%s\n", id, got.Secret)
		return err
	}
	name, mode := f.secretOut, os.FileMode(0o400)
	if f.claimOut != "" {
		name, mode = f.claimOut, 0o600
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and a credential is never overwritten: name another file", name)
	}
	if err != nil {
		return err
	}
	got, err := f.fill(file, id, ask)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return f.undo(name, id, err)
	}
	return a.printCredential(got, name)
}

// fill writes the credential to its file.
func (f *credentialFlags) fill(file io.Writer, id string, ask func(csr string) (admin.OrderCredential, error)) (admin.OrderCredential, error) {
	if f.claimOut == "" {
		got, err := ask("")
		if err != nil {
			return got, err
		}
		_, err = fmt.Fprintf(file, "%s:%s\n", id, got.Secret)
		return got, err
	}
	key, err := newKey(f.keyType)
	if err != nil {
		return admin.OrderCredential{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return admin.OrderCredential{}, fmt.Errorf("encoding the key: %w", err)
	}
	if err := pem.Encode(file, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		return admin.OrderCredential{}, err
	}
	request := requestFlags{name: id}
	csr, err := request.make(key)
	if err != nil {
		return admin.OrderCredential{}, err
	}
	got, err := ask(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})))
	if err != nil || got.Certificate == nil {
		return got, err
	}
	_, err = io.WriteString(file, got.Certificate.PEM+got.Chain)
	return got, err
}

// undo removes the file of a credential that was refused. Where the outcome is
// not known there may be one that nobody has.
func (f *credentialFlags) undo(name, id string, err error) error {
	err = errors.Join(err, os.Remove(name))
	var refusal *admin.Error
	var usage *usageError
	if errors.As(err, &usage) || errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError {
		return err
	}
	return fmt.Errorf("%w\nmintmark order show %s tells whether the order is there; it may have a credential that is lost: then get another with mintmark order secret or order claim", err, id)
}

// printCredential says what was made, without the secret.
func (a *app) printCredential(got admin.OrderCredential, name string) error {
	got.Secret = ""
	switch {
	case got.Warning != "":
		a.say("warning: %s", got.Warning)
		if err := os.Remove(name); err != nil { // a key without a certificate
			return err
		}
	case got.Certificate != nil:
		a.say("claim certificate %s until %s, with its key in %s", got.Certificate.Serial, date(got.Certificate.NotAfter), name)
	default:
		a.say("the secret is in %s and nowhere else", name)
	}
	if a.json {
		return a.printJSON(got)
	}
	return a.printOrder(got.Order)
}
