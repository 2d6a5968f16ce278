package sqldb

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mintmark/internal/audit"
)

func TestMemAvailable(t *testing.T) {
	if n, err := memAvailable(strings.NewReader("MemTotal:  100 kB\nMemFree: 7 kB\nMemAvailable:    2048 kB\nBuffers: 1 kB\n")); n != 2<<20 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, text := range []string{"", "MemTotal: 100 kB\n", "MemAvailable: many kB\n"} {
		if n, err := memAvailable(strings.NewReader(text)); err == nil || n != 0 {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	if n, err := available(); n <= 0 || err != nil {
		t.Errorf("here: %d, %v", n, err)
	}
}

// What was on the disk alone is in memory, and the store goes on.
func TestWarm(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "mintmark-warm-") // on a disk, unlike many a /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	log, err := audit.Open(dir, audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	path := dir + "/ledger.db"
	s, err := Open(t.Context(), Config{Path: path, Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o := &op{items: 1, run: func(t *tx) error {
		if _, err := t.exec(`CREATE TABLE much (n INTEGER PRIMARY KEY, what BLOB)`); err != nil {
			return err
		}
		_, err := t.exec(`WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) INSERT INTO much SELECT n, randomblob(4000) FROM c`)
		return err
	}}
	if err := s.write(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := s.readers.Exec(`PRAGMA query_only(0)`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.readers.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) // after the store, for the locks of SQLite
	before := resident(t, f, true)
	if before == 1 {
		t.Log("nothing can be put out of the page cache here")
	}
	n, err := s.Warm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The last reads may still be under way; and some kernels are asked for more than they read at once.
	after := resident(t, f, false)
	for end := time.Now().Add(time.Minute); after < 0.4 && time.Now().Before(end); runtime.Gosched() {
		after = resident(t, f, false)
	}
	if after < 0.4 || n < 8<<20 {
		t.Errorf("%d bytes; %.2f of the file in memory, and %.2f before", n, after, before)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := s.Warm(ended); !errors.Is(err, context.Canceled) || n > warmStep {
		t.Errorf("with an end: %d, %v", n, err)
	}
	if err := s.write(t.Context(), &op{items: 1, run: func(t *tx) error { _, err := t.exec(`DELETE FROM much`); return err }}); err != nil {
		t.Error(err)
	}
}

// resident is the part of a file that is in the page cache, after it was put out of it if that is
// wanted and the file system can.
func resident(t *testing.T, f *os.File, drop bool) float64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if drop {
		if err := errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
			t.Fatal(err)
		}
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	pages := make([]byte, (len(memory)+os.Getpagesize()-1)/os.Getpagesize())
	if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&memory[0])), uintptr(len(memory)), uintptr(unsafe.Pointer(&pages[0]))); e != 0 {
		t.Fatal(e)
	}
	in := 0
	for _, p := range pages {
		in += int(p & 1)
	}
	return float64(in) / float64(len(pages))
}
