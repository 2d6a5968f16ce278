package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newOrder(a *app) *cobra.Command {
	c := a.group("order", "Make work orders and follow them", `Order works on work orders: leave to issue a number of certificates, with a
credential of its own for the line that makes the devices. docs/orders.md has
the whole story.`,
		`  mintmark order create WO-117 --label line-1 --quantity 1000 --range SN-00001..SN-01000 --for 14d --secret-out WO-117.credential --dir ./factory
  mintmark order show WO-117 --dir ./factory`)
	c.AddCommand(newOrderCreate(a), newOrderList(a), newOrderShow(a), newOrderExtend(a), newOrderRaise(a),
		newOrderSecret(a), newOrderClaim(a), newOrderClose(a), newOrderKill(a))
	return c
}

func newOrderList(a *app) *cobra.Command {
	var q admin.OrderQuery
	var all bool
	c := a.command("list [flags]", "List work orders", "List shows work orders in the order of their identifiers, a page at a time.",
		"  mintmark order list --state open --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if all {
				q.Limit = admin.MaxPage
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list := admin.Orders{Orders: []admin.Order{}}
				for {
					page, err := client.Orders(c.Context(), q)
					if err != nil {
						return err
					}
					list.Orders = append(list.Orders, page.Orders...)
					list.Next, q.After = page.Next, page.Next
					if !all || page.Next == "" {
						break
					}
				}
				return a.printOrders(list)
			})
		})
	f := c.Flags()
	f.StringVar(&q.State, "state", "", "in this `state`: open, closed, killed")
	f.StringVar(&q.Product, "product", "", "for this `product`")
	f.StringVar(&q.Station, "station", "", "for this `station`")
	f.StringVar(&q.After, "after", "", "those after this `order`")
	f.IntVar(&q.Limit, "limit", admin.DefaultPage, fmt.Sprintf("at most so `many`, up to %d", admin.MaxPage))
	f.BoolVar(&all, "all", false, "every page")
	c.MarkFlagsMutuallyExclusive("limit", "all")
	return c
}

func (a *app) printOrders(list admin.Orders) error {
	if a.json {
		return a.printJSON(list)
	}
	t := newTable(a.out, "ORDER", "STATE", "PRODUCT", "STATION", "LABEL", "QUANTITY", "LEFT", "NOT AFTER")
	for _, o := range list.Orders {
		t.row(o.ID, orderState(o), o.Product, o.Station, o.Label, fmt.Sprint(o.Quantity), fmt.Sprint(o.Quantity-o.Taken), date(o.NotAfter))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if list.Next != "" {
		a.say("there may be more: add --after %q, or --all", list.Next)
	}
	return nil
}

// orderState is the state of an order, for people: what an open one lacks, if
// it issues nothing.
func orderState(o admin.Order) string {
	switch now := time.Now(); {
	case o.State != admin.OrderOpen:
	case now.After(o.NotAfter):
		return "open, expired"
	case now.Before(o.NotBefore):
		return "open, early"
	case o.Taken >= o.Quantity:
		return "open, exhausted"
	}
	return o.State
}

func newOrderShow(a *app) *cobra.Command {
	return a.command("show ID", "Show one work order and its account", `Show prints a work order and what became of it: issued, being issued, left,
refused by which rule.`,
		"  mintmark order show WO-117 --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				o, err := client.Order(c.Context(), args[0])
				if err != nil {
					return err
				}
				return a.printOrder(o)
			})
		})
}

func (a *app) printOrder(o admin.Order) error {
	if a.json {
		return a.printJSON(o)
	}
	t := newTable(a.out)
	t.field("order", o.ID)
	t.field("state", orderState(o))
	t.field("product", o.Product)
	t.field("station", o.Station)
	t.field("label", o.Label)
	t.field("profile", o.Profile)
	t.field("quantity", fmt.Sprint(o.Quantity))
	for _, r := range o.Ranges {
		t.field("devices", r.First+" to "+r.Last)
	}
	if o.Listed {
		t.field("devices", "those that the inventory lists under it")
	}
	t.field("networks", strings.Join(o.Networks, ", "))
	t.field("not before", date(o.NotBefore))
	t.field("not after", date(o.NotAfter))
	if o.Secret {
		t.field("credential", "secret")
	}
	for _, c := range o.Claims {
		t.field("credential", fmt.Sprintf("claim certificate %s, %s, until %s", c.Serial, shownState(c), date(c.NotAfter)))
	}
	t.field("created", date(o.CreatedAt)+" by "+o.CreatedBy)
	if o.ChangedAt != nil && !o.ChangedAt.Equal(o.CreatedAt) {
		t.field("changed", dateOf(o.ChangedAt)+" by "+o.ChangedBy)
	}
	r := o.Report
	if r == nil {
		t.field("left", fmt.Sprint(o.Quantity-o.Taken))
	} else {
		t.field("issued", fmt.Sprint(r.Issued))
		if r.Open > 0 {
			t.field("in flight", fmt.Sprint(r.Open))
		}
		t.field("left", fmt.Sprint(r.Left))
		t.field("last issued", dateOf(r.Last))
		for _, rule := range slices.Sorted(maps.Keys(r.Refused)) {
			t.field("refused", fmt.Sprintf("%d by %s", r.Refused[rule], rule))
		}
	}
	return t.flush()
}

func newOrderExtend(a *app) *cobra.Command {
	var end windowEnd
	c := a.command("extend ID (--not-after DATE | --for TIME)", "Move the end of a work order", `Extend moves the end of a work order's window, to a later or an earlier time. A
secret is taken until then; a claim certificate ends when it says, so that
order claim makes a new one.`,
		"  mintmark order extend WO-117 --for 7d --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			now := time.Now()
			notAfter, err := end.time(now, now)
			if err != nil {
				return err
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				o, err := client.ExtendOrder(c.Context(), args[0], notAfter)
				if err != nil {
					return err
				}
				return a.printOrder(o)
			})
		})
	end.bind(c, "from now")
	return c
}

func newOrderRaise(a *app) *cobra.Command {
	var quantity int
	c := a.command("raise ID --quantity N", "Change the quantity of a work order", `Raise changes how many certificates a work order is for. To raise it, a second
officer must agree; to lower it, down to what is issued, nobody else is needed.`,
		"  mintmark order raise WO-117 --quantity 1200 --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				o, err := client.SetOrderQuantity(c.Context(), args[0], quantity)
				if err != nil {
					return err
				}
				return a.printOrder(o)
			})
		})
	c.Flags().IntVar(&quantity, "quantity", 0, "the new `number` of certificates")
	require(c, "quantity")
	return c
}

func newOrderClose(a *app) *cobra.Command {
	return a.command("close ID", "End a work order that is done", `Close ends a work order: its credential is refused from now on. It cannot be
opened again. Devices that were made under it renew as before.`,
		"  mintmark order close WO-117 --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				o, err := client.CloseOrder(c.Context(), args[0])
				if err != nil {
					return err
				}
				return a.printOrder(o)
			})
		})
}

func newOrderKill(a *app) *cobra.Command {
	var revoke, yes bool
	c := a.command("kill ID [flags]", "End a work order whose credential is in wrong hands", `Kill ends a work order at once: its credential is refused, requests that are
being answered get nothing, and its claim certificates are revoked. With
--revoke, every certificate that was issued under it is revoked, too; a second
officer may have to agree to that.`,
		"  mintmark order kill WO-117 --yes --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			if !yes {
				what := fmt.Sprintf("Killing work order %q cannot be undone.", args[0])
				if revoke {
					what = fmt.Sprintf("Killing work order %q and revoking all of its certificates cannot be undone.", args[0])
				}
				if err := a.confirm(what, "--yes"); err != nil {
					return err
				}
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				killed, err := client.KillOrder(c.Context(), args[0])
				if err != nil {
					return err
				}
				if killed.Warning != "" {
					a.say("warning: %s", killed.Warning)
				}
				if revoke {
					revoked, err := client.Revoke(c.Context(), admin.Revocation{Order: args[0], Reason: "privilegeWithdrawn"})
					if err != nil {
						return fmt.Errorf("the order is killed; revoking what was issued under it: %w", err)
					}
					if revoked.Warning != "" {
						a.say("warning: %s", revoked.Warning)
					}
					killed.Revoked = append(killed.Revoked, revoked.Serials...)
				}
				if a.json {
					return a.printJSON(killed)
				}
				if _, err := fmt.Fprintf(a.out, "work order %s is killed\n", killed.Order.ID); err != nil {
					return err
				}
				for _, serial := range killed.Revoked {
					if _, err := fmt.Fprintf(a.out, "revoked %s\n", serial); err != nil {
						return err
					}
				}
				return nil
			})
		})
	c.Flags().BoolVar(&revoke, "revoke", false, "revoke also every certificate that was issued under it")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// windowEnd says when a work order ends.
type windowEnd struct {
	notAfter string
	length   span
}

func (w *windowEnd) bind(c *cobra.Command, from string) {
	c.Flags().StringVar(&w.notAfter, "not-after", "", "end of the window, a `date` or a time")
	c.Flags().Var(&w.length, "for", "length of the window "+from+", as in 14d")
	c.MarkFlagsMutuallyExclusive("not-after", "for")
	c.MarkFlagsOneRequired("not-after", "for")
}

// time is the end of a window that begins at start.
func (w *windowEnd) time(start, now time.Time) (time.Time, error) {
	if w.notAfter == "" {
		return w.length.after(start), nil
	}
	end, err := parseMoment(w.notAfter, now)
	if err != nil {
		return end, usagef("--not-after: %w", err)
	}
	return end, nil
}
