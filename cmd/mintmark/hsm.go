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
				if err := a.printTokens(list); err != nil {
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

func (a *app) printTokens(list []admin.HSMToken) error {
	t := newTable(a.out, "NAME", "LEG", "STATE", "SINCE", "SESSIONS", "REOPENED", "TOKEN", "DETAIL")
	for _, token := range list {
		for _, leg := range token.Legs {
			name := "primary"
			if leg.Spare {
				name = "spare"
			}
			detail := strings.Join(append(slices.DeleteFunc([]string{partsWords(leg), leg.Detail}, func(s string) bool { return s == "" }), leg.Problems...), "; ")
			found := leg.Label
			if leg.Serial != "" {
				found += " " + leg.Serial
			}
			t.row(token.Name, name, leg.State, dateOf(leg.Since), fmt.Sprint(leg.Sessions), reopenWords(leg.Reopens), found, detail)
		}
	}
	return t.flush()
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
