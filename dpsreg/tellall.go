package dpsreg

import (
	"context"
	"errors"
	"fmt"
)

// mostNamed bounds the failures that TellAll names.
const mostNamed = 10

// TellAll tells a target of every device that it should know something of, and
// returns how many it had to be told of: what is there as it should be is not written
// once more. For a new target, and after a loss. What fails does not keep the rest from
// being told, and some of it is in the error.
func (ds *Devices) TellAll(ctx context.Context, t Target) (int, error) {
	run, err := ds.compare(ctx, t)
	err = errors.Join(append(run.failed, err)...)
	if more := run.fails - len(run.failed); more > 0 {
		err = errors.Join(err, fmt.Errorf("and %d more", more))
	}
	if err != nil {
		return run.told, fmt.Errorf("DPS target %q: telling all: %w", t.Name, err)
	}
	if run.told > 0 {
		ds.conn.cfg.Logger.Info("told Azure of all devices", "target", t.Name, "devices", run.told)
	}
	return run.told, nil
}
