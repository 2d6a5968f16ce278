package main

import (
	"embed"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

//go:embed ceremonies/*.yaml
var ceremonies embed.FS

// ceremonyKinds are the examples, in the order of a root's life.
var ceremonyKinds = []string{"root", "issuing", "cross", "crl", "destroy"}

func newCeremonyExample(a *app) *cobra.Command {
	c := a.command("example KIND", "Print a ceremony file to start from",
		"Example prints a commented ceremony file: "+strings.Join(ceremonyKinds[:len(ceremonyKinds)-1], ", ")+" or "+ceremonyKinds[len(ceremonyKinds)-1]+".\nThe steps of several can stand in one file.",
		"  mintmark ceremony example root\n  mintmark ceremony example crl --json", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			text, err := exampleCeremony(args[0], time.Now())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Kind string `json:"kind"`
					YAML string `json:"yaml"`
				}{args[0], text})
			}
			_, err = fmt.Fprint(a.out, text)
			return err
		})
	c.ValidArgs = ceremonyKinds
	c.ValidArgsFunction = nil
	return c
}

// exampleCeremony is an example whose periods begin today.
func exampleCeremony(kind string, now time.Time) (string, error) {
	content, err := ceremonies.ReadFile("ceremonies/" + kind + ".yaml")
	if err != nil {
		return "", usagef("there is no example %q: there are %s", kind, strings.Join(ceremonyKinds, ", "))
	}
	today := now.UTC().Truncate(24 * time.Hour)
	in := func(years int) string { return today.AddDate(years, 0, 0).Format(time.RFC3339) }
	return strings.NewReplacer("@TODAY@", in(0), "@YEAR@", in(1), "@YEARS10@", in(10), "@YEARS20@", in(20)).Replace(string(content)), nil
}
