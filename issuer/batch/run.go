package batch

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"mintmark/internal/flock"
)

// inFlight is how many parts are worked on at a time: while one is being issued, the keys
// of the next are made and the files of the one before are written.
const inFlight = 5

// Options say how a batch is run.
type Options struct {
	// Progress is called after each step, one call at a time; may be nil.
	Progress func(Progress)
	// Lists write the files for clouds: one for each of Plan.Lists.
	Lists []List
}

// Progress is how far a run has come.
type Progress struct {
	Total   int // devices of the batch
	Issued  int // of all runs
	Refused int // by this run
	Before  int // issued before this run
	Keys    int // that this run has made, where making one takes long
	// Waiting is why nothing comes from the CA at the moment, and it is asked again; empty
	// while it answers.
	Waiting string
}

// Summary is what a run leaves.
type Summary struct {
	ID      string `json:"id"`
	Devices int    `json:"devices"`
	Issued  int    `json:"issued"`
	// Prior counts the certificates that were there before they were asked for.
	Prior   int `json:"prior"`
	Refused int `json:"refused"`
	// Unasked counts the devices that nothing was asked for, because the work order had no
	// unit left or the run was ended.
	Unasked int `json:"not_asked"`
	// Open counts the devices that were asked for and of which no answer is written down: a run
	// is at it, or was cut off there.
	Open  int `json:"open"`
	Parts int `json:"parts"`
	// Signed is true if the delivery and its manifest are as the journal says.
	Signed bool `json:"manifest_signed"`
	// Stopped is why no more was asked for; empty if all was.
	Stopped string `json:"stopped,omitempty"`
}

// Batch is an open folder. Only one process has it.
type Batch struct {
	Plan Plan

	dir     string
	held    *os.File // the lock
	items   *items
	journal *journal
	spool   *spool // nil if there are no keys to keep
	size    int    // of a part

	root *x509.Certificate

	// step is called between all that is written down, with what was done last; nil except
	// in tests, which end the process there.
	step func(string)
}

// Open opens the folder of a batch for a run. The error is ErrBusy if another one works on
// it, and fs.ErrNotExist if there is no batch.
func Open(dir string) (b *Batch, err error) {
	plan, err := ReadPlan(dir)
	if err != nil {
		return nil, err
	}
	b = &Batch{Plan: plan, dir: dir, size: maxPart}
	defer func() {
		if err != nil {
			b.Close()
			b = nil
		}
	}()
	if b.held, err = lock(dir); err != nil {
		return b, err
	}
	if b.root, err = x509.ParseCertificate(plan.Root); err != nil {
		return b, fmt.Errorf("the trust anchor of %s: %w", planFile, err)
	}
	if b.items, err = openItems(dir, plan); err != nil {
		return b, err
	}
	if b.journal, err = openJournal(dir); err != nil {
		return b, err
	}
	if err = os.MkdirAll(filepath.Join(dir, Delivery), 0o755); err != nil {
		return b, err
	}
	// The journal is believed of what is in the delivery: both are there, then.
	if err = syncFolder(dir); err != nil {
		return b, err
	}
	return b, sweep(filepath.Join(dir, Delivery))
}

// Close gives the folder back.
func (b *Batch) Close() error {
	var errs []error
	if b.journal != nil {
		errs = append(errs, b.journal.close())
	}
	if b.items != nil {
		errs = append(errs, b.items.close())
	}
	if b.held != nil {
		errs = append(errs, flock.Release(b.held))
	}
	return errors.Join(errs...)
}

// Run goes on with the batch as far as it gets: first with what was begun, then with what
// nobody asked for yet, then with what was refused. It ends when everything was asked for, when the
// work order has nothing left, with ctx, or with an error; each time the folder is as
// another Run needs it. The delivery is signed if nothing is left half done.
func (b *Batch) Run(ctx context.Context, certifier Certifier, o Options) (Summary, error) {
	r := &run{Batch: b, certifier: certifier, options: o, entries: make(map[int][]byte)}
	var err error
	if r.state, err = stateOf(b.journal.records, b.items.len()); err != nil {
		return r.summary(), err
	}
	if b.Plan.KeyType != "" && (len(r.state.open()) > 0 || len(r.state.next(b.size)) > 0) {
		if b.spool, err = openSpool(b.dir, b.Plan.ID); err != nil {
			return r.summary(), err
		}
	}
	r.before, _ = r.state.issued()
	r.report()
	if err := r.parts(ctx); err != nil {
		return r.summary(), err
	}
	err = r.finish(ctx)
	return r.summary(), err
}

// run is one run of a batch.
type run struct {
	*Batch
	certifier Certifier
	options   Options
	before    int
	refused   int // by this run
	made      int // keys, if that takes long

	making sync.Mutex // held by the part whose slow keys are made

	mu      sync.Mutex
	state   *state
	stopped string // why nothing more is begun
	waiting string // Progress.Waiting
	signed  bool
	// entries are the lines of the manifest about the certificates of a part, of those that
	// this run has made: their lists need not be read again.
	entries map[int][]byte
}

// did tells tests what was done last.
func (r *run) did(step string) {
	if r.step != nil {
		r.step(step)
	}
}

// parts works on all parts, some at a time, until one fails.
func (r *run) parts(ctx context.Context) error {
	queue, next := r.state.open(), r.state.next(r.size)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	take := func() (p part, ok bool, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return p, false, context.Cause(ctx)
		case len(queue) > 0:
			p, queue = queue[0], queue[1:]
			return p, true, nil
		case len(next) == 0 || r.stopped != "":
			return p, false, nil
		}
		begin := record{Part: len(r.state.parts) + 1, Items: spans(next[0])}
		next = next[1:]
		if err := r.journal.add(begin); err != nil {
			return p, false, err
		}
		if err := r.state.take(begin, r.items.len()); err != nil {
			return p, false, err
		}
		return r.state.parts[begin.Part-1], true, nil
	}
	var wait sync.WaitGroup
	for range inFlight {
		wait.Go(func() {
			for {
				p, ok, err := take()
				if err == nil && ok {
					r.did("begun")
					err = r.work(ctx, p)
				}
				if err != nil {
					cancel(err)
					return
				}
				if !ok {
					return
				}
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

// ended writes down that a part is done.
func (r *run) ended(done record, entries []byte) error {
	if err := r.journal.add(done); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[done.Part] = entries
	if err := r.state.take(done, r.items.len()); err != nil {
		return err
	}
	r.refused += len(done.Refused)
	for _, one := range done.Refused {
		if endsOrder(one.Rule) && r.stopped == "" {
			r.stopped = one.Text
		}
	}
	r.report()
	return nil
}

// endsOrder reports whether a refusal is that of a work order which pays for nothing more:
// whatever else is asked for gets the same answer.
func endsOrder(rule string) bool {
	switch rule {
	case "order-exhausted", "order-closed", "order-killed", "order-expired", "order-early", "order-unknown":
		return true
	}
	return false
}

// report tells how far it is. Only one goroutine calls it at a time.
func (r *run) report() {
	if r.options.Progress != nil {
		issued, _ := r.state.issued()
		r.options.Progress(Progress{Total: r.items.len(), Issued: issued, Refused: r.refused, Before: r.before, Keys: r.made, Waiting: r.waiting})
	}
}

// slowKeys reports whether keys take so long that people want to see them coming; of others
// there are more than anybody counts.
func (r *run) slowKeys() bool { return strings.HasPrefix(r.Plan.KeyType, "RSA") }

// madeKey notes that a key was made.
func (r *run) madeKey() {
	if !r.slowKeys() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made++
	r.report()
}

// waits notes why the CA is asked again or, with nil, that it answers.
func (r *run) waits(why error) {
	text := ""
	if why != nil {
		text = why.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting != text {
		r.waiting = text
		r.report()
	}
}

func (r *run) summary() Summary {
	s := Summary{ID: r.Plan.ID, Devices: r.items.len(), Signed: r.signed, Stopped: r.stopped}
	if r.state != nil {
		s.Issued, s.Prior = r.state.issued()
		s.Refused, s.Unasked, s.Open, s.Parts = len(r.state.refused), r.state.unasked(), r.state.unanswered(), len(r.state.parts)
	}
	return s
}
