package heads

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/internal/audit"
)

// putTimeout bounds one attempt to keep a head somewhere.
const putTimeout = 45 * time.Second

// Config says what is signed and where it is kept.
type Config struct {
	// Log is the issuance log. Required.
	Log *audit.Log
	// Dir keeps every head on this host, from where targets get theirs. It is
	// made if it is missing. Required.
	Dir string
	// Key signs. Required.
	Key *Key
	// Targets keep heads off the host; may be empty.
	Targets []Target
	// Interval is the time from one head to the next; 0 means 10 minutes. There
	// is one each time, also if the log has not grown: only a new head shows
	// that nothing was cut off.
	Interval time.Duration
	// Now is the clock by which the age of heads is said; nil means time.Now.
	// The heads' own times are the log's.
	Now func() time.Time
	// Logger is told of places that fail. Required.
	Logger *slog.Logger
}

// Exporter makes heads and takes them to where they are kept.
type Exporter struct {
	cfg     Config
	local   *folder
	metrics metrics

	mu     sync.Mutex
	newest int64         // all heads up to this one are in Dir
	grown  chan struct{} // closed when newest rises
	sent   map[string]int64
	kept   map[string]time.Time // time of the newest head in each place
}

type metrics struct {
	time      *prometheus.GaugeVec
	failures  *prometheus.CounterVec
	conflicts *prometheus.CounterVec
}

// here is the name of Dir among targets, in metrics and in the log.
const here = "local"

// New makes the heads that a crash has kept from being written and checks that
// the newest one in Dir is this log's.
func New(cfg Config) (*Exporter, error) {
	if cfg.Log == nil || cfg.Dir == "" || cfg.Key == nil || cfg.Logger == nil {
		return nil, errors.New("exporting heads: log, directory, key and logger must be set")
	}
	if cfg.Interval == 0 {
		cfg.Interval = 10 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	e := &Exporter{
		cfg: cfg, local: Folder(cfg.Dir).(*folder), metrics: newMetrics(), grown: make(chan struct{}),
		sent: map[string]int64{}, kept: map[string]time.Time{},
	}
	for _, name := range append([]string{here}, e.names()...) {
		e.metrics.failures.WithLabelValues(name) // there from the start
		e.metrics.conflicts.WithLabelValues(name)
	}
	if err := e.resume(); err != nil {
		return nil, fmt.Errorf("exporting heads: %w", err)
	}
	return e, nil
}

func newMetrics() metrics {
	label := []string{"target"}
	return metrics{
		time: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "audit_head_timestamp_seconds",
			Help: "Time of the newest signed head of the issuance log that is kept in a place, in Unix time.",
		}, label),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "audit_head_failures_total",
			Help: "Attempts to sign a head of the issuance log or to keep it in a place that failed.",
		}, label),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "audit_head_conflicts_total",
			Help: "Heads of which a place keeps another one under the same name: the log, or what is kept there, was exchanged.",
		}, label),
	}
}

// Metrics lists the collectors.
func (e *Exporter) Metrics() []prometheus.Collector {
	return []prometheus.Collector{e.metrics.time, e.metrics.failures, e.metrics.conflicts}
}

func (e *Exporter) names() []string {
	var names []string
	for _, t := range e.cfg.Targets {
		names = append(names, t.Name())
	}
	return names
}

// resume compares Dir with the log and fills what is missing in Dir.
func (e *Exporter) resume() error {
	have, err := sequences(e.cfg.Dir, e.cfg.Log.Server())
	if err != nil {
		return err
	}
	var last int64 // all up to it are there
	for have[last+1] {
		last++
	}
	logged := e.cfg.Log.HeadCount()
	for sequence := range have {
		if sequence > logged {
			return fmt.Errorf("%s holds head %d, and the issuance log ends after head %d: the log was cut short, exchanged or begun anew. If a new log was begun on purpose, move that directory and the places of audit.heads away", e.cfg.Dir, sequence, logged)
		}
	}
	// The last one that is there is made again, too, to see whether it is this
	// log's.
	if err := e.remake(max(0, last-1)); err != nil {
		return err
	}
	e.readSent()
	return nil
}

// remake puts the heads after a sequence number into Dir, which it makes if
// somebody has removed it.
func (e *Exporter) remake(after int64) error {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return err
	}
	for r, err := range e.cfg.Log.Heads(after) {
		if err != nil {
			return err
		}
		if err := e.keep(r); err != nil {
			return err
		}
	}
	return nil
}

// keep puts a head into Dir. One that another key has signed for the same
// position stays as it is.
func (e *Exporter) keep(r audit.HeadRecord) error {
	signed, err := Sign(r, e.cfg.Key)
	if err != nil {
		return err
	}
	err = e.local.put(FileName(r.Server, r.Sequence), signed)
	if errors.Is(err, ErrConflict) {
		have, rerr := readHead(filepath.Join(e.cfg.Dir, FileName(r.Server, r.Sequence)))
		if rerr == nil && bytes.HasPrefix(have, []byte(text(r)+"\n")) {
			e.cfg.Logger.Warn("a head was signed by another key: auditors need that one, too", "head", r.Sequence, "key", SignedBy(have))
			err = nil
		}
	}
	if err != nil {
		return err
	}
	e.isKept(here, r)
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Sequence > e.newest {
		e.newest = r.Sequence
		close(e.grown)
		e.grown = make(chan struct{})
	}
	return nil
}

// Run makes a head at once, one at every interval, and a last one when ctx
// ends; it returns when that one is wherever it can be within a short time.
func (e *Exporter) Run(ctx context.Context) {
	// Places go on while the last head is made.
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var places sync.WaitGroup
	last := make(chan struct{})
	for _, t := range e.cfg.Targets {
		places.Go(func() { e.send(sending, t, last) })
	}
	for ctx.Err() == nil {
		wait := e.cfg.Interval
		if !e.next() {
			wait = min(wait, retry)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	e.next()
	close(last)
	finished := make(chan struct{})
	go func() { places.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(lastWait):
		stop()
		<-finished
	}
}

const (
	// retry is the pause after a failure.
	retry = time.Minute
	// lastWait bounds how long the last head holds up the end.
	lastWait = 10 * time.Second
)

// next makes the next head and reports whether that went well.
func (e *Exporter) next() bool {
	e.mu.Lock()
	newest := e.newest
	e.mu.Unlock()
	// What an earlier failure has left out goes first.
	err := e.remake(newest)
	if err == nil {
		var r audit.HeadRecord
		if r, err = e.cfg.Log.AppendHead(); err == nil {
			err = e.keep(r)
		}
	}
	if err == nil {
		return true
	}
	e.failed(here, "cannot sign the head of the issuance log", err)
	return false
}

// isKept notes that a place has a head.
func (e *Exporter) isKept(target string, r audit.HeadRecord) {
	e.metrics.time.WithLabelValues(target).Set(float64(r.At.Unix()))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept[target] = r.At
}

// failed counts a failure and says for how long a place has got nothing new.
func (e *Exporter) failed(target, what string, err error) {
	e.metrics.failures.WithLabelValues(target).Inc()
	if errors.Is(err, ErrConflict) {
		e.metrics.conflicts.WithLabelValues(target).Inc()
	}
	e.mu.Lock()
	kept, known := e.kept[target]
	e.mu.Unlock()
	age := "unknown"
	if known {
		age = e.cfg.Now().Sub(kept).Round(time.Second).String()
	}
	e.cfg.Logger.Error(what, "target", target, "age of the newest head there", age, "err", err)
}

// send takes heads to one place, in their order, until ctx ends or, once last
// is closed, nothing is left or the first attempt fails.
func (e *Exporter) send(ctx context.Context, t Target, last <-chan struct{}) {
	for {
		e.mu.Lock()
		next, newest, grown := e.sent[t.Name()]+1, e.newest, e.grown
		e.mu.Unlock()
		var wait <-chan time.Time
		if next <= newest {
			if e.deliver(ctx, t, next) {
				continue
			}
			wait, grown = time.After(retry), nil
		}
		select {
		case <-ctx.Done():
			return
		case <-wait:
		case <-grown:
		case <-last:
			e.deliverRest(ctx, t)
			return
		}
	}
}

// deliverRest makes one more attempt for what is left.
func (e *Exporter) deliverRest(ctx context.Context, t Target) {
	for {
		e.mu.Lock()
		next, newest := e.sent[t.Name()]+1, e.newest
		e.mu.Unlock()
		if next > newest || !e.deliver(ctx, t, next) {
			return
		}
	}
}

// deliver puts one head into a place. One that stands against another there is
// an alarm and does not keep the next ones from being kept.
func (e *Exporter) deliver(ctx context.Context, t Target, sequence int64) bool {
	name := FileName(e.cfg.Log.Server(), sequence)
	signed, err := readHead(filepath.Join(e.cfg.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		// Whoever has removed it from here must not keep it from being there.
		if err = e.remake(sequence - 1); err == nil {
			signed, err = readHead(filepath.Join(e.cfg.Dir, name))
		}
	}
	if err == nil {
		attempt, cancel := context.WithTimeout(ctx, putTimeout)
		err = t.Put(attempt, name, signed)
		cancel()
	}
	if err != nil {
		e.failed(t.Name(), "cannot keep a head of the issuance log", err)
		if !errors.Is(err, ErrConflict) {
			return false
		}
	} else if r, err := parseNote(signed); err == nil {
		e.isKept(t.Name(), r)
	}
	e.mu.Lock()
	e.sent[t.Name()] = sequence
	e.mu.Unlock()
	e.writeSent()
	return true
}

// parseNote reads a note of ours without verifying it.
func parseNote(signed []byte) (audit.HeadRecord, error) {
	body, _, found := bytes.Cut(signed, []byte("\n\n"))
	if !found {
		return audit.HeadRecord{}, errors.New("not a signed note")
	}
	return parseText(string(body) + "\n")
}

// sequences lists a server's heads in a directory.
func sequences(dir, server string) (map[int64]bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing heads: %w", err)
	}
	all := map[int64]bool{}
	for _, entry := range entries {
		if of, sequence, ok := parseName(entry.Name()); ok && of == server {
			all[sequence] = true
		}
	}
	return all, nil
}
