package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"mintmark/internal/bench"
)

func newBench(a *app) *cobra.Command {
	var o bench.Options
	var list bool
	c := a.command("bench", "Measure enrollments a second against raw signatures",
		`Bench runs a server of its own on one core and loads it from another: EST
simpleenroll with client certificates, over kept connections and with a new full
handshake each, with durable storage and lint. It runs a batch with generated
keys on both cores, a server whose ledger is in PostgreSQL, and one with a large
ledger (--scale). It prints tables with what was measured beside what is wanted,
and writes the figures as JSON.

What counts is the ratio to what x509.CreateCertificate reaches on the same core
in the same run: rates swing from hour to hour. It takes three minutes, and the
machine for itself. What is not installed is left out, with a word.

Everything is made in a temporary directory (TMPDIR, /tmp without it), which
should be on a disk and is removed at the end; no state directory is touched. A
large ledger takes a quarter of an hour and 10 GB for 5 million certificates,
each time unless --scale-dir keeps it. As root the page cache is dropped before
it is measured. An interruption ends all servers; what was measured before it is
printed and written.`,
		`  mintmark bench --json-out bench.json
  mintmark bench --only raw,est_keepalive_64
  mintmark bench --scale 5000000 --scale-dir /var/tmp/large`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return usagef("%w", err)
			}
			if list {
				return bench.List(a.out, o.Scale)
			}
			var err error
			if o.Binary, err = os.Executable(); err != nil {
				return err
			}
			o.Out = a.out
			return bench.Run(c.Context(), o)
		})
	c.Flags().StringVar(&o.JSON, "json-out", "bench.json", "`file` that gets the figures; none if empty")
	c.Flags().DurationVar(&o.Duration, "duration", 8*time.Second, "how long each load runs, a second or more")
	c.Flags().StringSliceVar(&o.Only, "only", nil, "measure these `figures` alone, with commas between them")
	c.Flags().BoolVar(&list, "list", false, "say what can be measured, and measure nothing")
	c.Flags().IntVar(&o.Scale, "scale", 0, "also measure a ledger with this `number` of certificates")
	c.Flags().StringVar(&o.ScaleDir, "scale-dir", "", "keep that ledger in this `directory` for the next time")
	c.Flags().StringVar(&o.Profile, "cpuprofile", "", "`file` that gets a CPU profile of the server; of the last one, where several run")
	return c
}
