package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newDevice(a *app) *cobra.Command {
	c := a.group("device", "List and show devices", "Device shows the inventory as the certificates make it.",
		"  mintmark device list --dir ./factory\n  mintmark device show press-0042 --dir ./factory")
	c.AddCommand(newDeviceList(a), newDeviceShow(a))
	return c
}

func newDeviceList(a *app) *cobra.Command {
	var after string
	var limit int
	var all bool
	c := a.command("list [flags]", "List devices", "List shows the devices in the order of their identifiers, a page at a time.",
		"  mintmark device list --all --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if all {
				limit = admin.MaxPage
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list := admin.Devices{Devices: []admin.Device{}}
				for {
					page, err := client.Devices(c.Context(), after, limit)
					if err != nil {
						return err
					}
					list.Devices = append(list.Devices, page.Devices...)
					list.Next, after = page.Next, page.Next
					if !all || page.Next == "" {
						break
					}
				}
				if a.json {
					return a.printJSON(list)
				}
				t := newTable(a.out, "DEVICE", "CERTIFICATES", "CURRENT", "FIRST SEEN", "LAST ISSUED")
				for _, d := range list.Devices {
					t.row(d.ID, fmt.Sprint(d.Count), d.Current, date(d.FirstSeen), date(d.LastIssued))
				}
				if err := t.flush(); err != nil {
					return err
				}
				if list.Next != "" {
					a.say("there may be more: add --after %q, or --all", list.Next)
				}
				return nil
			})
		})
	c.Flags().StringVar(&after, "after", "", "those after this `device`")
	c.Flags().IntVar(&limit, "limit", admin.DefaultPage, fmt.Sprintf("at most so `many`, up to %d", admin.MaxPage))
	c.Flags().BoolVar(&all, "all", false, "every page")
	c.MarkFlagsMutuallyExclusive("limit", "all")
	return c
}

func newDeviceShow(a *app) *cobra.Command {
	return a.command("show ID", "Show one device and its certificates", "Show prints a device and the certificates it was issued.",
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
				t := newTable(a.out)
				t.field("device", d.ID)
				t.field("first seen", date(d.FirstSeen))
				t.field("last issued", date(d.LastIssued))
				t.field("current", d.Current)
				if err := t.flush(); err != nil {
					return err
				}
				return a.printCertificates(admin.Certificates{Certificates: d.Certificates})
			})
		})
}
