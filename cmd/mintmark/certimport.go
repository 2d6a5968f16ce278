package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newCertImport(a *app) *cobra.Command {
	var i admin.CertificateImport
	c := a.command("import FILE --profile NAME [flags]", "Record certificates from before mintmark", `Import records device certificates that were issued before mintmark: all of a
PEM file, or none if one is wrong. Each must be signed by a CA that mintmark
has, with or without its key (ca import), must not have expired, and must name
a device that the profile allows. They are then found, renewed and revoked like
all others.`,
		"  mintmark cert import old.pem --profile device --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			content, err := readFile(args[0], admin.MaxBundle)
			if err != nil {
				return err
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				done, err := client.ImportCertificates(c.Context(), content, i)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(done)
				}
				_, err = fmt.Fprintf(a.out, "%s: %d new, %d recorded before\n", things(int64(done.Certificates), "certificate"), done.New, done.Certificates-done.New)
				return err
			})
		})
	c.ValidArgsFunction = nil // files
	c.Flags().StringVar(&i.Profile, "profile", "", "`name` of the profile to record them under")
	c.Flags().StringVar(&i.Device, "device-from", "", "subject attribute that names the device: commonName or serialNumber (default that of the profile)")
	require(c, "profile")
	return c
}
