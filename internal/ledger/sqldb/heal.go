package sqldb

import (
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
	metaSchema    = "schema"
	metaSchemaMin = "schema_min" // the oldest schema that a server must know to work on this one
	metaMigration = "migration"  // locked while the schema of a shared database is changed
	metaHead      = "log"        // where the issuance log stood at the last commit
	metaProbe     = "probe"      // written to see whether the disk takes anything
)

const (
	sqlGetMeta = `SELECT value FROM meta WHERE name = $1`
	sqlPutMeta = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	sqlNewMeta = `INSERT INTO meta (name, value) VALUES ($1, '') ON CONFLICT (name) DO NOTHING`
	// Changes a row that still holds what is believed of it.
	sqlMoveMeta = `UPDATE meta SET value = $3 WHERE name = $1 AND value = $2`
)

// errNameTaken: another process has opened the database under the server's name
// since this one did.
var errNameTaken = errors.New("another process works under this server's name: every server needs a name and a state directory of its own, stop one of the two")

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
	if s.recent != nil { // nobody knows what the database has
		s.recent.suspend()
		defer s.recent.resume()
	}
	retry := time.NewTicker(s.cfg.Retry)
	defer retry.Stop()
	for {
		select {
		case <-s.closing:
			return false
		case <-retry.C:
		}
		err := s.reopen()
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
func (s *Store) reopen() error {
	ctx, cancel := s.dialect.limit()
	defer cancel()
	if s.writer != nil {
		s.writer.close() // its errors are those of the failure
		s.writer = nil
	}
	w, err := openWriter(ctx, s.dialect)
	if err != nil {
		return err
	}
	s.writer = w
	// The schema may have been changed meanwhile, beyond what is known here.
	if err := w.migrate(ctx, false); err != nil {
		return err
	}
	if err := s.dialect.checkpoint(ctx, w.conn); err != nil {
		return err
	}
	defer w.bound()()
	if _, err := w.exec(sqlPutMeta, s.dialect.probeRow(s.cfg.Server), strconv.FormatInt(s.cfg.Now().UnixMicro(), 10)); err != nil {
		return fmt.Errorf("writing probe: %w", err)
	}
	if err := s.cfg.Log.Reopen(); err != nil {
		return err
	}
	return s.settle()
}

// settle compares the database with the issuance log, and makes the position
// there its own.
func (s *Store) settle() error {
	for tries := 1; ; tries++ {
		err := s.trySettle()
		if err == nil || !s.dialect.again(err) || tries == 3 {
			return err
		}
		s.pause(tries)
	}
}

func (s *Store) trySettle() error {
	w := s.writer
	defer w.bound()()
	if _, err := w.exec(w.begin); err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	mark, err := s.compare(w)
	if err == nil {
		_, err = w.exec("COMMIT")
	}
	if err != nil {
		w.exec("ROLLBACK") // what matters is why
		return err
	}
	s.mark, s.taken = mark, true
	return nil
}

// compare returns what meta says of the log from now on. The log is written
// first, so that its last batch may be missing in the database; it is then
// aborted, for its callers were told of a failure or of nothing.
//
// The row is locked while it is read: a commit whose connection was lost may
// still be on its way, and is waited for here.
func (s *Store) compare(w *writer) (string, error) {
	row := s.dialect.headRow(s.cfg.Server)
	if _, err := w.exec(sqlNewMeta, row); err != nil {
		return "", err
	}
	var held string
	if err := w.query(sqlGetMeta+w.forUpdate, scanInto(&held), row); err != nil {
		return "", err
	}
	have, owner, err := parseMark(held)
	if err != nil {
		return "", err
	}
	if s.taken && owner != s.owner() {
		return "", errNameTaken
	}
	head, err := s.reconcile(w, have)
	if err != nil {
		return "", err
	}
	mark := s.markOf(head)
	if mark == held {
		return mark, nil
	}
	_, err = w.exec(sqlPutMeta, row, mark)
	return mark, err
}

// reconcile compares the position that the database has with the log, aborts
// what has to be, and returns the position from now on.
func (s *Store) reconcile(w *writer, have ledger.Head) (ledger.Head, error) {
	if have == (ledger.Head{}) && !s.dialect.shared {
		empty, err := w.empty()
		if err != nil {
			return have, err
		}
		if !empty && !s.cfg.NewLog {
			return have, fmt.Errorf("%w: the database holds records and no position in a log", ErrDiverged)
		}
	}
	open, err := s.cfg.Log.Unsettled(have)
	if err != nil {
		if s.cfg.NewLog {
			// Said explicitly by whoever started the server.
			if used, nerr := s.cfg.Log.Unsettled(ledger.Head{}); nerr == nil && !used {
				return s.cfg.Log.Head(), nil
			}
		}
		return have, s.diverged(have, err)
	}
	if open {
		return s.cfg.Log.Abort()
	}
	return s.cfg.Log.Head(), nil
}

// diverged says what it means that database and log disagree and what to do.
func (s *Store) diverged(have ledger.Head, err error) error {
	head := s.cfg.Log.Head()
	what := "the issuance log was changed, exchanged or restored from a backup: put the files back that belong to this database"
	switch {
	case have.Batch > head.Batch:
		what = "the issuance log is older than the database or was lost: put its newest files back. A server whose log is gone for good can join a shared database under another name, with a new log"
	case have.Batch < head.Batch:
		what = "the database is older than its issuance log, as after restoring a backup: certificates were issued that it does not know. Restore a newer database, or rebuild it from the log"
	}
	if s.dialect.shared {
		what += ". Or another server has the same name, " + strconv.Quote(s.cfg.Server)
	}
	return fmt.Errorf("%w: the database stands at batch %d, the log at batch %d; %s: %w", ErrDiverged, have.Batch, head.Batch, what, err)
}

// owner is how the store signs its position in a shared database.
func (s *Store) owner() string {
	if s.dialect.shared {
		return s.instance
	}
	return ""
}

// markOf writes a position as meta has it: batch and hash, and in a shared
// database the store that has put it there.
func (s *Store) markOf(head ledger.Head) string {
	mark := markText(head)
	if owner := s.owner(); owner != "" {
		mark += " " + owner
	}
	return mark
}

// markText writes a position that no store has taken for its own.
func markText(head ledger.Head) string {
	return strconv.FormatInt(head.Batch, 10) + " " + hex.EncodeToString(head.Hash[:])
}

// parseMark reads a position; an empty one is that of a new database or server.
func parseMark(mark string) (head ledger.Head, owner string, err error) {
	if mark == "" {
		return head, "", nil
	}
	batch, rest, _ := strings.Cut(mark, " ")
	digits, owner, _ := strings.Cut(rest, " ")
	if head.Batch, err = strconv.ParseInt(batch, 10, 64); err != nil {
		return head, "", fmt.Errorf("reading position in the log: %w", err)
	}
	if n, err := hex.Decode(head.Hash[:], []byte(digits)); err != nil || n != len(head.Hash) {
		return head, "", errors.New("reading position in the log: bad hash")
	}
	return head, owner, nil
}

// empty reports whether nothing was ever recorded.
func (w *writer) empty() (bool, error) {
	n := 0
	err := w.query(`SELECT (SELECT count(*) FROM (SELECT 1 FROM certificates LIMIT 1) AS one) + (SELECT count(*) FROM authorities)`, scanInto(&n))
	return n == 0, err
}
