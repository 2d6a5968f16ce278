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
	"os"
	"time"
)

// Options say what to run.
type Options struct {
	// Binary is the mintmark binary that serves.
	Binary string
	// Duration is how long each load runs, a second or more.
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
	// Profile makes each server write a CPU profile there, in place of that of the one
	// before; empty for none.
	Profile string
}

const (
	// leastDuration has a hundred ticks of processor time.
	leastDuration = time.Second

	leastScale = 1000
	mostScale  = 10_000_000 // as many have names of the form lineName
)

// Check says what is wrong with the options, before minutes are spent.
func (o Options) Check() error {
	if _, err := selectRows(o.Only, o.Scale); err != nil {
		return err
	}
	if o.Duration < leastDuration {
		return fmt.Errorf("--duration %v is too short: a load has to run for %v at least", o.Duration, leastDuration)
	}
	if o.Scale != 0 && (o.Scale < leastScale || o.Scale > mostScale) {
		return fmt.Errorf("--scale %d: a large ledger has between %d and %d certificates", o.Scale, leastScale, mostScale)
	}
	if o.ScaleDir != "" && o.Scale == 0 {
		return errors.New("--scale-dir is for a large ledger: say with --scale how many certificates it has")
	}
	return nil
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
	if err := o.Check(); err != nil {
		return err
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
	r.cores = chooseTwo(r.cores, physicalCore)
	r.serverCore, r.loadCore = r.cores[0], r.cores[1]
	m, err := lookAtMachine(r.cores)
	if err != nil {
		return err
	}
	m.describe(o.Out)
	if r.dir, err = os.MkdirTemp("", "mintmark-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if err := sayIfInMemory(o.Out, r.dir); err != nil {
		return err
	}
	failed := r.groups(ctx)
	m.since(o.Out)
	switch {
	case ctx.Err() != nil:
		// What else went wrong did so because the servers were told to end.
		failed = fmt.Errorf("not all was measured: %w", context.Cause(ctx))
	case len(r.figures) == 0 && failed == nil:
		failed = errors.New("nothing was measured")
	}
	if o.JSON == "" || len(r.figures) == 0 {
		return failed
	}
	return errors.Join(failed, write(o.JSON, o.Scale, r.figures))
}

// groups measures one group after the other. What was measured before something failed is not
// lost.
func (r *run) groups(ctx context.Context) (failed error) {
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
		if ctx.Err() != nil {
			break
		}
		if !r.group(group.name, r.Scale) {
			continue
		}
		on := []int{r.loadCore}
		if group.both {
			on = r.cores
		}
		err := bindProcess(on...)
		if err == nil {
			err = group.measure(ctx)
		}
		failed = errors.Join(failed, err, report(r.Out, r.Scale, group.name, r.figures))
	}
	return failed
}
