package station

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// at puts a device to the station.
func (b *bench) at(d *device) { b.wire.device = func() *device { return d } }

func TestProvision(t *testing.T) {
	b := newBench(t)
	b.change = func(o *Options) { o.Roots = true }
	d := newDevice(t, "SN-001")
	d.busy = 2
	b.at(d)
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	b.provisioned(d)
	if l := b.lines()[0]; l.Verified != ByProof || l.Key != "P-256" || l.Order != "WO-1" || l.Station != "pc-1" {
		t.Errorf("recorded: %+v", l)
	}
	if n := bytes.Count(d.cert, []byte("BEGIN CERTIFICATE")); n != 2 {
		t.Errorf("%d certificates in the chain, want its own and the issuing CA's", n)
	}
	if !bytes.Equal(d.roots, certificatesPEM(b.ca.root)) {
		t.Errorf("the device has the trust anchors %q", d.roots)
	}
	// The same device again: nothing is asked for, and nothing recorded.
	asked := b.ca.asked
	if s, err := b.run(1); err != nil || s.Again != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	if b.ca.asked != asked {
		t.Error("the server was asked again")
	}
	b.provisioned(d)
	// Wiped, with its key kept: the same certificate goes in again.
	d.cert = nil
	if s, err := b.run(1); err != nil || s.Again != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	b.provisioned(d)
}

// TestServerAway: the first three devices come while there is no server, and get
// their certificates when they are back.
func TestServerAway(t *testing.T) {
	b := newBench(t)
	gone := true
	b.ca.fail = func(int) error {
		if gone {
			return &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		}
		return nil
	}
	line := []*device{newDevice(t, "SN-001"), newDevice(t, "SN-002"), newDevice(t, "SN-003"), newDevice(t, "SN-004")}
	for _, d := range line[:3] {
		b.at(d)
		if s, err := b.run(1); err != nil || s.Waiting == 0 || d.cert != nil {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	gone = false
	s := b.open()
	if left, err := s.Flush(t.Context()); err != nil || left != 0 {
		t.Fatalf("%d left, %v", left, err)
	}
	s.Close()
	asked := b.ca.asked
	for _, d := range line {
		b.at(d)
		if _, err := b.run(1); err != nil {
			t.Fatal(err)
		}
		b.provisioned(d)
	}
	if b.ca.asked != asked+1 {
		t.Errorf("the server was asked %d times more for one device", b.ca.asked-asked)
	}
}

// TestFetchedWhileRunning: the device stays. Its certificate comes in the background, or, if
// the station waits, in the foreground.
func TestFetchedWhileRunning(t *testing.T) {
	for _, wait := range []bool{false, true} {
		b := newBench(t)
		b.change = func(o *Options) {
			o.Wait = wait
			o.Limits.Enroll = 10 * time.Millisecond // shorter than the server wants to be left alone
		}
		b.ca.fail = func(asked int) error {
			if asked == 1 {
				return status{503, "refused by rule load: later", 50 * time.Millisecond}
			}
			return nil
		}
		d := newDevice(t, "SN-001")
		b.at(d)
		s := b.open()
		stop := make(chan struct{})
		b.on = func(e Event) {
			if e.Outcome == Done {
				close(stop)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := s.Run(ctx, 0, stop); err != nil {
			t.Fatal(err, b.said())
		}
		cancel()
		s.Close()
		if waited := strings.Contains(b.said(), "the device may go"); waited == wait {
			t.Errorf("wait %v: %s", wait, b.said())
		}
		b.provisioned(d)
	}
}

// TestCount: a device that goes and comes again counts once.
func TestCount(t *testing.T) {
	b := newBench(t)
	first, second := newDevice(t, "SN-001"), newDevice(t, "SN-002")
	away := 0
	b.at(first)
	b.on = func(e Event) {
		switch e.Outcome {
		case Done:
			b.wire.device = func() *device {
				if away++; away < 3 {
					return nil // it boots
				}
				return first
			}
		case Again:
			b.at(second)
		}
	}
	if s, err := b.run(2); err != nil || s.Done != 2 {
		t.Errorf("%+v, %v\n%s", s, err, b.said())
	}
}

// TestKilled ends the station before and after each write of the queue and the record, and
// at each line of the serial port, and lets it begin again: nothing is lost, issued
// twice or recorded twice.
func TestKilled(t *testing.T) {
	killed := errors.New("killed")
	points := 0
	for point := 1; ; point++ {
		b := newBench(t)
		d := newDevice(t, "SN-001")
		b.at(d)
		b.change = func(o *Options) { o.Roots = point%2 == 0 }
		reached := false
		n := 0
		hook := func(string) error {
			if n++; n == point {
				reached = true
				return killed
			}
			return nil
		}
		// The answer of the server is lost as well, once for each.
		s := b.open()
		s.queue.step, s.record.step = hook, hook
		b.ca.lose = func(int) error { return hook("answer") }
		ctx, cancel := context.WithCancel(t.Context())
		b.wire.after = func(int) error {
			if hook("line") != nil {
				cancel()
				return killed
			}
			return nil
		}
		err := s.Run(ctx, 1, make(chan struct{}))
		cancel()
		s.Close()
		b.wire.after, b.ca.lose = nil, nil
		if !reached {
			if err != nil {
				t.Fatal(err)
			}
			points = point - 1
			break
		}
		if _, err := b.run(1); err != nil {
			t.Fatalf("point %d: %v\n%s", point, err, b.said())
		}
		if b.queued() > 0 { // the lost answer: it waits for the server, which is there
			if _, err := b.run(1); err != nil {
				t.Fatalf("point %d: %v\n%s", point, err, b.said())
			}
		}
		b.provisioned(d)
		if t.Failed() {
			t.Fatalf("killed at point %d\n%s", point, b.said())
		}
	}
	if points < 20 {
		t.Errorf("only %d points were walked", points)
	}
	t.Logf("%d points", points)
}

func (b *bench) queued() int {
	list, err := ReadQueue(filepath.Join(b.dir, queueDir))
	if err != nil {
		b.t.Fatal(err)
	}
	return len(list)
}

// TestReboots boots the device at each line that it hears.
func TestReboots(t *testing.T) {
	most := 0
	for at := 1; ; at++ {
		b := newBench(t)
		d := newDevice(t, "SN-001")
		d.rebootAt = at
		b.at(d)
		if _, err := b.run(1); err != nil {
			t.Fatal(err)
		}
		b.provisioned(d)
		if t.Failed() {
			t.Fatalf("booted at line %d\n%s", at, b.said())
		}
		if d.handled < at {
			most = at - 1
			break
		}
	}
	if most < 15 {
		t.Errorf("only %d lines", most)
	}
}

// TestNoise damages a fifth of all lines, both ways.
func TestNoise(t *testing.T) {
	seeds := uint64(6)
	if os.Getenv("MINTMARK_LONG") != "" {
		seeds = 200
	}
	for seed := range seeds {
		b := newBench(t)
		b.wire.noise, b.wire.share = rand.New(rand.NewPCG(seed, 1)), 0.2
		d := newDevice(t, "SN-001")
		b.at(d)
		if _, err := b.run(1); err != nil {
			t.Fatal(err)
		}
		b.provisioned(d)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestSwapped puts another device in the place of the first at each line.
func TestSwapped(t *testing.T) {
	clean := newBench(t)
	clean.at(newDevice(t, "SN-001"))
	if _, err := clean.run(1); err != nil {
		t.Fatal(err)
	}
	for at := range clean.wire.count {
		b := newBench(t)
		first, second := newDevice(t, "SN-001"), newDevice(t, "SN-002")
		b.wire.device = func() *device {
			if b.wire.count > at {
				return second
			}
			return first
		}
		count := 2
		if at == 0 {
			count = 1 // the first one was never there
		}
		if _, err := b.run(count); err != nil {
			t.Fatal(err)
		}
		b.provisioned(second)
		if second.leaf().Subject.CommonName != "SN-002" {
			t.Fatalf("swapped at line %d: SN-002 holds the certificate of %s", at, second.leaf().Subject)
		}
		for _, l := range b.lines() {
			if l.Result == Done && l.Device == "SN-001" && first.leaf() == nil {
				t.Fatalf("swapped at line %d: SN-001 is recorded and holds nothing", at)
			}
		}
		b.at(first) // it is put back
		if _, err := b.run(1); err != nil {
			t.Fatal(err)
		}
		b.provisioned(first)
		if t.Failed() {
			t.Fatalf("swapped at line %d\n%s", at, b.said())
		}
	}
}
