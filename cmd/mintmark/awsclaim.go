package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

// claimPause is the time between two looks at what AWS has.
const claimPause = 500 * time.Millisecond

func newAWSClaim(a *app) *cobra.Command {
	c := a.group("claim", "Make and end the claim certificates of fleets",
		`Claim works on the claim certificates of work orders for a fleet: with one of
them, and within the order, devices get their own certificates from AWS. An
order is for a fleet if its label is aws:TARGET/TEMPLATE. docs/orders.md has the
whole story.`,
		`  mintmark aws claim create WO-117 --count 3 --out ./claims --dir ./factory
  mintmark aws claim kill WO-117 --dir ./factory`)
	c.AddCommand(newAWSClaimCreate(a), newAWSClaimList(a), newAWSClaimKill(a))
	return c
}

// orderTarget is the target that a work order is for, by its label.
func orderTarget(ctx context.Context, client *admin.Client, order admin.Order, name string) (string, error) {
	places, err := awsPlaces(ctx, client, "")
	if err != nil {
		return "", err
	}
	var labels []string
	for _, place := range places {
		labels = append(labels, place.Labels...)
		if !slices.Contains(place.Labels, order.Label) {
			continue
		}
		if name != "" && name != place.Target {
			return "", fmt.Errorf("work order %s is for target %s, and not for %s", order.ID, place.Target, name)
		}
		return place.Target, nil
	}
	if len(labels) == 0 {
		return "", fmt.Errorf("no AWS target has a fleet: mintmark.yaml defines them under aws.targets[].fleets")
	}
	return "", fmt.Errorf("work order %s is for label %q, and for no fleet: claim certificates at AWS need an order with one of the labels %s", order.ID, order.Label, strings.Join(labels, ", "))
}

func newAWSClaimList(a *app) *cobra.Command {
	var target string
	c := a.command("list ORDER [flags]", "List the claim certificates of a work order",
		`List shows the claim certificates of a work order as AWS has them, of whichever
issuer, and how many devices came in under the order. One without a state is
issued here and not known at AWS yet.`,
		"  mintmark aws claim list WO-117 --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				order, err := client.Order(c.Context(), args[0])
				if err != nil {
					return err
				}
				name, err := orderTarget(c.Context(), client, order, target)
				if err != nil {
					return err
				}
				var list admin.AWSClaims
				err = awsIoT.asking(c.Context(), a, name, func() (err error) {
					list, err = client.AWSClaims(c.Context(), name, order.ID)
					return err
				})
				if err != nil {
					return err
				}
				return a.printClaims(order, list)
			})
		})
	c.Flags().StringVar(&target, "target", "", "the `target` that the order must be for")
	return c
}

func (a *app) printClaims(order admin.Order, list admin.AWSClaims) error {
	if a.json {
		return a.printJSON(list)
	}
	t := newTable(a.out, "CERTIFICATE", "STATE", "SERIAL", "ISSUED BY", "POLICY")
	for _, one := range list.Claims {
		state, issuer := one.Status, "AWS"
		if state == "" {
			state = "not at AWS yet"
		}
		if one.Serial != "" {
			issuer = "us"
		}
		t.row(one.CertificateID, state, one.Serial, issuer, one.Policy)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%s came in under %s, which is %s and for %d\n", plural(list.Used, "device"), order.ID, orderState(order), order.Quantity)
	return err
}

func newAWSClaimKill(a *app) *cobra.Command {
	var target string
	var wait time.Duration
	c := a.command("kill ORDER [flags]", "End a work order and its claim certificates at once",
		`Kill ends a work order for good, as order kill does, revokes its claim
certificates, and waits until AWS has shut them out: those of ours are REVOKED
there, those that AWS issued INACTIVE. Devices that came in stay.

The order is dead here at once. If AWS cannot be reached, or no server runs,
AWS is told as soon as it can be; aws claim list shows when it was.`,
		"  mintmark aws claim kill WO-117 --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				order, err := client.Order(c.Context(), args[0])
				if err != nil {
					return err
				}
				name, err := orderTarget(c.Context(), client, order, target)
				if err != nil {
					return err
				}
				killed, err := client.KillOrder(c.Context(), order.ID)
				if err != nil {
					return err
				}
				a.say("%s is killed; revoked here: %s", order.ID, plural(len(killed.Revoked), "claim certificate"))
				if killed.Warning != "" {
					a.say("warning: %s", killed.Warning)
				}
				if !a.serverRuns() {
					a.say("no server runs, so that AWS is not told yet: it is as soon as one does")
					wait = 0
				}
				return a.showKilled(c.Context(), client, name, killed, wait)
			})
		})
	c.Flags().StringVar(&target, "target", "", "the `target` that the order must be for")
	c.Flags().DurationVar(&wait, "wait", time.Minute, "how `long` to wait until AWS has it")
	return c
}

// showKilled waits until AWS lets none of the claims in any more, and shows them.
func (a *app) showKilled(ctx context.Context, client *admin.Client, target string, killed admin.Killed, wait time.Duration) error {
	var list admin.AWSClaims
	err := awsIoT.asking(ctx, a, target, func() (err error) {
		list, err = awaitClaims(ctx, client, target, killed.Order.ID, wait, func(one admin.AWSClaim) bool {
			return one.Status == "REVOKED" || one.Status == "INACTIVE"
		})
		return err
	})
	if err != nil && !errors.Is(err, errNotYet) {
		a.say("warning: the order is dead here, and what AWS has cannot be seen: %v\nmintmark aws claim list %s shows it later", err, killed.Order.ID)
	}
	admitted := 0
	for _, one := range list.Claims {
		if one.Status == "ACTIVE" {
			admitted++
		}
	}
	if errors.Is(err, errNotYet) {
		a.say("warning: AWS still takes %d of them: mintmark aws claim list %s shows when it does not", admitted, killed.Order.ID)
	}
	if a.json {
		return a.printJSON(struct {
			admin.Killed
			Claims []admin.AWSClaim `json:"claims"`
			// Told: AWS takes none of the claims any more.
			Told bool `json:"told"`
		}{killed, append([]admin.AWSClaim{}, list.Claims...), err == nil})
	}
	if list.Claims == nil {
		return nil
	}
	return a.printClaims(killed.Order, list)
}

// errNotYet says that AWS does not have it yet.
var errNotYet = errors.New("AWS does not have it yet")

// awaitClaims asks AWS for the claims of an order until each of them is as it is
// waited for, or the time is over: then errNotYet comes with what there is.
func awaitClaims(ctx context.Context, client *admin.Client, target, order string, wait time.Duration, there func(admin.AWSClaim) bool) (admin.AWSClaims, error) {
	over := time.Now().Add(wait)
	for {
		list, err := client.AWSClaims(ctx, target, order)
		if err != nil {
			return list, err
		}
		if !slices.ContainsFunc(list.Claims, func(one admin.AWSClaim) bool { return !there(one) }) {
			return list, nil
		}
		if !time.Now().Before(over) {
			return list, errNotYet
		}
		select {
		case <-ctx.Done():
			return list, ctx.Err()
		case <-time.After(claimPause):
		}
	}
}
