package station

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/issuer/inventory"
)

// provision takes the device that is there as far as it gets. Its error is one that
// ends the run; what is wrong with the device is an outcome.
func (s *Station) provision(ctx context.Context, device string) (Outcome, error) {
	var reason error
	if err := inventory.CheckDevice(device); err != nil {
		reason = fmt.Errorf("its identifier %w", err)
	} else if s.Expect != nil && !s.Expect.MatchString(device) {
		reason = fmt.Errorf("its identifier is not of those that expect takes: %s", s.Expect)
	}
	if reason != nil {
		return s.failed(device, nil, Durations{}, reason)
	}
	release, err := s.holdSoon(ctx, device)
	if err != nil {
		return "", err
	}
	if release == nil {
		return s.waits(device, "the server is being asked for it at this moment"), nil
	}
	defer release()
	e, known := s.queue.Get(device)
	switch {
	case known && e.State == Verified:
		return s.done(e)
	case known && e.State == Issued:
		// What was cut off between installing and the queue.
		if s.Verify != ByNothing && s.verify(ctx, &e) == nil {
			return s.done(e)
		}
	case !known:
		if outcome, err, over := s.doneBefore(ctx, device); over {
			return outcome, err
		}
	}
	if s.Keygen != "" && !known { // a request of its own that waits is gone on with
		return s.makeFor(ctx, device)
	}
	csr, taken, err := s.request(ctx, device)
	if err != nil {
		return s.failedOr(ctx, device, e, known, err)
	}
	fresh := Entry{Device: device, State: Requested, Since: s.Now().UTC(), CSR: csr, Taken: Durations{Request: taken}}
	switch {
	case !known:
		if err := s.queue.Put(fresh); err != nil {
			return "", err
		}
		e = fresh
	case fresh.key() != e.key():
		return s.failedOr(ctx, device, e, known, errors.New(anotherKey(device, e)))
	}
	if e.State == Requested {
		outcome, err := s.enroll(ctx, &e)
		if outcome != "" || err != nil {
			return outcome, err
		}
	}
	return s.deliver(ctx, e, nil)
}

// holdSoon holds a device, for which the server may be asked in the background just now. It
// returns nil if that takes long.
func (s *Station) holdSoon(ctx context.Context, device string) (func(), error) {
	limit := time.After(holdLimit)
	for {
		release, held := s.queue.hold(device)
		if release != nil {
			return release, nil
		}
		select {
		case <-held:
		case <-limit:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// holdLimit is how long a device is kept for an answer of the server.
const holdLimit = 5 * time.Second

// anotherKey says what to do about a device that has lost the key of its request.
func anotherKey(device string, e Entry) string {
	text := "it has another key than the one that waits for its certificate here"
	if leaf := e.leaf(); leaf != nil {
		text = fmt.Sprintf("it has another key than that of certificate %x, which was issued for it: revoke that (mintmark cert revoke --device %s --reason superseded)", leaf.SerialNumber.Bytes(), device)
	}
	return text + "; if the old key is gone: mintmark station forget " + device
}

// doneBefore looks whether the device is recorded and still holds what it was given.
func (s *Station) doneBefore(ctx context.Context, device string) (Outcome, error, bool) {
	sum, ok := s.record.Done(device)
	if !ok {
		return "", nil, false
	}
	if s.Keygen != "" && s.Verify == ByNothing {
		// Another key would cost another unit, for a device that may hold what it was given.
		return s.again(device, "is recorded already, and with verify: none nobody can see what it holds: if it is to have another key, revoke its certificate and let mintmark station forget "+device), nil, true
	}
	// Its certificate is not here any more, only the sum of it: no signature is checked.
	c := Challenge{Leaf: &x509.Certificate{}}
	rand.Read(c.Nonce[:])
	var p Proof
	err := s.limited(ctx, s.Limits.Verify, func(ctx context.Context) (err error) {
		p, err = s.Device.Verify(ctx, device, c)
		return err
	})
	switch {
	case err == nil && p.Fingerprint == sum:
		return s.again(device, "is recorded already, and holds its certificate"), nil, true
	case err != nil && !errors.Is(err, ErrNoCertificate) && s.Keygen != "":
		// The same: it may well hold what it was given.
		outcome, err := s.failedOr(ctx, device, Entry{}, false, fmt.Errorf("it is recorded already, and gets no other key before it says what it holds: %w", err))
		return outcome, err, true
	}
	return "", nil, false
}

func (s *Station) again(device, text string) Outcome {
	s.stats.add(device, Again, 0)
	s.report(Event{Device: device, Outcome: Again, Text: text})
	return Again
}

// request has the device's certification request.
func (s *Station) request(ctx context.Context, device string) ([]byte, int64, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Request)
	defer cancel()
	der, err := s.Device.Request(ctx, device)
	if err != nil {
		return nil, 0, fmt.Errorf("asking the device for its certification request: %w", err)
	}
	_, err = checkRequest(der, device)
	return der, time.Since(started).Milliseconds(), err
}

// deliver puts the certificate into the device, has it verified and records it. The key
// is nil unless the station has made it.
func (s *Station) deliver(ctx context.Context, e Entry, c *Credentials) (Outcome, error) {
	if c == nil {
		own, err := e.credentials()
		if err != nil {
			return "", err
		}
		c = &own
	}
	if !s.Roots {
		c.Roots = nil
	}
	started := time.Now()
	err := s.limited(ctx, s.Limits.Install, func(ctx context.Context) error { return s.Device.Install(ctx, e.Device, *c) })
	if err != nil {
		return s.failedOr(ctx, e.Device, e, true, fmt.Errorf("putting the certificate into the device: %w", err))
	}
	e.Taken.Install = time.Since(started).Milliseconds()
	if err := s.verify(ctx, &e); err != nil {
		return s.failedOr(ctx, e.Device, e, true, fmt.Errorf("verifying what the device holds: %w", err))
	}
	return s.done(e)
}

func (s *Station) limited(ctx context.Context, d time.Duration, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return fn(ctx)
}

// verify has the device show the certificate of the entry, and notes how it did.
func (s *Station) verify(ctx context.Context, e *Entry) error {
	if s.Verify == ByNothing {
		e.How = ByNothing // the device's word when it was given the certificate
		return nil
	}
	c := Challenge{Leaf: e.leaf()}
	rand.Read(c.Nonce[:])
	started := time.Now()
	return s.limited(ctx, s.Limits.Verify, func(ctx context.Context) error {
		p, err := s.Device.Verify(ctx, e.Device, c)
		if err != nil {
			return err
		}
		how, err := checkProof(p, c, s.Verify)
		e.How, e.Taken.Verify = how, time.Since(started).Milliseconds()
		return err
	})
}

// done records the device and forgets it.
func (s *Station) done(e Entry) (Outcome, error) {
	e.State, e.Reason = Verified, ""
	if err := s.queue.Put(e); err != nil {
		return "", err
	}
	fresh, err := s.finish(e)
	if err != nil {
		return "", err
	}
	outcome, text := Done, fmt.Sprintf("certificate %x, valid until %s", e.leaf().SerialNumber.Bytes(), e.leaf().NotAfter.UTC().Format(time.DateOnly))
	if !fresh {
		outcome, text = Again, "is recorded already, and has got its certificate again"
	}
	s.stats.add(e.Device, outcome, e.Taken.total())
	s.report(Event{Device: e.Device, Outcome: outcome, Text: text})
	return outcome, nil
}

// finish records a device that is verified, and takes it out of the queue. It reports
// whether there was no such line yet.
func (s *Station) finish(e Entry) (bool, error) {
	l := Line{Time: s.Now().UTC(), Station: s.Name, Order: s.Order, Device: e.Device, Verified: e.How, Taken: e.Taken, Result: Done}
	l.about(e.leaf())
	fresh, err := s.record.Add(l)
	if err != nil {
		return false, err
	}
	return fresh, s.queue.Remove(e.Device)
}

// failedOr is failed, unless the context has ended: then nothing is wrong with the device.
func (s *Station) failedOr(ctx context.Context, device string, e Entry, known bool, reason error) (Outcome, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	var leaf *x509.Certificate
	if known {
		leaf = e.leaf()
	}
	return s.failed(device, leaf, e.Taken, reason)
}

// failed records a device that gets no further. What is in the queue stays there.
func (s *Station) failed(device string, leaf *x509.Certificate, taken Durations, reason error) (Outcome, error) {
	if err := s.fail(device, leaf, taken, reason.Error()); err != nil {
		return "", err
	}
	s.stats.add(device, Failed, 0)
	s.report(Event{Device: device, Outcome: Failed, Text: oneLine(reason.Error())})
	return Failed, nil
}

func (s *Station) fail(device string, leaf *x509.Certificate, taken Durations, reason string) error {
	l := Line{Time: s.Now().UTC(), Station: s.Name, Order: s.Order, Device: oneLine(device), Taken: taken, Reason: reason, Result: Failed}
	if leaf != nil {
		l.about(leaf)
	}
	_, err := s.record.Add(l)
	return err
}

func (s *Station) waits(device, why string) Outcome {
	s.stats.add(device, Waits, 0)
	s.report(Event{Device: device, Outcome: Waits, Text: why})
	return Waits
}

func (d Durations) total() time.Duration {
	return time.Duration(d.Request+d.Enroll+d.Install+d.Verify) * time.Millisecond
}
