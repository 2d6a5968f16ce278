package station

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"
)

// fetchTick is how often the queue is looked at for what may be asked for.
const fetchTick = time.Second

// fetchAll gets the certificates of devices that have gone, until the run ends.
func (s *Station) fetchAll(ctx context.Context, stop <-chan struct{}) error {
	for {
		if err := s.fetch(ctx, false); err != nil {
			return err
		}
		if stopped(stop) || s.pause(ctx, stop, fetchTick) != nil {
			return nil
		}
	}
}

// fetch asks for what waits, the oldest first, as far as the server answers. All asks
// also for what the server wanted to be asked for later, and goes on behind a request that
// got no answer if the server is there all the same: nobody asks for the others soon.
func (s *Station) fetch(ctx context.Context, all bool) error {
	if !all && !s.gone.over(s.Now()) {
		return nil
	}
	list := s.queue.All()
	// Begun behind the one at which the last round ended, so that a request on which the
	// server fails keeps no other waiting.
	first := 1 + slices.IndexFunc(list, func(e Entry) bool { return e.Device == s.stuck })
	for _, e := range slices.Concat(list[first:], list[:first]) {
		if ctx.Err() != nil {
			return nil
		}
		if e.State != Requested || !all && s.Now().Before(e.NotBefore) {
			continue
		}
		goOn, err := s.fetchOne(ctx, e.Device)
		if err == nil && !goOn && all {
			goOn = s.there(ctx)
		}
		if err != nil || !goOn {
			s.stuck = e.Device
			return err
		}
	}
	return nil
}

// there asks the server for what it tells everybody.
func (s *Station) there(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Enroll)
	defer cancel()
	_, err := s.Server.CACerts(ctx)
	return err == nil
}

// fetchOne reports whether the server is there.
func (s *Station) fetchOne(ctx context.Context, device string) (bool, error) {
	release, _ := s.queue.hold(device)
	if release == nil {
		return true, nil // it is at the station
	}
	defer release()
	e, ok := s.queue.Get(device)
	if !ok || e.State != Requested {
		return true, nil
	}
	started := time.Now()
	err := s.ask(ctx, &e)
	if err == nil {
		s.gone.answered()
		e.Taken.Enroll = time.Since(started).Milliseconds()
		if err := s.queue.Put(e); err != nil {
			return false, err
		}
		s.report(Event{Device: device, Text: "its certificate is here: put the device back"})
		return true, nil
	}
	if ctx.Err() != nil {
		return false, nil
	}
	before := e.Reason
	kind, _ := classify(err)
	_, outcome, err := s.unanswered(&e, err)
	if err != nil {
		return false, err
	}
	kept, waits := s.queue.Get(device)
	if kind == failing && waits && kept.Reason != before {
		s.report(Event{Device: device, Text: kept.Reason})
	}
	return outcome != "" || waits && !kept.NotBefore.IsZero() && s.gone.over(s.Now()), nil
}

// Flush asks once for everything that waits for the server, without a device, and
// returns how many still wait for it. It fails as Run does.
func (s *Station) Flush(ctx context.Context) (int, error) {
	s.stats.begin(s.Now())
	s.flushing = true
	defer func() { s.flushing = false }()
	err := s.fetch(ctx, true)
	left := 0
	for _, e := range s.queue.All() {
		if e.State == Requested {
			left++
		}
	}
	return left, errors.Join(err, ctx.Err())
}

// Forget takes a device out of the queue, and out of those that are done, and records that,
// with the certificate that it will not get or is not to have any more. It returns false if
// the device neither waits nor is done.
func (s *Station) Forget(device, reason string) (Line, bool, error) {
	e, waits := s.queue.Get(device)
	sum, done := s.record.Done(device)
	if !waits && !done {
		return Line{}, false, nil
	}
	l := Line{Time: s.Now().UTC(), Station: s.Name, Order: s.Order, Device: device, Taken: e.Taken, Reason: reason, Result: Forgotten}
	if leaf := e.leaf(); leaf != nil {
		l.about(leaf)
	} else if done {
		l.Certificate = hex.EncodeToString(sum[:])
	}
	if _, err := s.record.Add(l); err != nil {
		return l, true, err
	}
	return l, true, s.queue.Remove(device)
}

// Waiting is what waits, the oldest first.
func (s *Station) Waiting() []Entry { return s.queue.All() }
