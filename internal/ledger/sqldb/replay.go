package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
)

// Replayed is the account of a Replay.
type Replayed struct {
	Records int64            // applied
	Kinds   map[string]int64 // of them
	Aborted int64            // records of batches that never committed, left out
	Open    int64            // intents without an outcome
	Heads   map[string]ledger.Head
}

// Replay makes a ledger from the issuance logs of all servers, in the database
// that cfg names: a file that does not exist yet, or a shared database that
// holds nothing. Of a file there is one server, and so one log. Events are
// applied in the order of each log and, among logs, by time; what another
// server's clock has put before the record that it follows from waits for that
// one.
//
// The chains are verified on the way, and what cannot be applied is an error.
// Then there is no file afterwards; what was written to a shared database stays.
// Positions of the logs stand in the database only once all is applied; without
// them no server opens a file.
//
// A batch is applied unless the log says that it was aborted: also the last
// one, of which nobody knows whether it was committed. If it was, certificates
// of it may have left; if it was not, taking it costs no more than a
// certificate on record that nobody holds. Intents that are still open stay so
// under their epoch, which has ended: the next server to join voids them, and
// writes that into its log.
//
// Not in the log, and so not in the new database: the outbox, leases, refusals
// and the bodies of CRLs. Numbers of CRLs go on after the last one.
func Replay(ctx context.Context, cfg Config, dirs []string, progress func(records int64)) (Replayed, error) {
	d, err := newDialect(cfg)
	if err == nil && !d.shared {
		if len(dirs) != 1 {
			err = fmt.Errorf("an SQLite ledger is one server's and has one log, here are %d", len(dirs))
		} else if _, serr := os.Lstat(cfg.Path); serr == nil {
			err = fmt.Errorf("%s exists: name a file that does not", cfg.Path)
		}
	}
	if err != nil {
		return Replayed{}, fmt.Errorf("rebuilding the ledger: %w", err)
	}
	report, err := replayInto(ctx, d, dirs, progress)
	if err != nil && !d.shared {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(cfg.Path + suffix)
		}
	}
	if err != nil {
		return Replayed{}, fmt.Errorf("rebuilding the ledger: %w", err)
	}
	return report, nil
}

func replayInto(ctx context.Context, d *dialect, dirs []string, progress func(records int64)) (report Replayed, err error) {
	w, err := openWriter(ctx, d)
	if err != nil {
		return Replayed{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.migrate(ctx, true); err != nil {
		return Replayed{}, err
	}
	if err := w.unused(); err != nil {
		return Replayed{}, err
	}
	r := &replay{
		tx: &tx{writer: w, ends: map[ledger.Epoch]int64{}}, progress: progress, waiting: map[string][]waitingEvent{},
		epochs: map[string]int64{}, blocked: map[string]bool{}, moved: map[string]int{}, people: map[string]string{},
		secrets: map[uint64]bool{}, rivals: map[string][]rival{}, report: Replayed{Kinds: map[string]int64{}, Heads: map[string]ledger.Head{}},
	}
	if err := r.run(ctx, dirs); err != nil {
		return Replayed{}, err
	}
	return r.report, d.checkpoint(ctx, w.conn)
}

// unused refuses a database in which anything was ever recorded.
func (w *writer) unused() error {
	for _, table := range []string{"certificates", "authorities", "devices", "orders", "imports", "principals", "approvals", "enrollments", "device_secrets", "rollovers", "epochs", "shard_crls", "rotations", "anchors"} {
		n := 0
		if err := w.query(`SELECT count(*) FROM (SELECT 1 FROM `+table+` LIMIT 1) AS one`, scanInto(&n)); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("the database holds %s already: a ledger is rebuilt into an empty one", table)
		}
	}
	return nil
}

// replayAtOnce is how many records share a transaction.
const replayAtOnce = 5000

// replay is one run of Replay.
type replay struct {
	*tx
	report   Replayed
	progress func(int64)
	pending  int // records in the transaction
	// waiting are events by what they wait for.
	waiting map[string][]waitingEvent
	waits   int
	blocked map[string]bool   // imports with something that waits
	epochs  map[string]int64  // the newest number of each server
	moved   map[string]int    // the log with the last step of each approval
	people  map[string]string // what principals wait for, by name
	secrets map[uint64]bool   // one-time secrets that were recorded
	rivals  map[string][]rival
}

// waitingEvent is an event and where it stands.
type waitingEvent struct {
	*ledger.Event
	log  int
	file string
	line int
}

func (r *replay) run(ctx context.Context, dirs []string) error {
	if _, err := r.exec(r.writer.begin); err != nil {
		return err
	}
	for e, err := range audit.Merge(dirs) {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case e.End != nil:
			r.report.Heads[e.End.Server] = e.End.Head
		case e.Batch != nil && e.Batch.Aborted:
			r.report.Aborted += int64(len(e.Batch.Events))
		case e.Batch != nil:
			if err := r.batch(e.Log, e.Batch); err != nil {
				return err
			}
		}
	}
	return r.finishAll()
}

func (r *replay) batch(log int, b *audit.Batch) error {
	for i := range b.Events {
		if err := r.do(waitingEvent{&b.Events[i], log, b.File, b.Line + i}); err != nil {
			return err
		}
	}
	r.events, r.unlisted = r.events[:0], r.unlisted[:0] // what the ledger's own writes would log and list
	r.pending += len(b.Events)
	if r.pending < replayAtOnce {
		return nil
	}
	r.pending = 0
	if _, err := r.exec("COMMIT"); err != nil {
		return err
	}
	if r.progress != nil {
		r.progress(r.report.Records)
	}
	_, err := r.exec(r.writer.begin)
	return err
}

// do applies an event, and then what has waited for it.
func (r *replay) do(e waitingEvent) error {
	needs, err := r.apply(e)
	if err != nil {
		return fmt.Errorf("%s, line %d: %s: %w", e.file, e.line, e.Kind, err)
	}
	if needs != "" {
		r.waiting[needs] = append(r.waiting[needs], e)
		r.waits++
		return nil
	}
	r.report.Records++
	r.report.Kinds[e.Kind]++
	if r.waits == 0 {
		return nil
	}
	made, err := r.makes(e.Event)
	if err != nil {
		return err
	}
	for _, made := range made {
		released := r.waiting[made]
		delete(r.waiting, made)
		r.waits -= len(released)
		if made == anyImport {
			clear(r.blocked)
		}
		maps.DeleteFunc(r.people, func(_, needs string) bool { return needs == made })
		for _, e := range released {
			if err := r.do(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// What events wait for: a record of that name, and whatever ends an import.
const anyImport = "the end of another import"

func aSerial(s ledger.Serial) string      { return "an intent for serial number " + string(s) }
func aCertificate(s ledger.Serial) string { return "certificate " + string(s) }
func aDevice(id string) string            { return fmt.Sprintf("device %q", id) }
func anOrder(id string) string            { return fmt.Sprintf("work order %q", id) }
func anImport(id string) string           { return fmt.Sprintf("import %q", id) }
func aPrincipal(name string) string       { return fmt.Sprintf("a change of principal %q", name) }
func anApproval(id string) string         { return fmt.Sprintf("approval %q", id) }
func anEnrollment(id string) string       { return fmt.Sprintf("enrollment %q", id) }
func aRotation(id string, version int64) string {
	return fmt.Sprintf("version %d of rotation %q", version, id)
}
func aSecret(d string, h [32]byte) string {
	return fmt.Sprintf("one-time secret %x of device %q", h[:4], d)
}

// makes says what an event gives to those that wait.
func (r *replay) makes(e *ledger.Event) ([]string, error) {
	switch e.Kind {
	case ledger.EventIntent:
		return []string{aSerial(e.Intent.Serial)}, nil
	case ledger.EventIssued:
		serial, err := serialBytes(e.Issued.Serial)
		if err != nil {
			return nil, err
		}
		c, err := r.certificate(serial)
		return []string{aCertificate(e.Issued.Serial), aDevice(c.Device)}, err
	case ledger.EventImported:
		return []string{aSerial(e.Imported.Serial), aCertificate(e.Imported.Serial), aDevice(e.Imported.Device)}, nil
	case ledger.EventDevice:
		if e.Device.New {
			return []string{aDevice(e.Device.Device)}, nil
		}
	case ledger.EventOrder:
		return []string{anOrder(e.Order.ID)}, nil
	case ledger.EventImport:
		return []string{anImport(e.Import.ID)}, nil
	case ledger.EventListing:
		var all []string
		for _, row := range e.Listing.Rows {
			all = append(all, aDevice(row.Device))
		}
		return all, nil
	case ledger.EventListed, ledger.EventUnlisted:
		return []string{anyImport}, nil
	case ledger.EventPrincipal:
		return []string{aPrincipal(e.Principal.Name)}, nil
	case ledger.EventApproval:
		return []string{anApproval(e.Approval.ID)}, nil
	case ledger.EventEnrollment:
		return []string{anEnrollment(e.Enrollment.ID)}, nil
	case ledger.EventRotation:
		return []string{aRotation(e.Rotation.Rotation.ID, e.Rotation.Rotation.Version)}, nil
	case ledger.EventSecrets:
		var all []string
		for _, d := range e.Secrets {
			all = append(all, aSecret(d.Device, d.SHA256))
		}
		return all, nil
	}
	return nil, nil
}

// finishAll writes what lets servers go on.
func (r *replay) finishAll() error {
	if r.waits > 0 {
		var needs []string
		for what := range r.waiting {
			needs = append(needs, what)
		}
		slices.Sort(needs)
		first := r.waiting[needs[0]][0]
		return fmt.Errorf("%d records follow from something that none of the given logs holds, the first of them from %s (%s, line %d): give the logs of all servers", r.waits, needs[0], first.file, first.line)
	}
	if err := r.settleRivals(); err != nil {
		return err
	}
	for server, number := range r.epochs {
		// In force for nobody: what it left open is void at the next Join.
		if _, err := r.exec(`INSERT INTO epochs (server, number, ends_at) VALUES ($1, $2, 0)`, server, number); err != nil {
			return err
		}
	}
	err := r.query(`SELECT count(*) FROM certificates WHERE state = 'open' AND state <> 'valid'`, func(rows *sql.Rows) error { return rows.Scan(&r.report.Open) })
	if err != nil {
		return err
	}
	for server, head := range r.report.Heads {
		if _, err := r.exec(sqlPutMeta, r.headRow(server), markText(head)); err != nil {
			return err
		}
	}
	_, err = r.exec("COMMIT")
	if err == nil && r.progress != nil {
		r.progress(r.report.Records)
	}
	return err
}
