package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/reconcile"
)

// planCommand says what apply would do at a cloud.
func planCommand[P any](a *app, on cloud[P], long, example string) *cobra.Command {
	var target string
	c := a.command("plan [flags]", "Say what apply would do", long, example, cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.withClient(c.Context(), func(client *admin.Client) error {
			places, err := on.choose(c.Context(), client, target)
			if err != nil {
				return err
			}
			plans := []admin.Plan{}
			outcomes, failed := on.each(c.Context(), a, places, func(target string) (string, error) {
				plan, err := on.read(c.Context(), a, client, target)
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
					Targets []outcome    `json:"targets"`
				}{plans, outcomes}))
			}
			return failed
		})
	})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	return c
}

// read asks for the plan of one target.
func (c cloud[P]) read(ctx context.Context, a *app, client *admin.Client, target string) (plan admin.Plan, err error) {
	err = c.asking(ctx, a, target, func() (err error) {
		plan, err = c.plan(client, ctx, target)
		return err
	})
	return plan, err
}

// planWords count what a plan does.
func planWords(p admin.Plan) string {
	words := fmt.Sprintf("%d to change", p.Pending)
	if p.Refused > 0 {
		words += fmt.Sprintf(", %d refused", p.Refused)
	}
	if p.Destructive {
		words += ", destructive"
	}
	return words
}

// applyCommand brings a cloud to what it should be.
func applyCommand[P any](a *app, on cloud[P], long, example string) *cobra.Command {
	var target, hash string
	var yes bool
	c := a.command("apply [flags]", fmt.Sprintf("Bring %s to what it should be", on.name), long, example, cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if hash != "" && target == "" {
			return usagef("--hash is that of one plan: add --target")
		}
		return a.withClient(c.Context(), func(client *admin.Client) error {
			places, err := on.choose(c.Context(), client, target)
			if err != nil {
				return err
			}
			done := []admin.Plan{}
			outcomes, failed := on.each(c.Context(), a, places, func(target string) (string, error) {
				plan, err := on.carryOut(c.Context(), a, client, target, hash, yes)
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
					Targets []outcome    `json:"targets"`
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

// carryOut carries out the plan of one target, after it was agreed to.
func (c cloud[P]) carryOut(ctx context.Context, a *app, client *admin.Client, name, hash string, yes bool) (admin.Plan, error) {
	if hash == "" {
		plan, err := c.read(ctx, a, client, name)
		if err != nil {
			return plan, err
		}
		if plan.Refused > 0 || plan.Pending > 0 {
			if err := a.render(a.err, plan); err != nil {
				return plan, err
			}
		}
		if plan.Refused > 0 {
			return plan, fmt.Errorf("target %s: %s cannot be made, so none is: put right what the plan says", name, plural(plan.Refused, "change"))
		}
		if plan.Pending > 0 && !yes {
			if err := a.confirm(fmt.Sprintf("Apply %s to %s?", plural(plan.Pending, "change"), name), "--yes or --hash"); err != nil {
				return plan, err
			}
		}
		hash = plan.Hash
	}
	var plan admin.Plan
	err := c.asking(ctx, a, name, func() (err error) {
		plan, err = c.apply(client, ctx, name, admin.Apply{Hash: hash}, func(c admin.Change) {
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
