// Package audit is the issuance log: one line for every intent, certificate,
// revocation and authority, hash-chained, in append-only files beside the
// database.
//
// The log exists so that an auditor can check what a CA has signed without
// trusting the database, and so that a database that was lost or rolled back
// shows. Records are grouped in batches, one for each transaction of the
// database. A batch is durable before its transaction commits, and it is
// confirmed by the next batch of events: so exactly the last one can be
// missing in the database, and only it can still be aborted.
//
// The chain shows every change, removal, exchange and gap. It cannot show by
// itself that the newest records were cut off, or that all of it was written
// anew: compare the Head with one that was kept elsewhere.
package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

// ErrFailed: an earlier write failed, so that the end of the log on disk is
// not known; nothing is appended until Reopen has succeeded.
var ErrFailed = errors.New("issuance log has failed and was not reopened yet")

// A RecordError refuses a batch for one event that cannot be written, whatever
// the disk does. Nothing of the batch is in the log, which goes on.
type RecordError struct {
	Index int // of the event
	Err   error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("appending to issuance log: event %d of the batch: %v", e.Index+1, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Config says how a log is written.
type Config struct {
	// Server names the server that writes. It stands in every file and must
	// stay the same. Required.
	Server string
	// MaxSize is the size at which a new file begins; 0 means 8 MiB.
	MaxSize int64
	// Now is the clock for the log's own records; nil means time.Now.
	Now func() time.Time
}

// Log is an open issuance log. One process writes it; its methods may be
// called concurrently.
type Log struct {
	dir string
	cfg Config

	mu     sync.Mutex
	file   *os.File
	size   int64 // of file, all of it durable
	head   ledger.Head
	heads  int64       // head records so far
	events ledger.Head // last batch of events
	open   bool        // events may still be aborted
	lost   int64       // batch whose append failed, 0 for none
	failed bool
	buf    []byte
}

var _ ledger.Log = (*Log)(nil)

// Open opens or begins the log in the directory, which must exist. It checks
// the newest file, cuts off what a crash left incomplete and records that, and
// refuses anything else that does not chain with a *Break.
func Open(dir string, cfg Config) (*Log, error) {
	if cfg.Server == "" {
		return nil, errors.New("opening issuance log: no server named")
	}
	if cfg.MaxSize == 0 {
		cfg.MaxSize = 8 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &Log{dir: dir, cfg: cfg, failed: true}
	if err := l.Reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

// Server is the name of the server that writes.
func (l *Log) Server() string { return l.cfg.Server }

// HeadCount is the sequence number of the last head record.
func (l *Log) HeadCount() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heads
}

// Head is the position of the last batch.
func (l *Log) Head() ledger.Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Append writes one batch and returns after fdatasync. After an error, unless
// it is a *RecordError, nothing more is appended until Reopen has succeeded,
// since neither the file nor the page cache can be trusted after a failed write.
func (l *Log) Append(events []ledger.Event) (ledger.Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		return l.head, ErrFailed
	}
	if len(events) == 0 {
		return l.head, errors.New("appending to issuance log: empty batch")
	}
	if l.size >= l.cfg.MaxSize {
		if err := l.begin(); err != nil {
			l.failed = true
			return l.head, err
		}
	}
	b := l.buf[:0]
	hash := l.head.Hash
	r := record{format: format, batch: l.head.Batch + 1, of: len(events)}
	for i, e := range events {
		r.rec, r.kind, r.at, r.event = i, e.Kind, e.At, e
		start := len(b)
		var err error
		if b, hash, err = appendRecord(b, &r, hash); err != nil {
			return l.head, &RecordError{i, err}
		}
		if len(b)-start > maxLine {
			return l.head, &RecordError{i, fmt.Errorf("record of %d bytes is over the limit of %d", len(b)-start, maxLine)}
		}
	}
	l.keep(b)
	next := ledger.Head{Batch: r.batch, Hash: hash}
	if err := l.write(b); err != nil {
		l.lost = r.batch
		return l.head, err
	}
	l.head, l.events, l.open = next, next, true
	return l.head, nil
}

// keep reuses the buffer for the next batch unless it grew beyond reason.
func (l *Log) keep(b []byte) {
	if cap(b) <= 4<<20 {
		l.buf = b
	}
}

// Abort records that the last batch of events never committed. It does nothing
// if that is recorded already or if there is none.
func (l *Log) Abort() (ledger.Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		return l.head, ErrFailed
	}
	return l.head, l.abort()
}

func (l *Log) abort() error {
	if !l.open {
		return nil
	}
	if err := l.note(&record{kind: kindAborted, target: l.events.Batch}); err != nil {
		return err
	}
	l.open = false
	return nil
}

// note writes one of the log's own records as a batch.
func (l *Log) note(r *record) error {
	r.format, r.batch, r.of, r.at = format, l.head.Batch+1, 1, l.cfg.Now()
	b, hash, err := appendRecord(nil, r, l.head.Hash)
	if err != nil {
		return err
	}
	if err := l.write(b); err != nil {
		return err
	}
	l.head = ledger.Head{Batch: r.batch, Hash: hash}
	return nil
}

// write appends to the file and syncs it.
func (l *Log) write(b []byte) error {
	if _, err := l.file.WriteAt(b, l.size); err != nil {
		l.failed = true
		return fmt.Errorf("writing issuance log: %w", err)
	}
	if err := fdatasync(l.file); err != nil {
		l.failed = true
		return err
	}
	l.size += int64(len(b))
	return nil
}

// begin starts the next file.
func (l *Log) begin() error {
	f, err := os.OpenFile(filepath.Join(l.dir, fileName(l.head.Batch+1)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return fmt.Errorf("creating file of issuance log: %w", err)
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.size = f, 0
	if err := l.note(&record{kind: kindOpened, server: l.cfg.Server, prev: l.head.Hash, heads: l.heads}); err != nil {
		return err
	}
	return syncDir(l.dir)
}

// Close releases the file. Everything is durable already.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = true
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
