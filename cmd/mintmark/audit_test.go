package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/audit/heads"
	"mintmark/internal/ledger"
)

// auditDir is a state directory with a log and two heads.
func auditDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	key, err := heads.OpenKey(filepath.Join(dir, "secrets", "audit-key"), "alpha")
	if err != nil {
		t.Fatal(err)
	}
	exporter, err := heads.New(heads.Config{Log: log, Dir: filepath.Join(dir, "heads"), Key: key, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for range 2 {
		now := time.Now()
		order := &ledger.Order{ID: "WO-1", Profile: "gateway", Quantity: 5, State: ledger.OrderOpen, NotBefore: now, NotAfter: now.Add(time.Hour), CreatedAt: now}
		if _, err := log.Append([]ledger.Event{{Kind: ledger.EventOrder, At: time.Now(), Order: order}}); err != nil {
			t.Fatal(err)
		}
		exporter.Run(ended)
	}
	return dir
}

func good(t *testing.T, words string, args ...string) string {
	t.Helper()
	out, err := output(t, args...)
	if err != nil || !strings.Contains(out, words) {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
	return out
}

func bad(t *testing.T, words string, args ...string) {
	t.Helper()
	out, err := output(t, args...)
	if err == nil || !strings.Contains(out+err.Error(), words) {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
}

func TestAuditHeads(t *testing.T) {
	dir := auditDir(t)
	log, kept := filepath.Join(dir, "log"), filepath.Join(dir, "heads")
	key := strings.TrimSpace(good(t, "alpha.issuance-log+", "audit", "key", "--dir", dir))
	file := filepath.Join(t.TempDir(), "vkey")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	good(t, "2 verified", "audit", "verify", "--dir", dir)
	good(t, "whoever could change the log could sign for it", "audit", "verify", "--dir", dir)
	good(t, "2 verified", "audit", "verify", "--log", log, "--heads", kept, "--key", key)
	good(t, `"heads": 2`, "audit", "verify", "--log", log, "--heads", kept, "--key", file, "--json")
	good(t, "sequence 2\n", "audit", "head", "--dir", dir)
	good(t, `sequence 2\n`, "audit", "head", "--heads", kept, "--json")

	later := time.Now().Add(time.Hour).Format(time.RFC3339)
	bad(t, "newest signed head is of", "audit", "verify", "--log", log, "--heads", kept, "--key", key, "--as-of", later)
	good(t, "nothing was found", "audit", "verify", "--log", log, "--heads", kept, "--key", key, "--as-of", later, "--max-age", "2h")
	bad(t, "must not leave the server", "audit", "verify", "--log", log, "--heads", kept, "--key", filepath.Join(dir, "secrets", "audit-key"))

	// A head that is missing stops a rebuild, too, unless it is wanted all the
	// same.
	os.Remove(filepath.Join(kept, heads.FileName("alpha", 1)))
	to := filepath.Join(t.TempDir(), "new.db")
	bad(t, "is missing", "audit", "verify", "--dir", dir)
	bad(t, "rebuilt nothing", "audit", "rebuild", "--dir", dir, "--to", to)
	if _, err := os.Stat(to); err == nil {
		t.Error("rebuilt all the same")
	}
	good(t, "2 applied", "audit", "rebuild", "--dir", dir, "--to", to, "--anyway")

	os.Remove(filepath.Join(dir, "secrets", "audit-key"))
	bad(t, "makes it at its first start", "audit", "key", "--dir", dir)
	bad(t, "--key names the key", "audit", "verify", "--dir", dir)
	bad(t, "holds heads of 0 servers", "audit", "head", "--heads", log)
}
