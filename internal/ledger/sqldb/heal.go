package sqldb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// ErrDiverged: the database and the issuance log do not belong together, most
// often because one of them was restored from a backup.
var ErrDiverged = errors.New("database and issuance log disagree")

// The rows of meta.
const (
	metaSchema = "schema"
	metaHead   = "log"   // where the issuance log stood at the last commit
	metaProbe  = "probe" // written to see whether the disk takes anything
)

const (
	sqlGetMeta = `SELECT value FROM meta WHERE name = $1`
	sqlPutMeta = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
)

// fail makes the store refuse writes at once. Ops that wait are refused too.
func (s *Store) fail(why error) {
	s.fault.Store(&why)
	refusal := s.refusal(why)
	for _, o := range s.queue.shut(refusal) {
		s.orphan(o)
		o.deliver(refusal)
	}
	if s.cfg.Logger != nil {
		s.cfg.Logger.Error("ledger cannot write durably", "err", why)
	}
}

// refusal is what a write gets while the store is not sound.
func (s *Store) refusal(why error) error {
	return fmt.Errorf("%w: %w", ledger.ErrUnavailable, why)
}

// orphan remembers the serials of an op that has failed with its outcome
// unknown, to be voided once the store is sound: their callers were told that
// nothing may be signed or leave, and an open intent would stand in the way of
// the device's next attempt.
func (s *Store) orphan(o *op) {
	if o.orphans == nil {
		return
	}
	s.orphansMu.Lock()
	defer s.orphansMu.Unlock()
	for _, serial := range o.orphans() {
		s.orphaned[string(serial)] = struct{}{}
	}
}

// sweep voids what orphan has gathered, without waiting for it.
func (s *Store) sweep() {
	s.orphansMu.Lock()
	gathered := s.orphaned
	s.orphaned = map[string]struct{}{}
	s.orphansMu.Unlock()
	if len(gathered) == 0 {
		return
	}
	serials := make([][]byte, 0, len(gathered))
	for serial := range gathered {
		serials = append(serials, []byte(serial))
	}
	o := &op{items: len(serials), done: make(chan struct{})}
	o.orphans = func() [][]byte { return serials }
	o.run = func(t *tx) error {
		now := s.cfg.Now()
		for _, serial := range serials {
			if _, err := t.void(serial, now); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.queue.add(o); err != nil {
		s.orphan(o)
	}
}

// heal tries again and again until the store is sound. It reports false if the
// store was closed meanwhile.
func (s *Store) heal(why error) bool {
	retry := time.NewTicker(s.cfg.Retry)
	defer retry.Stop()
	for {
		select {
		case <-s.closing:
			return false
		case <-retry.C:
		}
		err := s.reopen(context.Background())
		if err == nil {
			break
		}
		if err.Error() != why.Error() && s.cfg.Logger != nil {
			s.cfg.Logger.Error("ledger cannot write durably yet", "err", err)
		}
		why = err
		s.fault.Store(&err)
	}
	s.fault.Store(nil)
	s.queue.admit()
	s.sweep()
	if s.cfg.Logger != nil {
		s.cfg.Logger.Info("ledger writes durably again")
	}
	return true
}

// reopen opens the writing connection and the log anew and checks that what
// the disk holds can be relied on.
func (s *Store) reopen(ctx context.Context) error {
	if s.writer != nil {
		s.writer.close() // its errors are those of the failure
		s.writer = nil
	}
	w, err := openWriter(ctx, s.cfg.Path)
	if err != nil {
		return err
	}
	s.writer = w
	// A commit that failed may have left frames in the WAL that the kernel
	// holds as clean and the disk does not have. Copying the WAL into the
	// database and beginning a new one leaves nothing that depends on them,
	// and nothing that a crash could bring back.
	if err := w.checkpoint(); err != nil {
		return err
	}
	if _, err := w.exec(sqlPutMeta, metaProbe, strconv.FormatInt(s.cfg.Now().UnixMicro(), 10)); err != nil {
		return fmt.Errorf("writing probe: %w", err)
	}
	if err := s.cfg.Log.Reopen(); err != nil {
		return err
	}
	return s.settle()
}

func (w *writer) checkpoint() error {
	var busy, frames, copied int
	if err := w.conn.QueryRowContext(context.Background(), `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &copied); err != nil {
		return fmt.Errorf("copying the WAL into the database: %w", err)
	}
	if busy != 0 {
		return errors.New("copying the WAL into the database: readers are in the way")
	}
	return nil
}

// settle compares the database with the issuance log. The log is written
// first, so that its last batch may be missing in the database; it is then
// aborted, for its callers were told of a failure or of nothing.
func (s *Store) settle() error {
	have, err := s.writer.head()
	if err != nil {
		return err
	}
	if have == (ledger.Head{}) {
		empty, err := s.writer.empty()
		if err != nil {
			return err
		}
		if !empty && !s.cfg.NewLog {
			return fmt.Errorf("%w: the database holds records and no position in a log", ErrDiverged)
		}
	}
	open, err := s.cfg.Log.Unsettled(have)
	if err != nil {
		if s.cfg.NewLog {
			// Said explicitly by whoever started the server.
			if used, nerr := s.cfg.Log.Unsettled(ledger.Head{}); nerr == nil && !used {
				return s.writer.putHead(s.cfg.Log.Head())
			}
		}
		return s.diverged(have, err)
	}
	head := s.cfg.Log.Head()
	if open {
		if head, err = s.cfg.Log.Abort(); err != nil {
			return err
		}
	}
	if head == have {
		return nil
	}
	return s.writer.putHead(head)
}

// diverged says what it means that database and log disagree and what to do.
func (s *Store) diverged(have ledger.Head, err error) error {
	head := s.cfg.Log.Head()
	what := "the issuance log was changed, exchanged or restored from a backup: put the files back that belong to this database"
	switch {
	case have.Batch > head.Batch:
		what = "the issuance log is older than the database or was lost: put its newest files back, or begin a new log explicitly, which auditors will see"
	case have.Batch < head.Batch:
		what = "the database is older than its issuance log, as after restoring a backup: certificates were issued that it does not know. Restore a newer database, or rebuild it from the log"
	}
	return fmt.Errorf("%w: the database stands at batch %d, the log at batch %d; %s: %w", ErrDiverged, have.Batch, head.Batch, what, err)
}

// head reads where the log stood at the last commit; zero for a new database.
func (w *writer) head() (ledger.Head, error) {
	var value string
	err := w.query(sqlGetMeta, scanInto(&value), metaHead)
	if err != nil || value == "" {
		return ledger.Head{}, err
	}
	batch, digits, _ := strings.Cut(value, " ")
	var head ledger.Head
	if head.Batch, err = strconv.ParseInt(batch, 10, 64); err != nil {
		return ledger.Head{}, fmt.Errorf("reading position in the log: %w", err)
	}
	if n, err := hex.Decode(head.Hash[:], []byte(digits)); err != nil || n != len(head.Hash) {
		return ledger.Head{}, errors.New("reading position in the log: bad hash")
	}
	return head, nil
}

func (w *writer) putHead(head ledger.Head) error {
	_, err := w.exec(sqlPutMeta, metaHead, strconv.FormatInt(head.Batch, 10)+" "+hex.EncodeToString(head.Hash[:]))
	return err
}

// empty reports whether nothing was ever recorded.
func (w *writer) empty() (bool, error) {
	n := 0
	err := w.query(`SELECT (SELECT count(*) FROM (SELECT 1 FROM certificates LIMIT 1)) + (SELECT count(*) FROM authorities)`, scanInto(&n))
	return n == 0, err
}
