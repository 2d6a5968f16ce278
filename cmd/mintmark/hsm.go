package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newHSM(a *app) *cobra.Command {
	c := a.group("hsm", "See, unlock and try out the tokens that keys are in", `Hsm works on PKCS#11 tokens: hardware security modules, smart cards, SoftHSM2.
Which of them the server uses stands in keys.tokens of mintmark.yaml.`,
		"  mintmark hsm status --dir ./factory\n  mintmark hsm unlock factory --dir ./factory")
	c.AddCommand(newHSMStatus(a), newHSMUnlock(a), newHSMCheck(a))
	return c
}

func newHSMStatus(a *app) *cobra.Command {
	return a.command("status", "Say how the tokens are", `Status shows each token of the server, and its spare: whether it signs, since
when, what went wrong last, and whether it waits for somebody to type its PIN.
Without a running server it shows what is configured.`,
		"  mintmark hsm status --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			runs := a.serverRuns()
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.HSM(c.Context())
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(list)
				}
				if err := a.printTokens(list, runs); err != nil {
					return err
				}
				switch {
				case len(list) == 0:
					a.say("no tokens are configured (keys.tokens in mintmark.yaml)")
				case !runs:
					a.say("no server runs: nothing uses the tokens at the moment")
				}
				return nil
			})
		})
}

// printTokens shows the tokens, and below them what there is to say of each. Where no
// server runs, nobody has asked them anything.
func (a *app) printTokens(list []admin.HSMToken, runs bool) error {
	t := newTable(a.out, "NAME", "LEG", "STATE", "SINCE", "SESSIONS", "REOPENED", "TOKEN")
	var details []string
	for _, token := range list {
		for _, leg := range token.Legs {
			name := "primary"
			if leg.Spare {
				name = "spare"
			}
			for _, text := range append([]string{partsWords(leg), leg.Detail}, leg.Problems...) {
				if text != "" {
					details = append(details, fmt.Sprintf("%s %s: %s", token.Name, name, printable(text)))
				}
			}
			if !runs {
				t.row(token.Name, name, "not asked", "", "", "", "")
				continue
			}
			t.row(token.Name, name, leg.State, dateOf(leg.Since), fmt.Sprint(leg.Sessions), reopenWords(leg.Reopens), strings.TrimSpace(leg.Label+" "+leg.Serial))
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, text := range details {
		if _, err := fmt.Fprintln(a.out, text); err != nil {
			return err
		}
	}
	return nil
}

// partsWords says how many parts of a PIN are there, while people type it.
func partsWords(leg admin.HSMLeg) string {
	if leg.PartsNeeded == 0 {
		return ""
	}
	if leg.PartsNeeded == 1 {
		return "waits for the PIN"
	}
	return fmt.Sprintf("%d of %d parts of the PIN", leg.PartsTyped, leg.PartsNeeded)
}

// reopenWords counts by cause how often sessions were opened anew.
func reopenWords(reopens map[string]int) string {
	var words []string
	for _, cause := range slices.Sorted(maps.Keys(reopens)) {
		words = append(words, fmt.Sprintf("%s %d", cause, reopens[cause]))
	}
	return strings.Join(words, ", ")
}
