package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/awsreg"
)

func newAWSStatus(a *app) *cobra.Command {
	var target string
	var count bool
	c := a.command("status [flags]", "Say how the targets look",
		`Status shows each CA in AWS's words, each template, policy, rule and table with
what differs, how old the manifest of the Lambda functions is, and what is left
to apply. CAs of ours that are registered and not configured are shown, too.`,
		"  mintmark aws status --dir ./factory\n  mintmark aws status --target line-a --count --dir ./factory", cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				places, err := awsPlaces(c.Context(), client, target)
				if err != nil {
					return err
				}
				list := []admin.AWSStatus{}
				outcomes, failed := awsIoT.each(c.Context(), a, places, func(target string) (string, error) {
					var status admin.AWSStatus
					err := awsIoT.asking(c.Context(), a, target, func() (err error) {
						status, err = client.AWSStatus(c.Context(), target, count)
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
						Targets  []admin.AWSStatus `json:"targets"`
						Outcomes []outcome         `json:"outcomes"`
					}{list, outcomes}))
				}
				return errors.Join(failed, a.printAWS(list, count))
			})
		})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	c.Flags().BoolVar(&count, "count", false, "count the certificates under each CA, a call for every 250 of them")
	return c
}

func (a *app) printAWS(list []admin.AWSStatus, count bool) error {
	if err := a.printAWSCAs(list, count); err != nil {
		return err
	}
	t := newTable(a.out, "TARGET", "KIND", "NAME", "STATE")
	rows := 0
	for _, s := range list {
		for _, one := range s.Resources {
			state := "as it should be"
			switch {
			case !one.There:
				state = "missing"
			case one.Differs != "":
				state = "differs: " + firstLine(one.Differs)
			}
			t.row(s.Target, one.Kind, one.Name, state)
			rows++
		}
	}
	if rows > 0 {
		fmt.Fprintln(a.out)
		if err := t.flush(); err != nil {
			return err
		}
	}
	for _, s := range list {
		if s.Endpoint != "" {
			a.say("%s: devices connect to %s", s.Target, printable(s.Endpoint))
		}
		if m := s.Manifest; m != nil {
			a.say("%s: manifest %s pushed %s, %s", s.Target, m.Table, pushed(m), freshness(m))
		}
		for _, u := range s.Unconfigured {
			a.say("%s: CA %s (%s, %s) is registered and not configured: add it to cas with state deleted, or leave it to whoever uses it", s.Target, u.CertificateID, printable(u.Subject), u.State)
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

func (a *app) printAWSCAs(list []admin.AWSStatus, count bool) error {
	heading := []string{"TARGET", "REGION", "ISSUER", "USE", "STATE", "MODE", "AUTO-REGISTRATION", "NOT AFTER"}
	if count {
		heading = append(heading, "CERTIFICATES")
	}
	if !slices.ContainsFunc(list, func(s admin.AWSStatus) bool { return len(s.CAs) > 0 }) {
		return nil
	}
	t := newTable(a.out, heading...)
	for _, s := range list {
		for _, one := range s.CAs {
			state, mode := caWords(one)
			row := []string{s.Target, s.Region, one.Issuer, one.Use, state, mode, one.AutoRegistration, day(&one.NotAfter)}
			if count {
				row = append(row, countWords(one.Certificates))
			}
			t.row(row...)
		}
	}
	return t.flush()
}

// caWords are the state and the mode of a CA.
func caWords(one admin.AWSCA) (state, mode string) {
	switch {
	case one.Registered:
		return one.State, one.Mode
	case one.Mode == awsreg.ModeNone:
		return "not to be registered", one.Mode
	}
	return "not registered", one.Mode
}

// countWords list certificates by AWS's word for their status. There are counts
// where certificates were counted, and then none of them is 0.
func countWords(counts map[string]int) string {
	if counts != nil && len(counts) == 0 {
		return "0"
	}
	var words []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[status], status))
	}
	return strings.Join(words, ", ")
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
