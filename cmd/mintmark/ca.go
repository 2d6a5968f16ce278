package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newCA(a *app) *cobra.Command {
	c := a.group("ca", "Create, import, show and export certification authorities",
		"Ca works on the hierarchy: roots, issuing CAs, and trust anchors kept elsewhere.",
		"  mintmark ca list --dir ./factory\n  mintmark ca show issuing --dir ./factory")
	c.AddCommand(newCACreate(a), newCARequest(a), newCAImport(a), newCAList(a), newCAShow(a), newCAExport(a), newCACRL(a), newCARollover(a))
	return c
}

func newCAList(a *app) *cobra.Command {
	return a.command("list", "List the authorities", "List shows every authority in the order of creation.",
		"  mintmark ca list --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.Authorities(c.Context())
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(admin.Authorities{Authorities: list})
				}
				t := newTable(a.out, "NAME", "STATE", "KEY", "SUBJECT", "NOT AFTER", "CRL")
				for _, one := range list {
					number := ""
					if one.CRL != nil {
						number = fmt.Sprint(one.CRL.Number)
					}
					t.row(one.Name, one.State, one.Key, one.Subject, day(one.NotAfter), number)
				}
				return t.flush()
			})
		})
}

func newCAShow(a *app) *cobra.Command {
	return a.command("show NAME", "Show one authority", "Show prints what is known of an authority and its certificate.",
		"  mintmark ca show issuing --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				one, err := client.Authority(c.Context(), args[0])
				if err != nil {
					return err
				}
				return a.printAuthority(one)
			})
		})
}

// printAuthority shows one authority with its certificate.
func (a *app) printAuthority(one admin.Authority) error {
	if a.json {
		return a.printJSON(one)
	}
	t := newTable(a.out)
	t.field("name", one.Name)
	t.field("state", one.State)
	t.field("subject", one.Subject)
	t.field("issuer", one.Issuer)
	t.field("serial", one.Serial)
	t.field("key", one.Key)
	t.field("key uri", one.KeyURI)
	t.field("not before", dateOf(one.NotBefore))
	t.field("not after", dateOf(one.NotAfter))
	if one.PathLen != nil {
		t.field("path length", fmt.Sprint(*one.PathLen))
	}
	t.field("sha-256", one.Fingerprint)
	if one.CRL != nil {
		t.field("crl", fmt.Sprintf("number %d, next update %s", one.CRL.Number, date(one.CRL.NextUpdate)))
	}
	for _, r := range one.Rollovers {
		t.field("rollover", fmt.Sprintf("from %s to %s, %s since %s", r.Old, r.New, rolloverState(r), date(r.At)))
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(a.out, one.Certificate)
	return err
}

func newCAExport(a *app) *cobra.Command {
	var chain, root bool
	var out string
	c := a.command("export NAME [flags]", "Write the certificate of an authority in PEM",
		`Export writes the CA certificate; with --chain followed by those above it,
without the root; with --root only the root, which is what relying parties
install.`,
		"  mintmark ca export issuing --chain --dir ./factory\n  mintmark ca export issuing --root --out root.pem --dir ./factory",
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				one, err := client.Authority(c.Context(), args[0])
				if err != nil {
					return err
				}
				if one.Certificate == "" {
					return fmt.Errorf("authority %q waits for its certificate: mintmark ca import brings it", one.Name)
				}
				text := one.Certificate
				above := splitPEM(one.Chain)
				switch {
				case root && len(above) > 0:
					text = above[len(above)-1]
				case chain && len(above) > 0:
					text += strings.Join(above[:len(above)-1], "")
				}
				if a.json {
					return a.printJSON(struct {
						Name string `json:"name"`
						PEM  string `json:"pem"`
					}{one.Name, text})
				}
				return a.writeOut(out, []byte(text))
			})
		})
	c.Flags().BoolVar(&chain, "chain", false, "add the certificates above, without the root")
	c.Flags().BoolVar(&root, "root", false, "write the root instead")
	c.Flags().StringVar(&out, "out", "", "`file` to write (default standard output)")
	c.MarkFlagsMutuallyExclusive("chain", "root")
	return c
}

func newCACRL(a *app) *cobra.Command {
	var publish bool
	var out, file string
	var shard int
	c := a.command("crl NAME [flags]", "Write the latest CRL of an authority, sign or import the next",
		`Crl writes the latest certificate revocation list. With --publish the next one
is signed first, with what has been revoked until now; the server does so by
itself within a minute of a revocation. Where crl.shards divides the CRL of an
authority, --publish signs all of its parts, and --shard names one.

With --import it takes the CRL of an authority whose key is elsewhere, as of a
root whose CRLs come from ceremonies, checks it, and serves it like its own.
What it lists of the certificates known here is revoked: a CA on it issues
nothing any more.`,
		"  mintmark ca crl issuing --out issuing.crl --dir ./factory\n  mintmark ca crl issuing --publish --dir ./factory\n  mintmark ca crl root --import ceremony/root.crl --dir ./factory",
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			if file != "" {
				return a.importCRL(c.Context(), args[0], file)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				get := client.CRL
				ofShard := client.ShardCRL
				if publish {
					get, ofShard = client.PublishCRL, client.PublishShardCRL
				}
				if c.Flags().Changed("shard") {
					get = func(ctx context.Context, name string) (admin.CRL, error) { return ofShard(ctx, name, shard) }
				}
				crl, err := get(c.Context(), args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(crl)
				}
				a.say("CRL %d of %s, next update %s", crl.Number, crlText(crl), date(crl.NextUpdate))
				return a.writeOut(out, []byte(crl.Content))
			})
		})
	c.Flags().BoolVar(&publish, "publish", false, "sign the next CRL now")
	c.Flags().IntVar(&shard, "shard", 0, "`number` of a part of the CRL, from 1; 0 for the full one")
	c.Flags().StringVar(&file, "import", "", "`file` with the CRL of an authority whose key is elsewhere, PEM or DER")
	c.Flags().StringVar(&out, "out", "", "`file` to write (default standard output)")
	c.MarkFlagsMutuallyExclusive("publish", "import")
	c.MarkFlagsMutuallyExclusive("out", "import")
	c.MarkFlagsMutuallyExclusive("shard", "import")
	return c
}

// crlText names a CRL.
func crlText(crl admin.CRL) string {
	if crl.Shard == 0 {
		return crl.Issuer
	}
	return fmt.Sprintf("%s, shard %d", crl.Issuer, crl.Shard)
}
