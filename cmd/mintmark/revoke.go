package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newCertRevoke(a *app) *cobra.Command {
	var in admin.Revocation
	var yes, wait bool
	var timeout time.Duration
	c := a.command("revoke (SERIAL | --device ID | --order ID | --key FILE | --requester NAME | --issuer NAME) [flags]", "Revoke a certificate, or all of a device, order, key or CA",
		`Revoke puts a certificate on the CRL of its issuer, or every valid certificate
of a device, under a work order, of a public key, that a requester has asked
for, or that a CA has signed. It cannot be undone. The CRL is signed at once,
and OCSP and the clouds are told by the server that runs; --wait shows how far
that is, and ends when it is done. For more than access.revoke_limit at once a
second officer must agree, to that very number or to what --most says.

With --superseded, --issuer revokes only certificates of devices that have a
newer one in force by another CA, which cuts nobody off.

A certificate that AWS issued to a device of a fleet is not in the ledger:
device hold or device retire shuts that device out.`,
		`  mintmark cert revoke 1a2b3c --reason superseded --wait --dir ./factory
  mintmark cert revoke --device press-0042 --reason keyCompromise --yes --dir ./factory
  mintmark cert revoke --key stolen.pem --reason keyCompromise --dir ./factory
  mintmark cert revoke --issuer issuing --superseded --most 20000 --dir ./factory`,
		cobra.MaximumNArgs(1), func(c *cobra.Command, args []string) error {
			what, err := revocationWords(&in, args)
			if err != nil {
				return err
			}
			if timeout <= 0 {
				return usagef("--timeout %v is no length of time", timeout)
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
				if revoked.Count == 0 {
					if err := noneToRevoke(c.Context(), client, in); err != nil {
						return err
					}
				}
				if err := a.printRevoked(revoked); err != nil || !wait {
					return err
				}
				serials := revoked.Serials
				if len(serials) == 0 && in.Serial != "" {
					serials = []string{in.Serial}
				}
				return a.awaitRevoked(c.Context(), client, serials, revoked.Count, timeout)
			})
		})
	f := c.Flags()
	f.StringVar(&in.Device, "device", "", "revoke every valid certificate of this `device`")
	f.StringVar(&in.Order, "order", "", "revoke every valid certificate under this work `order`, its claims included")
	f.StringVar(&in.Issuer, "issuer", "", "revoke every valid certificate signed by this `CA`, but those of CAs and of its OCSP responder")
	f.StringVar(&in.Key, "key", "", "revoke every valid certificate of the public key in this `file`: a certificate, a request or a public key; or of its SHA-256")
	f.StringVar(&in.Requester, "requester", "", "revoke every valid certificate asked for by this `name`, as cert list --requester shows them")
	f.StringVar(&in.RequesterKind, "requester-kind", "", "with --requester, only as this `kind`: password, secret, certificate, maker, order, claim, ra, admin, server, cas")
	f.BoolVar(&in.Superseded, "superseded", false, "with --issuer, only of devices that have a newer one by another CA")
	f.IntVar(&in.Most, "most", 0, "revoke none if there are more than so `many`")
	f.StringVar(&in.Reason, "reason", "unspecified", "unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn")
	f.BoolVar(&in.Authority, "authority", false, "the serial number is that of an authority, and that is meant")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&wait, "wait", false, "wait until it is revoked everywhere")
	f.DurationVar(&timeout, "timeout", 10*time.Minute, "with --wait, for so `long`")
	return c
}

// revocationWords says what is to be revoked, after it has read the key and the serial
// number.
func revocationWords(in *admin.Revocation, args []string) (string, error) {
	var list []string
	if len(args) == 1 {
		var err error
		if in.Serial, err = parseSerial(args[0]); err != nil {
			return "", usagef("%w", err)
		}
		list = append(list, "certificate "+in.Serial)
	}
	if in.Device != "" {
		list = append(list, fmt.Sprintf("every valid certificate of device %q", in.Device))
	}
	if in.Order != "" {
		list = append(list, fmt.Sprintf("every valid certificate under work order %q", in.Order))
	}
	if in.Requester != "" {
		list = append(list, fmt.Sprintf("every valid certificate that %q asked for", in.Requester))
	}
	if in.Issuer != "" && in.Superseded {
		list = append(list, fmt.Sprintf("the certificates by CA %q of devices that have a newer one by another CA", in.Issuer))
	} else if in.Issuer != "" {
		list = append(list, fmt.Sprintf("EVERY valid certificate by CA %q", in.Issuer))
	}
	if in.Key != "" {
		list = append(list, "every valid certificate of the key in "+in.Key)
		key, err := keyHash(in.Key)
		if err != nil {
			return "", err
		}
		in.Key = key
	}
	switch {
	case len(list) != 1:
		return "", usagef("name one of a serial number, --device, --order, --key, --requester and --issuer")
	case in.Superseded && in.Issuer == "":
		return "", usagef("--superseded goes with --issuer")
	case in.RequesterKind != "" && in.Requester == "":
		return "", usagef("--requester-kind goes with --requester")
	case in.Most < 0:
		return "", usagef("--most %d is no number of certificates", in.Most)
	}
	return list[0], nil
}

func (a *app) printRevoked(revoked admin.Revoked) error {
	if a.json {
		return a.printJSON(revoked)
	}
	if revoked.Count == 0 {
		a.say("nothing to do: revoked before")
	}
	for _, serial := range revoked.Serials {
		if _, err := fmt.Fprintf(a.out, "revoked %s\n", serial); err != nil {
			return err
		}
	}
	if more := revoked.Count - len(revoked.Serials); more > 0 {
		a.say("and %d more: mintmark cert list --state revoked shows all", more)
	}
	return nil
}

// noneToRevoke is the error of a device or a work order that has no certificate in
// the ledger; nil if those that it has were revoked before.
func noneToRevoke(ctx context.Context, client *admin.Client, in admin.Revocation) error {
	if in.Device == "" && in.Order == "" {
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
