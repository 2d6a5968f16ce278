package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	errHangs = errors.New("no answer: as many calls hang as may be made at a time")
	errBusy  = errors.New("as many signatures wait as can be made in time")
	errLate  = errors.New("no answer in time")
)

// gate lets so many calls through at a time as it has places. A call that hangs
// keeps its place until it returns: more goroutines would only hang as well.
type gate struct {
	places chan struct{}

	mu   sync.Mutex
	late int // of the calls under way, those that have taken longer than they may
}

func newGate(places int) *gate { return &gate{places: make(chan struct{}, places)} }

// stuck reports whether every place is taken by a call that is late.
func (g *gate) stuck() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.late == cap(g.places)
}

// do makes a call as soon as there is a place, and returns what it does, or an error
// at the end of ctx or after within. The context of the call ends with do.
func do[T any](ctx context.Context, g *gate, within time.Duration, call func(context.Context) (T, error)) (T, error) {
	var none T
	if g.stuck() {
		return none, errHangs
	}
	end := time.Now().Add(within)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	select {
	case g.places <- struct{}{}:
	case <-ctx.Done():
		return none, ended(ctx, errBusy)
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	var finished, late bool // under g.mu
	beLate := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !finished {
			late = true
			g.late++
		}
	}
	go func() {
		var r result
		defer func() {
			// What a device or a server answers is parsed by code that is not ours.
			if p := recover(); p != nil {
				r.err = fmt.Errorf("the backend panicked: %v", p)
			}
			g.mu.Lock()
			finished = true
			if late {
				g.late--
			}
			g.mu.Unlock()
			<-g.places
			done <- r
		}()
		r.value, r.err = call(ctx)
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		beLate()
	} else { // the caller went away: the call still has its time
		time.AfterFunc(time.Until(end), beLate)
	}
	return none, ended(ctx, errLate)
}

// ended returns why ctx did: err if its time was over.
func ended(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return ctx.Err()
}
