package station

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"
)

// enroll gets the certificate of an entry in the state Requested. Its outcome is empty
// when the certificate is there.
func (s *Station) enroll(ctx context.Context, e *Entry) (Outcome, error) {
	if now := s.Now(); !s.Wait && (!s.gone.over(now) || now.Before(e.NotBefore)) {
		why := e.Reason
		if why == "" {
			why = "the server is away"
		}
		return s.waits(e.Device, why+": its request is kept, and the device may go"), nil
	}
	started := s.Now()
	for {
		asked := time.Now()
		err := s.ask(ctx, e)
		if err == nil {
			s.gone.answered()
			e.Taken.Enroll = time.Since(asked).Milliseconds()
			return "", nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		kind, _ := classify(err)
		wait, outcome, err := s.unanswered(e, err)
		if outcome != "" || err != nil {
			return outcome, err
		}
		// A server that names a moment is worth waiting for.
		soon := !s.Now().Add(wait).After(started.Add(s.Limits.Enroll)) && !e.NotBefore.IsZero() && kind != failing
		if !soon && !s.Wait || stopped(s.stop) {
			return s.waits(e.Device, e.Reason+": its request is kept, and the device may go"), nil
		}
		if s.Wait {
			s.report(Event{Device: e.Device, Text: fmt.Sprintf("%s: it is asked for again in %v", e.Reason, wait.Round(time.Second))})
		}
		if err := s.pause(ctx, s.stop, wait); err != nil {
			return "", err
		}
	}
}

// unanswered notes why an entry has no certificate yet, and returns when the server may
// be asked again. An outcome or an error ends it.
func (s *Station) unanswered(e *Entry, cause error) (time.Duration, Outcome, error) {
	kind, after := classify(cause)
	now := s.Now()
	var unfit *unfit
	var lacks *lacksError
	switch {
	case errors.As(cause, &lacks):
		// The device's own request may be to blame, or the profile: no other device is kept
		// waiting by it, and none costs a unit before a person has looked.
		s.gone.answered()
		outcome, err := s.failed(e.Device, e.leaf(), e.Taken, cause)
		if err := errors.Join(err, s.queue.Remove(e.Device)); err != nil {
			return 0, "", err
		}
		return 0, outcome, &Trouble{cause}
	case errors.As(cause, &unfit):
		kind = trouble
	}
	switch kind {
	case refused:
		s.gone.answered()
		if err := s.queue.Remove(e.Device); err != nil {
			return 0, "", err
		}
		outcome, err := s.failed(e.Device, nil, e.Taken, &Refused{cause})
		return 0, outcome, err
	case trouble:
		e.Reason = oneLine((&Refused{cause}).Error())
		if err := s.queue.Put(*e); err != nil {
			return 0, "", err
		}
		return 0, s.waits(e.Device, e.Reason), &Trouble{s.Explain(cause)}
	case failing:
		// It is there, and the other devices do not wait because of this one.
		s.gone.answered()
		after = nextTry(now.Sub(e.Since))
		e.Reason, e.NotBefore = "the server fails on its request: "+oneLine((&Refused{cause}).Error()), now.Add(after).UTC()
	case pending:
		s.gone.answered()
		e.Reason, e.NotBefore = "a person must approve it at the server", now.Add(after).UTC()
	case away:
		until := s.gone.failed(now, after)
		e.Reason, e.NotBefore = "the server is away", time.Time{}
		s.sayAway(cause)
		if after > 0 {
			e.Reason, e.NotBefore = "the server wants to be asked later", now.Add(after).UTC()
		} else {
			after = until.Sub(now)
		}
	}
	return after, "", s.queue.Put(*e)
}

// sayAway says why the server cannot be asked, when that changes.
func (s *Station) sayAway(cause error) {
	text := oneLine(s.Explain(cause).Error())
	s.reporting.Lock()
	same := s.saidAway == text
	s.saidAway = text
	s.reporting.Unlock()
	if !same {
		later := ", and is asked again in the background"
		if s.flushing {
			later = ""
		}
		s.report(Event{Text: "the server does not answer" + later + ": " + text})
	}
}

// unfit is a certificate that must not go into the device.
type unfit struct{ err error }

func (u *unfit) Error() string { return u.err.Error() }
func (u *unfit) Unwrap() error { return u.err }

// ask makes one attempt to get the certificate of an entry, and its chain. What it gets
// is on disk before it goes on.
func (s *Station) ask(ctx context.Context, e *Entry) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Enroll)
	defer cancel()
	csr, err := x509.ParseCertificateRequest(e.CSR)
	if err != nil {
		return err
	}
	if len(e.Certificate) == 0 {
		c, err := s.Server.Enroll(ctx, e.CSR)
		if err != nil {
			return err
		}
		e.Certificate = c.Raw
		if err := s.queue.Put(*e); err != nil {
			return err
		}
	}
	var chain []*x509.Certificate
	list, fresh, err := s.lists.get(ctx, s, false)
	if err != nil {
		return err
	}
	chain, err = checkIssued(csr, e.leaf(), list, s.Anchors, s.Now())
	if err != nil && !fresh {
		// A CA may have been replaced since.
		if list, _, err = s.lists.get(ctx, s, true); err != nil {
			return err
		}
		chain, err = checkIssued(csr, e.leaf(), list, s.Anchors, s.Now())
	}
	if err != nil {
		return &unfit{err}
	}
	var roots []*x509.Certificate
	for _, c := range list {
		if selfSigned(c) && len(roots) < maxChain {
			roots = append(roots, c)
		}
	}
	e.Chain, e.Roots, e.NotBefore, e.Reason = rawOf(chain), rawOf(roots), time.Time{}, ""
	if e.State == Requested {
		e.State = Issued
	}
	return s.queue.Put(*e)
}

// listAge is how long the CA certificates of the server are used without asking again.
const listAge = time.Minute

// cache keeps the CA certificates that the server has sent.
type cache struct {
	mu   sync.Mutex
	list []*x509.Certificate
	at   time.Time
}

// get returns them, and whether they were asked for now.
func (c *cache) get(ctx context.Context, s *Station, anew bool) ([]*x509.Certificate, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := s.Now()
	if age := now.Sub(c.at); !anew && len(c.list) > 0 && age >= 0 && age < listAge {
		return c.list, false, nil
	}
	list, err := s.Server.CACerts(ctx)
	if err != nil {
		return nil, false, err
	}
	c.list, c.at = list, now
	return list, true, nil
}
