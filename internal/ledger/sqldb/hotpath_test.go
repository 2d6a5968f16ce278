package sqldb

import (
	"strings"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
)

// Most enrollments take neither an approval nor a one-time secret: those tables
// are nothing to them.
func TestHotPathAsksForNothingElse(t *testing.T) {
	used := func(change func(*ledger.Intent)) (count int) {
		t.Helper()
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
		i := ledger.Intent{
			Epoch: epoch, Serial: "0a", Issuer: "line-a", Profile: "gateway", Purpose: ledger.ForDevice, Device: "dev-1", Requester: ledger.Requester{Kind: "password", Name: "s"},
			Key: [32]byte{1}, TBS: []byte{1}, NotBefore: now, NotAfter: now.Add(time.Hour), At: now, Repeat: time.Minute,
		}
		change(&i)
		if _, err := s.Begin(t.Context(), []ledger.Intent{i}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Finish(t.Context(), []ledger.Issued{{Serial: i.Serial, DER: []byte{2}, At: now}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for text := range s.writer.stmts {
			if strings.Contains(text, "enrollments") || strings.Contains(text, "device_secrets") {
				count++
			}
		}
		return count
	}
	if n := used(func(*ledger.Intent) {}); n != 0 {
		t.Errorf("an intent that takes nothing runs %d statements about what is taken", n)
	}
	if n := used(func(i *ledger.Intent) { i.Enrollment = "e" }); n == 0 {
		t.Error("this test does not see the statements")
	}
}
