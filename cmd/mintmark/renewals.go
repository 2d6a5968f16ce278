package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newRenewals(a *app) *cobra.Command {
	var weeks, past, limit int
	var after string
	c := a.command("renewals [flags]", "Show when devices are expected to renew, and who is late", `Renewals counts, for each of the coming weeks, the devices whose certificate
reaches two thirds of its life, which is when they are expected back, and those
whose certificate ends. It says how many are past 80, 90 and 100 percent of the
life of their certificate, and which rules have refused requests. With --past it
lists those devices, by name.`,
		"  mintmark renewals --dir ./factory\n  mintmark renewals --weeks 26 --dir ./factory\n  mintmark renewals --past 90 --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				if past != 0 {
					return a.overdue(c, client, past, after, limit)
				}
				r, err := client.Renewals(c.Context(), weeks)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				return a.printRenewals(r)
			})
		})
	f := c.Flags()
	f.IntVar(&weeks, "weeks", 12, "draw so `many` weeks, up to 104")
	f.IntVar(&past, "past", 0, "list the devices past this `percentage`: 80, 90 or 100")
	f.StringVar(&after, "after", "", "with --past, devices after this `name`")
	f.IntVar(&limit, "limit", admin.DefaultPage, fmt.Sprintf("with --past, at most so `many`, up to %d", admin.MaxPage))
	return c
}

func (a *app) overdue(c *cobra.Command, client *admin.Client, past int, after string, limit int) error {
	list, err := client.Overdue(c.Context(), past, after, limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	t := newTable(a.out, "DEVICE", "UNTIL", "ISSUER", "LABEL", "SERIAL")
	for _, d := range list.Devices {
		t.row(d.Device, date(d.NotAfter), d.Issuer, d.Label, d.Serial)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if len(list.Devices) == 0 {
		a.say("nobody is past %d %%", past)
	}
	if list.Next != "" {
		a.say("there may be more: add --after %s", list.Next)
	}
	return nil
}

// bar is how long the longest bar is; a line fits 80 columns with it.
const bar = 32

func (a *app) printRenewals(r admin.Renewals) error {
	t := newTable(a.out)
	t.row("devices", strconv.Itoa(r.Devices))
	t.row("past 80 %", strconv.Itoa(r.Past80))
	t.row("past 90 %", strconv.Itoa(r.Past90))
	t.row("expired", strconv.Itoa(r.Past100))
	if err := t.flush(); err != nil {
		return err
	}
	most := 1
	for _, b := range r.Curve {
		most = max(most, b.Renew)
	}
	fmt.Fprintln(a.out)
	t = newTable(a.out, "WEEK OF", "RENEW", "EXPIRE", "")
	for _, b := range r.Curve {
		length := b.Renew * bar / most
		if b.Renew > 0 {
			length = max(length, 1) // few are not none
		}
		t.row(b.From.Format("2006-01-02"), strconv.Itoa(b.Renew), strconv.Itoa(b.Expire), strings.Repeat("#", length)+" ")
	}
	if err := t.flush(); err != nil || len(r.Refused) == 0 {
		return err
	}
	fmt.Fprintln(a.out)
	t = newTable(a.out, "REFUSED BY RULE", "24 H", "7 DAYS")
	for _, one := range r.Refused {
		t.row(one.Rule, strconv.Itoa(one.Day), strconv.Itoa(one.Week))
	}
	if err := t.flush(); err != nil {
		return err
	}
	a.say("what a rule means: docs/issuance-cycle.md; who it was: mintmark refusal list --rule RULE")
	return nil
}
