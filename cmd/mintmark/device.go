package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newDevice(a *app) *cobra.Command {
	c := a.group("device", "Import, find and hold devices", `Device works on the inventory: which devices are expected, what their lists
said, and which certificates they have got.`,
		`  mintmark device import devices.csv --dir ./factory
  mintmark device list --state expected --dir ./factory
  mintmark device show press-0042 --dir ./factory`)
	c.AddCommand(newDeviceImport(a), newDeviceList(a), newDeviceShow(a), newDeviceSecret(a),
		newDeviceChange(a, deviceHold), newDeviceChange(a, deviceRelease), newDeviceChange(a, deviceRetire), newDeviceKit(a))
	return c
}

func newDeviceList(a *app) *cobra.Command {
	var q admin.DeviceQuery
	var all bool
	c := a.command("list [flags]", "List devices", `List shows devices in the order of their identifiers, a page at a time. Filters
narrow it down; --find takes the beginning of an identifier or of any value in
the list, as a MAC address or a batch.`,
		`  mintmark device list --state expected --order WO-117 --dir ./factory
  mintmark device list --find 00:1b:44 --dir ./factory`, cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if all {
				q.Limit = admin.MaxPage
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list := admin.Devices{Devices: []admin.Device{}}
				for {
					page, err := client.Devices(c.Context(), q)
					if err != nil {
						return err
					}
					list.Devices = append(list.Devices, page.Devices...)
					list.Next, q.After = page.Next, page.Next
					if !all || page.Next == "" {
						break
					}
				}
				return a.printDevices(list)
			})
		})
	f := c.Flags()
	f.StringVar(&q.State, "state", "", "in this `state`: expected, enrolled, held, retired")
	f.StringVar(&q.Order, "order", "", "listed under this work `order`")
	f.StringVar(&q.Product, "product", "", "of this `product`")
	f.StringVar(&q.Import, "import", "", "listed by this `import`")
	f.StringVar(&q.Text, "find", "", "whose identifier or any field begins with this `text`")
	f.StringVar(&q.After, "after", "", "those after this `device`")
	f.IntVar(&q.Limit, "limit", admin.DefaultPage, fmt.Sprintf("at most so `many`, up to %d", admin.MaxPage))
	f.BoolVar(&all, "all", false, "every page")
	c.MarkFlagsMutuallyExclusive("limit", "all")
	return c
}

func (a *app) printDevices(list admin.Devices) error {
	if a.json {
		return a.printJSON(list)
	}
	t := newTable(a.out, "DEVICE", "STATE", "ORDER", "PRODUCT", "CERTIFICATES", "CURRENT", "LAST ISSUED")
	for _, d := range list.Devices {
		t.row(d.ID, d.State, d.Order, d.Product, fmt.Sprint(d.Count), d.Current, dateOf(d.LastIssued))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if list.Next != "" {
		a.say("there may be more: add --after %q, or --all", list.Next)
	}
	return nil
}

func newDeviceShow(a *app) *cobra.Command {
	return a.command("show ID", "Show one device with its history", `Show prints what the inventory says of a device, the certificates that it was
issued, the newest first, the requests that wait for a person or have been
approved, and what was refused lately to requests that named it. A device to
which AWS issued the certificate has none here, and stays expected.`,
		"  mintmark device show press-0042 --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				d, err := client.Device(c.Context(), args[0])
				if admin.IsNotFound(err) {
					return fmt.Errorf("device %q is not in the ledger: %w", args[0], err)
				}
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(d)
				}
				if err := a.printDevice(d); err != nil {
					return err
				}
				if note := fleetNote(c.Context(), client, d); note != "" {
					a.say("%s", note)
				}
				return nil
			})
		})
}

// fleetNote says of a device without a certificate in the ledger that AWS may have
// issued it one, if it is listed under a fleet's work order; it is empty otherwise.
func fleetNote(ctx context.Context, client *admin.Client, d admin.Device) string {
	if len(d.Certificates) > 0 || d.Order == "" {
		return ""
	}
	order, err := client.Order(ctx, d.Order)
	if err != nil || !strings.HasPrefix(order.Label, "aws:") {
		return ""
	}
	return fmt.Sprintf("work order %s is for a fleet: AWS issues the certificates of its devices, which are not in the ledger; mintmark aws claim list %s counts those that came in", order.ID, order.ID)
}

func (a *app) printDevice(d admin.Device) error {
	t := newTable(a.out)
	t.field("device", d.ID)
	t.field("state", d.State)
	if d.ChangedAt != nil {
		t.field("changed", dateOf(d.ChangedAt)+" by "+d.ChangedBy+": "+d.Note)
	}
	for _, one := range d.Targets {
		t.field("at "+one.Name, toldWords(one))
	}
	if d.Listed {
		t.field("listed", dateOf(d.ListedAt))
	} else {
		t.field("listed", "no")
	}
	t.field("import", d.Import)
	t.field("order", d.Order)
	t.field("product", d.Product)
	t.field("key sha-256", d.Key)
	for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
		t.field(printable(name), d.Fields[name])
	}
	t.field("first seen", dateOf(d.FirstSeen))
	t.field("last issued", dateOf(d.LastIssued))
	t.field("current", d.Current)
	t.field("one-time secret", secretWords(d.Secret, time.Now()))
	if err := t.flush(); err != nil {
		return err
	}
	if len(d.Certificates) > 0 {
		fmt.Fprintln(a.out)
		if err := a.printCertificatesOf(d.Certificates); err != nil {
			return err
		}
	}
	if len(d.Enrollments) > 0 {
		fmt.Fprintln(a.out)
		if err := a.tableEnrollments(d.Enrollments, true, time.Now()); err != nil {
			return err
		}
	}
	if len(d.Refusals) > 0 {
		fmt.Fprintln(a.out)
		return a.printRefusals(d.Refusals)
	}
	return nil
}

// printCertificatesOf lists the certificates of one device, with the beginning of the
// SHA-256 of their keys: which of them are under one key shows at a glance.
func (a *app) printCertificatesOf(list []admin.Certificate) error {
	t := newTable(a.out, "SERIAL", "STATE", "PROFILE", "ISSUER", "KEY", "NOT AFTER")
	for _, one := range list {
		t.row(one.Serial, shownState(one), one.Profile, one.Issuer, one.Key[:min(len(one.Key), keyDigits)], day(&one.NotAfter))
	}
	return t.flush()
}

// keyDigits are shown of the SHA-256 of a key.
const keyDigits = 16

// deviceChange is one of the commands that change the state of a device.
type deviceChange struct {
	name, short, long string
	call              func(*admin.Client, *cobra.Command, string, string) (admin.Device, error)
}

var (
	deviceHold = deviceChange{"hold", "Keep a device from getting certificates", `Hold keeps a device from getting any certificate, under any rule, until it is
released. The certificates that it has stay valid: cert revoke --device ends
those. Until the device is released, they are INACTIVE at AWS, and the device is
disabled at Azure DPS.`,
		func(client *admin.Client, c *cobra.Command, id, note string) (admin.Device, error) {
			return client.HoldDevice(c.Context(), id, note)
		}}
	deviceRelease = deviceChange{"release", "End the hold or the retirement of a device", `Release lets a device that was held or retired get certificates again. At AWS
those that it has are ACTIVE again, and Azure DPS lets the device in.`,
		func(client *admin.Client, c *cobra.Command, id, note string) (admin.Device, error) {
			return client.ReleaseDevice(c.Context(), id, note)
		}}
	deviceRetire = deviceChange{"retire", "Mark a device that is out of use", `Retire keeps a device that is out of use from getting any certificate, under
any rule. The certificates that it has stay valid: cert revoke --device ends
those. At AWS they are INACTIVE, and the device is disabled at Azure DPS. A
device that was retired by mistake can be released.`,
		func(client *admin.Client, c *cobra.Command, id, note string) (admin.Device, error) {
			return client.RetireDevice(c.Context(), id, note)
		}}
)

func newDeviceChange(a *app, change deviceChange) *cobra.Command {
	var note string
	c := a.command(change.name+" ID --note TEXT", change.short, change.long,
		"  mintmark device "+change.name+` press-0042 --note "ticket 4711" --dir ./factory`, cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(note) == "" {
				return usagef("--note must say why: who meets the device later must know")
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				d, err := change.call(client, c, args[0], note)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(d)
				}
				if _, err = fmt.Fprintf(a.out, "%s is %s\n", d.ID, d.State); err == nil && d.Unknown {
					a.say("mintmark did not know %s: it is neither listed nor has it a certificate from here; check the name, release ends it", printable(d.ID))
				}
				return err
			})
		})
	c.Flags().StringVar(&note, "note", "", "why, in a few `words`")
	require(c, "note")
	return c
}
