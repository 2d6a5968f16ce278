package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newRotateDevices(a *app) *cobra.Command {
	var q admin.AnchorQuery
	var all, asCSV bool
	c := a.command("devices ID [flags]", "Show which devices have followed a rotation, and which are left",
		`Devices counts the devices of a rotation by class, and lists them by name, a
page at a time. Each is in exactly one class:

  moved    has the new anchors, and a path under the new CA
  waived   was taken out of the gates by an officer
  trusts   has the new anchors, and shows the old path still: after the switch
           it has to ask /cacerts again, with its certificate, for the new
           path; a renewal alone does not bring it, unless an issuing CA is
           replaced
  expired  every certificate that it had is over
  never    has not come back since its first certificate
  silent   not heard of for longer than the plan's --silent
  left     heard of lately, without the new anchors

With --csv every page is written, as a file for a spreadsheet or another system.`,
		`  mintmark rotate devices k3f7q2xw4m --dir ./factory
  mintmark rotate devices k3f7q2xw4m --class left --all --dir ./factory
  mintmark rotate devices k3f7q2xw4m --csv --dir ./factory`, cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			if q.Class != "" && !slices.Contains(admin.AnchorClasses, q.Class) {
				return usagef("--class %q is none of %s", q.Class, strings.Join(admin.AnchorClasses, ", "))
			}
			if asCSV && a.json {
				return usagef("--csv and --json are two forms: take one")
			}
			if all || asCSV {
				q.Limit = admin.MaxPage
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				if asCSV {
					return a.writeAnchorCSV(c.Context(), client, args[0], q)
				}
				list, err := anchorPages(c.Context(), client, args[0], q, all)
				if err != nil {
					return err
				}
				return a.printAnchors(list)
			})
		})
	f := c.Flags()
	f.StringVar(&q.Class, "class", "", "only this `class`")
	f.StringVar(&q.After, "after", "", "those after this `device`")
	f.IntVar(&q.Limit, "limit", admin.DefaultPage, fmt.Sprintf("at most so `many`, up to %d", admin.MaxPage))
	f.BoolVar(&all, "all", false, "every page")
	f.BoolVar(&asCSV, "csv", false, "every page, as CSV")
	c.MarkFlagsMutuallyExclusive("limit", "all", "csv")
	return c
}

// anchorPages reads one page, or all.
func anchorPages(ctx context.Context, client *admin.Client, id string, q admin.AnchorQuery, all bool) (admin.AnchorDevices, error) {
	list := admin.AnchorDevices{Devices: []admin.AnchorDevice{}}
	for {
		page, err := client.AnchorDevices(ctx, id, q)
		if err != nil {
			return list, noRotation(id, err)
		}
		if page.Counts != nil {
			list.Counts, list.Total = page.Counts, page.Total
		}
		list.Devices = append(list.Devices, page.Devices...)
		list.Next, q.After = page.Next, page.Next
		if !all || page.Next == "" {
			return list, nil
		}
	}
}

func (a *app) printAnchors(list admin.AnchorDevices) error {
	if a.json {
		return a.printJSON(list)
	}
	if list.Counts != nil {
		var counts []string
		for _, class := range admin.AnchorClasses {
			if n := list.Counts[class]; n > 0 {
				counts = append(counts, fmt.Sprintf("%d %s", n, class))
			}
		}
		text := things(int64(list.Total), "device")
		if len(counts) > 0 {
			text += ": " + strings.Join(counts, ", ")
		}
		if _, err := fmt.Fprintln(a.out, text); err != nil {
			return err
		}
	}
	if len(list.Devices) == 0 {
		return nil
	}
	t := newTable(a.out, "DEVICE", "CLASS", "ANCHORS", "PATH", "LAST SEEN", "ISSUER", "NOTE")
	for _, d := range list.Devices {
		t.row(d.Device, d.Class, strings.TrimSpace(day(d.Trusts)+" "+d.How), day(d.Chains), day(d.LastSeen), d.Issuer, anchorNote(d))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if list.Next != "" {
		a.say("there may be more: add --after %q, or --all", list.Next)
	}
	return nil
}

func anchorNote(d admin.AnchorDevice) string {
	switch {
	case d.Waived != nil:
		return "waived by " + d.WaivedBy + ": " + d.Why
	case d.Pinned:
		return "pinned: label " + d.Label + " gives out the old path"
	}
	return ""
}

// anchorColumns are those of a list of devices as CSV.
var anchorColumns = []string{"device", "class", "issuer", "label", "pinned", "not_after", "last_seen", "trusts", "how", "chains", "waived", "waived_by", "why"}

func (a *app) writeAnchorCSV(ctx context.Context, client *admin.Client, id string, q admin.AnchorQuery) error {
	w := csv.NewWriter(a.out)
	if err := w.Write(anchorColumns); err != nil {
		return err
	}
	stamp := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	for {
		page, err := client.AnchorDevices(ctx, id, q)
		if err != nil {
			return noRotation(id, err)
		}
		for _, d := range page.Devices {
			if err := w.Write([]string{
				d.Device, d.Class, d.Issuer, d.Label, fmt.Sprint(d.Pinned), stamp(&d.NotAfter), stamp(d.LastSeen),
				stamp(d.Trusts), d.How, stamp(d.Chains), stamp(d.Waived), d.WaivedBy, d.Why,
			}); err != nil {
				return err
			}
		}
		if q.After = page.Next; page.Next == "" {
			w.Flush()
			return w.Error()
		}
	}
}
