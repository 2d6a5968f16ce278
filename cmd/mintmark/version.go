package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"mintmark/internal/server"
)

func newVersion(a *app) *cobra.Command {
	return a.command("version", "Print the version", "Version prints the version of this program and of the Go that built it, and\nwhether it runs in FIPS 140-3 mode.",
		"  mintmark version", cobra.NoArgs, func(*cobra.Command, []string) error {
			return a.printVersion()
		})
}

// fips is the FIPS 140-3 mode of this process.
type fips struct {
	Enabled bool   `json:"enabled"`
	Version string `json:"version"` // of Go's cryptographic module
}

func (a *app) printVersion() error {
	enabled, version := server.FIPS140()
	if a.json {
		return a.printJSON(struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			FIPS140 fips   `json:"fips140"`
		}{server.Version, runtime.Version(), fips{enabled, version}})
	}
	mode := "off"
	if enabled {
		mode = "on"
	}
	_, err := fmt.Fprintf(a.out, "mintmark %s (%s)\nFIPS 140-3 mode: %s (module %s)\n", server.Version, runtime.Version(), mode, version)
	return err
}
