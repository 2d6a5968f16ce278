package sqldb

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"mintmark/internal/ledger"
)

// commitLoop is the committer: the only goroutine that writes, to the log as
// to the database.
func (s *Store) commitLoop() {
	defer close(s.stopped)
	for {
		ops := s.queue.take()
		if ops == nil {
			return
		}
		if why := s.commit(ops); why != nil && !s.heal(why) {
			return
		}
	}
}

// commit writes one batch and tells its callers. The result is why the store
// cannot go on, or nil.
func (s *Store) commit(ops []*op) error {
	start := time.Now()
	events, err := s.transact(&ops)
	if err != nil {
		s.fail(err)
		for _, o := range ops {
			s.orphan(o)
			o.deliver(s.refusal(err))
		}
		return err
	}
	if s.cfg.ObserveCommit != nil {
		s.cfg.ObserveCommit(events, time.Since(start))
	}
	for _, o := range ops {
		o.deliver(o.err)
	}
	return nil
}

// transact runs the ops in one transaction. An op whose statements the
// database refuses for what they hold is told so, taken out of ops, and the
// others are run again without it. It returns how many events were logged.
func (s *Store) transact(ops *[]*op) (int, error) {
	for {
		t := &tx{writer: s.writer, ends: map[ledger.Epoch]int64{}}
		if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
			return 0, fmt.Errorf("beginning transaction: %w", err)
		}
		culprit, err := t.runAll(*ops)
		if err == nil {
			err = s.seal(t)
		}
		if err == nil {
			return len(t.events), nil
		}
		_, rollback := t.exec("ROLLBACK")
		if culprit < 0 || rollback != nil {
			return 0, err
		}
		o := (*ops)[culprit]
		*ops = slices.Delete(slices.Clone(*ops), culprit, culprit+1)
		o.deliver(fmt.Errorf("writing to the ledger: %w", err))
		if len(*ops) == 0 {
			return 0, nil
		}
	}
}

// runAll runs the ops. If one fails for what it holds, its index is returned
// beside the error; -1 stands for a failure of the database.
func (t *tx) runAll(ops []*op) (int, error) {
	for i, o := range ops {
		o.err = o.run(t)
		var storage *storageError
		if errors.As(o.err, &storage) {
			if storage.ofItem() {
				return i, o.err
			}
			return -1, o.err
		}
	}
	return -1, nil
}

// seal makes the transaction durable, in the log first. From here on a failure
// leaves it open whether the batch will be found; heal finds out.
func (s *Store) seal(t *tx) error {
	if len(t.events) > 0 {
		head, err := s.cfg.Log.Append(t.events)
		if err != nil {
			return err
		}
		if err := t.putHead(head); err != nil {
			return err
		}
	}
	if _, err := t.exec("COMMIT"); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}
