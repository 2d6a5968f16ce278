package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newOfficer(a *app) *cobra.Command {
	c := a.group("officer", "Say who may do what: people, their roles and keys",
		`Officer works on the principals: security officers, operators, auditors and
stations. Changing them needs a second officer as soon as two have a key.`,
		"  mintmark officer list --dir ./factory\n  mintmark officer key --out alice.key")
	c.AddCommand(newOfficerList(a), newOfficerKey(a), newOfficerAdd(a), newOfficerChange(a), newOfficerRemove(a), newOfficerEnroll(a))
	return c
}

func newOfficerList(a *app) *cobra.Command {
	var all bool
	c := a.command("list [flags]", "List the principals", `List shows who may use the administrative API, with which roles, and how they
are known.`,
		"  mintmark officer list --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.Principals(c.Context())
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(list)
				}
				heading := []string{"NAME", "ROLES", "KEY", "UNIX USER", "ADDED", "BY"}
				if all {
					heading = append(heading, "REMOVED")
				}
				t := newTable(a.out, heading...)
				for _, p := range list.Principals {
					row := []string{p.Name, strings.Join(p.Roles, ","), short(p.Fingerprint), p.UnixUser, day(&p.AddedAt), p.AddedBy}
					switch {
					case all:
						t.row(append(row, day(p.RemovedAt))...)
					case p.RemovedAt == nil:
						t.row(row...)
					}
				}
				if list.Unprotected != "" {
					a.say("warning: %s", list.Unprotected)
				}
				return t.flush()
			})
		})
	c.Flags().BoolVar(&all, "all", false, "show those who were removed, too")
	return c
}

// short is the beginning of a fingerprint: enough to tell two apart.
func short(fingerprint string) string {
	if len(fingerprint) > 16 {
		return fingerprint[:16]
	}
	return fingerprint
}

func newOfficerKey(a *app) *cobra.Command {
	var out, kind string
	c := a.command("key --out FILE [flags]", "Make a key pair of your own",
		`Key makes a key on this machine: the private key in FILE with mode 0600, not
encrypted, and the public key beside it with the ending .pub. The private key
signs approvals and authenticates over TLS; it is for one person, and nobody
else needs it. The public key is what mintmark officer add records.`,
		"  mintmark officer key --out alice.key", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			public := strings.TrimSuffix(out, ".key") + ".pub"
			if _, err := os.Lstat(public); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists: name another file with --out", public)
			}
			key, err := createKey(out, kind)
			if err != nil {
				return err
			}
			der, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				return fmt.Errorf("encoding the public key: %w", err)
			}
			if err := replaceFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Key    string `json:"key"`
					Public string `json:"public"`
				}{out, public})
			}
			a.say("%s holds the private key, not encrypted: keep it where only you can read it, or use a key in a token (docs/roles.md)", out)
			a.say("%s holds the public key, which mintmark officer add records", public)
			return nil
		})
	c.Flags().StringVar(&out, "out", "", "`file` for the private key; it must not exist")
	c.Flags().StringVar(&kind, "key-type", "P-256", "`type` of the key: P-256, P-384, RSA-2048, RSA-3072")
	require(c, "out")
	return c
}

// principalFlags say who somebody is to be.
type principalFlags struct {
	roles    []string
	key      string
	unixUser string
}

func (f *principalFlags) bind(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.roles, "role", nil, "`role`: operator, officer, auditor or station; may be repeated")
	c.Flags().StringVar(&f.key, "key", "", "`file` with the public key in PEM")
	c.Flags().StringVar(&f.unixUser, "unix-user", "", "local `user` whose processes act as the principal over the socket")
}

// readPublic reads a file that must hold no private key.
func readPublic(name string) (string, error) {
	content, err := readFile(name, maxPEM)
	if err != nil {
		return "", err
	}
	if strings.Contains(string(content), "PRIVATE KEY") {
		return "", fmt.Errorf("%s holds a private key, which must not be sent to anybody: give the public key (mintmark officer key writes it with the ending .pub; openssl pkey -pubout makes it)", name)
	}
	return string(content), nil
}

func newOfficerAdd(a *app) *cobra.Command {
	var f principalFlags
	c := a.command("add NAME --role ROLE [flags]", "Add a principal",
		`Add records who somebody is: the roles, the public key by which they sign
approvals and come over TLS, and the local user by whose processes they come
over the socket. Names are not used again after a removal.`,
		`  mintmark officer add alice --role officer --key alice.pub --unix-user alice --dir ./factory
  mintmark officer add line2 --role station --key line2.pub --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			spec := admin.PrincipalSpec{Name: args[0], Roles: f.roles, UnixUser: f.unixUser}
			if f.key != "" {
				var err error
				if spec.Key, err = readPublic(f.key); err != nil {
					return err
				}
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				p, err := client.AddPrincipal(c.Context(), spec)
				if err != nil {
					return err
				}
				return a.printPrincipal(p, "added")
			})
		})
	f.bind(c)
	require(c, "role")
	return c
}

func newOfficerChange(a *app) *cobra.Command {
	var f principalFlags
	c := a.command("change NAME [flags]", "Change roles, key or Unix user of a principal",
		`Change replaces what is given and leaves the rest as it is; --key "" and
--unix-user "" take it away. After a change of the key, mintmark officer enroll
gets the certificate for the new one.`,
		`  mintmark officer change alice --role officer --role auditor --dir ./factory
  mintmark officer change alice --key alice2.pub --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			changed := c.Flags().Changed
			if !changed("role") && !changed("key") && !changed("unix-user") {
				return usagef("nothing is to be changed: add --role, --key or --unix-user")
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				before, err := client.Principal(c.Context(), args[0])
				if err != nil {
					return err
				}
				spec := admin.PrincipalSpec{Name: before.Name, Roles: before.Roles, Key: before.Key, UnixUser: before.UnixUser}
				if changed("role") {
					spec.Roles = f.roles
				}
				if changed("unix-user") {
					spec.UnixUser = f.unixUser
				}
				if changed("key") {
					spec.Key = ""
				}
				if f.key != "" {
					if spec.Key, err = readPublic(f.key); err != nil {
						return err
					}
				}
				p, err := client.ChangePrincipal(c.Context(), spec)
				if err != nil {
					return err
				}
				return a.printPrincipal(p, "changed")
			})
		})
	f.bind(c)
	return c
}

func newOfficerRemove(a *app) *cobra.Command {
	var yes bool
	c := a.command("remove NAME [flags]", "Remove a principal, for good",
		`Remove ends what a principal may do, from the next request on: over the socket,
over TLS, and as a second officer, also of what was approved and not carried
out.`,
		"  mintmark officer remove alice --yes --dir ./factory",
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			if !yes {
				if err := a.confirm(fmt.Sprintf("Principal %q is removed for good.", args[0]), "--yes"); err != nil {
					return err
				}
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				p, err := client.RemovePrincipal(c.Context(), args[0])
				if err != nil {
					return err
				}
				return a.printPrincipal(p, "removed")
			})
		})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func newOfficerEnroll(a *app) *cobra.Command {
	var key, csr, out string
	c := a.command("enroll NAME (--key KEY | --csr FILE) --out FILE [flags]", "Get the TLS certificate of a principal",
		`Enroll has a certificate issued for the key that is recorded for the principal,
and writes it with the CA certificates above it. With it and the key, commands
reach a server elsewhere: --server, --client-cert, --client-key, --server-ca.
Who runs the server enrolls the first officers with --csr: their keys stay with
them.`,
		`  mintmark officer enroll alice --key alice.key --out alice.pem --dir ./factory
  mintmark officer enroll alice --csr alice.csr --out alice.pem --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			der, err := a.officerRequest(c, args[0], key, csr)
			if err != nil {
				return err
			}
			in := admin.PrincipalEnroll{CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				issued, err := client.EnrollPrincipal(c.Context(), args[0], in)
				if err != nil {
					return err
				}
				if err := a.writeOut(out, []byte(issued.Certificate.PEM+issued.Chain)); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(issued)
				}
				a.say("%s: certificate %s of %s, valid until %s", out, issued.Certificate.Serial, args[0], day(&issued.Certificate.NotAfter))
				return nil
			})
		})
	c.Flags().StringVar(&key, "key", "", "`file` with the private key, or a pkcs11: URI")
	c.Flags().StringVar(&csr, "csr", "", "`file` with a certification request that was made with it elsewhere")
	c.Flags().StringVar(&out, "out", "", "`file` for the certificate and the CA certificates above it")
	c.MarkFlagsMutuallyExclusive("key", "csr")
	c.MarkFlagsOneRequired("key", "csr")
	require(c, "out")
	return c
}

// officerRequest is a certification request for a principal's key.
func (a *app) officerRequest(c *cobra.Command, name, key, csr string) ([]byte, error) {
	if csr != "" {
		return (&requestFlags{file: csr}).read()
	}
	signer, done, err := a.openSigner(c.Context(), key)
	if err != nil {
		return nil, err
	}
	der, err := (&requestFlags{name: name}).make(signer)
	return der, errors.Join(err, done())
}

// printPrincipal says what became of a principal.
func (a *app) printPrincipal(p admin.Principal, what string) error {
	if a.json {
		return a.printJSON(p)
	}
	a.say("%s principal %s", what, p.Name)
	return a.showPrincipal(p)
}

func (a *app) showPrincipal(p admin.Principal) error {
	t := newTable(a.out)
	t.field("name", p.Name)
	t.field("roles", strings.Join(p.Roles, ", "))
	t.field("key", p.Fingerprint)
	t.field("unix user", p.UnixUser)
	t.field("added", date(p.AddedAt)+" by "+p.AddedBy)
	t.field("removed", dateOf(p.RemovedAt))
	return t.flush()
}
