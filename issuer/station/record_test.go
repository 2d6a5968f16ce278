package station

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sampleLine() Line {
	return Line{
		Time: time.Date(2027, 1, 20, 14, 2, 3, 0, time.UTC), Station: "line 1; pc", Order: "WO-1", Device: "SN-001", Serial: "0a1b",
		Certificate: strings.Repeat("ab", 32), NotAfter: time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC), Key: "P-256", Verified: ByProof,
		Taken: Durations{1, 20, 300, 4000}, Result: Done,
	}
}

func quiet(string, ...any) {}

// TestRecordFormats: what is written is read again, by us and as CSV, whatever a device says.
func TestRecordFormats(t *testing.T) {
	for _, format := range []Format{CSV, NDJSON} {
		for _, reason := range []string{"", "=HYPERLINK(\"http://x\")", "-1+1", "@x", "+x", "it says \"no\", twice", "two\r\nlines\x00\x1b[2J", "\u202eright to left"} {
			l := sampleLine()
			l.Reason, l.Station = reason, reason
			data, err := format.encode(l)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Count(data, []byte("\n")) != 1 || bytes.ContainsAny(data, "\x00\x1b\r") {
				t.Errorf("%s: %q is no line", format, data)
			}
			got, err := format.parse(bytes.TrimSuffix(data, []byte("\n")))
			l.Reason, l.Station = oneLine(reason), oneLine(reason)
			if err != nil || !reflect.DeepEqual(got, l) {
				t.Errorf("%s: %q was read as %+v, %v", format, data, got, err)
			}
			if format == CSV {
				rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				for _, cell := range rows[0] {
					if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
						t.Errorf("%q is a formula", cell)
					}
				}
			}
		}
	}
}

// TestRecordCut cuts a record off after every byte: what was whole is kept, nothing is lost, and
// the line that was cut can be written again, once.
func TestRecordCut(t *testing.T) {
	for _, format := range []Format{CSV, NDJSON} {
		name := filepath.Join(t.TempDir(), "whole")
		r, err := OpenRecord(name, format, quiet)
		if err != nil {
			t.Fatal(err)
		}
		first, second := sampleLine(), sampleLine()
		second.Device = "SN-002"
		for _, l := range []Line{first, second} {
			if fresh, err := r.Add(l); !fresh || err != nil {
				t.Fatal(fresh, err)
			}
		}
		r.Close()
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		step := 7
		if os.Getenv("MINTMARK_LONG") != "" {
			step = 1
		}
		for n := 0; n < len(whole); n += step {
			name := filepath.Join(t.TempDir(), "cut")
			if err := os.WriteFile(name, whole[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := OpenRecord(name, format, quiet)
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", format, n, err)
			}
			for _, l := range []Line{first, second, first} {
				if _, err := r.Add(l); err != nil {
					t.Fatal(err)
				}
			}
			r.Close()
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, whole) {
				t.Fatalf("%s, %d bytes: the record is\n%s\n%v", format, n, got, err)
			}
		}
	}
}

// TestRecordRefused: what a record must not be.
func TestRecordRefused(t *testing.T) {
	good, err := CSV.encode(sampleLine())
	if err != nil {
		t.Fatal(err)
	}
	heading := string(CSV.heading())
	for text, want := range map[string]string{
		"device;serial\n": "heading",
		heading + "a,b\n": "line 2",
		heading + string(good[:20]) + "\n" + string(good):               "line 2",
		heading + strings.Repeat("x", maxLine+1) + "\n":                 "more than",
		heading + strings.Replace(string(good), ",done", ",perhaps", 1): "result",
	} {
		name := filepath.Join(t.TempDir(), "r")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenRecord(name, CSV, quiet); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
		if after, err := os.ReadFile(name); err != nil || string(after) != text {
			t.Errorf("%.40q was changed", text)
		}
	}
}

// TestRecordFails: after a write that failed nothing is appended to what it left.
func TestRecordFails(t *testing.T) {
	r, err := OpenRecord(filepath.Join(t.TempDir(), "r"), CSV, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	full := errors.New("disk full")
	r.step = func(string) error { return full }
	l := sampleLine()
	if _, err := r.Add(l); !errors.Is(err, full) {
		t.Error(err)
	}
	r.step = nil
	if _, err := r.Add(l); !errors.Is(err, full) {
		t.Errorf("appended after a failure: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	for _, format := range []Format{CSV, NDJSON} {
		line, err := format.encode(sampleLine())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(format), append(format.heading(), line...))
		f.Add(string(format), append(format.heading(), line[:len(line)/2]...))
	}
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		format := Format(kind)
		if format != CSV && format != NDJSON {
			return
		}
		name := filepath.Join(t.TempDir(), "r")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenRecord(name, format, quiet)
		if err != nil {
			if after, _ := os.ReadFile(name); !bytes.Equal(after, data) {
				t.Errorf("refused, and changed")
			}
			return
		}
		devices := r.Devices()
		l := sampleLine()
		fresh, err := r.Add(l)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		again, err := OpenRecord(name, format, func(f string, a ...any) { t.Errorf("repaired twice: "+f, a...) })
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if sum, ok := again.Done(l.Device); !ok || fmt.Sprintf("%x", sum) != l.Certificate && fresh {
			t.Errorf("the line that was added is not there")
		}
		if again.Devices() < devices {
			t.Errorf("%d devices were done, and %d are", devices, again.Devices())
		}
	})
}
