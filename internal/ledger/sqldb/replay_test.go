package sqldb_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pgtest"
)

// restored lists what a rebuilt ledger has in common with the lost one: whole
// tables, apart from the columns named. Left out are
//
//   - outbox: told again at start
//   - changes and their counter: nobody has read up to any of them
//   - leases: whoever held one must take it again
//   - refusals: strangers write them, so they are in no log
//   - epochs.ends_at: no epoch outlives the ledger; epochs without an intent
//   - shard_crls, but for the last number and the count of changes: the CRL is signed
//     anew, with a higher number, because nothing is shown yet
//   - the rows of meta but for schema and position in the log
//   - locks: its rows are the migration's
var restored = map[string]string{
	"certificates":     "",
	"devices":          "",
	"device_fields":    "",
	"field_runs":       "",
	"imports":          "",
	"listings":         "",
	"orders":           "",
	"principals":       "",
	"approvals":        "",
	"enrollments":      "",
	"device_secrets":   "",
	"rollovers":        "",
	"rotations":        "",
	"rotation_journal": "",
	"anchors":          "",
	"authorities":      "",
	"epochs":           "ends_at",
	"shard_crls":       "taken number shown this_update next_update der",
	"meta":             "",
}

var lost = []string{"outbox", "leases", "refusals", "sqlite_sequence", "changes", "counters"}

// dump reads what the log covers, one line a row.
func dump(t testing.TB, db *sql.DB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for table, out := range restored {
		text := `SELECT * FROM ` + table
		if table == "meta" {
			text += ` WHERE name IN ('schema', 'schema_min', 'log')`
		}
		rows, err := db.Query(text)
		if err != nil {
			t.Fatal(err)
		}
		names, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		values := make([]any, len(names))
		into := make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			var line []string
			for i, name := range names {
				if !slices.Contains(strings.Fields(out), name) {
					line = append(line, fmt.Sprintf("%s=%q", name, fmt.Sprint(values[i])))
				}
			}
			slices.Sort(line) // columns come in another order elsewhere
			all[table] = append(all[table], strings.Join(line, " "))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		rows.Close()
		slices.Sort(all[table])
	}
	return all
}

// openFile opens a ledger to be read, and sees whether this test knows all of
// its tables.
func openFile(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	rows, err := db.Query(`SELECT name FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		if _, ok := restored[table]; !ok && !slices.Contains(lost, table) {
			t.Errorf("table %s is new: say in this test whether it is rebuilt", table)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return db
}

// same compares two ledgers row by row, but for the tables left out.
func same(t testing.TB, lost, rebuilt *sql.DB, leftOut ...string) {
	t.Helper()
	want, got := dump(t, lost), dump(t, rebuilt)
	for _, table := range leftOut {
		delete(want, table)
	}
	for table, rows := range want {
		if slices.Equal(rows, got[table]) {
			continue
		}
		shown := 0
		for _, row := range rows {
			if !slices.Contains(got[table], row) && shown < 3 {
				t.Errorf("%s lost:    %.600s", table, row)
				shown++
			}
		}
		for _, row := range got[table] {
			if !slices.Contains(rows, row) && shown < 6 {
				t.Errorf("%s rebuilt: %.600s", table, row)
				shown++
			}
		}
		t.Errorf("%s: %d rows became %d", table, len(rows), len(got[table]))
	}
}

func replay(t testing.TB, dirs ...string) (string, sqldb.Replayed) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	report, err := sqldb.Replay(t.Context(), sqldb.Config{Path: path}, dirs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return path, report
}

// A ledger to which all kinds of things were done in any order is rebuilt as it
// was: row by row, and its server goes on with it.
func TestReplay(t *testing.T) {
	seeds := 1
	if os.Getenv("MINTMARK_LONG") != "" {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testReplay(t, uint64(seed)) })
	}
}

func testReplay(t *testing.T, seed uint64) {
	dir := t.TempDir()
	x := &random{
		t: t, r: rand.New(rand.NewPCG(3, seed)), now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), done: map[string]int{},
		intents: map[ledger.Serial]ledger.Intent{},
	}
	clock := func(c *sqldb.Config) { c.Now = func() time.Time { return x.now } }
	const things, parts = 2000, 4
	for part := range parts {
		s, log := open(t, dir, clock)
		x.s = s
		if err := x.join(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range things / parts {
			x.one(t.Context())
		}
		x.leaveOpen(t.Context())
		if _, err := log.AppendHead(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if part < parts-1 {
			// Durable in the log and never committed: aborted at the next start.
			if _, err := log.Append([]ledger.Event{{Kind: ledger.EventIntent, At: x.now, Intent: new(ledgertest.NewIntent(x.epoch, x.now, "never", "never"))}}); err != nil {
				t.Fatal(err)
			}
		}
		log.Close()
	}
	for _, kind := range []string{
		"begin", "finish", "void", "revoke", "revoke device", "import certificate", "hold", "create order", "change order", "import", "stage",
		"commit", "drop", "principal", "propose", "move approval", "authority", "crl", "join",
		"queue", "decide", "take approval", "put secrets", "drop secret", "take secret", "rollover", "gateway", "rotation", "note",
	} {
		if x.done[kind] == 0 {
			t.Errorf("nothing of kind %q was done", kind)
		}
	}
	t.Logf("did %v", x.done)
	lostLedger := filepath.Join(dir, "ledger.db")
	settleHead(t, dir, clock)
	rebuilt, report := replay(t, dir)
	same(t, openFile(t, lostLedger), openFile(t, rebuilt))
	if report.Aborted != parts-1 || report.Open == 0 {
		t.Errorf("report %+v", report)
	}
	for _, skew := range []time.Duration{-24 * time.Hour, 0, 24 * time.Hour} {
		inTwo, err := replayInTwo(t, dir, skew)
		if err != nil {
			t.Fatalf("skew %v: %v", skew, err)
		}
		same(t, openFile(t, rebuilt), openFile(t, inTwo), "meta") // the position is that of other logs
	}

	// The same in a database that servers share.
	if seed == 0 && !testing.Short() {
		url := pgtest.Start(t).NewDatabase(t)
		cfg := sqldb.Config{URL: url, Server: "alpha"}
		if _, err := sqldb.Replay(t.Context(), cfg, []string{dir}, nil); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		same(t, openFile(t, rebuilt), db, "meta")
		if _, err := sqldb.Replay(t.Context(), cfg, []string{dir}, nil); err == nil || !strings.Contains(err.Error(), "into an empty one") {
			t.Errorf("into a database with records: %v", err)
		}
	}

	// The server goes on with it: nothing is aborted, and what was open is void
	// once its epoch is seen to have ended.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(lostLedger + suffix)
	}
	content, err := os.ReadFile(rebuilt)
	if err == nil {
		err = os.WriteFile(lostLedger, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, dir, clock)
	epoch, err := s.Join(t.Context(), "alpha", x.now, time.Hour)
	if err != nil || epoch.Number <= 4 {
		t.Fatalf("epoch %+v, %v", epoch, err)
	}
	if n, err := s.VoidLapsed(t.Context(), x.now); err != nil || int64(n) != report.Open {
		t.Errorf("%d of %d open intents are void, %v", n, report.Open, err)
	}
	after, err := audit.Verify(dir)
	if err != nil || after.Aborted != parts-1 {
		t.Errorf("log after the rebuild: %+v, %v", after, err)
	}
	fence, err := s.Acquire(t.Context(), "crl", "alpha", x.now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	work, err := s.NextCRL(t.Context(), fence, "line-0", 0, x.now.Add(-1000*time.Hour), time.Hour)
	if err != nil || work.Number <= x.now.Add(-100*time.Hour).Unix() {
		t.Errorf("CRL number %d, %v", work.Number, err)
	}
}

// The order of a log is that of its records, and not that of their times.
func TestReplayAfterClockWentBack(t *testing.T) {
	for seed := range uint64(3) {
		dir := t.TempDir()
		x := &random{
			t: t, r: rand.New(rand.NewPCG(4, seed)), now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), back: true, done: map[string]int{},
			intents: map[ledger.Serial]ledger.Intent{},
		}
		s, log := open(t, dir, func(c *sqldb.Config) { c.Now = func() time.Time { return x.now } })
		x.s = s
		if err := x.join(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 800 {
			x.one(t.Context())
		}
		x.leaveOpen(t.Context())
		s.Close()
		log.Close()
		rebuilt, _ := replay(t, dir)
		same(t, openFile(t, filepath.Join(dir, "ledger.db")), openFile(t, rebuilt))
	}
}

// What was carried out on a server whose clock is behind is not approved again.
func TestReplayOfApprovalOnTwoServers(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	ahead := now.Add(10 * time.Second)
	a := ledger.Approval{ID: "a1", Operation: "order.raise", Plan: []byte("{}"), Proposer: "anna", At: now, ExpiresAt: now.Add(time.Hour), State: ledger.Pending}
	approved := a
	approved.State, approved.DecidedBy, approved.DecidedAt, approved.Signature = ledger.Approved, "otto", ahead, []byte{1}
	running := approved
	running.State, running.RunBy, running.RunAt = ledger.Running, "anna", now.Add(5*time.Second)
	done := running
	done.State = ledger.Done
	var dirs []string
	for server, steps := range [][]ledger.Approval{{a, approved}, {running, done}} {
		dirs = append(dirs, t.TempDir())
		log, err := audit.Open(dirs[server], audit.Config{Server: fmt.Sprint("server-", server)})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range steps {
			at := max(step.At.UnixMicro(), step.DecidedAt.UnixMicro())
			if step.RunBy != "" {
				at = step.RunAt.UnixMicro()
			}
			if _, err := log.Append([]ledger.Event{{Kind: ledger.EventApproval, At: time.UnixMicro(at), Approval: &step}}); err != nil {
				t.Fatal(err)
			}
		}
		log.Close()
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	if _, err := sqldb.ReplayInto(t.Context(), path, dirs); err != nil {
		t.Fatal(err)
	}
	state, decided := "", ""
	if err := openFile(t, path).QueryRow(`SELECT state, decided_by FROM approvals`).Scan(&state, &decided); err != nil || state != "done" || decided != "otto" {
		t.Errorf("the approval is %s by %q: %v", state, decided, err)
	}
}

// A key that one server has freed may have been given to someone else by one
// whose clock is behind.
func TestReplayOfPrincipalsOnTwoServers(t *testing.T) {
	at := func(seconds int) time.Time { return time.Date(2026, 3, 4, 5, 6, seconds, 0, time.UTC) }
	anna := ledger.Principal{Name: "anna", Roles: []string{"officer"}, Key: []byte{1}, AddedAt: at(0)}
	gone := anna
	gone.RemovedAt = at(30)
	otto := ledger.Principal{Name: "otto", Roles: []string{"officer"}, Key: []byte{1}, AddedAt: at(20)}
	operator := otto
	operator.Roles = []string{"operator"}
	var dirs []string
	for server, records := range [][]ledger.Event{
		{{At: at(0), Principal: &anna}, {At: at(30), Principal: &gone}},
		{{At: at(20), Principal: &otto}, {At: at(25), Principal: &operator}},
	} {
		dirs = append(dirs, t.TempDir())
		log, err := audit.Open(dirs[server], audit.Config{Server: fmt.Sprint("server-", server)})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range records {
			e.Kind = ledger.EventPrincipal
			if _, err := log.Append([]ledger.Event{e}); err != nil {
				t.Fatal(err)
			}
		}
		log.Close()
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	report, err := sqldb.ReplayInto(t.Context(), path, dirs)
	if err != nil || report.Records != 4 {
		t.Fatal(report, err)
	}
	names, roles := "", ""
	err = openFile(t, path).QueryRow(`SELECT group_concat(name), group_concat(roles) FROM principals WHERE removed_at = 0`).Scan(&names, &roles)
	if err != nil || names != "otto" || roles != `["operator"]` {
		t.Errorf("in force are %s with roles %s: %v", names, roles, err)
	}
}

// replayInTwo replays a log as if two servers had written it, whose clocks
// differ: what ends something comes from the other one, long before or after what it
// follows from.
func replayInTwo(t *testing.T, dir string, skew time.Duration) (string, error) {
	t.Helper()
	var dirs []string
	var logs []*audit.Log
	for _, server := range []string{"alpha", "beta"} {
		dirs = append(dirs, t.TempDir())
		log, err := audit.Open(dirs[len(dirs)-1], audit.Config{Server: server})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		logs = append(logs, log)
	}
	other := func(e ledger.Event) bool {
		switch e.Kind {
		case ledger.EventVoided, ledger.EventRevocation:
			return true
		case ledger.EventApproval:
			return e.Approval.State != ledger.Pending
		case ledger.EventEnrollment:
			return e.Enrollment.State != ledger.EnrollmentPending
		case ledger.EventSecrets:
			return e.Secrets[0].SHA256 == [32]byte{}
		case ledger.EventRotation:
			return e.Rotation.Rotation.Version%2 == 0
		case ledger.EventAnchors:
			return e.Anchors.Notes[0].Trusts.IsZero()
		}
		return false
	}
	var last ledger.Head
	_, err := audit.Walk(dir, audit.Visitor{Batch: func(b audit.Batch) error {
		if b.Aborted {
			return nil
		}
		last = b.Head
		var parts [2][]ledger.Event
		for _, e := range b.Events {
			if other(e) {
				// By the first event of a batch logs are merged.
				if parts[1] == nil {
					parts[1] = []ledger.Event{{Kind: ledger.EventCRL, At: e.At.Add(skew), CRL: &ledger.CRLIssued{Issuer: "line-0", Number: 1}}}
				}
				parts[1] = append(parts[1], e)
			} else {
				parts[0] = append(parts[0], e)
			}
		}
		for i, events := range parts {
			if len(events) == 0 {
				continue
			}
			if _, err := logs[i].Append(events); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil || last.Batch == 0 {
		t.Fatal(last, err)
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	_, err = sqldb.ReplayInto(t.Context(), path, dirs)
	return path, err
}

// settleHead opens and closes the ledger once, which brings the position of the
// log in it up to date.
func settleHead(t *testing.T, dir string, change ...func(*sqldb.Config)) {
	t.Helper()
	s, log := open(t, dir, change...)
	s.Close()
	log.Close()
}

// A log that is broken, or one that lacks what its records follow from, leaves
// no database behind, and neither does a database that is there change.
func TestReplayRefuses(t *testing.T) {
	dir := t.TempDir()
	s, log := open(t, dir)
	x := &random{t: t, r: rand.New(rand.NewPCG(1, 1)), now: time.Now().UTC(), s: s, done: map[string]int{}, intents: map[ledger.Serial]ledger.Intent{}}
	if err := x.join(t.Context()); err != nil {
		t.Fatal(err)
	}
	for len(x.issued) < 5 {
		if err := x.begin(t.Context()); err == nil { // else it was a device that no list has
			if err := x.finish(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Close()
	log.Close()
	names, _ := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	content, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "new.db")
	refused := func(what, words string) {
		t.Helper()
		_, err := sqldb.Replay(t.Context(), sqldb.Config{Path: to}, []string{dir}, nil)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := filepath.Glob(to + "*"); what != "existing file" && len(left) > 0 {
			t.Errorf("%s: left %v behind", what, left)
		}
	}
	broken := bytes.Clone(content)
	broken[len(broken)/2] ^= 1
	os.WriteFile(names[0], broken, 0o600)
	refused("broken log", "issuance log is broken")

	os.WriteFile(names[0], content, 0o600)
	log, err = audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	void := ledger.Serial("0a")
	if _, err := log.Append([]ledger.Event{{Kind: ledger.EventVoided, At: x.now, Voided: &void}}); err != nil {
		t.Fatal(err)
	}
	log.Close()
	refused("missing intent", "an intent for serial number 0a")

	os.WriteFile(to, []byte("something"), 0o600)
	refused("existing file", "exists")
	if left, err := os.ReadFile(to); err != nil || string(left) != "something" {
		t.Errorf("the file that was there: %q, %v", left, err)
	}
}

// 100,000 certificates, with MINTMARK_LONG; else 3,000.
func TestReplayScale(t *testing.T) {
	n := 3_000
	if os.Getenv("MINTMARK_LONG") != "" {
		n = 100_000
	}
	if testing.Short() {
		t.Skip("writes a large log")
	}
	dir := t.TempDir()
	s, log := open(t, dir)
	now := time.Now()
	epoch, err := s.Join(t.Context(), "alpha", now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const batch = 250
	for i := 0; i < n; i += batch {
		var intents []ledger.Intent
		var issued []ledger.Issued
		for k := i; k < min(n, i+batch); k++ {
			name := fmt.Sprintf("device-%07d", k)
			intent := ledgertest.NewIntent(epoch, now, name, name)
			intent.TBS = bytes.Repeat([]byte{0x30, byte(k)}, 300)
			intents = append(intents, intent)
			signed := ledgertest.Signed(intent, now)
			signed.DER = append(intent.TBS, signed.DER...)
			issued = append(issued, signed)
		}
		if _, err := s.Begin(t.Context(), intents); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Finish(t.Context(), issued); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			if _, err := s.Revoke(t.Context(), ledger.Selector{Serial: intents[0].Serial}, ledger.KeyCompromise, "test", now, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Close()
	log.Close()
	began := time.Now()
	rebuilt, report := replay(t, dir)
	t.Logf("rebuilt %d certificates from %d records in %v", n, report.Records, time.Since(began))
	if report.Kinds[ledger.EventIssued] != int64(n) {
		t.Errorf("report %+v", report)
	}
	same(t, openFile(t, filepath.Join(dir, "ledger.db")), openFile(t, rebuilt))
}
