package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"mintmark/internal/bench"
)

func newBench(a *app) *cobra.Command {
	var o bench.Options
	c := a.command("bench", "Measure enrollments a second against raw signatures",
		`Bench runs a server of its own on one core and loads it from another: EST
simpleenroll with client certificates, over kept connections and with a new full
handshake each, 8 and 64 clients at a time, with durable storage and lint. It
prints rates and their ratio to what x509.CreateCertificate reaches on the same
core in the same run, and writes them as JSON.`,
		"  mintmark bench --json-out bench.json",
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			var err error
			if o.Binary, err = os.Executable(); err != nil {
				return err
			}
			o.Out = a.out
			return bench.Run(c.Context(), o)
		})
	c.Flags().StringVar(&o.JSON, "json-out", "bench.json", "`file` that gets the figures")
	c.Flags().DurationVar(&o.Duration, "duration", 8*time.Second, "how long each load runs")
	c.Flags().StringVar(&o.Only, "only", "", "run the load of this `name` alone")
	c.Flags().StringVar(&o.Profile, "cpuprofile", "", "`file` that gets a CPU profile of the server")
	return c
}
