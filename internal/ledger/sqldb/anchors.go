package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

const (
	notesAtOnce = 1000 // notes of one transaction
	notesInOne  = 50   // notes of one statement
	noteColumns = `device, trusts, how, chains, waived, waived_by, why`
)

var sqlKnownNotes = `SELECT CASE WHEN a.trusts > 0 OR a.chains > 0 THEN ` + sqlBegan("a.device") + ` END,
	` + noteColumns + ` FROM anchors a WHERE a.rotation = $1 AND a.device IN (`

// sqlBegan is when a device last enrolled as for the first time: by a credential other
// than a certificate of its own. What stands behind the name may be another board since, or
// one that was reset, with what its firmware trusts. Registration authorities and other
// front ends do not say whether they enroll or renew, and count as renewing.
func sqlBegan(device string) string {
	return `(SELECT max(b.issued_at) FROM certificates b WHERE b.device = ` + device + ` AND b.device <> '' AND b.purpose = 'device' AND b.state IN ('valid', 'revoked')
	AND b.requester_kind IN ('password', 'secret', 'order', 'claim', 'maker', 'admin'))`
}

// since leaves out of a note what was seen of a device before it began anew. That an officer
// waives it stays: that is said of the name.
func since(n ledger.AnchorNote, began int64) ledger.AnchorNote {
	if micros(n.Trusts) < began {
		n.Trusts, n.How = time.Time{}, ""
	}
	if micros(n.Chains) < began {
		n.Chains = time.Time{}
	}
	return n
}

// sqlPutNotes writes several notes, or one: these two only, so that both stay prepared.
// What was merged before is written as a whole.
var sqlPutNotes = map[int]string{1: putNotes(1), notesInOne: putNotes(notesInOne)}

func putNotes(n int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO anchors (rotation, ` + noteColumns + `) VALUES `)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		p := 1 + i*7
		fmt.Fprintf(&b, "($1, $%d, $%d, $%d, $%d, $%d, $%d, $%d)", p+1, p+2, p+3, p+4, p+5, p+6, p+7)
	}
	b.WriteString(` ON CONFLICT (rotation, device) DO UPDATE SET trusts = excluded.trusts, how = excluded.how, chains = excluded.chains,
	waived = excluded.waived, waived_by = excluded.waived_by, why = excluded.why`)
	return b.String()
}

// NoteAnchors implements ledger.Rotations, a thousand notes in a transaction. The log
// gets what is new in them.
func (s *Store) NoteAnchors(ctx context.Context, rotation string, notes []ledger.AnchorNote) error {
	notes = slices.Clone(notes)
	for i := range notes {
		if err := checkNote(&notes[i]); err != nil {
			return fmt.Errorf("noting what devices have: %w", err)
		}
	}
	for chunk := range slices.Chunk(notes, notesAtOnce) {
		o := &op{items: len(chunk), locks: []string{"anchors:" + rotation}}
		o.run = func(t *tx) error { return t.noteAnchors(rotation, chunk, s.cfg.Now()) }
		if err := s.write(ctx, o); err != nil {
			return fmt.Errorf("noting what devices have: %w", err)
		}
	}
	return nil
}

// checkNote says what is wrong with a note, and brings it into the form in which it is
// kept.
func checkNote(n *ledger.AnchorNote) error {
	switch {
	case n.Device == "":
		return errors.New("a note names no device")
	case !n.Trusts.IsZero() && n.How != "fetched" && n.How != "proved" && n.How != "reported":
		return fmt.Errorf("device %.100q has the anchors by way %.100q: want fetched, proved or reported", n.Device, n.How)
	case !n.Waived.IsZero() && n.WaivedBy == "":
		return fmt.Errorf("device %.100q was waived by nobody", n.Device)
	}
	if n.Trusts.IsZero() {
		n.How = ""
	}
	if n.Waived.IsZero() {
		n.WaivedBy, n.Why = "", ""
	}
	n.Why = cut(n.Why, 1000)
	n.Trusts, n.Chains, n.Waived = fromMicros(micros(n.Trusts)), fromMicros(micros(n.Chains)), fromMicros(micros(n.Waived))
	return checkNames(n.Device, n.WaivedBy)
}

// noteAnchors merges notes into what is known.
func (t *tx) noteAnchors(rotation string, notes []ledger.AnchorNote, now time.Time) error {
	var version int64
	if err := t.query(`SELECT version FROM rotations WHERE id = $1`, scanInto(&version), rotation); err != nil {
		return err
	}
	if version == 0 {
		return fmt.Errorf("rotation %.100q: %w", rotation, ledger.ErrNotFound)
	}
	news, err := t.mergeNotes(rotation, notes, false)
	if err != nil || len(news) == 0 {
		return err
	}
	t.record(ledger.Event{Kind: ledger.EventAnchors, At: now, Anchors: &ledger.AnchorNotes{Rotation: rotation, Notes: news}})
	return nil
}

// mergeNotes writes notes and returns what is new in them: none of it if all is known. What
// was noted first stays, unless it is void since; of notes from the log the last one stays,
// whatever the order, for they were new when they were written.
func (t *tx) mergeNotes(rotation string, notes []ledger.AnchorNote, logged bool) (news []ledger.AnchorNote, err error) {
	devices := make([]string, 0, len(notes))
	for _, n := range notes {
		devices = append(devices, n.Device)
	}
	slices.Sort(devices)
	devices = slices.Compact(devices)
	known := make(map[string]knownNote, len(devices))
	for some := range slices.Chunk(devices, notesInOne) {
		if err := t.knownNotes(known, rotation, some); err != nil {
			return nil, err
		}
	}
	changed := map[string]bool{}
	for _, n := range notes {
		now := known[n.Device]
		now.Device = n.Device
		follows := func(had, has time.Time) bool {
			return has.After(had) && (logged || had.IsZero() || micros(had) < now.began)
		}
		var is ledger.AnchorNote
		if follows(now.Trusts, n.Trusts) {
			is.Trusts, is.How = n.Trusts, n.How
			now.Trusts, now.How = n.Trusts, n.How
		}
		if follows(now.Chains, n.Chains) {
			is.Chains, now.Chains = n.Chains, n.Chains
		}
		if now.Waived.IsZero() && !n.Waived.IsZero() {
			is.Waived, is.WaivedBy, is.Why = n.Waived, n.WaivedBy, n.Why
			now.Waived, now.WaivedBy, now.Why = n.Waived, n.WaivedBy, n.Why
		}
		if is == (ledger.AnchorNote{}) {
			continue
		}
		is.Device = n.Device
		news, known[n.Device], changed[n.Device] = append(news, is), now, true
	}
	devices = slices.DeleteFunc(devices, func(d string) bool { return !changed[d] })
	for len(devices) > 0 {
		n := 1
		if len(devices) >= notesInOne {
			n = notesInOne
		}
		args := []any{rotation}
		for _, d := range devices[:n] {
			k := known[d]
			args = append(args, d, micros(k.Trusts), k.How, micros(k.Chains), micros(k.Waived), k.WaivedBy, k.Why)
		}
		if _, err := t.exec(sqlPutNotes[n], args...); err != nil {
			return nil, err
		}
		devices = devices[n:]
	}
	return news, nil
}

// knownNote is a note as it is stored, with when its device last began anew.
type knownNote struct {
	ledger.AnchorNote
	began int64
}

// knownNotes reads what is known of some devices.
func (t *tx) knownNotes(into map[string]knownNote, rotation string, devices []string) error {
	text, args := strings.Builder{}, []any{rotation}
	text.WriteString(sqlKnownNotes)
	for i := range notesInOne { // one text for any number
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "$%d", i+2)
		args = append(args, devices[min(i, len(devices)-1)])
	}
	text.WriteString(")")
	return t.query(text.String(), func(rows *sql.Rows) error {
		var n storedNote
		var began sql.NullInt64
		if err := rows.Scan(append([]any{&began}, n.into()...)...); err != nil {
			return err
		}
		into[n.device.String] = knownNote{n.note(), began.Int64}
		return nil
	}, args...)
}

// storedNote is a row of anchors, or none.
type storedNote struct {
	device, how, waivedBy, why sql.NullString
	trusts, chains, waived     sql.NullInt64
}

func (n *storedNote) into() []any {
	return []any{&n.device, &n.trusts, &n.how, &n.chains, &n.waived, &n.waivedBy, &n.why}
}

func (n *storedNote) note() ledger.AnchorNote {
	return ledger.AnchorNote{
		Device: n.device.String, Trusts: fromMicros(n.trusts.Int64), How: n.how.String, Chains: fromMicros(n.chains.Int64),
		Waived: fromMicros(n.waived.Int64), WaivedBy: n.waivedBy.String, Why: n.why.String,
	}
}

// anchors writes notes, once their rotation is there.
func (r *replay) anchors(a *ledger.AnchorNotes) (needs string, err error) {
	var version int64
	if err := r.query(`SELECT version FROM rotations WHERE id = $1`, scanInto(&version), a.Rotation); err != nil {
		return "", err
	}
	if version == 0 {
		return aRotation(a.Rotation, 1), nil
	}
	for i := range a.Notes {
		if err := checkNote(&a.Notes[i]); err != nil {
			return "", err
		}
	}
	_, err = r.mergeNotes(a.Rotation, a.Notes, true)
	return "", err
}
