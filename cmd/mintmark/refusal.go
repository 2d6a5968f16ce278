package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newRefusal(a *app) *cobra.Command {
	c := a.group("refusal", "Search what was refused", `Refusal searches the requests that a rule refused: by device, key, address,
requester, work order and rule.`,
		"  mintmark refusal list --since 1h --dir ./factory")
	c.AddCommand(newRefusalList(a))
	return c
}

func newRefusalList(a *app) *cobra.Command {
	var q admin.RefusalQuery
	var since string
	c := a.command("list [flags]", "List refusals, the newest first", `List shows requests that a rule refused, the newest first: who asked, from
where, for which device, and what they were told. What a request says of itself
is not proven.`,
		`  mintmark refusal list --device press-0042 --dir ./factory
  mintmark refusal list --rule credential --since 24h --dir ./factory`, cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if since != "" {
				var err error
				if q.Since, err = parsePast(since, time.Now()); err != nil {
					return usagef("--since: %w", err)
				}
			}
			if q.Key != "" {
				if b, err := hex.DecodeString(q.Key); err != nil || len(b) != 32 {
					return usagef("--key %q is not a SHA-256 in 64 hexadecimal digits", q.Key)
				}
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.Refusals(c.Context(), q)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(list)
				}
				if err := a.printRefusals(list.Refusals); err != nil {
					return err
				}
				if len(list.Refusals) == 0 {
					a.say("no refusals")
				}
				if list.Next != 0 {
					a.say("there may be more: add --before %d", list.Next)
				}
				return nil
			})
		})
	f := c.Flags()
	f.StringVar(&q.Device, "device", "", "that name this device")
	f.StringVar(&q.Key, "key", "", "for the public key with this `SHA-256`")
	f.StringVar(&q.Address, "address", "", "from this IP `address`")
	f.StringVar(&q.Requester, "requester", "", "asked for by this `name`: a user, an order, a serial number")
	f.StringVar(&q.Order, "order", "", "under this work `order`")
	f.StringVar(&q.Rule, "rule", "", "by this `rule`, as in credential or order-expired")
	f.StringVar(&since, "since", "", "since this `date`, or for so long, as in 1h or 7d")
	f.Int64Var(&q.Before, "before", 0, "older than the refusal with this `number`")
	f.IntVar(&q.Limit, "limit", admin.DefaultPage, fmt.Sprintf("at most so `many`, up to %d", admin.MaxPage))
	return c
}

// parsePast reads a date, a time, or how long ago.
func parsePast(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	var s span
	if err := s.Set(text); err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a date as in 2027-01-31 nor a length of time as in 1h or 7d", text)
	}
	return now.AddDate(-s.years, -s.months, 0).Add(-s.length), nil
}

func (a *app) printRefusals(list []admin.Refusal) error {
	t := newTable(a.out, "AT", "LABEL", "OPERATION", "RULE", "DEVICE", "ORDER", "REQUESTER", "ADDRESS", "TOLD")
	for _, r := range list {
		requester := r.Requester.Kind
		if r.Requester.Name != "" {
			requester += " " + r.Requester.Name
		}
		t.row(r.At.UTC().Format("2006-01-02 15:04:05"), r.Label, strings.TrimPrefix(r.Operation, "est "), r.Rule, r.Device, r.Order, requester, r.Requester.Address, r.Text)
	}
	return t.flush()
}
