package audit

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

var at = time.Date(2026, 3, 4, 5, 6, 7, 890, time.UTC)

func intent(serial ledger.Serial) ledger.Event {
	return ledger.Event{Kind: ledger.EventIntent, At: at, Intent: &ledger.Intent{
		Epoch:  ledger.Epoch{Server: "alpha", Number: 3},
		Serial: serial, Issuer: "line-a", Profile: "gateway", Label: "line", Purpose: ledger.ForDevice,
		Order: "WO-7", Listed: true,
		Device: "dev \"7\" \\ \n\x01\u2028é", Subject: "CN=dev-7,O=Example",
		Requester: ledger.Requester{Kind: "password", Name: "station-2", Address: netip.MustParseAddr("fe80::1%eth\"0")},
		Key:       [32]byte{1, 2, 255}, TBS: bytes.Repeat([]byte{0x30, 0x82}, 300),
		NotBefore: at, NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), At: at,
		Repeat: 10 * time.Minute, SecondKey: true, Enrollment: "0644aef", Secret: [32]byte{5}, Shard: 7,
	}}
}

func events() []ledger.Event {
	void := ledger.Serial("0b")
	return []ledger.Event{
		intent("0a"),
		{Kind: ledger.EventIssued, At: at, Issued: &ledger.Issued{Serial: "0a", DER: []byte{0x30, 1, 0}, At: at}},
		{Kind: ledger.EventVoided, At: at, Voided: &void},
		{Kind: ledger.EventRevocation, At: at, Revocation: &ledger.Revocation{Serial: "0a", Reason: ledger.Superseded, Actor: "officer"}},
		{Kind: ledger.EventAuthority, At: at, Authority: &ledger.Authority{
			Name: "line-a", Certificate: []byte{0x30}, Chain: [][]byte{{1}, {2, 3}}, KeyURI: "pkcs11:token=a", CreatedAt: at,
		}},
	}
}

func open(t testing.TB, dir string, cfg Config) *Log {
	t.Helper()
	cfg.Server = "alpha"
	l, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendAll(t testing.TB, l *Log, batches ...[]ledger.Event) {
	t.Helper()
	for _, b := range batches {
		if _, err := l.Append(b); err != nil {
			t.Fatal(err)
		}
	}
}

func collect(t testing.TB, l *Log, after ledger.Head) []Batch {
	t.Helper()
	var got []Batch
	for b, err := range l.Batches(after) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b)
	}
	return got
}

func TestWhatIsAppendedIsReadBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	begin := l.Head()
	appendAll(t, l, events(), events()[:1])
	got := collect(t, l, begin)
	if len(got) != 2 || !reflect.DeepEqual(got[0].Events, events()) {
		t.Fatalf("read back %+v", got)
	}
	if !got[0].Confirmed || got[1].Confirmed {
		t.Errorf("confirmed: %v, %v; only the first is", got[0].Confirmed, got[1].Confirmed)
	}
	if got := collect(t, l, got[0].Head); len(got) != 1 {
		t.Errorf("%d batches after the first, want 1", len(got))
	}
	l.Close()
	if head := open(t, dir, Config{}).Head(); head != got[1].Head {
		t.Errorf("head after reopening %v, want %v", head, got[1].Head)
	}
	report, err := Verify(dir)
	if err != nil || report.Batches != 2 || report.Records != 6 || report.Head != got[1].Head {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{MaxSize: 4000})
	begin := l.Head()
	var heads []ledger.Head
	for range 20 {
		appendAll(t, l, events())
		heads = append(heads, l.Head())
	}
	files, err := listFiles(dir)
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if got := collect(t, l, begin); len(got) != 20 {
		t.Fatalf("%d batches, want 20", len(got))
	}
	for i, head := range heads {
		if got := collect(t, l, head); len(got) != 19-i {
			t.Errorf("%d batches after batch %d, want %d", len(got), head.Batch, 19-i)
		}
	}
	l.Close()
	l = open(t, dir, Config{MaxSize: 4000})
	appendAll(t, l, events())
	if _, err := Verify(dir); err != nil {
		t.Fatal(err)
	}

	t.Run("missing files are seen", func(t *testing.T) {
		for _, path := range files[:len(files)-1] {
			hidden := path + ".away"
			os.Rename(path, hidden)
			if _, err := Verify(dir); !isBreak(err) {
				t.Errorf("without %s: %v", filepath.Base(path), err)
			}
			os.Rename(hidden, path)
		}
	})
	t.Run("a file of another server is refused", func(t *testing.T) {
		if _, err := Open(dir, Config{Server: "beta"}); err == nil {
			t.Error("opened")
		}
	})
}

func isBreak(err error) bool {
	var b *Break
	return errors.As(err, &b)
}

func TestAbort(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	begin := l.Head()
	appendAll(t, l, events()[:1])
	if open, err := l.Unsettled(begin); err != nil || !open {
		t.Fatalf("unsettled: %v, %v", open, err)
	}
	if _, err := l.Abort(); err != nil {
		t.Fatal(err)
	}
	head := l.Head()
	if again, err := l.Abort(); err != nil || again != head {
		t.Errorf("second abort: %v, %v", again, err)
	}
	if open, err := l.Unsettled(begin); err != nil || open {
		t.Errorf("unsettled after abort: %v, %v", open, err)
	}
	appendAll(t, l, events()[:2], events()[:3])
	got := collect(t, l, begin)
	if len(got) != 3 || !got[0].Aborted || got[0].Confirmed || got[1].Aborted || !got[1].Confirmed {
		t.Errorf("batches %+v", got)
	}
	if _, err := l.Unsettled(begin); !errors.Is(err, ErrConfirmed) {
		t.Errorf("two batches behind: %v", err)
	}
	if _, err := l.Unsettled(ledger.Head{Batch: 99}); !errors.Is(err, ErrUnknownHead) {
		t.Errorf("ahead of the log: %v", err)
	}
	if _, err := l.Unsettled(ledger.Head{Batch: begin.Batch, Hash: [32]byte{1}}); !errors.Is(err, ErrUnknownHead) {
		t.Errorf("another chain: %v", err)
	}
	if report, err := Verify(dir); err != nil || report.Aborted != 1 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// A crash can leave any prefix of the last write.
func TestTornEnd(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	appendAll(t, l, events()[:2])
	good := l.Head()
	whole := l.size
	appendAll(t, l, events())
	l.Close()
	files, _ := listFiles(dir)
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, torn []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(files[0])), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, Config{Server: "alpha"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer l.Close()
		if l.Head().Batch != good.Batch+1 {
			t.Fatalf("%s: head %d, want %d: the record of the cut", name, l.Head().Batch, good.Batch+1)
		}
		appendAll(t, l, events())
		report, err := Verify(dir)
		if err != nil || report.Cuts != 1 || report.Batches != 2 || report.Torn != 0 {
			t.Fatalf("%s: %+v, %v", name, report, err)
		}
	}
	for n := whole + 1; n < int64(len(content)); n += 37 {
		check("cut", content[:n])
	}
	zeros := bytes.Clone(content)
	clear(zeros[whole+100 : whole+900])
	check("page of zeros", zeros)
	check("only zeros", append(bytes.Clone(content[:whole]), make([]byte, 4096)...))
}

// A crash while a file is begun leaves it empty or with half a record.
func TestTornBeginning(t *testing.T) {
	for _, n := range []int{0, 1, 60} {
		dir := t.TempDir()
		l := open(t, dir, Config{MaxSize: 1})
		appendAll(t, l, events(), events())
		l.Close()
		files, _ := listFiles(dir)
		if err := os.Truncate(files[len(files)-1], int64(n)); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Config{MaxSize: 1})
		appendAll(t, l, events())
		if report, err := Verify(dir); err != nil || report.Batches != 2 {
			t.Errorf("%d bytes: %+v, %v", n, report, err)
		}
	}
}

func TestEveryChangeIsSeen(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	for range 4 {
		appendAll(t, l, events())
	}
	head := l.Head()
	l.Close()
	files, _ := listFiles(dir)
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	changed := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(files[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(dir)
		if err == nil && report.Head == head {
			t.Fatalf("%s: not seen", name)
		}
	}
	for i := 0; i < len(content); i += 11 {
		c := bytes.Clone(content)
		c[i] ^= 1
		changed("edit", c)
	}
	lines := strings.SplitAfter(string(content), "\n")
	lines = lines[:len(lines)-1]
	for i := range lines {
		without := strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "")
		changed("deletion", []byte(without))
		if i > 0 {
			l := append([]string{}, lines...)
			l[i-1], l[i] = l[i], l[i-1]
			changed("exchange", []byte(strings.Join(l, "")))
		}
		changed("doubling", []byte(strings.Join(lines[:i+1], "")+strings.Join(lines[i:], "")))
	}
	c := bytes.Clone(content)
	c[len(c)/2] = 'X'
	os.WriteFile(files[0], c, 0o600)
	if _, err := Open(dir, Config{Server: "alpha"}); !isBreak(err) {
		t.Errorf("opening an edited log: %v", err)
	} else if !strings.Contains(err.Error(), "line ") || !strings.Contains(err.Error(), files[0]) {
		t.Errorf("error does not name the place: %v", err)
	}
}

func TestFailedWriteStopsTheLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	appendAll(t, l, events())
	good := l.Head()

	t.Run("nothing was written", func(t *testing.T) {
		l.file.Close()
		if _, err := l.Append(events()); err == nil {
			t.Fatal("appended to a closed file")
		}
		if _, err := l.Append(events()); !errors.Is(err, ErrFailed) {
			t.Fatalf("append after failure: %v", err)
		}
		if _, err := l.Abort(); !errors.Is(err, ErrFailed) {
			t.Fatalf("abort after failure: %v", err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		if l.Head() != good {
			t.Errorf("head %v, want %v", l.Head(), good)
		}
		appendAll(t, l, events())
	})
	t.Run("it was written all the same", func(t *testing.T) {
		before := l.Head()
		saved := l.size
		appendAll(t, l, events())
		// As if fdatasync had returned an error.
		l.lost, l.failed = l.head.Batch, true
		l.head, l.events, l.size = before, before, saved
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		if open, err := l.Unsettled(before); err != nil || open {
			t.Errorf("failed batch is not aborted: %v, %v", open, err)
		}
		appendAll(t, l, events())
		if report, err := Verify(dir); err != nil || report.Aborted != 1 {
			t.Errorf("verify: %+v, %v", report, err)
		}
	})
	t.Run("the log was cut behind our back", func(t *testing.T) {
		files, _ := listFiles(dir)
		os.Truncate(files[0], good.Batch) // anything short
		if err := l.Reopen(); err == nil {
			t.Error("accepted")
		}
	})
}

func FuzzRecord(f *testing.F) {
	for i, e := range events() {
		b, err := appendBody(nil, &record{format: format, batch: 7, rec: i, of: 5, kind: e.Kind, at: at, event: e})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, r := range []*record{
		{format: format, batch: 1, of: 1, kind: kindOpened, server: "alpha", heads: 3},
		{format: format, batch: 1, of: 1, kind: kindAborted, target: 4},
		{format: format, batch: 1, of: 1, kind: kindTruncated, bytes: 4},
		{format: format, batch: 1, of: 1, kind: kindHead, heads: 4},
	} {
		b, _ := appendBody(nil, r)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseRecord(body, format)
		if err != nil {
			if r != nil {
				t.Fatal("record beside an error")
			}
			return
		}
		again, err := appendBody(nil, r)
		if err != nil || !bytes.Equal(again, body) {
			t.Fatalf("%q became %q, %v", body, again, err)
		}
		line, hash, err := appendRecord(nil, r, [32]byte{9})
		if err != nil {
			t.Fatal(err)
		}
		if b, h, err := splitLine(line); err != nil || h != hash || !bytes.Equal(b, body) {
			t.Fatalf("splitting %q: %v", line, err)
		}
	})
}

func BenchmarkAppendEvent(b *testing.B) {
	e := intent("0a")
	e.Intent.Device, e.Intent.Requester.Address = "device-000017", netip.MustParseAddr("10.0.0.7")
	buf := make([]byte, 0, 1<<12)
	b.ReportAllocs()
	for b.Loop() {
		appendRecord(buf, &record{format: format, batch: 7, of: 1, kind: e.Kind, at: at, event: e}, [32]byte{})
	}
}
