package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/reconcile"
)

func newAWSPlan(a *app) *cobra.Command {
	var target string
	c := a.command("plan [flags]", "Say what apply would do",
		"Plan reads AWS and prints what is different from what it should be. It changes\nnothing. The hash names exactly these changes.",
		"  mintmark aws plan --target line-a --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				places, err := awsPlaces(c.Context(), client, target)
				if err != nil {
					return err
				}
				plans := []admin.Plan{}
				outcomes, failed := a.eachTarget(c.Context(), places, func(place admin.AWSPlace) (string, error) {
					var plan admin.Plan
					err := a.asking(c.Context(), place.Target, func() (err error) {
						plan, err = client.AWSPlan(c.Context(), place.Target)
						return err
					})
					if err != nil {
						return "", err
					}
					plans = append(plans, plan)
					if !a.json {
						err = a.render(a.out, plan)
					}
					return planWords(plan), err
				})
				if a.json {
					return errors.Join(failed, a.printJSON(struct {
						Plans   []admin.Plan `json:"plans"`
						Targets []awsOutcome `json:"targets"`
					}{plans, outcomes}))
				}
				return failed
			})
		})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	return c
}

// planWords count what a plan does.
func planWords(p admin.Plan) string {
	words := fmt.Sprintf("%d to change", p.Pending)
	if p.Refused > 0 {
		words += fmt.Sprintf(", %d refused", p.Refused)
	}
	if p.Destructive {
		words += ", takes something out of service"
	}
	return words
}

func newAWSApply(a *app) *cobra.Command {
	var target, hash string
	var yes bool
	c := a.command("apply [flags]", "Bring AWS to what it should be",
		`Apply shows the plan, asks, and carries it out. It may be run again at any
time: what is as it should be is left alone, and a run that was cut off is
continued. With --hash it does exactly the plan that was read, or nothing.

A target that fails does not keep the others waiting: a table at the end says
how each went, and the exit status is 1 if one failed. A plan that takes a CA
out of service needs two persons: it is proposed, and approval run carries it
out (exit status 3).`,
		`  mintmark aws apply --target line-a --dir ./factory
  mintmark aws apply --yes --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if hash != "" && target == "" {
				return usagef("--hash is that of one plan: add --target")
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				places, err := awsPlaces(c.Context(), client, target)
				if err != nil {
					return err
				}
				done := []admin.Plan{}
				outcomes, failed := a.eachTarget(c.Context(), places, func(place admin.AWSPlace) (string, error) {
					plan, err := a.applyAWS(c.Context(), client, place.Target, hash, yes)
					if err != nil {
						return "", err
					}
					done = append(done, plan)
					return fmt.Sprintf("%d changed, as it should be now", plan.Pending), nil
				})
				var proposed *admin.Proposed
				if a.json && !(errors.As(failed, &proposed) && len(places) == 1) { // which prints itself
					return errors.Join(failed, a.printJSON(struct {
						Done    []admin.Plan `json:"done"`
						Targets []awsOutcome `json:"targets"`
					}{done, outcomes}))
				}
				return failed
			})
		})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	c.Flags().StringVar(&hash, "hash", "", "do nothing unless the plan has this `hash`")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// applyAWS carries out the plan of one target, after it was agreed to.
func (a *app) applyAWS(ctx context.Context, client *admin.Client, name, hash string, yes bool) (admin.Plan, error) {
	if hash == "" {
		var plan admin.Plan
		err := a.asking(ctx, name, func() (err error) {
			plan, err = client.AWSPlan(ctx, name)
			return err
		})
		if err != nil {
			return plan, err
		}
		if plan.Refused > 0 || plan.Pending > 0 {
			if err := a.render(a.err, plan); err != nil {
				return plan, err
			}
		}
		if plan.Refused > 0 {
			return plan, fmt.Errorf("target %s: %d changes cannot be made, so none is: put right what the plan says", name, plan.Refused)
		}
		if plan.Pending > 0 && !yes {
			if err := a.confirm(fmt.Sprintf("Apply these %d changes to %s?", plan.Pending, name), "--yes or --hash"); err != nil {
				return plan, err
			}
		}
		hash = plan.Hash
	}
	var plan admin.Plan
	err := a.asking(ctx, name, func() (err error) {
		plan, err = client.AWSApply(ctx, name, admin.AWSApply{Hash: hash}, func(c admin.Change) {
			if reconcile.Action(c.Action) != reconcile.None {
				a.say("%s %s: %s", c.Kind, printable(c.Subject), c.Action)
			}
		})
		return err
	})
	if err != nil {
		return plan, err
	}
	if a.json {
		return plan, nil
	}
	_, err = fmt.Fprintf(a.out, "target %s: %d changed, as it should be now\n", name, plan.Pending)
	return plan, err
}
