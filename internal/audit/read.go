package audit

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"

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

// Batches reads the batches of events that follow a position, oldest first;
// the zero Head is before the first. It must not run beside Append.
func (l *Log) Batches(after ledger.Head) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		if err := readBatches(l.dir, after, func(b Batch) bool { return yield(b, nil) }); err != nil {
			yield(Batch{}, err)
		}
	}
}

// errStop ends a walk early.
var errStop = errors.New("reader has enough")

func readBatches(dir string, after ledger.Head, yield func(Batch) bool) error {
	files, err := listFiles(dir)
	if err != nil {
		return err
	}
	// The file with the position: the last that does not begin after it.
	first := 0
	for i, path := range files {
		if filepath.Base(path) <= fileName(after.Batch) {
			first = i
		}
	}
	files = files[first:]
	var w walker
	if len(files) > 0 && first > 0 {
		if w.head, err = startOf(files[0]); err != nil {
			return err
		}
	}
	found := w.head == after
	var held *Batch // until it is known whether it was confirmed
	for _, path := range files {
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
				r, err := parseRecord(b.bodies[0])
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
	batch := &Batch{Head: b.head, Events: make([]ledger.Event, 0, len(b.bodies))}
	for i, body := range b.bodies {
		r, err := parseRecord(body)
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
