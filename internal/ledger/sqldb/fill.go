package sqldb

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"mintmark/internal/ledger"
)

// Filled is one certificate as Fill records it.
type Filled struct {
	Intent ledger.Intent
	Issued ledger.Issued
}

// How Fill writes. A group is two batches of the log, as many in one as a busy server
// commits at a time.
const (
	fillGroup  = 64
	fillCommit = 100_000   // certificates in a transaction
	fillCache  = 768 << 10 // KiB
)

// Fill records certificates in an SQLite ledger that no store has open, for measurements of
// large ones. It writes the rows that Begin and Finish write, by the same statements and in
// the same order, and the same batches of the issuance log. But it does not ask what
// stands against an intent, and the database is not synced before it is full: after a failure
// or a crash it is worth nothing. cfg.Log must be where the database stands; the order of
// each intent must have units left. progress, which may be nil, is told of the
// certificates so far.
func Fill(ctx context.Context, cfg Config, certificates iter.Seq2[Filled, error], progress func(int)) error {
	if cfg.Path == "" || cfg.Log == nil {
		return errors.New("filling ledger: the path of an SQLite database and its issuance log are needed")
	}
	w, err := openWriter(ctx, newSQLite(cfg.Path))
	if err != nil {
		return fmt.Errorf("filling ledger: %w", err)
	}
	f := &filler{tx: &tx{writer: w, ends: map[ledger.Epoch]int64{}}, log: cfg.Log, progress: progress}
	err = f.run(ctx, certificates)
	if err = errors.Join(err, w.close()); err != nil {
		return fmt.Errorf("filling ledger: %w", err)
	}
	return nil
}

type filler struct {
	*tx
	log      Log
	progress func(int)
	done     int
	pending  int // in the transaction
}

func (f *filler) run(ctx context.Context, certificates iter.Seq2[Filled, error]) error {
	var mark string
	if err := f.query(sqlGetMeta, scanInto(&mark), f.headRow("")); err != nil {
		return err
	}
	if mark != markText(f.log.Head()) {
		return fmt.Errorf("%w: the ledger must have been closed in order", ErrDiverged)
	}
	// No journal: nothing is rolled back.
	for _, pragma := range []string{"journal_mode(OFF)", "synchronous(OFF)", "cache_size(-" + strconv.Itoa(fillCache) + ")"} {
		if err := f.pragma(ctx, pragma); err != nil {
			return err
		}
	}
	if _, err := f.exec(f.writer.begin); err != nil {
		return err
	}
	// The log has a core of its own.
	groups, logged := make(chan []Filled, 4), make(chan error, 1)
	go func() {
		logged <- f.logAll(groups)
	}()
	err := f.each(ctx, certificates, groups)
	close(groups)
	if err = errors.Join(err, <-logged); err != nil {
		return err
	}
	if _, err := f.exec("COMMIT"); err != nil {
		return err
	}
	// The change of the journal is synced, and with it the file.
	for _, pragma := range []string{"synchronous(FULL)", "journal_mode(WAL)"} {
		if err := f.pragma(ctx, pragma); err != nil {
			return err
		}
	}
	if _, err := f.exec(sqlPutMeta, f.headRow(""), markText(f.log.Head())); err != nil {
		return err
	}
	return f.checkpoint(ctx, f.conn)
}

func (f *filler) pragma(ctx context.Context, text string) error {
	_, err := f.conn.ExecContext(ctx, "PRAGMA "+text)
	return err
}

// each records the certificates, group by group.
func (f *filler) each(ctx context.Context, certificates iter.Seq2[Filled, error], groups chan<- []Filled) error {
	var group []Filled
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		if err := f.group(group); err != nil {
			return err
		}
		select {
		case groups <- group:
		case <-ctx.Done():
			return ctx.Err()
		}
		group = make([]Filled, 0, fillGroup)
		return nil
	}
	for c, err := range certificates {
		if err != nil {
			return err
		}
		if group = append(group, c); len(group) < fillGroup {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return flush()
}

// group records all intents, and then all certificates.
func (f *filler) group(group []Filled) error {
	serials := make([][]byte, len(group))
	for i := range group {
		var err error
		if serials[i], err = checkIntent(&group[i].Intent); err != nil {
			return err
		}
		refusal, err := f.recordIntent(&group[i].Intent, serials[i])
		if err = errors.Join(refusal, err); err != nil {
			return err
		}
	}
	for i := range group {
		refusal, err := f.finish(&group[i].Issued, serials[i])
		if err = errors.Join(refusal, err); err != nil {
			return err
		}
	}
	f.events = f.events[:0] // logAll writes them
	f.done += len(group)
	if f.pending += len(group); f.pending >= fillCommit {
		f.pending = 0
		for _, text := range []string{"COMMIT", f.writer.begin} {
			if _, err := f.exec(text); err != nil {
				return err
			}
		}
	}
	if f.progress != nil {
		f.progress(f.done)
	}
	return nil
}

// logAll appends what Begin and Finish would have. After a failure it takes the rest
// and forgets it.
func (f *filler) logAll(groups <-chan []Filled) (err error) {
	for group := range groups {
		if err != nil {
			continue
		}
		intents, issued := make([]ledger.Event, len(group)), make([]ledger.Event, len(group))
		for i := range group {
			c := &group[i]
			intents[i] = ledger.Event{Kind: ledger.EventIntent, At: c.Intent.At, Intent: &c.Intent}
			issued[i] = ledger.Event{Kind: ledger.EventIssued, At: c.Issued.At, Issued: &c.Issued}
		}
		for _, batch := range [][]ledger.Event{intents, issued} {
			if err == nil {
				_, err = f.log.Append(batch)
			}
		}
	}
	return err
}
