package token

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// maxParts is how many people can hold a part of a PIN.
	maxParts = 16
	// partsLife is how long the first part waits for the last one.
	partsLife = 10 * time.Minute
)

// Unlock is one person's part in unlocking.
type Unlock struct {
	Spare    bool
	By       string
	PIN      []byte
	Again    bool
	FinalTry bool
}

// request is what an operator wants of a leg.
type request struct {
	pin      *secret // nil: the configured one, or the pad
	again    bool
	finalTry bool
	done     chan error // of one
}

// Unlock gives the PIN of the primary or the spare, or the part of it that the person
// by types, and logs in when all parts are there. pin is wiped. With again, the
// configured PIN is tried once more after it was refused and corrected; with finalTry
// also where the token says that one more wrong PIN locks it.
//
// Parts are put together in the order in which they come, are wiped when the login
// fails, and 10 minutes after the first. The status says how many there are.
func (t *Token) Unlock(ctx context.Context, u Unlock) (Status, error) {
	defer clear(u.PIN)
	if err := t.begin(); err != nil {
		return Status{}, err
	}
	l := t.legs[0]
	if u.Spare {
		if len(t.legs) == 1 {
			return Status{}, fmt.Errorf("token %q has no spare", t.cfg.Name)
		}
		l = t.legs[1]
	}
	if err := l.unlock(ctx, u); err != nil {
		return t.Status(), fmt.Errorf("unlocking token %q: %w", t.cfg.Name, err)
	}
	return t.Status(), nil
}

func (l *leg) unlock(ctx context.Context, u Unlock) error {
	// What it needs is known once it has been looked for.
	if err := l.settled(ctx); err != nil {
		return err
	}
	r, err := l.ask(u)
	if err != nil || r == nil {
		return err
	}
	defer func() {
		l.mu.Lock()
		r.pin.wipe()
		l.mu.Unlock()
	}()
	l.log.Info("unlocking the token", "by", u.By, "again", u.Again, "final-try", u.FinalTry)
	l.poke()
	// It does not end with ctx: a login that is under way is not undone.
	select {
	case err := <-r.done:
		return err
	case <-l.t.ctx.Done():
		return ErrClosed
	}
}

// ask leaves a request for run, or returns nil if parts of the PIN are still missing.
func (l *leg) ask(u Unlock) (*request, error) {
	typed := l.src.PIN == nil && !l.src.Pad
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.t.ctx.Err() != nil:
		return nil, ErrClosed
	case u.By == "":
		return nil, errors.New("nobody is named who does it")
	case l.request != nil:
		return nil, errors.New("somebody else is doing so at the moment")
	case l.state == Ready && u.Again:
		return nil, nil // it was corrected, which was noticed
	case l.state == Ready:
		return nil, errors.New("it needs no PIN at the moment")
	case l.state != Locked && l.state != Refused:
		return nil, l.unavailable()
	case !typed && len(u.PIN) > 0:
		return nil, errors.New("its PIN is not typed here: see what the configuration says")
	case l.src.PIN != nil && !u.Again && !u.FinalTry:
		return nil, errors.New("its PIN comes from the configuration: correct it there, which is noticed; to try one again that was refused, say --again")
	}
	// The final try is of the PIN that the configuration has, whatever was refused.
	r := &request{again: u.Again || u.FinalTry, finalTry: u.FinalTry, done: make(chan error, 1)}
	if typed {
		if wait := time.Until(l.nextTyped); wait > 0 {
			return nil, fmt.Errorf("the PIN that was typed before was wrong: the next one is taken in %s", (wait + time.Second).Truncate(time.Second))
		}
		parts, err := l.parts.add(u.By, u.PIN, l.src.Parts)
		if err != nil || parts == nil {
			return nil, err
		}
		l.parts.wipe()
		if r.pin, err = newSecret(parts...); err != nil {
			return nil, err
		}
		if !r.pin.locked {
			l.log.Warn("the memory of the PIN could not be locked: it may be swapped to disk (RLIMIT_MEMLOCK)")
		}
	}
	l.request = r
	return r, nil
}

// settled waits for an opening that is under way to end.
func (l *leg) settled(ctx context.Context) error {
	for {
		l.mu.Lock()
		state, changed := l.state, l.changed
		l.mu.Unlock()
		if state != Idle && state != Opening {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.t.ctx.Done():
			return ErrClosed
		}
	}
}

// parts are those of a PIN that people have typed so far. Guarded by leg.mu.
type parts struct {
	by    []string
	pins  []*secret
	since time.Time
}

// count is how many there are.
func (p *parts) count() int {
	p.expire()
	return len(p.by)
}

// expire wipes parts that have waited too long.
func (p *parts) expire() {
	if len(p.by) > 0 && time.Since(p.since) >= partsLife {
		p.wipe()
	}
}

// add takes the part of one person, which is wiped, and returns all of them in their
// order if these are enough; the caller wipes them.
func (p *parts) add(by string, pin []byte, needed int) ([][]byte, error) {
	p.expire()
	switch {
	case len(pin) == 0:
		return nil, errors.New("the PIN is empty")
	case len(pin) > maxPIN:
		return nil, fmt.Errorf("the PIN is longer than %d bytes", maxPIN)
	}
	for _, other := range p.by {
		if other == by {
			return nil, fmt.Errorf("%s has typed a part already: the next one is another person's", by)
		}
	}
	s, err := newSecret(pin)
	if err != nil {
		return nil, err
	}
	if len(p.by) == 0 {
		p.since = time.Now()
	}
	p.by, p.pins = append(p.by, by), append(p.pins, s)
	if len(p.by) < needed {
		return nil, nil
	}
	var all [][]byte
	for _, s := range p.pins {
		pin, err := s.copy()
		if err != nil {
			return nil, err
		}
		all = append(all, pin)
	}
	return all, nil
}

func (p *parts) wipe() {
	for _, s := range p.pins {
		s.wipe()
	}
	*p = parts{}
}
