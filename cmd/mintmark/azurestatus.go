package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/dpsreg"
)

func newAzureStatus(a *app) *cobra.Command {
	var target string
	var count bool
	c := a.command("status [flags]", "Say how the targets look",
		`Status shows each CA and each enrollment group as DPS has it, which EST labels
and open work orders lead into which group, how much of what DPS takes is used,
and what is left to apply. CAs and groups of others are shown, too.`,
		"  mintmark azure status --dir ./factory\n  mintmark azure status --target plant --count --dir ./factory", cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				places, err := azureDPS.choose(c.Context(), client, target)
				if err != nil {
					return err
				}
				list := []admin.AzureStatus{}
				outcomes, failed := azureDPS.each(c.Context(), a, places, func(target string) (string, error) {
					var status admin.AzureStatus
					err := azureDPS.asking(c.Context(), a, target, func() (err error) {
						status, err = client.AzureStatus(c.Context(), target, count)
						return err
					})
					if err != nil {
						return "", err
					}
					list = append(list, status)
					return planWords(status.Plan), nil
				})
				if a.json {
					return errors.Join(failed, a.printJSON(struct {
						Targets  []admin.AzureStatus `json:"targets"`
						Outcomes []outcome           `json:"outcomes"`
					}{list, outcomes}))
				}
				return errors.Join(failed, a.printAzure(list, count))
			})
		})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	c.Flags().BoolVar(&count, "count", false, "count the certificates below each CA, and the devices that have registered, page by page")
	return c
}

func (a *app) printAzure(list []admin.AzureStatus, count bool) error {
	if err := a.printAzureCAs(list, count); err != nil {
		return err
	}
	if err := a.printAzureGroups(list, count); err != nil {
		return err
	}
	for _, s := range list {
		a.say("%s: %d of %d CA certificates and %d of %d groups are used", s.Target, s.CertificateSlots, dpsreg.MaxCertificates, s.GroupSlots, dpsreg.MaxGroups)
		for _, words := range s.Unknown {
			a.say("%s: not ours, and left alone: %s", s.Target, printable(words))
		}
		for _, words := range s.Warnings {
			a.say("%s: warning: %s", s.Target, printable(words))
		}
		a.say("%s: %d to change, %d refused", s.Target, s.Plan.Pending, s.Plan.Refused)
	}
	return nil
}

func (a *app) printAzureCAs(list []admin.AzureStatus, count bool) error {
	heading := []string{"TARGET", "AUTHORITY", "NAME", "STATE", "NOT AFTER"}
	if count {
		heading = append(heading, "LIVE BELOW")
	}
	if !slices.ContainsFunc(list, func(s admin.AzureStatus) bool { return len(s.CAs) > 0 }) {
		return nil
	}
	t := newTable(a.out, heading...)
	for _, s := range list {
		for _, one := range s.CAs {
			row := []string{s.Target, one.Authority, one.Name, azureCAWords(one), day(&one.NotAfter)}
			if count {
				row = append(row, liveWords(one.Live, one.Superseded))
			}
			t.row(row...)
		}
	}
	return t.flush()
}

func azureCAWords(one admin.AzureCA) string {
	switch {
	case !one.There:
		return "missing"
	case one.Verified:
		return "verified"
	}
	return "not verified"
}

func (a *app) printAzureGroups(list []admin.AzureStatus, count bool) error {
	heading := []string{"TARGET", "GROUP", "STATE", "ANCHORS", "LABELS", "ORDERS"}
	if count {
		heading = append(heading, "LIVE BELOW", "ASSIGNED")
	}
	if !slices.ContainsFunc(list, func(s admin.AzureStatus) bool { return len(s.Groups) > 0 }) {
		return nil
	}
	if slices.ContainsFunc(list, func(s admin.AzureStatus) bool { return len(s.CAs) > 0 }) {
		fmt.Fprintln(a.out)
	}
	t := newTable(a.out, heading...)
	for _, s := range list {
		for _, one := range s.Groups {
			state := "enabled"
			switch {
			case !one.There:
				state = "missing"
			case one.Disabled:
				state = "disabled"
			}
			row := []string{s.Target, one.ID, state, strings.Join(anchorWords(one.Anchors), ", "), strings.Join(labelWords(one.Labels), ", "), strings.Join(one.Orders, ", ")}
			if count {
				row = append(row, anchorLives(one.Live, one.Superseded), countOf(one.Assigned))
			}
			t.row(row...)
		}
	}
	return t.flush()
}

// anchorWords cut the SHA-256 of certificates that are not ours.
func anchorWords(anchors []string) []string {
	var out []string
	for _, one := range anchors {
		if len(one) == 64 {
			one = one[:16] + "..."
		}
		out = append(out, one)
	}
	return out
}

// labelWords name EST labels; one has no name.
func labelWords(labels []string) []string {
	var out []string
	for _, one := range labels {
		if one == "" {
			one = `""`
		}
		out = append(out, one)
	}
	return out
}

// liveWords are how many certificates are in force below a CA; those that were renewed
// elsewhere wait for nothing but their revocation.
func liveWords(live, superseded *int) string {
	if live == nil || superseded == nil || *superseded == 0 {
		return countOf(live)
	}
	return fmt.Sprintf("%d (%d renewed)", *live, *superseded)
}

// anchorLives are liveWords of the anchors of a group.
func anchorLives(live, superseded map[string]int) string {
	var words []string
	for _, anchor := range slices.Sorted(maps.Keys(live)) {
		n, renewed := live[anchor], superseded[anchor]
		words = append(words, anchor+": "+liveWords(&n, &renewed))
	}
	return strings.Join(words, ", ")
}

// countOf is a number that was asked for.
func countOf(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}
