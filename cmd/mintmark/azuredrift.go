package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newAzureDrift(a *app) *cobra.Command {
	var target string
	var run bool
	c := a.command("drift [flags]", "Say where Azure and the ledger disagree about devices",
		`Drift shows what the last comparison of the enrollments at DPS with the ledger
found, and what it did: DPS is brought to the ledger's state, and what only a
person can decide is left. The server compares by itself (azure.reconcile);
--run does it now, which takes a while for many devices.

Individual enrollments that mintmark did not make are listed as unknown and left
alone, with one exception: one that lets in a certificate of a blocked device is
disabled until the device is released. The exit status is 1 if anything is left.`,
		"  mintmark azure drift --dir ./factory\n  mintmark azure drift --run --target plant --dir ./factory", cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				places, err := azureDPS.choose(c.Context(), client, target)
				if err != nil {
					return err
				}
				list, left := []admin.AzureDrift{}, 0
				outcomes, failed := azureDPS.each(c.Context(), a, places, func(target string) (string, error) {
					var drift admin.AzureDrift
					var err error
					if run {
						err = azureDPS.asking(c.Context(), a, target, func() (err error) {
							drift, err = client.AzureReconcile(c.Context(), target)
							return err
						})
					} else {
						drift, err = client.AzureDrift(c.Context(), target)
					}
					if err != nil {
						return "", err
					}
					list, left = append(list, drift), left+len(drift.Left)
					return azureDriftWords(drift), nil
				})
				if a.json {
					err = a.printJSON(struct {
						Targets  []admin.AzureDrift `json:"targets"`
						Outcomes []outcome          `json:"outcomes"`
					}{list, outcomes})
				} else {
					err = a.printAzureDrift(list)
				}
				if failed == nil && left > 0 {
					failed = fmt.Errorf("left for a person to decide about: %s", plural(left, "device"))
				}
				return errors.Join(failed, err)
			})
		})
	c.Flags().StringVar(&target, "target", "", "only this `target` (default all)")
	c.Flags().BoolVar(&run, "run", false, "compare now")
	return c
}

func azureDriftWords(d admin.AzureDrift) string {
	if d.At == nil {
		return "not compared yet"
	}
	return fmt.Sprintf("%d checked, %d repaired, %d promoted, %d left, %d of others", d.Devices, len(d.Repaired), len(d.Promoted), len(d.Left), d.UnknownCount)
}

func (a *app) printAzureDrift(list []admin.AzureDrift) error {
	t := newTable(a.out, "TARGET", "WHAT", "DEVICE", "WHY")
	rows := 0
	add := func(target, what, device, why string) {
		t.row(target, what, device, why)
		rows++
	}
	for _, d := range list {
		a.say("%s: %s%s", d.Target, azureDriftWords(d), sinceWords(d.At))
		for _, one := range d.Left {
			add(d.Target, "left", one.Device, one.What)
		}
		for _, one := range d.Repaired {
			add(d.Target, "repaired", one.Device, one.What)
		}
		for _, device := range d.Promoted {
			add(d.Target, "promoted", device, "has registered with its new certificate")
		}
		for _, id := range d.Unknown {
			add(d.Target, "unknown", id, "an enrollment of others")
		}
		if more := d.UnknownCount - len(d.Unknown); more > 0 {
			a.say("%s: %d more enrollments of others are not listed", d.Target, more)
		}
	}
	if rows == 0 {
		return nil
	}
	return t.flush()
}
