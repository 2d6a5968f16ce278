package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"mintmark/internal/server"
)

func newVersion(a *app) *cobra.Command {
	return a.command("version", "Print the version", "Version prints the version of this program and of the Go that built it.",
		"  mintmark version", cobra.NoArgs, func(*cobra.Command, []string) error {
			return a.printVersion()
		})
}

func (a *app) printVersion() error {
	if a.json {
		return a.printJSON(struct {
			Version string `json:"version"`
			Go      string `json:"go"`
		}{server.Version, runtime.Version()})
	}
	_, err := fmt.Fprintf(a.out, "mintmark %s (%s)\n", server.Version, runtime.Version())
	return err
}
