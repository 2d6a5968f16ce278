package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newStatus(a *app) *cobra.Command {
	return a.command("status", "Say how the CA is doing",
		"Status shows whether the ledger writes, what waits to be told to the clouds, and\nwhich revocations are not on a CRL yet.",
		"  mintmark status --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				s, err := client.Status(c.Context())
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(s)
				}
				t := newTable(a.out)
				t.field("version", s.Version)
				t.field("server", s.Server)
				t.field("time", date(s.Time))
				t.field("actor", s.Actor)
				t.field("ledger", s.Ledger)
				for _, words := range s.Tokens {
					a.say("warning: %s", words)
				}
				t.field("authorities", fmt.Sprintf("%d, of which %d wait for a certificate", s.Authorities, s.Waiting))
				t.field("profiles", strings.Join(s.Profiles, ", "))
				t.field("aws targets", strings.Join(s.AWSTargets, ", "))
				t.field("azure targets", strings.Join(s.AzureTargets, ", "))
				for _, kind := range slices.Sorted(maps.Keys(s.Backlog)) {
					t.field("untold "+kind, fmt.Sprint(s.Backlog[kind]))
				}
				for _, name := range slices.Sorted(maps.Keys(s.UnlistedRevocations)) {
					t.field("not on the CRL of "+name, fmt.Sprint(s.UnlistedRevocations[name]))
				}
				for _, o := range s.Outstanding {
					t.field("revoked or held, not at "+o.Where, fmt.Sprintf("%d, the oldest since %s", o.Count, date(o.Since)))
				}
				for _, p := range s.CRLPlaces {
					t.field("crl place "+p.Name, placeWords(p))
				}
				if s.PendingEnrollments > 0 {
					t.field("requests that wait", waitingWords(s))
				}
				for _, r := range s.Rotations {
					t.field("rotation "+r.ID, rotationWords(r))
				}
				for _, words := range slices.Concat(s.Replaced, s.CRLs, s.AWSDrift, s.AzureDrift) {
					a.say("warning: %s", words)
				}
				if s.Unprotected != "" {
					a.say("warning: %s", s.Unprotected)
				}
				return t.flush()
			})
		})
}

// rotationWords says where a rotation stands.
func rotationWords(r admin.RunningRotation) string {
	words := fmt.Sprintf("%s to %s: %s since %s", r.Old, r.New, r.State, date(r.Since))
	if r.Emergency {
		words = "emergency, " + words
	}
	if r.Paused != "" {
		words += "; paused: " + printable(firstLine(r.Paused))
	}
	return words
}

// placeWords says whether a place has the latest CRLs.
func placeWords(p admin.CRLPlace) string {
	words := "not looked at since the start"
	if p.Complete != nil {
		words = "complete on " + date(*p.Complete)
	}
	if p.Behind > 0 {
		words = fmt.Sprintf("%d files behind, %s", p.Behind, words)
	}
	for _, problem := range p.Problems {
		words += "; " + printable(problem)
	}
	return words
}

// waitingWords counts what waits for a person, in all and by cause.
func waitingWords(s admin.Status) string {
	var causes []string
	for _, cause := range slices.Sorted(maps.Keys(s.PendingCauses)) {
		causes = append(causes, fmt.Sprintf("%d because of %s", s.PendingCauses[cause], cause))
	}
	words := fmt.Sprint(s.PendingEnrollments)
	if len(causes) > 0 {
		words += " (" + strings.Join(causes, ", ") + ")"
	}
	return words + ": mintmark enroll list shows them"
}
