// Package bench measures how many certificates a second one server core can
// enroll, against what that core can sign at all; how fast a batch is; and what
// becomes of a server whose ledger is large.
//
// The server is the real one in a process of its own, bound to one core, with
// durable storage and lint on; the load comes from this process on another
// core, over loopback. Rates swing with the machine from hour to hour: what counts is
// the ratio to a reference, measured on the same core just before and after each run.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"mintmark/internal/server"
)

// Options say what to run.
type Options struct {
	// Binary is the mintmark binary that serves.
	Binary string
	// Duration is how long each load runs; 8 s if zero.
	Duration time.Duration
	// Out gets the tables, JSON the file with the figures; none if empty.
	Out  io.Writer
	JSON string
	// Only names the figures to measure; none for all that can be.
	Only []string
	// Scale is how many certificates a large ledger has; 0 for no large ledger.
	Scale int
	// ScaleDir keeps the large ledger for the next run. A temporary directory if empty.
	ScaleDir string
	// Profile makes the server write a CPU profile there; empty for none.
	Profile string
}

// run is one Run.
type run struct {
	Options
	selection
	dir                  string // temporary
	cores                []int
	serverCore, loadCore int
	figures              []Figure
	raws                 []reference
}

func (r *run) add(f Figure) { r.figures = append(r.figures, f) }

// without says why something was not measured.
func (r *run) without(what string, why error) {
	fmt.Fprintf(r.Out, "without %s: %v\n", what, why)
}

// Run measures and reports. It needs two cores.
func Run(ctx context.Context, o Options) error {
	if o.Duration == 0 {
		o.Duration = 8 * time.Second
	}
	selected, err := selectRows(o.Only, o.Scale)
	if err != nil {
		return err
	}
	r := &run{Options: o, selection: selected}
	if r.cores, err = allowedCores(); err != nil {
		return err
	}
	if len(r.cores) < 2 {
		return errors.New("bench needs two cores: one for the server, one for the load")
	}
	r.cores = r.cores[:2]
	r.serverCore, r.loadCore = r.cores[0], r.cores[1]
	m, err := lookAtMachine()
	if err != nil {
		return err
	}
	m.describe(o.Out, r.cores)
	if r.dir, err = os.MkdirTemp("", "mintmark-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	var failed error
	for _, group := range []struct {
		name    string
		measure func(context.Context) error
		both    bool // uses both cores, and not one for the server and one for the load
	}{
		{groupToken, r.token, true},
		{groupEST, r.est, false},
		{groupBatch, r.batch, true},
		{groupPostgres, r.postgres, false},
		{groupScale, r.scale, false},
	} {
		if !r.group(group.name, o.Scale) {
			continue
		}
		on := []int{r.loadCore}
		if group.both {
			on = r.cores
		}
		if err := bindProcess(on...); err != nil {
			return err
		}
		// What was measured before something failed is not lost.
		failed = errors.Join(failed, group.measure(ctx), report(o.Out, o.Scale, group.name, r.figures))
		if ctx.Err() != nil {
			break
		}
	}
	m.since(o.Out, len(r.cores))
	if o.JSON == "" || len(r.figures) == 0 {
		return failed
	}
	return errors.Join(failed, write(o.JSON, o.Scale, r.figures))
}

// state makes a state directory whose ledger is empty: in a file, or in a database.
func (r *run) state(ctx context.Context, name, database string) (string, error) {
	dir := filepath.Join(r.dir, name)
	return dir, newState(ctx, dir, database)
}

func newState(ctx context.Context, dir, database string) error {
	quiet := slog.New(slog.DiscardHandler)
	o := server.InitOptions{Dir: dir, Names: []string{"localhost", "127.0.0.1"}, PublicURL: "http://ca.example.org:8080", Database: database}
	if err := server.Init(ctx, o, quiet, io.Discard); err != nil {
		return fmt.Errorf("making a state directory: %w", err)
	}
	return unlimited(dir)
}
