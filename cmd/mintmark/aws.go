package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/reconcile"
)

func newAWS(a *app) *cobra.Command {
	c := a.group("aws", "Keep AWS IoT Core in step with the CA",
		`Aws compares the AWS accounts and regions of mintmark.yaml with what they
should be, and brings them there.`,
		"  mintmark aws plan --dir ./factory\n  mintmark aws apply --target line-a --dir ./factory")
	c.AddCommand(newAWSPlan(a), newAWSApply(a), newAWSStatus(a), newAWSPolicy(a), newAWSPublish(a))
	return c
}

// awsTargets are the targets to work on: the one that was named, or all.
func awsTargets(ctx context.Context, client *admin.Client, name string) ([]string, error) {
	all, err := client.AWSTargets(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" && len(all) == 0 {
		return nil, errors.New("there is no AWS target: mintmark.yaml defines them under aws.targets")
	}
	if name == "" {
		return all, nil
	}
	if !slices.Contains(all, name) {
		return nil, fmt.Errorf("there is no AWS target %q: mintmark.yaml has %q", name, all)
	}
	return []string{name}, nil
}

func newAWSPlan(a *app) *cobra.Command {
	var target string
	c := a.command("plan [flags]", "Say what apply would do",
		"Plan reads AWS and prints what is different from what it should be. It changes\nnothing. The hash names exactly these changes.",
		"  mintmark aws plan --target line-a --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				names, err := awsTargets(c.Context(), client, target)
				if err != nil {
					return err
				}
				plans := []admin.Plan{}
				for _, name := range names {
					plan, err := client.AWSPlan(c.Context(), name)
					if err != nil {
						return err
					}
					plans = append(plans, plan)
					if !a.json {
						if err := reconciled(plan).Render(a.out); err != nil {
							return err
						}
					}
				}
				if a.json {
					return a.printJSON(struct {
						Plans []admin.Plan `json:"plans"`
					}{plans})
				}
				return nil
			})
		})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	return c
}

func newAWSApply(a *app) *cobra.Command {
	var target, hash string
	var yes bool
	c := a.command("apply [flags]", "Bring AWS to what it should be",
		`Apply shows the plan, asks, and carries it out. It may be run again at any
time: what is as it should be is left alone, and a run that was cut off is
continued. With --hash it does exactly the plan that was read, or nothing.`,
		`  mintmark aws apply --target line-a --dir ./factory
  mintmark aws apply --yes --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if hash != "" && target == "" {
				return usagef("--hash is that of one plan: add --target")
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				names, err := awsTargets(c.Context(), client, target)
				if err != nil {
					return err
				}
				done := []admin.Plan{}
				for _, name := range names {
					plan, err := a.applyAWS(c.Context(), client, name, hash, yes)
					if err != nil {
						return err
					}
					done = append(done, plan)
				}
				if a.json {
					return a.printJSON(struct {
						Done []admin.Plan `json:"done"`
					}{done})
				}
				return nil
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
		plan, err := client.AWSPlan(ctx, name)
		if err != nil {
			return plan, err
		}
		if plan.Refused > 0 || plan.Pending > 0 {
			if err := reconciled(plan).Render(a.err); err != nil {
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
	plan, err := client.AWSApply(ctx, name, admin.AWSApply{Hash: hash}, func(c admin.Change) {
		a.say("%s %s: %s", c.Kind, printable(c.Subject), c.Action)
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

func newAWSStatus(a *app) *cobra.Command {
	var target string
	c := a.command("status [flags]", "Say how the targets look",
		"Status shows each registered CA in AWS's words, how old the manifest of the\nactivating Lambda is, and what is left to apply.",
		"  mintmark aws status --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				names, err := awsTargets(c.Context(), client, target)
				if err != nil {
					return err
				}
				list := []admin.AWSStatus{}
				for _, name := range names {
					status, err := client.AWSStatus(c.Context(), name)
					if err != nil {
						return err
					}
					list = append(list, status)
				}
				if a.json {
					return a.printJSON(struct {
						Targets []admin.AWSStatus `json:"targets"`
					}{list})
				}
				return a.printAWS(list)
			})
		})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	return c
}

func (a *app) printAWS(list []admin.AWSStatus) error {
	t := newTable(a.out, "TARGET", "REGION", "ISSUER", "USE", "STATE", "MODE", "AUTO-REGISTRATION", "NOT AFTER")
	for _, s := range list {
		for _, one := range s.CAs {
			state := one.State
			if !one.Registered {
				state = "not registered"
			}
			t.row(s.Target, s.Region, one.Issuer, one.Use, state, one.Mode, one.AutoRegistration, day(&one.NotAfter))
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, s := range list {
		if m := s.Manifest; m != nil {
			a.say("%s: manifest %s pushed %s, %s", s.Target, m.Table, pushed(m), freshness(m))
		}
		for _, one := range s.CAs {
			for _, f := range one.Findings {
				a.say("%s: %s: %s (%s): %s", s.Target, one.Issuer, f.Severity, f.Rule, f.Text)
			}
		}
		a.say("%s: %d to change, %d refused", s.Target, s.Plan.Pending, s.Plan.Refused)
	}
	return nil
}

func pushed(m *admin.AWSManifest) string {
	if m.PushedAt == nil {
		return "never"
	}
	return date(*m.PushedAt) + " by " + m.Server
}

func freshness(m *admin.AWSManifest) string {
	limit := time.Duration(m.MaxAgeSeconds) * time.Second
	if m.Fresh {
		return fmt.Sprintf("fresh (limit %v)", limit)
	}
	return fmt.Sprintf("too old to act on (limit %v): devices are refused until the server pushes it", limit)
}

// reconciled is a plan as it is rendered.
func reconciled(p admin.Plan) reconcile.Plan {
	plan := reconcile.Plan{Target: p.Target}
	for _, c := range p.Changes {
		plan.Changes = append(plan.Changes, reconcile.Change{
			Kind: printable(c.Kind), Subject: printable(c.Subject), Action: reconcile.Action(c.Action), Before: c.Before, After: c.After,
		})
	}
	return plan
}
