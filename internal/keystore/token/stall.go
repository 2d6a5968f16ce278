package token

import (
	"errors"
	"time"
)

// A library in which another thread was in the way of a call, such as a C_Finalize
// behind our back, at times answers nothing any more. One call that takes its time says
// little, and has the whole of Attempt; when none of several under way comes back for much
// longer than signatures take here, a fresh process is the quicker way. That is no strike
// against a key, and happens once in a while only: what goes on hanging is told apart
// by Attempt.

const (
	// stallFactor is how many times as long as usual nothing comes back.
	stallFactor = 30
	// stallEvery is how often a leg is given up for it.
	stallEvery = 3 * time.Second
)

var errStalled = errors.New("the token's library does not answer any more")

// watch looks at a signature that is made now when it has not come back in time. l.mu is
// held.
func (l *leg) watch(s *session, f *flight) {
	limit := min(max(l.t.cfg.Attempt/impatience, stallFactor*l.pace), l.t.cfg.Attempt)
	f.timer = time.AfterFunc(limit, func() { l.overdue(s, f, limit) })
}

// overdue ends the waiting for a signature that took the whole of Attempt, and gives s up
// if nothing came back from it for limit.
func (l *leg) overdue(s *session, f *flight, limit time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, under := s.flights[f]; !under {
		return
	}
	now := time.Now()
	left := l.t.cfg.Attempt - now.Sub(f.began)
	switch {
	case f.waits:
		f.timer.Reset(limit)
	case left > 0:
		f.timer.Reset(left)
	default:
		f.late.Store(true)
		f.cancel()
		return
	}
	l.stalled(s, now, limit)
}

// stalled gives s up if nothing came back from it for limit. l.mu is held.
func (l *leg) stalled(s *session, now time.Time, limit time.Duration) {
	if l.cur != s || l.pace == 0 || now.Sub(s.answered) < limit || now.Sub(l.stalledAt) < stallEvery {
		return
	}
	late := 0
	for f := range s.flights {
		if f.key == nil || f.probation {
			return // making a key takes long; a suspect is watched anyway
		}
		if !f.waits && now.Sub(f.began) >= limit {
			late++
		}
	}
	if late < 2 {
		return
	}
	l.stalledAt = now
	l.loseLocked(s, causeHang, errStalled)
}

// pacing learns how long a signature takes. l.mu is held.
func (l *leg) pacing(s *session, f *flight) {
	s.answered = time.Now()
	took := s.answered.Sub(f.began)
	if l.pace == 0 {
		l.pace = took
	}
	l.pace += (took - l.pace) / 16
}
