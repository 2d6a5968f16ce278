package audit

import (
	"errors"
	"fmt"
	"iter"

	"mintmark/internal/ledger"
)

var (
	// ErrUnknownHead: the position asked for is not one of this log.
	ErrUnknownHead = errors.New("position is not in the issuance log")
	// ErrConfirmed: batches that are known to have committed follow the
	// position asked for.
	ErrConfirmed = errors.New("issuance log holds committed batches after the position")
)

// Batch is one batch of events as it was written.
type Batch struct {
	Head   ledger.Head
	Events []ledger.Event
	// File and Line are where its first record stands; the others follow, one a
	// line.
	File   string
	Line   int
	Server string // whose log it is; set by Walk and Merge
	// Confirmed is set when another batch of events follows, which the server
	// writes only after this one has committed or was aborted.
	Confirmed bool
	// Aborted is set when the log says that the batch never committed.
	Aborted bool
}

// Unsettled compares the log with a database that stands at the given
// position. It reports true if exactly the last batch is missing there and may
// have been in flight when the server stopped, and false if nothing is missing.
// The error is ErrUnknownHead or ErrConfirmed if the two do not belong
// together.
func (l *Log) Unsettled(since ledger.Head) (bool, error) {
	if l.endsAt(since) {
		return false, nil
	}
	for b, err := range l.Batches(since) {
		switch {
		case err != nil:
			return false, err
		case b.Aborted:
		case b.Confirmed:
			return false, fmt.Errorf("%w: batch %d", ErrConfirmed, b.Head.Batch)
		default:
			return true, nil
		}
	}
	return false, nil
}

// endsAt reports whether no batch of events follows a position of the log, as after every
// orderly stop.
func (l *Log) endsAt(position ledger.Head) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.failed && position.Batch > 0 && (position == l.head || position == l.events)
}

// Batches reads the batches of events that follow a position, oldest first;
// the zero Head is before the first.
func (l *Log) Batches(after ledger.Head) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		files, limit, err := l.extent()
		if err == nil {
			err = readBatches(files, limit, after, func(b Batch) bool { return yield(b, nil) })
		}
		if err != nil {
			yield(Batch{}, err)
		}
	}
}

// extent is what the log consists of now: its files and how far the newest is
// durable, so that reading may run beside writing.
func (l *Log) extent() (files []string, limit int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	files, err = listFiles(l.dir)
	if !l.failed {
		limit = l.size
	}
	return files, limit, err
}

// errStop ends a walk early.
var errStop = errors.New("reader has enough")

func readBatches(files []string, limit int64, after ledger.Head, yield func(Batch) bool) error {
	// The file with the position: the last that does not begin after it.
	first := 0
	for i, path := range files {
		if plainName(path) <= fileName(after.Batch) {
			first = i
		}
	}
	files = files[first:]
	var w walker
	if len(files) > 0 && first > 0 {
		var err error
		if w, err = startOf(files[0]); err != nil {
			return err
		}
	}
	found := w.head == after
	var held *Batch // until it is known whether it was confirmed
	for i, path := range files {
		if i == len(files)-1 {
			w.limit = limit
		}
		_, err := w.file(path, func(b *rawBatch) error {
			if !found {
				found = b.head == after
				return nil
			}
			switch {
			case isEvent(b.kind):
				if held != nil {
					held.Confirmed = !held.Aborted
					if !yield(*held) {
						held = nil
						return errStop
					}
				}
				var err error
				held, err = decode(path, b)
				return err
			case b.kind == kindAborted:
				r, err := parseRecord(b.bodies[0], b.format)
				if err != nil {
					return &Break{File: path, Line: b.line, Reason: err.Error()}
				}
				if held != nil && held.Head.Batch == r.target {
					held.Aborted = true
				}
			}
			return nil
		})
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%w: batch %d", ErrUnknownHead, after.Batch)
	}
	if held != nil {
		yield(*held)
	}
	return nil
}

// decode parses the records of a batch of events.
func decode(path string, b *rawBatch) (*Batch, error) {
	batch := &Batch{Head: b.head, File: path, Line: b.line, Events: make([]ledger.Event, 0, len(b.bodies))}
	for i, body := range b.bodies {
		r, err := parseRecord(body, b.format)
		if err == nil && !isEvent(r.kind) {
			err = fmt.Errorf("record of kind %q stands inside a batch of events", r.kind)
		}
		if err != nil {
			return nil, &Break{File: path, Line: b.line + i, Reason: err.Error()}
		}
		batch.Events = append(batch.Events, r.event)
	}
	return batch, nil
}
