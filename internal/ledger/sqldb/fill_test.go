package sqldb_test

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"iter"
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
)

// fleet is devices that are enrolled under a work order and then renew, in another order.
func fleet(epoch ledger.Epoch, now time.Time, devices int) []sqldb.Filled {
	var list []sqldb.Filled
	add := func(change func(*ledger.Intent), device int) {
		at := now.Add(time.Duration(len(list)) * time.Millisecond)
		i := ledgertest.NewIntent(epoch, at, fmt.Sprintf("SN%07d", device), rand.Text())
		i.TBS = make([]byte, 430)
		rand.Read(i.TBS)
		change(&i)
		issued := ledger.Issued{Serial: i.Serial, DER: append(slices.Clone(i.TBS), make([]byte, 88+device%3)...), At: at.Add(20 * time.Millisecond)}
		list = append(list, sqldb.Filled{Intent: i, Issued: issued})
	}
	for n := range devices {
		add(func(i *ledger.Intent) { i.Order, i.Requester = "WO-1", ledger.Requester{Kind: "order", Name: "WO-1"} }, n)
	}
	for n := range devices {
		renewed := n * 7919 % devices
		add(func(i *ledger.Intent) {
			i.Requester = ledger.Requester{Kind: "certificate", Name: string(list[renewed].Intent.Serial)}
		}, renewed)
	}
	return list
}

func each(list []sqldb.Filled) iter.Seq2[sqldb.Filled, error] {
	return func(yield func(sqldb.Filled, error) bool) {
		for _, c := range list {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// A ledger that was filled is what the same enrollments leave: the same rows, indexes of
// the same size, the same log.
func TestFilledLedgerIsAsIfWritten(t *testing.T) {
	devices := 500
	if os.Getenv("MINTMARK_LONG") != "" {
		devices = 50_000
	}
	now := time.Now().Truncate(time.Microsecond)
	var list []sqldb.Filled
	prepare := func(t *testing.T) (dir string, s *sqldb.Store, log *audit.Log) {
		dir = t.TempDir()
		s, log = open(t, dir)
		epoch, err := s.Join(t.Context(), "alpha", now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		order := ledger.Order{ID: "WO-1", Profile: "gateway", Label: "line", Quantity: devices, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), CreatedAt: now, CreatedBy: "root"}
		if err := s.CreateOrder(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		if list == nil {
			list = fleet(epoch, now, devices)
		}
		return dir, s, log
	}

	written, s, log := prepare(t)
	for group := range slices.Chunk(list, 64) {
		var intents []ledger.Intent
		var issued []ledger.Issued
		for _, c := range group {
			intents, issued = append(intents, c.Intent), append(issued, c.Issued)
		}
		begun, err := s.Begin(t.Context(), intents)
		if err != nil {
			t.Fatal(err)
		}
		finished, err := s.Finish(t.Context(), issued)
		if err = errors.Join(append(append(begun, finished...), err)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}

	filled, s, log := prepare(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	told := 0
	cfg := sqldb.Config{Path: filepath.Join(filled, "ledger.db"), Log: log}
	if err := sqldb.Fill(t.Context(), cfg, each(list), func(n int) { told = n }); err != nil {
		t.Fatal(err)
	}
	if told != len(list) {
		t.Errorf("told of %d certificates, of %d", told, len(list))
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}

	a, b := contents(t, written), contents(t, filled)
	for table, rows := range a.rows {
		if !slices.Equal(rows, b.rows[table]) {
			t.Errorf("%s differs: %d and %d rows", table, len(rows), len(b.rows[table]))
		}
	}
	if len(a.rows) != len(b.rows) || !slices.Equal(a.schema, b.schema) {
		t.Error("the schema differs")
	}
	for _, c := range []contentsOf{a, b} {
		if c.check != "ok" {
			t.Errorf("the check of the database: %s", c.check)
		}
	}
	if d := float64(b.size)/float64(a.size) - 1; d < -0.03 || d > 0.03 {
		t.Errorf("%d bytes written, %d filled", a.size, b.size)
	}
	t.Logf("%d bytes a certificate written, %d filled", a.size/int64(len(list)), b.size/int64(len(list)))
	if x, y := events(t, written), events(t, filled); !slices.Equal(x, y) {
		t.Errorf("the log differs: %d and %d events", len(x), len(y))
	}

	// Work goes on in it.
	s, _ = open(t, filled)
	again := list[0].Intent
	again.Serial, again.Device, again.Order = ledgertest.NewSerial(now), "SN9999999", ""
	results, err := s.Begin(t.Context(), []ledger.Intent{again})
	var shared *ledger.SharedKeyError
	if err != nil || !errors.As(results[0], &shared) {
		t.Errorf("the key of a device for another one: %v, %v", results, err)
	}
}

type contentsOf struct {
	rows   map[string][]string
	schema []string
	size   int64
	check  string
}

// contents reads all of a ledger, but for positions in the log.
func contents(t *testing.T, dir string) contentsOf {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	strs := func(text string) (list []string) {
		rows, err := db.Query(text)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		columns, _ := rows.Columns()
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			list = append(list, fmt.Sprintf("%v", values))
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		return list
	}
	c := contentsOf{rows: map[string][]string{}, schema: strs(`SELECT type, name, sql FROM sqlite_master ORDER BY name`)}
	for _, name := range strs(`SELECT name FROM sqlite_master WHERE type = 'table'`) {
		table := strings.Fields(strings.Trim(name, "[{}]"))[0]
		where := ""
		if table == "meta" {
			where = ` WHERE name <> 'log'` // heads differ with the times of the log's own records
		}
		c.rows[table] = strs(`SELECT * FROM ` + table + where)
	}
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&c.check); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow(`SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`).Scan(&c.size); err != nil {
		t.Fatal(err)
	}
	return c
}

// events reads the log of a directory, whose chain is checked.
func events(t *testing.T, dir string) (list []string) {
	t.Helper()
	_, err := audit.Walk(dir, audit.Visitor{Batch: func(b audit.Batch) error {
		for _, e := range b.Events {
			switch {
			case e.Intent != nil:
				list = append(list, fmt.Sprintf("%d %+v", b.Head.Batch, *e.Intent))
			case e.Issued != nil:
				list = append(list, fmt.Sprintf("%d %+v", b.Head.Batch, *e.Issued))
			default:
				list = append(list, fmt.Sprintf("%d %s", b.Head.Batch, e.Kind))
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestFillRefuses(t *testing.T) {
	now := time.Now()
	fill := func(t *testing.T, list iter.Seq2[sqldb.Filled, error], change func(s *sqldb.Store, log *audit.Log)) error {
		t.Helper()
		dir := t.TempDir()
		s, log := open(t, dir)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(s, log)
		}
		return sqldb.Fill(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log}, list, nil)
	}
	good := fleet(ledger.Epoch{Server: "alpha", Number: 1}, now, 100)
	if err := fill(t, each(good), nil); err == nil || !strings.Contains(err.Error(), "WO-1") {
		t.Errorf("under an order that does not exist: %v", err)
	}
	for i := range good {
		good[i].Intent.Order = ""
	}
	if err := fill(t, each(good), nil); err != nil {
		t.Error(err)
	}
	if err := fill(t, each(append(slices.Clone(good), good[3])), nil); !errors.Is(err, ledger.ErrTaken) {
		t.Errorf("a serial number twice: %v", err)
	}
	broken := errors.New("no more")
	if err := fill(t, func(yield func(sqldb.Filled, error) bool) { yield(sqldb.Filled{}, broken) }, nil); !errors.Is(err, broken) {
		t.Errorf("without certificates: %v", err)
	}
	bad := slices.Clone(good)
	bad[70].Intent.TBS = nil
	if err := fill(t, each(bad), nil); err == nil {
		t.Error("an intent to sign nothing was recorded")
	}
	ahead := func(_ *sqldb.Store, log *audit.Log) {
		if _, err := log.Append([]ledger.Event{{Kind: ledger.EventIssued, At: now, Issued: &ledger.Issued{Serial: "0a", DER: []byte{1}}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill(t, each(good), ahead); !errors.Is(err, sqldb.ErrDiverged) {
		t.Errorf("with a log that is ahead: %v", err)
	}
	if err := fill(t, each(good), func(_ *sqldb.Store, log *audit.Log) { log.Close() }); !errors.Is(err, audit.ErrFailed) {
		t.Errorf("with a log that is closed: %v", err)
	}
	if err := sqldb.Fill(t.Context(), sqldb.Config{URL: "postgres://localhost/x"}, each(good), nil); err == nil {
		t.Error("filled a shared database")
	}
}
