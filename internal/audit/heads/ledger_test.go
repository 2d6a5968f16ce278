package heads_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// hooked is a log that is interrupted after an append, before the ledger's
// transaction commits.
type hooked struct {
	*audit.Log
	appended func() error
}

func (h *hooked) Append(events []ledger.Event) (ledger.Head, error) {
	head, err := h.Log.Append(events)
	if err == nil && h.appended != nil {
		err = h.appended()
	}
	return head, err
}

func openLedger(t *testing.T, dir string) (*sqldb.Store, *hooked) {
	t.Helper()
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	h := &hooked{Log: log}
	t.Cleanup(func() { log.Close() })
	s, err := sqldb.Open(context.Background(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: h, Migrate: true, Retry: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, h
}

// snapshot copies all files, as a crash at this moment would leave them.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Error(err)
	}
	return to
}

// A head record in any window of a commit leaves ledger and log in agreement,
// and the batch that never committed is the one that is aborted.
func TestHeadBesideACommit(t *testing.T) {
	dir := t.TempDir()
	s, log := openLedger(t, dir)
	now := time.Now()
	epoch, err := s.Join(t.Context(), "alpha", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(name string) (ledger.Intent, error) {
		i := ledgertest.NewIntent(epoch, now, name, name)
		refused, err := s.Begin(t.Context(), []ledger.Intent{i})
		return i, errors.Join(append(refused, err)...)
	}
	has := func(s *sqldb.Store, i ledger.Intent) bool {
		t.Helper()
		_, err := s.Certificate(t.Context(), i.Serial)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	head := func() error { _, err := log.AppendHead(); return err }
	verify := func(dir string, aborted int) {
		t.Helper()
		report, err := audit.Verify(dir)
		if err != nil || report.Aborted != aborted {
			t.Errorf("log: %+v, %v; want %d aborted", report, err, aborted)
		}
	}

	// After a commit, then a crash.
	first, err := begin("first")
	if err == nil {
		err = head()
	}
	if err != nil {
		t.Fatal(err)
	}
	copied := snapshot(t, dir)
	other, _ := openLedger(t, copied)
	if !has(other, first) {
		t.Error("a head after the commit: the intent is lost")
	}
	other.Close()
	verify(copied, 0)

	// Between append and commit, which goes well.
	var crashed string
	log.appended = func() error {
		if err := head(); err != nil {
			return err
		}
		crashed = snapshot(t, dir)
		return nil
	}
	second, err := begin("second")
	if err != nil {
		t.Fatal(err)
	}
	log.appended = nil
	third, err := begin("third")
	if err != nil || !has(s, second) || !has(s, third) {
		t.Fatalf("after a head inside a commit: %v", err)
	}

	// The same, and the server dies before the commit.
	other, otherLog := openLedger(t, crashed)
	if has(other, second) || !has(other, first) {
		t.Error("a head between append and a commit that never came: wrong batch aborted")
	}
	if _, err := otherLog.AppendHead(); err != nil {
		t.Error(err)
	}
	verify(crashed, 1)
	other.Close()
	otherLog.Close()
	other, _ = openLedger(t, crashed)
	if !has(other, first) {
		t.Error("second start: the first intent is lost")
	}
	verify(crashed, 1)

	// Between append and a commit that fails: the ledger heals itself.
	log.appended = func() error {
		log.appended = nil
		return errors.Join(head(), errors.New("the disk is gone"))
	}
	fourth, err := begin("fourth")
	if !errors.Is(err, ledger.ErrUnavailable) {
		t.Fatalf("a failed append: %v", err)
	}
	for s.Health() != nil {
		time.Sleep(time.Millisecond)
	}
	if has(s, fourth) {
		t.Error("the intent of a failed commit is there")
	}
	if err := head(); err != nil {
		t.Fatal(err)
	}
	if _, err := begin("fifth"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	log.Close()
	verify(dir, 1)
	s, _ = openLedger(t, dir)
	if !has(s, first) || !has(s, third) || has(s, fourth) {
		t.Error("after the restart something is lost")
	}
}
