package station

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"
)

// makeFor provisions a device that cannot make a key. The key is in memory only: the
// device stays until its certificate is there, and what ends the station in between ends
// the key. The queue holds the request, so that this is noticed.
func (s *Station) makeFor(ctx context.Context, device string) (Outcome, error) {
	started := time.Now()
	key, err := newKey(s.Keygen)
	if err != nil {
		return "", err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: device}}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return "", fmt.Errorf("making the certification request: %w", err)
	}
	e := Entry{Device: device, State: Making, Since: s.Now().UTC(), CSR: csr, Taken: Durations{Request: time.Since(started).Milliseconds()}}
	if err := s.queue.Put(e); err != nil {
		return "", err
	}
	for asked := time.Now(); ; {
		err := s.ask(ctx, &e)
		if err == nil {
			s.gone.answered()
			e.Taken.Enroll = time.Since(asked).Milliseconds()
			break
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		kind, after := classify(err)
		var unfit *unfit
		if errors.As(err, &unfit) {
			kind = trouble
		}
		switch {
		case kind == trouble:
			if _, dropped := s.drop(e, (&Refused{err}).Error()); dropped != nil {
				return "", dropped
			}
			return Failed, &Trouble{s.Explain(err)}
		case kind == refused:
			return s.drop(e, (&Refused{err}).Error())
		case kind == pending:
			return s.drop(e, "a person must approve it at the server, for which a key that is made here cannot wait: if it has a certificate already, revoke that first")
		case stopped(s.stop):
			return s.drop(e, "the run was ended while the server was away")
		}
		now := s.Now()
		s.sayAway(err)
		if err := s.pause(ctx, s.stop, max(after, s.gone.failed(now, after).Sub(now))); err != nil {
			return "", err
		}
	}
	c, err := e.credentials()
	if err != nil {
		return "", err
	}
	c.Key = key
	outcome, err := s.deliver(ctx, e, &c)
	if outcome == Failed {
		// Failed by a device that may or may not have the key; nobody else has it.
		err = errors.Join(err, s.queue.Remove(device))
		s.report(Event{Device: device, Text: fmt.Sprintf("the key that was made for it is gone: revoke certificate %x", e.leaf().SerialNumber.Bytes())})
	}
	return outcome, err
}

// drop records a device as failed and forgets the key that was made for it.
func (s *Station) drop(e Entry, reason string) (Outcome, error) {
	outcome, err := s.failed(e.Device, e.leaf(), e.Taken, errors.New(reason))
	return outcome, errors.Join(err, s.queue.Remove(e.Device))
}
