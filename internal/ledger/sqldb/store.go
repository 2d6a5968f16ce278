// Package sqldb keeps the ledger in an SQL database: SQLite, embedded, with
// the write-ahead log and full synchronisation, for one server; PostgreSQL for
// several (dialect.go; shared.go says how they keep out of each other's way).
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
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
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
	// Path is the file of an SQLite database, which is this server's alone.
	// Either it or URL is required.
	Path string
	// URL names a PostgreSQL database that servers share, without a password:
	// postgres://mintmark@db.example/mintmark?sslmode=verify-full.
	URL string
	// Password is asked for the password at each connection to URL; nil for
	// none. It must not be slow.
	Password func() (string, error)
	// MaxConnections bounds the connections to URL, of which one writes; at
	// least 2, and 0 means 8. While the schema is migrated there may be 3.
	MaxConnections int
	// Patience is how long a transaction on URL may take before the database
	// counts as dead; 0 means 60 s.
	Patience time.Duration
	// Server is this server's name, which no other may have. Required with URL.
	Server string
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
	// times as long it waits at most, and less while the processors have time to
	// spare. 0 means 4 ms.
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
	dialect *dialect
	queue   *queue
	readers *sql.DB
	// bySerial is prepared because every request by a certificate of ours asks
	// for it.
	bySerial *sql.Stmt
	recent   *recent // nil with a database that servers share
	writer   *writer // the committer's
	mark     string  // the committer's: what meta says of the log
	instance string  // tells this store from an earlier one of the same server
	taken    bool    // the row of meta was made this store's

	fault     atomic.Pointer[error]
	orphansMu sync.Mutex
	orphaned  map[string]struct{}

	warmed    atomic.Pointer[os.File] // see Warm
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
	dialect, err := newDialect(cfg)
	if err == nil && cfg.Log == nil {
		err = errors.New("an issuance log is needed")
	}
	if err != nil {
		return nil, fmt.Errorf("opening ledger: %w", err)
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
		dialect:  dialect,
		instance: rand.Text(),
		queue:    newQueue(cfg.MaxLinger, cfg.MaxBatch, new(processors).busy),
		orphaned: map[string]struct{}{},
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	if !dialect.shared {
		s.recent = new(recent)
	}
	if err := s.start(ctx); err != nil {
		if s.readers != nil {
			s.readers.Close()
		}
		if s.writer != nil {
			s.writer.close()
		}
		return nil, fmt.Errorf("opening ledger: %w", err)
	}
	go s.commitLoop()
	return s, nil
}

func (s *Store) start(ctx context.Context) (err error) {
	if s.writer, err = openWriter(ctx, s.dialect); err != nil {
		return err
	}
	if err := s.writer.migrate(ctx, s.cfg.Migrate); err != nil {
		return err
	}
	// As in reopen: the process before may have died after a failed fsync.
	if err := s.dialect.checkpoint(ctx, s.writer.conn); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	if s.readers, err = s.dialect.openReaders(); err != nil {
		return err
	}
	if s.bySerial, err = s.readers.PrepareContext(ctx, sqlCertificate); err != nil {
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
		if f := s.warmed.Load(); f != nil {
			f.Close()
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
