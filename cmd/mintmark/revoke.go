package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newCertRevoke(a *app) *cobra.Command {
	var in admin.Revocation
	var yes bool
	c := a.command("revoke (SERIAL | --device ID | --order ID) [flags]", "Revoke a certificate, or all of a device or work order",
		`Revoke puts a certificate on the CRL of its issuer, or every valid certificate
of a device or under a work order. It cannot be undone. The CRL is signed at
once. For more than access.revoke_limit at once a second officer must agree.

A certificate that AWS issued to a device of a fleet is not in the ledger:
device hold or device retire shuts that device out.`,
		`  mintmark cert revoke 1a2b3c --reason superseded --dir ./factory
  mintmark cert revoke --device press-0042 --reason keyCompromise --yes --dir ./factory`,
		cobra.MaximumNArgs(1), func(c *cobra.Command, args []string) error {
			named := len(args)
			what := ""
			if in.Device != "" {
				named, what = named+1, fmt.Sprintf("every valid certificate of device %q", in.Device)
			}
			if in.Order != "" {
				named, what = named+1, fmt.Sprintf("every valid certificate under work order %q", in.Order)
			}
			if named != 1 {
				return usagef("name one of a serial number, --device and --order")
			}
			if len(args) == 1 {
				var err error
				if in.Serial, err = parseSerial(args[0]); err != nil {
					return usagef("%w", err)
				}
				what = "certificate " + in.Serial
			}
			if !yes {
				if err := a.confirm(fmt.Sprintf("Revoking %s cannot be undone.", what), "--yes"); err != nil {
					return err
				}
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				revoked, err := client.Revoke(c.Context(), in)
				var proposed *admin.Proposed
				if errors.As(err, &proposed) {
					return err
				}
				if err != nil {
					return fmt.Errorf("revoking %s: %w", what, err)
				}
				if revoked.Warning != "" {
					a.say("warning: %s", revoked.Warning)
				}
				if len(revoked.Serials) == 0 {
					if err := noneToRevoke(c.Context(), client, in); err != nil {
						return err
					}
				}
				if a.json {
					return a.printJSON(revoked)
				}
				if len(revoked.Serials) == 0 {
					a.say("nothing to do: revoked before")
				}
				for _, serial := range revoked.Serials {
					if _, err := fmt.Fprintf(a.out, "revoked %s\n", serial); err != nil {
						return err
					}
				}
				return nil
			})
		})
	f := c.Flags()
	f.StringVar(&in.Device, "device", "", "revoke every valid certificate of this `device`")
	f.StringVar(&in.Order, "order", "", "revoke every valid certificate under this work `order`, its claims included")
	f.StringVar(&in.Reason, "reason", "unspecified", "unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn")
	f.BoolVar(&in.Authority, "authority", false, "the serial number is that of an authority, and that is meant")
	f.BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// noneToRevoke is the error of a device or a work order that has no certificate in
// the ledger; nil if those that it has were revoked before.
func noneToRevoke(ctx context.Context, client *admin.Client, in admin.Revocation) error {
	if in.Serial != "" {
		return nil
	}
	list, err := client.Certificates(ctx, admin.Query{Device: in.Device, Order: in.Order, Limit: 1})
	if err != nil || len(list.Certificates) > 0 {
		return err
	}
	if in.Order != "" {
		return fmt.Errorf("work order %q has no certificate in the ledger, so that nothing was revoked; if it is for a fleet, AWS issues the certificates of its devices: mintmark aws claim kill ends the order, and device hold or device retire shuts a device out", in.Order)
	}
	return fmt.Errorf("device %q has no certificate in the ledger, so that nothing was revoked; if it came in under a fleet's work order, AWS issued its certificate: mintmark device hold or device retire shuts it out", in.Device)
}
