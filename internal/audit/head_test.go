package audit

import (
	"errors"
	"os"
	"sync"
	"testing"

	"mintmark/internal/ledger"
)

func appendHead(t testing.TB, l *Log) HeadRecord {
	t.Helper()
	r, err := l.AppendHead()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func collectHeads(t testing.TB, l *Log, after int64) []HeadRecord {
	t.Helper()
	var got []HeadRecord
	for r, err := range l.Heads(after) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	return got
}

// The position of a head record is made again from the log, over any number of
// files and after reopening.
func TestHeadsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{MaxSize: 4000})
	var want []HeadRecord
	for range 10 {
		appendAll(t, l, events())
		want = append(want, appendHead(t, l))
	}
	appendAll(t, l, events(), events(), events(), events())
	if files, _ := listFiles(dir); len(files) < 6 {
		t.Fatalf("%d files", len(files))
	}
	for after := range int64(12) {
		got := collectHeads(t, l, after)
		if len(got) != max(0, 10-int(after)) {
			t.Fatalf("%d heads after %d", len(got), after)
		}
		for i, r := range got {
			if r != want[int(after)+i] {
				t.Errorf("head %+v, want %+v", r, want[int(after)+i])
			}
		}
	}
	l.Close()
	l = open(t, dir, Config{MaxSize: 4000})
	if r := appendHead(t, l); r.Sequence != 11 || r.Position != l.Head() || r.Server != "alpha" {
		t.Errorf("head after reopening: %+v", r)
	}
	if _, err := Verify(dir); err != nil {
		t.Error(err)
	}
}

// A batch stays the one to be aborted when a head record comes after it, and
// none but a batch of events can be.
func TestHeadBetweenAppendAndCommit(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	begin := l.Head()
	appendAll(t, l, events())
	committed := l.Head()
	appendAll(t, l, events()[:1])
	pending := l.Head()
	appendHead(t, l)

	check := func(name string) {
		t.Helper()
		if open, err := l.Unsettled(committed); err != nil || !open {
			t.Errorf("%s: unsettled %v, %v", name, open, err)
		}
		if open, err := l.Unsettled(pending); err != nil || open {
			t.Errorf("%s: unsettled after the commit %v, %v", name, open, err)
		}
		if open, err := l.Unsettled(l.Head()); err != nil || open {
			t.Errorf("%s: unsettled at the end %v, %v", name, open, err)
		}
		if _, err := l.Unsettled(begin); !errors.Is(err, ErrConfirmed) {
			t.Errorf("%s: two batches behind: %v", name, err)
		}
	}
	check("open")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	check("reopened")
	l.Close()
	l = open(t, dir, Config{})
	check("after a crash")

	if _, err := l.Abort(); err != nil {
		t.Fatal(err)
	}
	got := collect(t, l, begin)
	if len(got) != 2 || got[0].Aborted || !got[1].Aborted || got[1].Head != pending {
		t.Errorf("batches %+v", got)
	}
	head := l.Head()
	appendHead(t, l)
	if again, err := l.Abort(); err != nil || again == head || again != l.Head() {
		t.Errorf("a head was aborted: %v, %v", again, err)
	}
	if report, err := Verify(dir); err != nil || report.Aborted != 1 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// A crash can leave any prefix of a head record. The batch before it is not
// touched, and the number is used again.
func TestTornHead(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	appendAll(t, l, events()[:2])
	appendHead(t, l)
	committed := l.Head()
	appendAll(t, l, events()[:1])
	size := l.size
	appendHead(t, l)
	l.Close()
	files, _ := listFiles(dir)
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for n := size; n < int64(len(content)); n += 13 {
		if err := os.WriteFile(files[0], content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir, Config{})
		if open, err := l.Unsettled(committed); err != nil || !open {
			t.Fatalf("%d bytes: unsettled %v, %v", n, open, err)
		}
		if r := appendHead(t, l); r.Sequence != 2 {
			t.Fatalf("%d bytes: head %+v", n, r)
		}
		if _, err := l.Abort(); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if report, err := Verify(dir); err != nil || report.Aborted != 1 {
			t.Fatalf("%d bytes: %+v, %v", n, report, err)
		}
	}
}

// A head whose write failed may be on disk all the same; it is then read back,
// because nobody knows that it was not exported.
func TestFailedHead(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	appendAll(t, l, events())
	before, saved := l.Head(), l.size
	want := appendHead(t, l)
	// As if fdatasync had returned an error.
	l.failed, l.head, l.heads, l.size = true, before, 0, saved
	if _, err := l.AppendHead(); !errors.Is(err, ErrFailed) {
		t.Fatalf("head after a failure: %v", err)
	}
	if _, err := l.Append(events()); !errors.Is(err, ErrFailed) {
		t.Fatalf("batch after a failed head: %v", err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if got := collectHeads(t, l, 0); len(got) != 1 || got[0] != want {
		t.Errorf("heads %+v, want %+v", got, want)
	}
	if open, err := l.Unsettled(before); err != nil || open {
		t.Errorf("unsettled: %v, %v", open, err)
	}
}

// Heads are appended by another goroutine than batches, and read while both go
// on.
func TestHeadsBesideBatches(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{MaxSize: 8000})
	var all sync.WaitGroup
	all.Go(func() {
		for range 50 {
			appendAll(t, l, events()[:2])
		}
	})
	all.Go(func() {
		for range 50 {
			appendHead(t, l)
		}
	})
	all.Go(func() {
		for range 20 {
			for _, err := range l.Heads(0) {
				if err != nil {
					t.Error(err)
				}
			}
			for _, err := range l.Batches(ledger.Head{}) {
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	all.Wait()
	if got := collectHeads(t, l, 0); len(got) != 50 {
		t.Errorf("%d heads", len(got))
	}
	if report, err := Verify(dir); err != nil || report.Batches != 50 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}
