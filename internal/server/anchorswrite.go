package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mintmark/internal/ledger"
)

// written are notes that are to be written, of one rotation.
type written struct {
	rotation string
	notes    map[string]ledger.AnchorNote // by device
	seen     []sighting                   // they came of these
}

// Bounds of one look at the ledger, and of what is left to do at the end.
const (
	notesTimeout = 10 * time.Second
	notesAtEnd   = 5 * time.Second
)

// run judges and writes until ctx ends, and then what is left, within a few seconds.
func (f *followers) run(ctx context.Context) {
	// What is begun when ctx ends is brought to its end.
	work := context.WithoutCancel(ctx)
	next := written{notes: make(map[string]ledger.AnchorNote)}
	ticker := time.NewTicker(notesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(work, notesAtEnd)
			defer cancel()
			for len(f.queue) > 0 {
				f.take(last, &next, <-f.queue)
			}
			f.flush(last, &next)
			f.dropped.Add(float64(len(next.seen)))
			return
		case s := <-f.queue:
			f.take(work, &next, s)
		case <-ticker.C:
			f.flush(work, &next)
		case answer := <-f.asked:
			for range len(f.queue) {
				f.take(work, &next, <-f.queue)
			}
			f.flush(work, &next)
			if len(next.notes) > 0 {
				answer <- errNotNoted
			}
			close(answer)
		}
	}
}

var errNotNoted = errors.New("the ledger cannot note which devices have followed the rotation: the server's log says why")

// write writes what was seen until now. It needs run.
func (f *followers) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, notesTimeout)
	defer cancel()
	answer := make(chan error, 1)
	select {
	case f.asked <- answer:
	case <-ctx.Done():
		return fmt.Errorf("noting which devices have followed the rotation: %w", ctx.Err())
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("noting which devices have followed the rotation: %w", ctx.Err())
	}
}

// take judges an exchange.
func (f *followers) take(ctx context.Context, next *written, s sighting) {
	f.begun(s)
	if next.rotation != s.rotation.ID {
		f.flush(ctx, next)
		f.dropped.Add(float64(len(next.seen))) // the ledger could not write all that time
		*next = written{rotation: s.rotation.ID, notes: make(map[string]ledger.AnchorNote)}
	}
	if f.knows(s) {
		return
	}
	if len(next.seen) >= maxNotes {
		f.dropped.Inc()
		return
	}
	looking, cancel := context.WithTimeout(ctx, notesTimeout)
	note, ok, err := f.judge(looking, &s)
	cancel()
	if err != nil {
		f.dropped.Inc()
		return
	}
	if !ok {
		return
	}
	have := next.notes[note.Device]
	if have.Device == "" {
		have = note
	}
	if have.Trusts.IsZero() {
		have.Trusts, have.How = note.Trusts, note.How
	}
	if have.Chains.IsZero() {
		have.Chains = note.Chains
	}
	next.notes[note.Device] = have
	next.seen = append(next.seen, s)
}

// flush writes what is to be written; what could not be stays for the next time.
func (f *followers) flush(ctx context.Context, next *written) {
	if len(next.notes) == 0 {
		return
	}
	notes := slices.SortedFunc(maps.Values(next.notes), func(a, b ledger.AnchorNote) int {
		if a.Device < b.Device {
			return -1
		}
		return 1
	})
	writing, cancel := context.WithTimeout(ctx, notesTimeout)
	err := f.notes.NoteAnchors(writing, next.rotation, notes)
	cancel()
	if errors.Is(err, ledger.ErrNotFound) {
		f.dropped.Add(float64(len(next.seen))) // its record is gone, after a restore
	} else if err != nil {
		f.log.Warn("noting which devices have followed a rotation: tried again", "rotation", next.rotation, "devices", len(notes), "error", err)
		return
	} else {
		f.noted.Add(float64(len(notes)))
		f.remember(next)
	}
	next.notes, next.seen = make(map[string]ledger.AnchorNote), nil
}

// remember keeps of which certificates what is in the ledger, so that it is not written
// again each time when a device comes.
func (f *followers) remember(w *written) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.id != w.rotation || len(f.done) > maxNoted {
		f.id = w.rotation
		clear(f.done)
	}
	for _, s := range w.seen {
		f.done[s.key] |= trusting(s.says)
	}
}
