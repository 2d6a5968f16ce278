package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// The runs with a large ledger whose names do not have its size.
const (
	bytesDatabase = "bytes_per_certificate"
	bytesLog      = "bytes_per_certificate_log"
)

// scaleRounds are of an empty ledger and a large one, in turn.
const scaleRounds = 2

// scale measures a server with a large ledger.
func (r *run) scale(ctx context.Context) error {
	if r.Scale == 0 {
		fmt.Fprintf(r.Out, "\n%s: without figures. --scale 5000000 --scale-dir DIR fills one, once: 10 GB of disk, a quarter of an hour\n", groupScale)
		return nil
	}
	dir := r.ScaleDir
	if dir == "" {
		dir = filepath.Join(r.dir, "scale")
	}
	f, err := r.fill(ctx, dir, r.Scale)
	if err != nil {
		return err
	}
	count := float64(f.Certificates)
	for name, size := range map[string]int64{bytesDatabase: f.Database, bytesLog: f.Log} {
		if r.wants(name) {
			r.add(Figure{Name: name, Value: float64(size) / count, Unit: "bytes"})
		}
	}
	for _, one := range []struct {
		name    string
		measure func(context.Context, string, *filled) error
	}{
		{startTime(r.Scale), r.startScale},
		{queryWorst(r.Scale), r.queryScale},
		{estRatio(r.Scale), r.estScale},
	} {
		if !r.wants(one.name) {
			continue
		}
		if err := one.measure(ctx, one.name, f); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return nil
}

// cold is the words for whether the caches were dropped.
func cold(dropped bool) string {
	if dropped {
		return "caches dropped before"
	}
	return "caches not dropped: that takes root, and no container"
}

// estScale lets the same load run against an empty ledger and the large one, in turn.
func (r *run) estScale(ctx context.Context, name string, f *filled) error {
	empty, err := r.state(ctx, "empty", "")
	if err != nil {
		return err
	}
	var figures [2]Figure
	dropped := true
	for range scaleRounds {
		for i, state := range []string{empty, f.State} {
			dropped = dropCaches() && dropped
			t, fleet, err := r.up(ctx, state)
			if err != nil {
				return err
			}
			one, err := r.load(ctx, t, fleet, name, clients, true)
			if err = errors.Join(err, t.stop()); err != nil {
				return err
			}
			sum := &figures[i]
			sum.RatioToRaw += one.RatioToRaw / scaleRounds
			sum.CPURatio += one.CPURatio / scaleRounds
			sum.Value += one.Value / scaleRounds
			sum.p50, sum.p99 = max(sum.p50, one.p50), max(sum.p99, one.p99)
		}
	}
	with, without := figures[1], figures[0]
	r.add(Figure{Name: name, Value: with.RatioToRaw / without.RatioToRaw, Unit: "of empty", RatioToRaw: with.RatioToRaw, CPURatio: with.CPURatio,
		note: fmt.Sprintf("%.0f and %.0f certificates/s, p99 %.0f and %.0f ms, %.2f by CPU; %s", with.Value, without.Value, millis(with.p99), millis(without.p99), with.CPURatio/without.CPURatio, cold(dropped))})
	return nil
}

// startScale measures the time from the start of the process until a device has its
// certificate, first with the page cache dropped: but for the binary, as this process is of
// the same.
func (r *run) startScale(ctx context.Context, name string, f *filled) error {
	var took [2]time.Duration
	dropped := false
	for i := range took {
		if i == 0 {
			dropped = dropCaches()
		}
		t, err := r.start(ctx, f.State)
		if err != nil {
			return err
		}
		up := time.Since(t.started)
		fleet, err := newFleet(f.State, t.est)
		if err == nil {
			_, err = fleet.enrollOne(ctx, fleet.prefix)
		}
		took[i] = time.Since(t.started)
		if err = errors.Join(err, t.stop()); err != nil {
			return err
		}
		fmt.Fprintf(r.Out, "start %d: listening after %v, first certificate after %v\n", i+1, up.Round(time.Millisecond), took[i].Round(time.Millisecond))
	}
	r.add(Figure{Name: name, Value: millis(max(took[0], took[1])), Unit: "ms", note: fmt.Sprintf("%.0f ms at first, %.0f ms again; %s", millis(took[0]), millis(took[1]), cold(dropped))})
	return nil
}
