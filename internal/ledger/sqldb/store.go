// Package sqldb keeps the ledger in an SQL database: SQLite, embedded, with
// the write-ahead log and full synchronisation.
//
// All writes pass through one goroutine that commits them in groups. A commit
// costs the disk the same for one request as for many, and so the group waits
// until every request in flight has joined it (queue.go). Each group is one
// batch of the issuance log, which is durable before the transaction commits
// (commit.go). After any failure of the disk nothing in memory is believed:
// writes are refused, the connection and the log are opened anew and compared,
// and only then does the store write again (heal.go).
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/internal/ledger"
)

// Log is the issuance log as this package needs it; *audit.Log is one.
type Log interface {
	ledger.Log
	// Unsettled reports whether exactly the last batch after the position is
	// neither aborted nor confirmed. It fails if the position is not in the
	// log or if confirmed batches follow it.
	Unsettled(since ledger.Head) (bool, error)
	// Reopen reads the end of the log from disk again. Append and Abort work
	// again after it has succeeded.
	Reopen() error
}

// Config says where the store is and how it commits.
type Config struct {
	// Path is the database file. Required.
	Path string
	// Log is the issuance log that belongs to the database; the caller closes
	// it after the store. Required.
	Log Log
	// Migrate allows bringing an older or empty database to this version's
	// schema. Only the server does that.
	Migrate bool
	// NewLog accepts a log without events beside a database with records: the
	// old log is lost or kept elsewhere. It is an auditor's business, never a
	// default.
	NewLog bool
	// MaxLinger is how long a batch waits for the next announced request; ten
	// times as long it waits at most. 0 means 4 ms.
	MaxLinger time.Duration
	// MaxBatch closes a batch; 0 means 256 items.
	MaxBatch int
	// Retry is the pause between attempts to become sound again; 0 means 1 s.
	Retry time.Duration
	// Now is the clock for what the store does by itself; nil means time.Now.
	Now func() time.Time
	// Logger is told when the store stops and resumes writing; may be nil.
	Logger *slog.Logger
	// ObserveCommit, if set, is told of every commit: the events in its batch
	// and how long the transaction took, log included.
	ObserveCommit func(batch int, took time.Duration)
}

// Store is an open ledger.
type Store struct {
	cfg     Config
	queue   *queue
	readers *sql.DB
	// bySerial is prepared because every request by a certificate of ours asks
	// for it.
	bySerial *sql.Stmt
	writer   *writer // the committer's

	fault     atomic.Pointer[error]
	orphansMu sync.Mutex
	orphaned  map[string]struct{}

	closing   chan struct{}
	stopped   chan struct{}
	closeOnce sync.Once
	closeErr  error
}

var _ ledger.Ledger = (*Store)(nil)

var errClosed = errors.New("ledger is closed")

// Open opens the database, brings its schema up to date if that is allowed,
// and compares it with the issuance log.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Path == "" || cfg.Log == nil {
		return nil, errors.New("opening ledger: a path and an issuance log are needed")
	}
	if cfg.MaxLinger == 0 {
		cfg.MaxLinger = 4 * time.Millisecond
	}
	if cfg.MaxBatch == 0 {
		cfg.MaxBatch = 256
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{
		cfg:      cfg,
		queue:    newQueue(cfg.MaxLinger, cfg.MaxBatch),
		orphaned: map[string]struct{}{},
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	if err := s.start(ctx); err != nil {
		if s.writer != nil {
			s.writer.close()
		}
		return nil, fmt.Errorf("opening ledger: %w", err)
	}
	go s.commitLoop()
	return s, nil
}

func (s *Store) start(ctx context.Context) error {
	// Created here if it is new, for the mode: SQLite would let all read it.
	f, err := os.OpenFile(s.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if s.writer, err = openWriter(ctx, s.cfg.Path); err != nil {
		return err
	}
	if err := migrate(ctx, s.writer.conn, s.cfg.Migrate); err != nil {
		return err
	}
	// As in reopen: the process before may have died after a failed fsync.
	if err := s.writer.checkpoint(); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	name, err := dsn(s.cfg.Path, "&_pragma=query_only(1)&_pragma=cache_size(-4096)")
	if err != nil {
		return err
	}
	if s.readers, err = sql.Open("sqlite", name); err != nil {
		return err
	}
	s.readers.SetMaxOpenConns(4)
	s.readers.SetMaxIdleConns(4)
	if s.bySerial, err = s.readers.Prepare(sqlCertificate); err != nil {
		return fmt.Errorf("preparing to read certificates: %w", err)
	}
	return nil
}

// Health reports why the store refuses to write, or nil.
func (s *Store) Health() error {
	if why := s.fault.Load(); why != nil {
		return *why
	}
	return nil
}

// Close waits for the writes in flight and closes the database.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.queue.close(errClosed)
		close(s.closing)
		<-s.stopped
		s.closeErr = errors.Join(s.bySerial.Close(), s.readers.Close())
		if s.writer != nil {
			s.closeErr = errors.Join(s.closeErr, s.writer.close())
		}
	})
	return s.closeErr
}

// write enqueues an op and waits for it.
func (s *Store) write(ctx context.Context, o *op) error {
	o.done = make(chan struct{})
	if err := s.queue.add(o); err != nil {
		s.orphan(o)
		if s.Health() == nil {
			s.sweep() // it became sound meanwhile
		}
		return err
	}
	return o.await(ctx)
}
