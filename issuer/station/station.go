package station

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// Options say what a station works with.
type Options struct {
	Name    string // of the station, in the record
	Order   string // work order, user or label, in the record
	Device  Adapter
	Server  Server
	Anchors []*x509.Certificate // every certificate must lead to one of them
	Dir     string              // of the queue
	Record  string              // file, in Dir unless it is absolute
	Format  Format

	Expect *regexp.Regexp // identifiers that are taken; nil for all that are well-formed
	Verify Verification   // what a device must show; empty for the best that it can
	Roots  bool           // devices get the trust anchors, too
	// Keygen is the type of key that the station makes for each device; empty if devices
	// make their own, as they should.
	Keygen string
	Limits Limits
	Poll   time.Duration // between two looks for a device
	Wait   bool          // a device stays until its certificate is there

	// Report is told of everything that people should see; it is called by one
	// goroutine at a time. Must be set.
	Report func(Event)
	// Explain adds what was probably meant to an error of the server; may be nil.
	Explain func(error) error
	Now     func() time.Time // time.Now if nil
}

// Limits bound the steps of a device.
type Limits struct{ Identify, Request, Enroll, Install, Verify time.Duration }

// Event is something that happened.
type Event struct {
	Device  string  // empty if it is about none
	Outcome Outcome // empty if the device is not finished with
	Text    string  // for people
	Stats   Stats   // as they are now
}

// Station provisions one device after the other. Open makes one; Run and Flush must not
// be called concurrently.
type Station struct {
	Options
	queue  *Queue
	record *Record
	gone   absence
	stats  counter
	stop   <-chan struct{} // of the run

	reporting sync.Mutex
	saidAway  string
	lists     cache
	stuck     string // the device at which the last round of fetch ended
	flushing  bool   // nothing is asked for again in the background
}

// queueDir is the queue in the folder of a station.
const queueDir = "queue"

// Open opens queue and record, and completes what a crash has cut off between a device's
// proof and its line. Close must be called.
func Open(o Options) (*Station, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Explain == nil {
		o.Explain = func(err error) error { return err }
	}
	if len(o.Anchors) == 0 {
		return nil, errors.New("a station needs trust anchors")
	}
	s := &Station{Options: o}
	var err error
	if s.queue, err = OpenQueue(filepath.Join(o.Dir, queueDir)); err != nil {
		return nil, err
	}
	if s.record, err = OpenRecord(o.recordFile(), o.Format, func(format string, args ...any) { s.report(Event{Text: fmt.Sprintf(format, args...)}) }); err != nil {
		return nil, errors.Join(err, s.queue.Close())
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (o *Options) recordFile() string {
	if filepath.IsAbs(o.Record) {
		return o.Record
	}
	return filepath.Join(o.Dir, o.Record)
}

// Close closes what Open has opened.
func (s *Station) Close() error { return errors.Join(s.record.Close(), s.queue.Close()) }

// recover completes what was cut off.
func (s *Station) recover() error {
	for _, e := range s.queue.All() {
		switch e.State {
		case Verified:
			if _, err := s.finish(e); err != nil {
				return err
			}
			s.report(Event{Device: e.Device, Text: "its line was not written yet, and is now: the device is done"})
		case Making:
			reason := "the station ended while it held the key that it had made: the key is lost, and the server may have issued a certificate for it: revoke that (mintmark cert revoke --device " + e.Device + " --reason superseded)"
			if err := s.fail(e.Device, e.leaf(), e.Taken, reason); err != nil {
				return err
			}
			if err := s.queue.Remove(e.Device); err != nil {
				return err
			}
			s.report(Event{Device: e.Device, Text: reason})
		}
	}
	return nil
}

func (s *Station) report(e Event) {
	s.reporting.Lock()
	defer s.reporting.Unlock()
	e.Stats = s.Stats()
	s.Report(e)
}

// Run provisions devices until count of them have been at the station (0 for no end; one
// that comes again counts once), none will come, or stop is closed, which lets the device at hand be finished; the
// context ends it at once. What waits for the server is asked for meanwhile.
//
// It fails with a *Trouble if no device would get anything, and if the queue or the record
// cannot be written. That devices have failed is in Stats.
func (s *Station) Run(ctx context.Context, count int, stop <-chan struct{}) error {
	s.stats.begin(s.Now())
	s.stop = stop
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var background sync.WaitGroup
	var later error
	background.Go(func() {
		err := s.fetchAll(ctx, stop)
		var trouble *Trouble
		switch {
		case errors.As(err, &trouble) && s.Stats().Ready > 0:
			// Devices whose certificates are here need no server; one that does ends the run.
			later = err
			s.report(Event{Text: oneLine(err.Error())})
		case err != nil:
			cancel(err)
		}
	})
	err := s.run(ctx, count, stop)
	cause := context.Cause(ctx)
	cancel(nil)
	background.Wait()
	if (err == nil || errors.Is(err, context.Canceled)) && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if err == nil {
		return later
	}
	return err
}

func (s *Station) run(ctx context.Context, count int, stop <-chan struct{}) error {
	left := "" // the device that the station has done with and that is still there
	var outcome Outcome
	lastFault := ""
	there := make(map[string]bool) // which have been at the station in this run
	for count == 0 || len(there) < count {
		device, err := s.identify(ctx, stop)
		if stopped(stop) || ctx.Err() != nil {
			return ctx.Err()
		}
		var unreadable *UnreadableError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &unreadable):
			if outcome, err = s.failed(unreadable.Name, nil, Durations{}, unreadable.Err); err != nil {
				return err
			}
			there[unreadable.Name] = true
			if err := s.Device.Finished(unreadable.Name, outcome); err != nil {
				return err
			}
			continue
		case errors.Is(err, ErrNoDevice):
			left, lastFault = "", ""
		case err != nil:
			// A port that was pulled out comes back; said once.
			if err.Error() != lastFault {
				lastFault = err.Error()
				s.report(Event{Text: fmt.Sprintf("looking for a device: %s", oneLine(lastFault))})
			}
		case s.waitsInFolder(device):
			continue // it is asked for in the background, and the next file is looked at
		case device == left && !s.Device.Scans() && !s.ready(device, outcome):
			// It is still there: it must be taken away before it is tried again.
		default:
			lastFault = ""
			outcome, err = s.provision(ctx, device)
			if err != nil {
				return err
			}
			left, there[device] = device, true
			if err := s.Device.Finished(device, outcome); err != nil {
				return err
			}
			continue
		}
		if err := s.pause(ctx, stop, s.Poll); err != nil {
			return err
		}
	}
	return nil
}

// waitsInFolder reports whether a request is a file that this run has put into the queue,
// where it waits for the server.
func (s *Station) waitsInFolder(device string) bool {
	if _, ok := s.Device.(*Files); !ok || s.Wait {
		return false
	}
	e, ok := s.queue.Get(device)
	return ok && e.State == Requested && s.stats.of(device) == Waits
}

// ready reports whether a device that has waited can go on now.
func (s *Station) ready(device string, o Outcome) bool {
	e, ok := s.queue.Get(device)
	return o == Waits && ok && e.State == Issued
}

func (s *Station) identify(ctx context.Context, stop <-chan struct{}) (string, error) {
	// A look is ended by a stop, which a device that is begun with is not.
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Identify)
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	device, err := s.Device.Identify(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(err, io.EOF) {
		return "", ErrNoDevice // none came in this time
	}
	return device, err
}

func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// pause waits, not beyond a stop.
func (s *Station) pause(ctx context.Context, stop <-chan struct{}, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-stop:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
