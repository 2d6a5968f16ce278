package sqldb

import (
	"strings"
	"testing"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
)

// SQLite prepares a statement anew, at several times the cost of running it, when a parameter
// has another value and may decide whether a partial index can be used. No statement of an
// enrollment is such a one.
func TestHotPathIsPreparedOnce(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s, err := Open(t.Context(), Config{Path: dir + "/ledger.db", Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	epoch, err := s.Join(t.Context(), "alpha", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	order := ledger.Order{ID: "wo-1", Profile: "device", Label: "line", Quantity: 10, State: ledger.OrderOpen, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), CreatedAt: now}
	if err := s.CreateOrder(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"password", "certificate", "order"} {
		i := ledger.Intent{
			Epoch: epoch, Serial: ledger.Serial("0a" + kindDigit(kind)), Issuer: "line-a", Profile: "device", Purpose: ledger.ForDevice, Device: "dev-" + kind,
			Requester: ledger.Requester{Kind: kind, Name: "0b"}, Key: [32]byte{byte(len(kind)), kind[0]}, TBS: []byte{1},
			NotBefore: now, NotAfter: now.Add(time.Hour), At: now, Repeat: time.Minute,
		}
		if kind == "order" {
			i.Order = order.ID
		}
		if refusals, err := s.Begin(t.Context(), []ledger.Intent{i}); err != nil || refusals[0] != nil {
			t.Fatal(refusals, err)
		}
		if refusals, err := s.Finish(t.Context(), []ledger.Issued{{Serial: i.Serial, DER: []byte{2}, At: now}}); err != nil || refusals[0] != nil {
			t.Fatal(refusals, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for text := range s.writer.stmts {
		// What runs at the start and once a batch does not matter.
		if !strings.Contains(text, "certificates") && !strings.Contains(text, "devices") && !strings.Contains(text, "orders") || strings.Contains(text, "epoch_server = $1") {
			continue
		}
		seen++
		if n := prepared(t, dir+"/ledger.db", text); n > 0 {
			t.Errorf("prepared anew %d times: %s", n, text)
		}
	}
	if seen < 6 {
		t.Errorf("only %d statements", seen)
	}
	if prepared(t, dir+"/ledger.db", `SELECT serial FROM certificates WHERE device = $1 AND purpose = $2`) == 0 {
		t.Error("this test does not see it when a statement is prepared anew")
	}
}

func kindDigit(kind string) string {
	return map[string]string{"password": "01", "certificate": "02", "order": "03"}[kind]
}

// prepared returns how often SQLite prepares a statement anew in three uses with other values.
func prepared(t *testing.T, file, text string) int32 {
	t.Helper()
	tls := libc.NewTLS()
	defer tls.Close()
	name, query := cString(t, file), cString(t, text)
	defer libc.Xfree(tls, name)
	defer libc.Xfree(tls, query)
	handles := tls.Alloc(16)
	defer tls.Free(16)
	if rc := sqlite3.Xsqlite3_open_v2(tls, name, handles, sqlite3.SQLITE_OPEN_READWRITE, 0); rc != sqlite3.SQLITE_OK {
		t.Fatalf("opening: %d", rc)
	}
	db := *(*uintptr)(libcPointer(handles))
	defer sqlite3.Xsqlite3_close(tls, db)
	if rc := sqlite3.Xsqlite3_prepare_v2(tls, db, query, -1, handles+8, 0); rc != sqlite3.SQLITE_OK {
		t.Fatalf("preparing %s: %d", text, rc)
	}
	stmt := *(*uintptr)(libcPointer(handles + 8))
	defer sqlite3.Xsqlite3_finalize(tls, stmt)
	for _, value := range []string{"device", "gateway", "x"} {
		word := cString(t, value)
		for n := range sqlite3.Xsqlite3_bind_parameter_count(tls, stmt) {
			if rc := sqlite3.Xsqlite3_bind_text(tls, stmt, n+1, word, -1, sqlite3.SQLITE_TRANSIENT); rc != sqlite3.SQLITE_OK {
				t.Fatalf("binding: %d", rc)
			}
		}
		libc.Xfree(tls, word)
		// What it finds, or that a column refuses the value, is not the question.
		sqlite3.Xsqlite3_step(tls, stmt)
		sqlite3.Xsqlite3_reset(tls, stmt)
	}
	return sqlite3.Xsqlite3_stmt_status(tls, stmt, sqlite3.SQLITE_STMTSTATUS_REPREPARE, 0)
}

func cString(t *testing.T, s string) uintptr {
	t.Helper()
	p, err := libc.CString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// libcPointer is memory of the library's own heap, which the garbage collector does not move.
func libcPointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }
