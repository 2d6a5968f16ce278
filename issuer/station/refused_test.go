package station

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRefusals: what the station does not take, and what it says.
func TestRefusals(t *testing.T) {
	other := newCA(t)
	for _, test := range []struct {
		name  string
		set   func(b *bench, d *device)
		want  string
		alive bool // the same device is done when what was wrong is gone
	}{
		{"the server refuses it", func(b *bench, _ *device) {
			b.ca.fail = func(int) error {
				return status{403, "refused by rule device-unlisted: SN-001 is not in the inventory", 0}
			}
		}, "device-unlisted", true},
		{"the device has no room", func(_ *bench, d *device) { d.refuses = "full" }, "the device answered full: flash is full", true},
		{"an identifier of another product", func(b *bench, _ *device) {
			old := b.change
			b.change = func(o *Options) {
				if old != nil {
					old(o)
				}
				c := Defaults()
				c.Device.Expect = "XX-[0-9]+"
				c.Device.Serial = &SerialConfig{Port: "x"}
				if err := c.checkDevice(); err != nil {
					b.t.Fatal(err)
				}
				o.Expect = c.expect
			}
		}, "expect", true},
		{"a certificate of another CA", func(b *bench, _ *device) {
			old := b.change
			b.change = func(o *Options) {
				if old != nil {
					old(o)
				}
				o.Anchors[0] = other.root
			}
		}, "does not lead to the trust anchors", true},
		{"no signature where one is wanted", func(b *bench, d *device) {
			b.change = func(o *Options) { o.Verify = ByProof }
			d.can = "csr"
		}, "signs nothing", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			d := newDevice(t, "SN-001")
			b.at(d)
			test.set(b, d)
			s, err := b.run(1)
			var trouble *Trouble
			if s.Done != 0 || err != nil && !errors.As(err, &trouble) || s.Failed != 1 && err == nil {
				t.Errorf("%+v, %v", s, err)
			}
			if !strings.Contains(b.said()+fmt.Sprint(err), test.want) {
				t.Errorf("said: %s: %v, want %q", b.said(), err, test.want)
			}
			b.change, b.ca.fail, d.refuses, d.can = nil, nil, "", "csr,proof"
			if _, err := b.run(1); err != nil {
				t.Fatal(err)
			}
			b.provisioned(d)
		})
	}
}

// TestAnotherKey: a device that has lost its key while its first certificate waits.
func TestAnotherKey(t *testing.T) {
	b := newBench(t)
	d := newDevice(t, "SN-001")
	d.refuses = "full"
	b.at(d)
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	d.refuses, d.key = "", nil
	if s, err := b.run(1); err != nil || s.Failed != 1 || !strings.Contains(b.said(), "another key") {
		t.Fatalf("%+v, %v, %s", s, err, b.said())
	}
	if len(b.ca.issued) != 1 {
		t.Errorf("%d certificates for one device", len(b.ca.issued))
	}
	s := b.open()
	l, ok, err := s.Forget("SN-001", "repaired")
	if !ok || err != nil || l.Serial == "" {
		t.Errorf("forgotten: %+v, %v, %v", l, ok, err)
	}
	s.Close()
	if _, err := b.run(1); err != nil || d.cert == nil {
		t.Errorf("after it was forgotten: %v, %s", err, b.said())
	}
}

// TestWrongProof: a device that holds the certificate and cannot use its key.
func TestWrongProof(t *testing.T) {
	b := newBench(t)
	d := newDevice(t, "SN-001")
	b.at(d)
	d.busy = 0
	stolen := generate(t)
	once := false
	b.wire.after = func(int) error {
		if d.cert != nil && !once {
			once, d.key = true, stolen
		}
		return nil
	}
	if s, err := b.run(1); err != nil || s.Failed != 1 || !strings.Contains(b.said(), "not by the key of its certificate") {
		t.Fatalf("%+v, %v, %s", s, err, b.said())
	}
}

// TestTrouble: what refuses every device ends the run, records none as failed, and
// keeps what waits.
func TestTrouble(t *testing.T) {
	for _, cause := range []error{
		status{401, "", 0}, status{404, "", 0}, status{403, "refused by rule order-exhausted: every certificate is issued", 0}, status{302, "", 0},
	} {
		b := newBench(t)
		b.ca.fail = func(int) error { return cause }
		d := newDevice(t, "SN-001")
		b.at(d)
		_, err := b.run(0)
		var trouble *Trouble
		if !errors.As(err, &trouble) || len(b.lines()) != 0 || b.queued() != 1 {
			t.Fatalf("%v: %v, %d recorded, %d wait", cause, err, len(b.lines()), b.queued())
		}
		b.ca.fail = nil
		if _, err := b.run(1); err != nil {
			t.Fatal(err)
		}
		b.provisioned(d)
	}
}

// TestLacking: a certificate without what its request asks for fails that device, ends the
// run once, and keeps no other device waiting.
func TestLacking(t *testing.T) {
	b := newBench(t)
	b.ca.bare = true
	b.at(newDevice(t, "SN-001"))
	_, err := b.run(0)
	var trouble *Trouble
	if !errors.As(err, &trouble) || !strings.Contains(err.Error(), "lacks what the request asks for") {
		t.Fatal(err)
	}
	if l := b.lines(); len(l) != 1 || l[0].Result != Failed || l[0].Serial == "" || b.queued() != 0 {
		t.Errorf("recorded: %+v; %d wait", l, b.queued())
	}
	b.ca.bare = false
	d := newDevice(t, "SN-002")
	b.at(d)
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	b.provisioned(d)
}

// TestTroubleLeavesReady: while the server has nothing more for one device, another whose
// certificate is here gets it.
func TestTroubleLeavesReady(t *testing.T) {
	b := newBench(t)
	away := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	first, second := newDevice(t, "SN-001"), newDevice(t, "SN-002")
	b.ca.fail = func(int) error { return away }
	b.at(first)
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	b.ca.fail = nil
	s := b.open()
	if left, err := s.Flush(t.Context()); err != nil || left != 0 {
		t.Fatal(left, err)
	}
	s.Close()
	b.ca.fail = func(int) error { return away }
	b.at(second)
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	b.ca.fail = func(int) error { return status{403, "refused by rule order-exhausted: every certificate is issued", 0} }
	var refused atomic.Bool
	b.on = func(e Event) {
		if strings.Contains(e.Text, "order-exhausted") {
			refused.Store(true)
		}
	}
	b.wire.device = func() *device {
		if refused.Load() {
			return first
		}
		return nil
	}
	var trouble *Trouble
	if _, err := b.run(1); !errors.As(err, &trouble) {
		t.Errorf("%v, want the trouble at the end", err)
	}
	b.provisioned(first)
}

// TestStuck: a request on which the server fails, with or without an answer, keeps no other one
// waiting.
func TestStuck(t *testing.T) {
	for _, cause := range []error{status{500, "internal error", 0}, status{503, "", 0}, &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}} {
		b := newBench(t)
		now := time.Now()
		b.change = func(o *Options) { o.Now = func() time.Time { return now } }
		s := b.open()
		for _, name := range []string{"SN-001", "SN-002"} {
			e := sampleEntry(t, name)
			e.Since = now
			if err := s.queue.Put(e); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Second)
		}
		b.ca.fail = func(asked int) error {
			if asked == 2 {
				return nil
			}
			return cause
		}
		for range 2 {
			if err := s.fetch(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			now = now.Add(2 * lastRetry)
		}
		if e, _ := s.queue.Get("SN-002"); e.State != Issued {
			t.Errorf("%v: SN-002 is %s", cause, e.State)
		}
		s.Close()
	}
}

// TestFlushGoesOn: a request on which the server fails, with or without an answer, keeps no
// other one waiting; a server that is not there is asked once.
func TestFlushGoesOn(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	for _, test := range []struct {
		name  string
		fails []error // one for each device
		gone  error
		asked int
		left  string
	}{
		{"answers", []error{status{500, "internal error", 0}, status{503, "", 0}, nil}, nil, 3, "SN-001 SN-002"},
		{"is cut off", []error{reset, nil, reset, nil}, nil, 4, "SN-001 SN-003"},
		{"is away", []error{reset, reset, reset}, reset, 1, "SN-001 SN-002 SN-003"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			s := b.open()
			defer s.Close()
			for i := range test.fails {
				e := sampleEntry(t, fmt.Sprintf("SN-%03d", i+1))
				e.Since = e.Since.Add(time.Duration(i) * time.Second)
				if err := s.queue.Put(e); err != nil {
					t.Fatal(err)
				}
			}
			b.ca.fail = func(asked int) error { return test.fails[asked-1] }
			b.ca.gone = test.gone
			left, err := s.Flush(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var waits []string
			for _, e := range s.Waiting() {
				if e.State == Requested {
					waits = append(waits, e.Device)
				}
			}
			if got := strings.Join(waits, " "); got != test.left || left != len(waits) || b.ca.asked != test.asked {
				t.Errorf("%d wait: %s, want %s; asked %d times, want %d", left, got, test.left, b.ca.asked, test.asked)
			}
			if strings.Contains(b.said(), "background") {
				t.Errorf("said: %s", b.said())
			}
		})
	}
}

// TestFailing: a request on which the server fails does not make other devices wait, and is
// asked for again later and later.
func TestFailing(t *testing.T) {
	b := newBench(t)
	now := time.Now()
	b.change = func(o *Options) { o.Now = func() time.Time { return now } }
	s := b.open()
	e := sampleEntry(t, "SN-001")
	e.Since = now.Add(-10 * time.Second)
	if err := s.queue.Put(e); err != nil {
		t.Fatal(err)
	}
	b.ca.fail = func(asked int) error {
		if asked == 1 {
			return status{500, "internal error", 0}
		}
		return nil
	}
	if err := s.fetch(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if e, _ := s.queue.Get("SN-001"); e.NotBefore.Before(now.Add(10*time.Second)) || !strings.Contains(e.Reason, "internal error") {
		t.Errorf("asked again from %s on, because %s", e.NotBefore, e.Reason)
	}
	s.Close()
	d := newDevice(t, "SN-002")
	b.at(d)
	if s, err := b.run(1); err != nil || s.Done != 1 || s.Waiting != 1 {
		t.Fatalf("%+v, %v\n%s", s, err, b.said())
	}
	b.provisioned(d)
}

// TestPending: a person must approve each device.
func TestPending(t *testing.T) {
	b := newBench(t)
	now := time.Now()
	b.change = func(o *Options) { o.Now = func() time.Time { return now } }
	b.ca.fail = func(int) error { return status{202, "", time.Hour} }
	d := newDevice(t, "SN-001")
	b.at(d)
	if s, err := b.run(1); err != nil || s.Waiting != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	asked := b.ca.asked
	if _, err := b.run(1); err != nil || b.ca.asked != asked {
		t.Errorf("asked before its time: %v", err)
	}
	b.ca.fail = nil
	now = now.Add(30*time.Minute + time.Hour/2 + time.Second)
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	b.provisioned(d)
}

// TestMadeHere: the station makes the key, which is nowhere on its disk.
func TestMadeHere(t *testing.T) {
	b := newBench(t)
	b.change = func(o *Options) {
		o.Keygen = "P-256"
		o.Report = func(e Event) {
			b.events = append(b.events, e)
			filepath.WalkDir(b.dir, func(path string, _ os.DirEntry, err error) error {
				if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte("PRIVATE KEY")) {
					t.Errorf("%s holds a private key", path)
				}
				return nil
			})
		}
	}
	d := newDevice(t, "SN-001")
	b.at(d)
	if _, err := b.run(1); err != nil {
		t.Fatal(err)
	}
	b.provisioned(d)
	if d.given == nil {
		t.Error("the device was given no key")
	}
	// Cut off while the key is in memory: said, with what to revoke.
	second := newDevice(t, "SN-002")
	b.at(second)
	s := b.open()
	ctx, cancel := context.WithCancel(t.Context())
	b.ca.lose = func(int) error { cancel(); return context.Canceled }
	if err := s.Run(ctx, 1, make(chan struct{})); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s.Close()
	b.ca.lose = nil
	b.open().Close()
	if lines := b.lines(); !strings.Contains(lines[len(lines)-1].Reason, "the key is lost") || b.queued() != 0 {
		t.Errorf("recorded: %+v", lines)
	}
}

// TestMadeHereOnce: a device that was given a key gets no other one before it is known that
// it has none, or a person says so.
func TestMadeHereOnce(t *testing.T) {
	for _, verify := range []Verification{ByNothing, ByFingerprint} {
		b := newBench(t)
		b.change = func(o *Options) { o.Keygen, o.Verify = "P-256", verify }
		d := newDevice(t, "SN-001")
		b.at(d)
		if _, err := b.run(1); err != nil {
			t.Fatal(err)
		}
		b.provisioned(d)
		held := d.cert
		d.dumb = true
		s, err := b.run(1)
		if err != nil || (verify == ByNothing) != (s.Again == 1) || (verify == ByFingerprint) != (s.Failed == 1) {
			t.Errorf("%s: %+v, %v\n%s", verify, s, err, b.said())
		}
		if b.provisioned(d); !bytes.Equal(d.cert, held) {
			t.Errorf("%s: it was given another certificate", verify)
		}
		d.dumb = false
		station := b.open()
		l, ok, err := station.Forget("SN-001", "wiped")
		station.Close()
		if !ok || err != nil || l.Certificate == "" {
			t.Errorf("%s: forgotten: %+v, %v, %v", verify, l, ok, err)
		}
		if s, err := b.run(1); err != nil || s.Done != 1 || len(b.ca.issued) != 2 {
			t.Errorf("%s: after it was forgotten: %+v, %v: %s", verify, s, err, b.said())
		}
	}
}

// TestSharedRecord: a record is one station's, too.
func TestSharedRecord(t *testing.T) {
	b := newBench(t)
	record := filepath.Join(t.TempDir(), "record.csv")
	b.change = func(o *Options) { o.Record = record }
	s := b.open()
	defer s.Close()
	b.dir = t.TempDir()
	if _, err := Open(b.options()); err == nil || !strings.Contains(err.Error(), "another station") {
		t.Errorf("a second one: %v", err)
	}
}

// TestTwoStations: one folder is one station's.
func TestTwoStations(t *testing.T) {
	b := newBench(t)
	s := b.open()
	defer s.Close()
	if _, err := Open(b.options()); err == nil || !strings.Contains(err.Error(), "another station") {
		t.Errorf("a second one: %v", err)
	}
}
