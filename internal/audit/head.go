package audit

import (
	"errors"
	"iter"
	"time"

	"mintmark/internal/ledger"
)

// HeadRecord is a record of kind head: the position after it is what package
// heads signs and exports.
type HeadRecord struct {
	Server   string
	Sequence int64       // from 1, without gaps, for all of a server's log
	Position ledger.Head // of the record itself
	At       time.Time
}

// AppendHead writes a head record and returns after fdatasync. It may run
// beside Append: a batch that waits for its commit stays the one that Abort
// aborts.
func (l *Log) AppendHead() (HeadRecord, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		return HeadRecord{}, ErrFailed
	}
	if l.size >= l.cfg.MaxSize {
		if err := l.begin(); err != nil {
			l.failed = true
			return HeadRecord{}, err
		}
	}
	r := record{kind: kindHead, heads: l.heads + 1}
	if err := l.note(&r); err != nil {
		return HeadRecord{}, err
	}
	l.heads = r.heads
	return HeadRecord{Server: l.cfg.Server, Sequence: r.heads, Position: l.head, At: r.at.UTC()}, nil
}

// Heads reads the head records that follow the one with this sequence number,
// oldest first.
func (l *Log) Heads(after int64) iter.Seq2[HeadRecord, error] {
	return func(yield func(HeadRecord, error) bool) {
		if l.HeadCount() <= after {
			return
		}
		files, limit, err := l.extent()
		if err == nil {
			err = readHeads(files, limit, after, func(r HeadRecord) bool { return yield(r, nil) })
		}
		if err != nil {
			yield(HeadRecord{}, err)
		}
	}
}

func readHeads(files []string, limit, after int64, yield func(HeadRecord) bool) error {
	// The newest file that begins before the first one wanted.
	var w walker
	first := 0
	for i := len(files) - 1; i > 0; i-- {
		start, err := startOf(files[i])
		if err != nil {
			return err
		}
		if start.heads <= after {
			first, w = i, start
			break
		}
	}
	for i, path := range files[first:] {
		if first+i == len(files)-1 {
			w.limit = limit
		}
		_, err := w.file(path, func(b *rawBatch) error {
			if b.kind != kindHead || w.heads <= after {
				return nil
			}
			r, err := b.headRecord(path, w.server)
			if err != nil {
				return err
			}
			if !yield(r) {
				return errStop
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
	return nil
}

// headRecord decodes a batch of kind head.
func (b *rawBatch) headRecord(path, server string) (HeadRecord, error) {
	r, err := parseRecord(b.bodies[0], b.format)
	if err != nil {
		return HeadRecord{}, &Break{File: path, Line: b.line, Reason: err.Error()}
	}
	return HeadRecord{Server: server, Sequence: r.heads, Position: b.head, At: r.at}, nil
}
