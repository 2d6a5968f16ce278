package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/pprof"

	"github.com/spf13/cobra"

	"mintmark/internal/config"
	"mintmark/internal/server"
)

func newServe(a *app) *cobra.Command {
	var o server.Options
	var profile string
	c := a.command("serve [flags]", "Run the server",
		`Serve enrolls devices over EST, serves CRLs and CA certificates over plain HTTP,
keeps the clouds in step and answers the other commands on a socket in the state
directory. It says on standard output where it listens, logs on standard error,
and ends on SIGTERM after the requests in flight.`,
		`  mintmark serve --dir ./factory
  mintmark serve --dir ./factory --listen 127.0.0.1:0`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			loaded, err := config.Load(a.dir)
			if err != nil {
				return err
			}
			if o.Logger, err = serverLogger(loaded.Log, a.err); err != nil {
				return err
			}
			o.Out = a.out
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return err
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return err
				}
				defer pprof.StopCPUProfile()
			}
			// The live heap is a few tens of megabytes: collecting it less often
			// costs little memory and a tenth of the processor.
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(300)
			}
			s, err := a.openForServing(c.Context(), loaded, o)
			if err != nil {
				return err
			}
			return errors.Join(s.Serve(c.Context()), s.Close())
		})
	f := c.Flags()
	f.StringVar(&profile, "cpuprofile", "", "`file` for a CPU profile (go tool pprof)")
	f.StringVar(&o.Listen, "listen", "", "`address` of EST, in place of listen.est; with port 0 the others take any port too")
	f.StringVar(&o.ListenHTTP, "listen-http", "", "`address` of CRLs and CA certificates, in place of listen.http")
	f.StringVar(&o.ListenMetrics, "listen-metrics", "", "`address` of metrics and health, in place of listen.metrics")
	return c
}

// serverLogger logs as the configuration says.
func serverLogger(c config.Log, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}
