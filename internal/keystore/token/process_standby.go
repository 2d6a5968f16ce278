//go:build linux && cgo && !nopkcs11

package token

import (
	"context"
	"log/slog"
	"os/exec"
	"sync"
	"time"
)

const (
	// standbyAfter is how long after a start the next child is started: what is in the
	// way of signatures comes first.
	standbyAfter = 500 * time.Millisecond
	// standbyStart bounds the start of a child that nobody waits for.
	standbyStart = 30 * time.Second
)

// launcher starts the children of one token, each ahead of time: a restart gets one
// that runs already and has loaded nothing, rather than to wait for the start of this
// binary. Its methods may be called concurrently; the zero value with log is ready.
type launcher struct {
	command func() (*exec.Cmd, error) // as of startProcess
	log     *slog.Logger

	mu      sync.Mutex
	standby *process
	stop    context.CancelFunc // ends the making of the next; nil while none is made
	closed  bool
	wg      sync.WaitGroup
}

// start returns a child, and has the next one made. errProcessDied after close.
func (l *launcher) start(ctx context.Context) (*process, error) {
	l.mu.Lock()
	p, closed := l.standby, l.closed
	l.standby = nil
	l.mu.Unlock()
	if closed {
		return nil, errProcessDied
	}
	if p != nil {
		select {
		case <-p.died():
			p.kill()
			p = nil
		default:
		}
	}
	if p == nil {
		var err error
		if p, err = startProcess(ctx, l.command, l.log); err != nil {
			return nil, err
		}
	}
	l.prepare()
	return p, nil
}

// prepare has a child made, if there is none and none is being made.
func (l *launcher) prepare() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.standby != nil || l.stop != nil {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), standbyAfter+standbyStart)
	l.stop = stop
	l.wg.Go(func() {
		defer stop()
		var p *process
		var err error
		select {
		case <-time.After(standbyAfter):
			p, err = startProcess(ctx, l.command, l.log)
		case <-ctx.Done():
			err = ctx.Err()
		}
		l.mu.Lock()
		l.stop = nil
		if err == nil && !l.closed {
			l.standby, p = p, nil
		}
		closed := l.closed
		l.mu.Unlock()
		if err != nil && !closed {
			l.log.Warn("no process stands by for the token", "error", err)
		}
		if p != nil {
			p.kill()
		}
	})
}

// close ends the child that stands by, and waits for what is under way.
func (l *launcher) close() {
	l.mu.Lock()
	p := l.standby
	l.standby, l.closed = nil, true
	if l.stop != nil {
		l.stop()
	}
	l.mu.Unlock()
	if p != nil {
		p.kill()
	}
	l.wg.Wait()
}
