package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mintmark/internal/ledger"
)

// severalFiles writes a log of many small files, with heads and an abort, and returns the
// positions of its batches.
func severalFiles(t testing.TB, dir string) (positions []ledger.Head) {
	t.Helper()
	l := open(t, dir, Config{MaxSize: 4000})
	for i := range 14 {
		appendAll(t, l, events())
		positions = append(positions, l.Head())
		if i%4 == 1 {
			appendHead(t, l)
		}
		if i == 7 {
			if _, err := l.Abort(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return positions
}

func names(t testing.TB, dir string) (plain, packed, others []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch name := filepath.Join(dir, e.Name()); {
		case strings.HasSuffix(name, fileSuffix):
			plain = append(plain, name)
		case strings.HasSuffix(name, fileSuffix+packedSuffix):
			packed = append(packed, name)
		default:
			others = append(others, name)
		}
	}
	return plain, packed, others
}

// All that reads a log reads the same of it before and after it was packed.
func TestPackedLogIsTheSameLog(t *testing.T) {
	dir := t.TempDir()
	positions := severalFiles(t, dir)
	l := open(t, dir, Config{MaxSize: 4000})
	before, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	batches, heads := collect(t, l, ledger.Head{}), collectHeads(t, l, 0)
	if err := l.Pack(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	plain, packed, others := names(t, dir)
	if len(plain) != plainFiles || len(packed) != before.Files-plainFiles || len(others) > 0 {
		t.Fatalf("after packing %d files: plain %q, packed %q, others %q", before.Files, plain, packed, others)
	}
	if after, err := Verify(dir); err != nil || after != before {
		t.Errorf("verified: %+v, %v; before %+v", after, err, before)
	}
	same := func(what string, got, want []Batch) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d batches, want %d", what, len(got), len(want))
		}
		for i := range got {
			got[i].File, want[i].File = plainName(got[i].File), plainName(want[i].File)
		}
		if len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: other batches than before", what)
		}
	}
	same("all", collect(t, l, ledger.Head{}), batches)
	for i, p := range positions {
		same("after a position", collect(t, l, p), batches[i+1:])
	}
	if got := collectHeads(t, l, 0); !reflect.DeepEqual(got, heads) {
		t.Errorf("heads %+v, want %+v", got, heads)
	}
	if got := collectHeads(t, l, 3); !reflect.DeepEqual(got, heads[3:]) {
		t.Errorf("heads after the third: %+v, want %+v", got, heads[3:])
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, events(), events())
	if open, err := l.Unsettled(positions[13]); err == nil || open {
		t.Errorf("two batches after the position: %v, %v", open, err)
	}
	if err := l.Pack(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if report, err := Verify(dir); err != nil || report.Batches != before.Batches+2 {
		t.Errorf("after more was appended: %+v, %v", report, err)
	}
}

// What a crash leaves at any step of packing is a log, and is packed the next time.
func TestPackingGoesOnAfterACrash(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, path string){
		"half a packed file": func(t *testing.T, path string) {
			if err := os.WriteFile(path+packedSuffix+halfSuffix, []byte{0x1f, 0x8b, 8}, 0o640); err != nil {
				t.Fatal(err)
			}
		},
		"both files": func(t *testing.T, path string) {
			if _, err := writePacked(t.Context(), path, path+packedSuffix, 0); err != nil {
				t.Fatal(err)
			}
		},
		// The plain one counts while it is there.
		"both files, the packed one damaged": func(t *testing.T, path string) {
			if err := os.WriteFile(path+packedSuffix, []byte("nothing"), 0o640); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			severalFiles(t, dir)
			want, err := Verify(dir)
			if err != nil {
				t.Fatal(err)
			}
			plain, _, _ := names(t, dir)
			crash(t, plain[1])
			if got, err := Verify(dir); err != nil || got != want {
				t.Errorf("before packing: %+v, %v; want %+v", got, err, want)
			}
			l := open(t, dir, Config{MaxSize: 4000})
			if err := l.Pack(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			left, packed, others := names(t, dir)
			if len(left) != plainFiles || len(packed) != len(plain)-plainFiles || len(others) > 0 {
				t.Errorf("plain %q, packed %q, others %q", left, packed, others)
			}
			if got, err := Verify(dir); err != nil || got != want {
				t.Errorf("after packing: %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestPackingStops(t *testing.T) {
	dir := t.TempDir()
	severalFiles(t, dir)
	l := open(t, dir, Config{MaxSize: 4000})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Pack(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("packing without time: %v", err)
	}
	if _, packed, others := names(t, dir); len(packed)+len(others) > 0 {
		t.Errorf("left behind: %q %q", packed, others)
	}
	// A disk that is in the way is said, and the plain file stays.
	plain, _, _ := names(t, dir)
	if err := os.Mkdir(plain[0]+packedSuffix+halfSuffix, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := l.Pack(t.Context(), 0); err == nil {
		t.Error("packed into a directory")
	}
	if _, err := Verify(dir); err != nil {
		t.Error(err)
	}
}

// A packed file that is not what was packed breaks the log at its place.
func TestDamagedPackedFile(t *testing.T) {
	whole := t.TempDir()
	severalFiles(t, whole)
	l := open(t, whole, Config{MaxSize: 4000})
	if err := l.Pack(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(t *testing.T, content []byte) []byte{
		"empty":       func(*testing.T, []byte) []byte { return nil },
		"cut short":   func(_ *testing.T, b []byte) []byte { return b[:len(b)/2] },
		"one bit":     func(_ *testing.T, b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"no gzip":     func(*testing.T, []byte) []byte { return []byte(`{"batch":1`) },
		"more behind": func(_ *testing.T, b []byte) []byte { return append(b, "more"...) },
		"checksum":    func(_ *testing.T, b []byte) []byte { b[len(b)-6] ^= 1; return b },
		"another line": func(t *testing.T, b []byte) []byte {
			return repack(t, b, func(s string) string { return strings.Replace(s, "officer", "0fficer", 1) })
		},
		"a line less": func(t *testing.T, b []byte) []byte {
			return repack(t, b, func(s string) string { return s[strings.Index(s, "\n")+1:] })
		},
		"end of a line": func(t *testing.T, b []byte) []byte {
			return repack(t, b, func(s string) string { return s[:len(s)-9] })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			_, packed, _ := names(t, dir)
			content, err := os.ReadFile(packed[1])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(packed[1], damage(t, content), 0o640); err != nil {
				t.Fatal(err)
			}
			_, err = Verify(dir)
			var b *Break
			if !errors.As(err, &b) || b.File != packed[1] || b.Line < 1 {
				t.Errorf("verified: %v", err)
			}
		})
	}
	_, packed, _ := names(t, whole)
	if err := os.Rename(packed[1], packed[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(whole); !isBreak(err) {
		t.Errorf("a packed file was renamed: %v", err)
	}
}

func repack(t *testing.T, content []byte, change func(string) string) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var plain, out bytes.Buffer
	if _, err := plain.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(change(plain.String()))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A log all of whose files were packed, by whoever copied it, goes on in a new one.
func TestLogOfPackedFilesGoesOn(t *testing.T) {
	dir := t.TempDir()
	positions := severalFiles(t, dir)
	plain, _, _ := names(t, dir)
	for _, path := range plain {
		if err := pack(t.Context(), path, 0); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, dir, Config{MaxSize: 4000})
	if l.Head().Batch <= positions[13].Batch {
		t.Errorf("the log stands at %+v, its last batch is %+v", l.Head(), positions[13])
	}
	appendAll(t, l, events())
	report, err := Verify(dir)
	if err != nil || report.Files != len(plain)+1 || report.Batches != 15 {
		t.Errorf("%+v, %v", report, err)
	}
	if l.Close(); true {
		open(t, dir, Config{MaxSize: 4000})
	}
}

// FuzzPacked reads what is no packed log.
func FuzzPacked(f *testing.F) {
	dir := f.TempDir()
	severalFiles(f, dir)
	plain, _, _ := names(f, dir)
	if err := pack(f.Context(), plain[0], 0); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(plain[0] + packedSuffix)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{content, nil, content[:20], append(bytes.Clone(content), content...), []byte("\x1f\x8b\x08\x00")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, fileName(1)+packedSuffix)
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(dir)
		if err == nil && report.Records == 0 && report.Heads == 0 && len(b) == 0 {
			t.Error("nothing was verified")
		}
		if err != nil && !isBreak(err) {
			t.Errorf("%v is no break", err)
		}
	})
}
