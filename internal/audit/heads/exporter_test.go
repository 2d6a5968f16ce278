package heads

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
)

// place is a target in memory that can fail and hang.
type place struct {
	name string

	mu    sync.Mutex
	kept  map[string][]byte
	order []string
	fails error
	hangs bool
}

func newPlace(name string) *place { return &place{name: name, kept: map[string][]byte{}} }

func (p *place) Name() string { return p.name }

func (p *place) Put(ctx context.Context, name string, signed []byte) error {
	p.mu.Lock()
	fails, hangs := p.fails, p.hangs
	p.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if fails != nil {
		return fails
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order = append(p.order, name)
	if have, ok := p.kept[name]; ok && !bytes.Equal(have, signed) {
		return ErrConflict
	}
	p.kept[name] = signed
	return nil
}

func (p *place) set(fails error, hangs bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails, p.hangs = fails, hangs
}

// all is what is kept at the moment.
func (p *place) all() map[string][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.kept)
}

// site is a state directory with a log.
type site struct {
	t   *testing.T
	dir string
	log *audit.Log
	key *Key
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), key: newKey(t, "alpha")}
	if err := os.Mkdir(filepath.Join(s.dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	return s
}

func (s *site) reopen() {
	s.t.Helper()
	if s.log != nil {
		s.log.Close()
	}
	var err error
	if s.log, err = audit.Open(filepath.Join(s.dir, "log"), audit.Config{Server: "alpha"}); err != nil {
		s.t.Fatal(err)
	}
	log := s.log
	s.t.Cleanup(func() { log.Close() })
}

func (s *site) heads() string { return filepath.Join(s.dir, "heads") }

func (s *site) try(targets ...Target) (*Exporter, error) {
	return New(Config{
		Log: s.log, Dir: s.heads(), Key: s.key, Targets: targets, Interval: 10 * time.Minute,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

func (s *site) exporter(targets ...Target) *Exporter {
	s.t.Helper()
	e, err := s.try(targets...)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// run runs an exporter for a time.
func (s *site) run(e *Exporter, length time.Duration, meanwhile ...func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	for _, fn := range meanwhile {
		time.Sleep(length / time.Duration(len(meanwhile)+1))
		fn()
	}
	time.Sleep(length / time.Duration(len(meanwhile)+1))
	cancel()
	<-done
}

// append writes a batch of events.
func (s *site) append() {
	s.t.Helper()
	void := ledger.Serial("0a")
	if _, err := s.log.Append([]ledger.Event{{Kind: ledger.EventVoided, At: at, Voided: &void}}); err != nil {
		s.t.Fatal(err)
	}
}

// check compares what a place keeps with the log: all heads up to n.
func (s *site) check(kept map[string][]byte, n int) {
	s.t.Helper()
	if len(kept) != n {
		s.t.Errorf("%d heads are kept, want %d", len(kept), n)
	}
	seen := 0
	for r, err := range s.log.Heads(0) {
		if err != nil {
			s.t.Fatal(err)
		}
		if seen++; seen > n {
			break
		}
		if got, err := Open(kept[FileName("alpha", r.Sequence)], verifiers(s.t, s.key)); err != nil || got != r {
			s.t.Errorf("head %d: %+v, %v, the log has %+v", r.Sequence, got, err, r)
		}
	}
	if seen < n {
		s.t.Errorf("the log has %d heads, want %d", seen, n)
	}
}

func (s *site) local() map[string][]byte { return readDir(s.t, s.heads()) }

func readDir(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "*"+suffix))
	all := map[string][]byte{}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = content
	}
	return all
}

// value reads a metric of one place, which must be there.
func value(t *testing.T, e *Exporter, name, target string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(e.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == target {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Errorf("no metric %s of %s", name, target)
	return 0
}

// A head at once, at every interval also without anything new, and at the end.
func TestExporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		outside, dir := newPlace("outside"), t.TempDir()
		e := s.exporter(outside, Folder(dir))
		s.run(e, 25*time.Minute, s.append)
		s.check(s.local(), 4)
		s.check(outside.kept, 4)
		s.check(readDir(t, dir), 4)
		if got := value(t, e, "audit_head_timestamp_seconds", "outside"); got != float64(time.Now().Unix()) {
			t.Errorf("newest head outside is of %v, now is %v", got, time.Now().Unix())
		}
		for _, name := range []string{here, "outside", "folder " + dir} {
			if n := value(t, e, "audit_head_failures_total", name); n != 0 {
				t.Errorf("%v failures of %s", n, name)
			}
		}
		if _, err := audit.Verify(filepath.Join(s.dir, "log")); err != nil {
			t.Error(err)
		}
	})
}

// A place that fails gets everything later, in order; the others do not wait
// for it.
func TestPlaceFails(t *testing.T) {
	for name, breaks := range map[string]func(p *place, broken bool){
		"fails": func(p *place, broken bool) {
			if broken {
				p.set(errors.New("no network"), false)
			} else {
				p.set(nil, false)
			}
		},
		"hangs": func(p *place, broken bool) { p.set(nil, broken) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				bad, good := newPlace("bad"), newPlace("good")
				breaks(bad, true)
				e := s.exporter(bad, good)
				s.run(e, time.Hour+time.Minute, func() {
					s.check(good.all(), 4)
					s.check(bad.all(), 0)
					breaks(bad, false)
				})
				s.check(bad.kept, 8)
				s.check(good.kept, 8)
				if !slices.IsSorted(bad.order) {
					t.Errorf("sent in the order %v", bad.order)
				}
				if n := value(t, e, "audit_head_failures_total", "bad"); n == 0 {
					t.Error("no failure was counted")
				}

				// Down at the end, and up again at the next start.
				breaks(bad, true)
				e = s.exporter(bad, good)
				before := time.Now()
				s.run(e, time.Second)
				if took := time.Since(before); took > time.Second+2*lastWait {
					t.Errorf("the end took %v", took)
				}
				s.check(bad.kept, 8)
				breaks(bad, false)
				bad.order, good.order = nil, nil
				s.run(s.exporter(bad, good), time.Second)
				s.check(bad.kept, 12)
				if len(bad.order) != 4 || len(good.order) != 2 {
					t.Errorf("sent again: %d and %d heads, want 4 and 2", len(bad.order), len(good.order))
				}

				// A place that is new gets all of them.
				fresh := newPlace("fresh")
				s.run(s.exporter(good, fresh), time.Second)
				s.check(fresh.kept, 14)
			})
		})
	}
}

// Another head under the name of one of ours is an alarm, and the next ones are
// kept all the same.
func TestConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		p := newPlace("outside")
		p.kept[FileName("alpha", 2)] = []byte("other")
		e := s.exporter(p)
		s.run(e, 25*time.Minute)
		if len(p.kept) != 4 || string(p.kept[FileName("alpha", 2)]) != "other" {
			t.Errorf("kept %d heads", len(p.kept))
		}
		if n := value(t, e, "audit_head_conflicts_total", "outside"); n != 1 {
			t.Errorf("%v conflicts were counted", n)
		}
	})
}

// What a crash kept from being signed or written is made again with the same
// bytes.
func TestHeadsAreMadeAgain(t *testing.T) {
	s := newSite(t)
	for range 5 {
		s.append()
		if _, err := s.log.AppendHead(); err != nil {
			t.Fatal(err)
		}
	}
	s.exporter()
	first := s.local()
	s.check(first, 5)
	for _, missing := range [][]int64{{5}, {2}, {1, 2, 3, 4, 5}, {1, 5}} {
		for _, n := range missing {
			os.Remove(filepath.Join(s.heads(), FileName("alpha", n)))
		}
		s.reopen()
		s.exporter()
		for name, content := range s.local() {
			if !bytes.Equal(content, first[name]) {
				t.Errorf("without %v: %s has other bytes", missing, name)
			}
		}
		s.check(s.local(), 5)
	}
}

// Heads that somebody removes while the server runs get to the other places all
// the same.
func TestHeadsRemovedMeanwhile(t *testing.T) {
	for name, remove := range map[string]func(s *site) error{
		"one":           func(s *site) error { return os.Remove(filepath.Join(s.heads(), FileName("alpha", 2))) },
		"the directory": func(s *site) error { return os.RemoveAll(s.heads()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				slow := newPlace("slow")
				slow.set(errors.New("no network"), false)
				s.run(s.exporter(slow), time.Hour+time.Minute, func() {
					if err := remove(s); err != nil {
						t.Error(err)
					}
					slow.set(nil, false)
				})
				s.check(slow.kept, 8)
				s.check(s.local(), 8)
			})
		})
	}
}

// Heads that are not of this log are not written over, and the server says so
// before it signs others.
func TestForeignHeads(t *testing.T) {
	s, other := newSite(t), newSite(t)
	other.key = s.key
	for range 3 {
		for _, x := range []*site{s, other} {
			if _, err := x.log.AppendHead(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.exporter()
	if err := os.CopyFS(other.heads(), os.DirFS(s.heads())); err != nil {
		t.Fatal(err)
	}
	if _, err := other.try(); !errors.Is(err, ErrConflict) {
		t.Errorf("heads of another log: %v", err)
	}
	longer := sign(t, sample(4), s.key)
	if err := os.WriteFile(filepath.Join(s.heads(), FileName("alpha", 4)), longer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.try(); err == nil || !strings.Contains(err.Error(), "ends after head 3") {
		t.Errorf("a log that is shorter than its heads: %v", err)
	}
	os.Remove(filepath.Join(s.heads(), FileName("alpha", 4)))

	// A new key does not put the old heads in question.
	before := s.local()
	s.key = newKey(t, "alpha")
	s.exporter()
	for name, content := range s.local() {
		if !bytes.Equal(content, before[name]) {
			t.Errorf("%s was signed again", name)
		}
	}
}

// A log that cannot be written gets its head when it can.
func TestLogFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		p := newPlace("outside")
		e := s.exporter(p)
		s.log.Close()
		s.run(e, 30*time.Minute, func() {
			if n := value(t, e, "audit_head_failures_total", here); n < 10 {
				t.Errorf("%v failures in a quarter of an hour", n)
			}
			if err := s.log.Reopen(); err != nil {
				t.Error(err)
			}
		})
		s.check(p.kept, 3)
	})
}

func TestConfigIsChecked(t *testing.T) {
	s := newSite(t)
	good := Config{Log: s.log, Dir: s.heads(), Key: s.key, Logger: slog.Default()}
	for i, spoil := range []func(*Config){
		func(c *Config) { c.Log = nil }, func(c *Config) { c.Dir = "" }, func(c *Config) { c.Key = nil }, func(c *Config) { c.Logger = nil },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("config %d is taken: %s", i, fmt.Sprintf("%+v", c))
		}
	}
}
