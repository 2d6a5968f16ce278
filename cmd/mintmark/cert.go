package main

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newCert(a *app) *cobra.Command {
	c := a.group("cert", "List, show, revoke and import certificates", "Cert works on what was issued.",
		"  mintmark cert list --device press-0042 --dir ./factory\n  mintmark cert show 1a2b3c --dir ./factory")
	c.AddCommand(newCertList(a), newCertShow(a), newCertRevoke(a), newCertImport(a))
	return c
}

func newCertList(a *app) *cobra.Command {
	var q admin.Query
	var expires string
	var all bool
	c := a.command("list [flags]", "List certificates",
		`List shows what the ledger knows, in the order of serial numbers, which is that
of issuance to within seconds; asked for by its end alone, what ends first.
Filters narrow it down. It shows one page, or
with --all every page. --revoking shows what is revoked and not on its CRL or
told to a cloud yet; cert show says where.`,
		`  mintmark cert list --state valid --expires-before 30d --dir ./factory
  mintmark cert list --device press-0042 --json --dir ./factory
  mintmark cert list --revoking --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if expires != "" {
				var err error
				if q.ExpiresBefore, err = parseMoment(expires, time.Now()); err != nil {
					return usagef("--expires-before: %w", err)
				}
			}
			if q.Key != "" {
				if b, err := hex.DecodeString(q.Key); err != nil || len(b) != 32 {
					return usagef("--key %q is not a SHA-256 in 64 hexadecimal digits", q.Key)
				}
			}
			if q.After != "" {
				var err error
				if q.After, err = parseSerial(q.After); err != nil {
					return usagef("--after: %w", err)
				}
			}
			if all {
				q.Limit = admin.MaxPage
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				var list admin.Certificates
				for {
					page, err := client.Certificates(c.Context(), q)
					if err != nil {
						return err
					}
					list.Certificates = append(list.Certificates, page.Certificates...)
					list.Next, list.More, q.After = page.Next, page.More, page.Next
					if !all || page.Next == "" {
						break
					}
				}
				return a.printCertificates(list)
			})
		})
	f := c.Flags()
	f.StringVar(&q.Device, "device", "", "of this device")
	f.StringVar(&q.Profile, "profile", "", "of this profile")
	f.StringVar(&q.Issuer, "issuer", "", "of this issuing CA")
	f.StringVar(&q.Requester, "requester", "", "asked for by this `name`")
	f.StringVar(&q.Order, "order", "", "under this work `order`")
	f.StringVar(&q.Purpose, "purpose", "", "for this `purpose`: device, server, verification, responder, officer, ca, claim, gateway, ra, manifest")
	f.StringVar(&q.State, "state", "", "in this `state`: open, valid, expired, revoked, void")
	f.StringVar(&q.Key, "key", "", "of the public key with this `SHA-256`")
	f.StringVar(&expires, "expires-before", "", "that expire before this `date`, or within this time, as in 30d")
	f.StringVar(&q.After, "after", "", "that come after this `serial` number")
	f.IntVar(&q.Limit, "limit", admin.DefaultPage, fmt.Sprintf("at most so `many`, up to %d", admin.MaxPage))
	f.BoolVar(&all, "all", false, "every page")
	f.BoolVar(&q.Revoking, "revoking", false, "that are revoked, and not everywhere yet")
	c.MarkFlagsMutuallyExclusive("limit", "all")
	for _, name := range []string{"device", "profile", "issuer", "requester", "order", "purpose", "state", "key", "expires-before", "after"} {
		c.MarkFlagsMutuallyExclusive("revoking", name)
	}
	return c
}

// shownState is the ledger's state of a certificate, for people: a valid one
// whose time is over has expired.
func shownState(c admin.Certificate) string {
	if c.State == "valid" && time.Now().After(c.NotAfter) {
		return "expired"
	}
	return c.State
}

func (a *app) printCertificates(list admin.Certificates) error {
	if list.Certificates == nil {
		list.Certificates = []admin.Certificate{}
	}
	if a.json {
		return a.printJSON(list)
	}
	t := newTable(a.out, "SERIAL", "STATE", "PROFILE", "ISSUER", "DEVICE", "SUBJECT", "NOT AFTER")
	for _, one := range list.Certificates {
		t.row(one.Serial, shownState(one), one.Profile, one.Issuer, one.Device, one.Subject, day(&one.NotAfter))
	}
	if err := t.flush(); err != nil {
		return err
	}
	switch {
	case list.More:
		a.say("there are more: raise --limit, or look again once these are done")
	case list.Next != "":
		a.say("there are more: add --after %s, or --all", list.Next)
	}
	return nil
}

func newCertShow(a *app) *cobra.Command {
	return a.command("show SERIAL", "Show one certificate", `Show prints what the ledger knows of a serial number, and the certificate. Of a
revoked one it says where that is known: on its CRL, at the places where CRLs
are published, by OCSP, and at the clouds.`,
		"  mintmark cert show 1a:2b:3c --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			serial, err := parseSerial(args[0])
			if err != nil {
				return usagef("%w", err)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				one, err := client.Certificate(c.Context(), serial)
				if admin.IsNotFound(err) {
					return fmt.Errorf("certificate %s is not in the ledger: %w", serial, err)
				}
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(one)
				}
				return a.printCertificate(one)
			})
		})
}

func (a *app) printCertificate(one admin.Certificate) error {
	t := newTable(a.out)
	t.field("serial", one.Serial)
	t.field("state", shownState(one))
	t.field("subject", one.Subject)
	t.field("device", one.Device)
	t.field("order", one.Order)
	t.field("purpose", one.Purpose)
	t.field("profile", one.Profile)
	t.field("issuer", one.Issuer)
	t.field("label", one.Label)
	requester := one.Requester.Kind + " " + one.Requester.Name
	if one.Requester.Address != "" {
		requester += " from " + one.Requester.Address
	}
	t.field("requester", requester)
	t.field("key sha-256", one.Key)
	t.field("not before", date(one.NotBefore))
	t.field("not after", date(one.NotAfter))
	t.field("issued", dateOf(one.IssuedAt))
	t.field("revoked", dateOf(one.RevokedAt))
	t.field("reason", one.Reason)
	t.field("revoked by", one.RevokedBy)
	if one.Revocation != nil {
		revocationFields(t, *one.Revocation)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(a.out, one.PEM)
	return err
}
