package token

import (
	"slices"
	"sync/atomic"
	"time"
)

// flight is a call under way.
type flight struct {
	key       *key // nil for what is no signature
	began     time.Time
	waits     bool // for a session
	long      bool // the making or destroying of a key, for which others may have to wait
	probation bool
	cancel    func()      // ends the waiting for a signature
	timer     *time.Timer // of leg.watch, for a signature
	late      atomic.Bool // it took longer than it may
}

// traffic is the calls under way in a process. The process has more of them than it has
// sessions, and begins with them in their order: the time of one that waits there for
// another is not counted. Guarded by leg.mu.
type traffic struct {
	sessions int
	flights  map[*flight]struct{}
	running  int       // signatures that need not wait
	queue    []*flight // those that do
	made     time.Time // when a long call ended
}

// enter notes that a call begins.
func (t *traffic) enter(f *flight) {
	t.flights[f] = struct{}{}
	f.began = time.Now()
	switch {
	case f.key == nil:
	case t.running < t.sessions:
		t.running++
	default:
		f.waits = true
		t.queue = append(t.queue, f)
	}
}

// leave notes that it has ended.
func (t *traffic) leave(f *flight) {
	delete(t.flights, f)
	switch {
	case f.long:
		t.made = time.Now()
		return
	case f.key == nil:
		return
	case f.waits:
		t.queue = slices.DeleteFunc(t.queue, func(other *flight) bool { return other == f })
		return
	}
	if len(t.queue) == 0 {
		t.running--
		return
	}
	next := t.queue[0]
	t.queue = slices.Delete(t.queue, 0, 1)
	next.began, next.waits = time.Now(), false
}

// making reports whether a key is being made, or destroyed.
func (t *traffic) making() bool {
	for f := range t.flights {
		if f.long {
			return true
		}
	}
	return false
}

// mayWait reports whether f may have spent some of its time waiting for a key to be made:
// many tokens do one thing at a time.
func (t *traffic) mayWait(f *flight, attempt time.Duration) bool {
	return !f.long && (t.making() || time.Since(t.made) < attempt)
}
