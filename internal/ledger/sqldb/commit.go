package sqldb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mintmark/internal/audit"
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
	if s.recent != nil && !issuanceAlone(ops) {
		s.recent.suspend()
		defer s.recent.resume()
	}
	events, err := s.transact(&ops)
	var crowded *crowdedError
	switch {
	case errors.As(err, &crowded):
		// Nothing of it is there, and the store is sound.
		for _, o := range ops {
			s.orphan(o)
			o.deliver(s.refusal(err))
		}
		s.sweep()
		return nil
	case err != nil:
		s.fail(err)
		for _, o := range ops {
			s.orphan(o)
			o.deliver(s.refusal(err))
		}
		return err
	}
	took := time.Since(start)
	s.queue.took(took)
	if s.cfg.ObserveCommit != nil {
		s.cfg.ObserveCommit(events, took)
	}
	for _, o := range ops {
		o.deliver(o.err)
	}
	return nil
}

// transact runs the ops in one transaction. An op whose statements the
// database refuses for what they hold, or whose events the log, is told so,
// taken out of ops, and the others are run again without it; a transaction that another server's was in
// the way of is run again as it is. It returns how many events were logged.
func (s *Store) transact(ops *[]*op) (int, error) {
	start := time.Now()
	gather := s.dialect.pipeline != nil
	for tries := 1; ; tries++ {
		t, err := s.begin(*ops)
		t.gather = gather
		culprit := -1
		if err == nil {
			culprit, err = t.runAll(*ops)
		}
		if err == nil {
			err = s.seal(t)
			var unfit *audit.RecordError
			if errors.As(err, &unfit) {
				culprit = slices.IndexFunc(*ops, func(o *op) bool { return unfit.Index < o.events })
			}
		}
		t.cancel()
		if err == nil {
			return len(t.events), nil
		}
		apart := errors.Is(err, errApart)
		gather = gather && !apart
		again := apart || s.dialect.again(err) || errors.Is(err, errRaced)
		if undo := s.undo(t, again); undo != nil || !again && culprit < 0 {
			return 0, err
		}
		switch {
		case apart:
			continue
		case again:
			if tries >= mostTries || time.Since(start) > s.dialect.patience {
				return 0, &crowdedError{tries, err}
			}
			s.pause(tries)
			continue
		}
		o := (*ops)[culprit]
		*ops = slices.Delete(slices.Clone(*ops), culprit, culprit+1)
		o.deliver(fmt.Errorf("writing to the ledger: %w", err))
		if len(*ops) == 0 {
			return 0, nil
		}
	}
}

// begin begins a transaction, takes the locks of the ops and asks what their intents ask first.
func (s *Store) begin(ops []*op) (*tx, error) {
	w := s.writer
	t := &tx{writer: w, ends: map[ledger.Epoch]int64{}, cancel: w.bound()}
	if issuanceAlone(ops) {
		t.recent = s.recent
	}
	if _, err := w.exec(w.begin); err != nil {
		return t, fmt.Errorf("beginning transaction: %w", err)
	}
	if err := t.lock(ops); err != nil {
		return t, err
	}
	return t, t.askAhead(ops)
}

// issuanceAlone reports whether all ops are of Begin and Finish, which change no certificate that is
// in force.
func issuanceAlone(ops []*op) bool {
	return !slices.ContainsFunc(ops, func(o *op) bool { return !o.issuance })
}

// bound gives the statements of a transaction its time.
func (w *writer) bound() (cancel context.CancelFunc) {
	w.failed = nil
	w.ctx, cancel = w.limit()
	return cancel
}

// limit bounds the time of a transaction, or of opening a connection.
func (d *dialect) limit() (context.Context, context.CancelFunc) {
	if d.patience == 0 {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), d.patience)
}

// undo rolls a transaction back, in the log as well if it is known that the
// database has nothing of it.
func (s *Store) undo(t *tx, known bool) error {
	defer t.bound()()
	if !t.over {
		if _, err := t.writer.exec("ROLLBACK"); err != nil {
			return err
		}
	}
	if t.logged && known {
		if _, err := s.cfg.Log.Abort(); err != nil {
			return err
		}
	}
	return nil
}

// runAll runs the ops. If one fails for what it holds, its index is returned
// beside the error; -1 stands for a failure of the database.
func (t *tx) runAll(ops []*op) (int, error) {
	for i, o := range ops {
		o.err = o.run(t)
		o.events = len(t.events)
		var storage *storageError
		if errors.As(o.err, &storage) {
			if t.ofItem(storage.err) {
				return i, o.err
			}
			return -1, o.err
		}
	}
	return -1, t.flush()
}

// seal makes the transaction durable, in the log first. From here on a failure
// leaves it open whether the batch will be found; heal finds out.
func (s *Store) seal(t *tx) error {
	if t.failed != nil {
		return t.failed
	}
	mark := s.mark
	if err := t.listChanges(); err != nil {
		return err
	}
	if len(t.events) > 0 {
		head, err := s.cfg.Log.Append(t.events)
		if err != nil {
			return err
		}
		t.logged = true
		mark = s.markOf(head)
	}
	// A transaction of a shared database always moves the mark: whoever is not
	// its owner any more must not write, and reopen waits on its row for a
	// commit that is still on its way.
	if t.logged || t.shared && t.wrote {
		n, err := t.exec(sqlMoveMeta, s.dialect.headRow(s.cfg.Server), s.mark, mark)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("the position of the issuance log was changed: %w", errNameTaken)
		}
	}
	if _, err := t.exec("COMMIT"); err != nil {
		t.over = s.dialect.again(err)
		return fmt.Errorf("committing: %w", err)
	}
	s.mark = mark
	return nil
}
