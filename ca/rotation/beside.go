package rotation

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"mintmark/internal/ledger"
)

// outcome is what came of a piece of work that was done beside others.
type outcome struct {
	of   int // of the pieces
	text string
	err  error
	fell any // what it panicked with
}

// beside does pieces of work at the same time: one that hangs or fails holds up no other.
// All are announced in the journal before the first is begun, and the servers go by that; the
// outcome of each is written as it comes. It returns once all have ended.
func (m *mover) beside(ctx context.Context, to State, works []work) error {
	for _, w := range works {
		if err := m.begin(ctx, to, w); err != nil {
			return err
		}
	}
	// A server that cannot read the record now reads it later; nothing waits for that.
	unread := m.refresh(ctx)

	outcomes := make(chan outcome, len(works))
	var all sync.WaitGroup
	defer all.Wait() // nobody else may move the rotation before, whatever becomes of this one
	for i, w := range works {
		r := m.r
		all.Go(func() {
			o := outcome{of: i}
			defer func() {
				o.fell = recover()
				outcomes <- o
			}()
			o.text, o.err = w.do(ctx, &r)
		})
	}
	failures := make([]error, len(works)) // in the order of the works, not of time
	stale := false
	for range works {
		o := <-outcomes
		step := works[o.of].step
		switch {
		case o.fell != nil:
			// Here it ends the request; on a goroutine of its own it would end the server.
			panic(o.fell)
		case stale && o.err != nil:
			failures[o.of] = fmt.Errorf("%s, %s: %w", to, step, o.err)
		case stale:
		case o.err != nil:
			failures[o.of] = m.fail(ctx, to, step, o.err)
		default:
			failures[o.of] = m.put(ctx, m.r, to, step, done, o.text)
		}
		stale = stale || errors.Is(failures[o.of], ledger.ErrStale)
	}
	return errors.Join(append(failures, unread)...)
}
