package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/awsreg/kit"
)

func newDeviceKit(a *app) *cobra.Command {
	var target, out, roots, key, topic string
	c := a.command("kit NAME --out DIR [flags]", "Write what a device needs to connect to AWS",
		`Kit writes the device's certificate and chain, Amazon's root certificates, the
endpoint with its ports, and programs for mosquitto, the device SDKs and others
that run as they are. The private key is the device's and never in it: the
programs name the file where it lies. It is for certificates of ours: one that
AWS issued to a device of a fleet is where aws provision wrote it.`,
		"  mintmark device kit press-0042 --target line-a --out ./press-0042 --dir ./factory", cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			var anchors []byte
			if roots != "" {
				list, err := readCertificates(roots)
				if err != nil {
					return err
				}
				anchors = certificatePEM(list...)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				name, err := awsTarget(c.Context(), client, target)
				if err != nil {
					return err
				}
				var got admin.AWSConnection
				err = awsIoT.asking(c.Context(), a, name, func() (err error) {
					got, err = client.AWSConnection(c.Context(), name, args[0])
					return err
				})
				if err != nil {
					if d, known := client.Device(c.Context(), args[0]); known == nil && c.Context().Err() == nil {
						if note := fleetNote(c.Context(), client, d); note != "" {
							return fmt.Errorf("%w: %s", err, note)
						}
					}
					return err
				}
				files, err := kit.Write(out, kit.Kit{
					Device: got.Device, Thing: got.Thing, Certificate: []byte(got.Certificate), Chain: []byte(got.Chain),
					Endpoint: got.Endpoint, Roots: anchors, Topic: topic, Key: key,
				})
				if err != nil {
					return fmt.Errorf("writing the kit of %s: %w", got.Device, err)
				}
				if a.json {
					return a.printJSON(struct {
						admin.AWSConnection
						Directory string   `json:"directory"`
						Files     []string `json:"files"`
					}{got, out, files})
				}
				t := newTable(a.out)
				t.field("device", got.Device)
				t.field("thing and client id", got.Thing)
				t.field("endpoint", got.Endpoint)
				t.field("certificate", got.Serial+" until "+date(got.NotAfter))
				for _, file := range files {
					t.field("file", file)
				}
				return t.flush()
			})
		})
	f := c.Flags()
	f.StringVar(&target, "target", "", "this `target`; not needed if there is only one")
	f.StringVar(&out, "out", "", "`directory` for the files; it must be empty, and is made if it is not there")
	f.StringVar(&roots, "ca", "", "`file` with the trust anchors of the endpoint, as for a simulator (default Amazon's)")
	f.StringVar(&key, "key", "", "`name` of the key's file, in the programs (default device.key)")
	f.StringVar(&topic, "topic", "", "`topic` of the programs (default devices/THING/hello)")
	require(c, "out")
	return c
}
