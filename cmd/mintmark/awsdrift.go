package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newAWSDrift(a *app) *cobra.Command {
	var target string
	var run, adopt bool
	c := a.command("drift [flags]", "Say where AWS and the ledger disagree about certificates",
		`Drift shows what the last comparison of each certificate at AWS with the ledger
found, and what it did: AWS is brought to the ledger's state, and what only a
person can decide is left. The server compares by itself (aws.reconcile); --run
does it now, which takes minutes for many certificates.

A certificate that is unknown here was never issued here: somebody may have the
key of a CA. The exit status is 1 if anything is left.`,
		"  mintmark aws drift --dir ./factory\n  mintmark aws drift --run --adopt --target line-a --dir ./factory", cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
			if adopt && !run {
				return usagef("--adopt is for a comparison now: add --run")
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				places, err := awsPlaces(c.Context(), client, target)
				if err != nil {
					return err
				}
				list, left := []admin.AWSDrift{}, 0
				outcomes, failed := awsIoT.each(c.Context(), a, places, func(target string) (string, error) {
					var drift admin.AWSDrift
					var err error
					if run {
						err = awsIoT.asking(c.Context(), a, target, func() (err error) {
							drift, err = client.AWSReconcile(c.Context(), target, admin.AWSReconcile{Adopt: adopt})
							return err
						})
					} else {
						drift, err = client.AWSDrift(c.Context(), target)
					}
					if err != nil {
						return "", err
					}
					list, left = append(list, drift), left+len(drift.Left)
					return driftWords(drift), nil
				})
				if a.json {
					err = a.printJSON(struct {
						Targets  []admin.AWSDrift `json:"targets"`
						Outcomes []outcome        `json:"outcomes"`
					}{list, outcomes})
				} else {
					err = a.printDrift(list)
				}
				if failed == nil && left > 0 {
					failed = fmt.Errorf("left for a person to decide about: %s", plural(left, "certificate"))
				}
				return errors.Join(failed, err)
			})
		})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	c.Flags().BoolVar(&run, "run", false, "compare now")
	c.Flags().BoolVar(&adopt, "adopt", false, "revoke here what is revoked at AWS, up to access.revoke_limit certificates")
	return c
}

func driftWords(d admin.AWSDrift) string {
	if d.At == nil {
		return "not compared yet"
	}
	words := fmt.Sprintf("%d checked, %d repaired, %d adopted, %d left", d.Checked, len(d.Repaired), len(d.Adopted), len(d.Left))
	if d.Unknown > 0 {
		words += fmt.Sprintf(", of which %d UNKNOWN HERE", d.Unknown)
	}
	return words
}

func (a *app) printDrift(list []admin.AWSDrift) error {
	t := newTable(a.out, "TARGET", "WHAT", "CERTIFICATE", "SERIAL", "DEVICE", "HERE", "AT AWS", "WHY")
	rows := 0
	for _, d := range list {
		a.say("%s: %s%s", d.Target, driftWords(d), sinceWords(d.At))
		if d.Unknown > 0 {
			a.say("%s: ALARM: under our CAs and never issued here: %s: the key of a CA may be in other hands", d.Target, plural(d.Unknown, "certificate"))
		}
		for _, part := range []struct {
			what string
			list []admin.AWSDifference
		}{{"left", d.Left}, {"adopted", d.Adopted}, {"repaired", d.Repaired}} {
			for _, one := range part.list {
				t.row(d.Target, part.what, one.CertificateID, one.Serial, one.Device, one.Here, one.There, one.Text)
				rows++
			}
		}
	}
	if rows == 0 {
		return nil
	}
	return t.flush()
}

// sinceWords say when a comparison was made.
func sinceWords(at *time.Time) string {
	if at == nil {
		return ": --run does it now"
	}
	return " on " + date(*at)
}
