package sqldb

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
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
		epochs: map[string]int64{}, blocked: map[string]bool{}, moved: map[string]int{}, people: map[string]string{}, report: Replayed{Kinds: map[string]int64{}, Heads: map[string]ledger.Head{}},
	}
	if err := r.run(ctx, dirs); err != nil {
		return Replayed{}, err
	}
	return r.report, d.checkpoint(ctx, w.conn)
}

// unused refuses a database in which anything was ever recorded.
func (w *writer) unused() error {
	for _, table := range []string{"certificates", "authorities", "devices", "orders", "imports", "principals", "approvals", "epochs", "crls"} {
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
	r.events = r.events[:0] // what the ledger's own writes would log
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
	}
	return nil, nil
}

// apply writes what an event says, or returns what it needs first. It uses the
// statements of the ledger's own writes and makes none of their decisions:
// whatever followed from them has events of its own.
func (r *replay) apply(e waitingEvent) (needs string, err error) {
	now := micros(e.At)
	switch e.Kind {
	case ledger.EventIntent:
		return r.intent(e.Intent)
	case ledger.EventIssued:
		return r.issued(e.Issued)
	case ledger.EventVoided:
		b, err := serialBytes(*e.Voided)
		if err != nil {
			return "", err
		}
		if voided, err := r.void(b, e.At); voided || err != nil {
			return "", err
		}
		return r.missing(b, aSerial(*e.Voided))
	case ledger.EventRevocation:
		return r.revocation(e.Event)
	case ledger.EventImported:
		b, err := checkImported(e.Imported)
		if err != nil {
			return "", err
		}
		refusal, err := r.importCertificate(e.Imported, b, e.At)
		return "", errors.Join(refusal, err)
	case ledger.EventAuthority:
		return "", r.putAuthority(e.Authority)
	case ledger.EventCRL:
		_, err := r.exec(`INSERT INTO crls (issuer, taken_number) VALUES ($1, $2) ON CONFLICT (issuer) DO UPDATE SET
	taken_number = CASE WHEN crls.taken_number < excluded.taken_number THEN excluded.taken_number ELSE crls.taken_number END`, e.CRL.Issuer, e.CRL.Number)
		return "", err
	case ledger.EventImport, ledger.EventListing, ledger.EventListed, ledger.EventUnlisted:
		return r.importing(e.Event)
	case ledger.EventDevice:
		return r.device(e.Device, now)
	case ledger.EventOrder:
		return "", r.order(e.Order)
	case ledger.EventPrincipal:
		return r.principal(e.Principal)
	case ledger.EventApproval:
		return r.approval(e.log, e.Approval)
	}
	return "", errors.New("this kind is not known to the ledger")
}

// missing tells a serial number that is not there yet from one in another
// state.
func (r *replay) missing(serial []byte, needs string) (string, error) {
	c, err := r.certificate(serial)
	if errors.Is(err, ledger.ErrNotFound) {
		return needs, nil
	}
	if err == nil {
		err = fmt.Errorf("serial number %s is %s by then", c.Serial, c.State)
	}
	return "", err
}

func (r *replay) intent(i *ledger.Intent) (string, error) {
	serial, err := checkIntent(i)
	if err != nil {
		return "", err
	}
	if i.Order != "" && i.Purpose == ledger.ForDevice {
		n, err := r.exec(`UPDATE orders SET taken = taken + 1 WHERE id = $1`, i.Order)
		if err != nil {
			return "", err
		}
		if n == 0 {
			return anOrder(i.Order), nil
		}
	}
	address := ""
	if i.Requester.Address.IsValid() {
		address = i.Requester.Address.String()
	}
	n, err := r.exec(sqlInsertIntent, serial, i.Issuer, i.Profile, i.Label, string(i.Purpose), i.Device, clean(i.Subject), i.Requester.Kind, i.Requester.Name, address,
		i.Key[:], micros(i.NotBefore), micros(i.NotAfter), micros(i.At), i.Epoch.Server, i.Epoch.Number, i.TBS, i.Order)
	if err == nil && n == 0 {
		err = fmt.Errorf("serial number %s is recorded already", i.Serial)
	}
	r.epochs[i.Epoch.Server] = max(r.epochs[i.Epoch.Server], i.Epoch.Number)
	return "", err
}

func (r *replay) issued(i *ledger.Issued) (string, error) {
	serial, err := serialBytes(i.Serial)
	if err != nil {
		return "", err
	}
	n, err := r.exec(sqlFinish, serial, i.DER, micros(i.At))
	if err != nil {
		return "", err
	}
	if n == 0 {
		return r.missing(serial, aSerial(i.Serial))
	}
	_, err = r.exec(sqlPutDevice, serial, micros(i.At))
	return "", err
}

func (r *replay) revocation(e *ledger.Event) (string, error) {
	v := e.Revocation
	serial, err := serialBytes(v.Serial)
	if err != nil {
		return "", err
	}
	c, err := r.certificate(serial)
	switch {
	case errors.Is(err, ledger.ErrNotFound) || err == nil && c.State == ledger.Open:
		return aCertificate(v.Serial), nil
	case err != nil:
		return "", err
	case c.State != ledger.Valid:
		return "", fmt.Errorf("certificate %s is %s by then", v.Serial, c.State)
	}
	if _, err := r.exec(sqlRevoke, serial, micros(e.At), int64(v.Reason), clean(v.Actor)); err != nil {
		return "", err
	}
	if _, err := r.exec(sqlChanged, serial); err != nil {
		return "", err
	}
	if c.Device != "" {
		_, err = r.exec(sqlSetCurrent, c.Device)
	}
	return "", err
}

func (r *replay) putAuthority(a *ledger.Authority) error {
	chain, err := json.Marshal(a.Chain)
	if err != nil {
		return err
	}
	_, err = r.exec(sqlPutAuthority, a.Name, a.Certificate, string(chain), a.KeyURI, micros(a.CreatedAt))
	return err
}

// importing applies what is said of a device list. Rows that stand against
// another server's list wait until that one has ended, and all of their import
// with them.
func (r *replay) importing(e *ledger.Event) (string, error) {
	if e.Kind == ledger.EventImport {
		i := e.Import
		_, err := r.exec(sqlOpenImport, i.ID, clean(i.File), clean(i.Actor), micros(i.At), zeroOrOne(i.Update), i.Server)
		return "", err
	}
	id := ""
	if e.Listing != nil {
		id = e.Listing.Import
	} else {
		id = e.Import.ID
	}
	if r.blocked[id] {
		return anyImport, nil
	}
	i, err := r.importOf(id)
	switch {
	case err != nil:
		return "", err
	case i.state == "":
		return anImport(id), nil
	case i.state != "open":
		return "", fmt.Errorf("import %q is %s by then", id, i.state)
	}
	switch e.Kind {
	case ledger.EventListing:
		rows, err := checkListings(e.Listing.Rows)
		if err != nil {
			return "", err
		}
		err = r.stage(&i, rows)
		var row *ledger.RowError
		if errors.As(err, &row) {
			r.blocked[id] = true
			return anyImport, nil
		}
		return "", err
	case ledger.EventListed:
		if _, err := r.exec(sqlCloseImport, id); err != nil {
			return "", err
		}
		if err := r.indexFields(i); err != nil {
			return "", err
		}
		if err := r.commitImport(&i, e.At); err != nil {
			return "", err
		}
		return "", r.inParts(r.dropRows, id, sqlMerged)
	default:
		if _, err := r.exec(sqlDropImport, id); err != nil {
			return "", err
		}
		if err := r.inParts(r.dropDevices, id, ""); err != nil {
			return "", err
		}
		if err := r.inParts(r.dropRows, id, ""); err != nil {
			return "", err
		}
		return "", r.inParts(r.dropRuns, id, sqlDropped)
	}
}

// indexFields is Store.indexFields inside the transaction.
func (r *replay) indexFields(i storedImport) error {
	for after := ""; ; {
		var fields []field
		found := 0
		err := r.query(sqlIndexNext, func(rows *sql.Rows) error {
			var text string
			if err := rows.Scan(&after, &text); err != nil {
				return err
			}
			found++
			values, err := readFields(text)
			fields = fieldsOf(fields, after, values)
			return err
		}, i.ID, after, devicesInRun)
		if err != nil || found == 0 {
			return err
		}
		sortFields(fields)
		run := int64(commonRun)
		if i.New > smallList && len(fields) > 0 {
			if err := r.query(sqlNewRun, scanInto(&run), i.ID); err != nil {
				return err
			}
		}
		if err := r.putFields(run, fields); err != nil {
			return err
		}
	}
}

// inParts runs part until it has found all, and then a statement.
func (r *replay) inParts(part func(id string) (int, error), id, last string) error {
	for {
		found, err := part(id)
		if err != nil {
			return err
		}
		if found < cleanAtOnce {
			break
		}
	}
	if last == "" {
		return nil
	}
	_, err := r.exec(last, id)
	return err
}

func (r *replay) device(d *ledger.DeviceChange, now int64) (string, error) {
	held := ""
	if d.State == ledger.Held || d.State == ledger.Retired {
		held = string(d.State)
	}
	n, err := r.exec(sqlHold, d.Device, held, now, clean(d.Actor), clean(d.Note))
	if err == nil && n == 0 {
		return aDevice(d.Device), nil
	}
	return "", err
}

// sqlReplayOrder writes an order as it is from some time on, unless a later
// change was read before. What is taken of it follows from the intents.
const sqlReplayOrder = `INSERT INTO orders (id, product, profile, label, station, quantity, ranges, listed, networks, not_before, not_after, secret, state,
	created_at, created_by, changed_at, changed_by)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
	ON CONFLICT (id) DO UPDATE SET quantity = excluded.quantity, not_after = excluded.not_after, secret = excluded.secret, state = excluded.state,
	changed_at = excluded.changed_at, changed_by = excluded.changed_by WHERE excluded.changed_at >= orders.changed_at`

func (r *replay) order(o *ledger.Order) error {
	ranges, networks, err := checkOrder(o)
	if err != nil {
		return err
	}
	_, err = r.exec(sqlReplayOrder, o.ID, o.Product, o.Profile, o.Label, o.Station, o.Quantity, ranges, zeroOrOne(o.Listed), networks,
		micros(o.NotBefore), micros(o.NotAfter), hashOrNull(o.Secret), string(o.State), micros(o.CreatedAt), clean(o.CreatedBy), micros(o.ChangedAt), clean(o.ChangedBy))
	return err
}

// principal writes a principal. One whose key or Unix user is another's still
// waits for that one's removal, and with it whatever follows about its name.
func (r *replay) principal(p *ledger.Principal) (string, error) {
	if needs := r.people[p.Name]; needs != "" {
		return needs, nil
	}
	roles, err := json.Marshal(p.Roles)
	if err != nil {
		return "", err
	}
	key := p.Key
	if len(key) == 0 {
		key = nil
	}
	if p.RemovedAt.IsZero() {
		other := ""
		if err := r.query(sqlSamePerson, scanInto(&other), p.Name, key, p.UnixUser); err != nil {
			return "", err
		}
		if other != "" {
			r.people[p.Name] = aPrincipal(other)
			return aPrincipal(other), nil
		}
	}
	_, err = r.exec(sqlPutPrincipal, p.Name, string(roles), key, p.UnixUser, micros(p.AddedAt), p.AddedBy, micros(p.RemovedAt))
	return "", err
}

func (r *replay) approval(log int, a *ledger.Approval) (string, error) {
	if a.State == ledger.Pending {
		n, err := r.exec(sqlPropose, a.ID, a.Operation, a.Words, a.Plan, a.Proposer, micros(a.At), micros(a.ExpiresAt))
		if err == nil && n == 0 {
			err = fmt.Errorf("approval %q is recorded already", a.ID)
		}
		return "", err
	}
	state := ""
	var plan []byte
	var decided, run int64
	err := r.query(`SELECT state, plan, decided_at, run_at FROM approvals WHERE id = $1`, scanInto(&state, &plan, &decided, &run), a.ID)
	if err != nil {
		return "", err
	}
	switch {
	case state == "":
		return anApproval(a.ID), nil
	case !bytes.Equal(plan, a.Plan):
		return "", fmt.Errorf("approval %q is not over what was proposed", a.ID)
	}
	// A step of another log that does not know yet what is recorded came before
	// that: what was carried out must not become approved again.
	if last, ok := r.moved[a.ID]; ok && last != log && (micros(a.RunAt) < run || micros(a.RunAt) == run && micros(a.DecidedAt) < decided) {
		return "", nil
	}
	r.moved[a.ID] = log
	_, err = r.exec(sqlMoveApproval, a.ID, state, string(a.State), micros(a.ExpiresAt), a.DecidedBy, micros(a.DecidedAt), a.Signature, a.RunBy, micros(a.RunAt), clean(a.Outcome))
	return "", err
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
