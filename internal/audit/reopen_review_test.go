package audit

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The bytes of an append that failed may be read back from the page cache by
// one attempt to reopen, which fails when it writes, and be gone by the next:
// they never were durable, so that nothing is missing.
func TestFailedReopenPromisesNothing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	appendAll(t, l, events())
	before, saved := l.Head(), l.size
	appendAll(t, l, events())
	// As if fdatasync had returned an error.
	l.lost, l.failed = l.head.Batch, true
	l.head, l.events, l.size = before, before, saved

	files, _ := listFiles(dir)
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	unwritable(t, files[0], content)
	if err := l.Reopen(); err == nil {
		t.Fatal("reopened a file that cannot be written")
	}
	os.Remove(files[0])
	if err := os.WriteFile(files[0], content[:saved], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatalf("refused for good: %v", err)
	}
	if l.Head() != before {
		t.Errorf("head %v, want %v", l.Head(), before)
	}
	appendAll(t, l, events())
}

// unwritable replaces a file by one that can be opened and read, and whose
// writes fail, also those of root.
func unwritable(t *testing.T, path string, content []byte) {
	t.Helper()
	fd, err := unix.MemfdCreate("log", unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Skip("no memfd:", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.Write(fd, content); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	if err := os.Symlink(fmt.Sprintf("/proc/self/fd/%d", fd), path); err != nil {
		t.Fatal(err)
	}
}

// Batches that were durable and are gone are missed by every attempt, not only
// by the first: the store tries again each second.
func TestCutLogStaysRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	appendAll(t, l, events())
	saved := l.size
	appendAll(t, l, events())
	files, _ := listFiles(dir)
	if err := os.Truncate(files[0], saved); err != nil {
		t.Fatal(err)
	}
	for attempt := range 3 {
		if err := l.Reopen(); err == nil {
			t.Fatalf("attempt %d accepts a log that was cut", attempt+1)
		}
	}
}
