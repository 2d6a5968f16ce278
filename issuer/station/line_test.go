package station

import (
	"bytes"
	"strings"
	"testing"
)

func TestFrame(t *testing.T) {
	line, err := frame{7, []string{"OK", "480"}}.encode()
	if err != nil || string(line) != "MM1 0007 OK 480 *989db7a4\r\n" {
		t.Errorf("%q, %v", line, err)
	}
	// Noise in front, as a boot loader leaves it.
	if f, ok := parseFrame(append([]byte("\x00MM1 boot "), bytes.TrimSpace(line)...)); !ok || f.number != 7 || strings.Join(f.words, " ") != "OK 480" {
		t.Errorf("%+v, %v", f, ok)
	}
	text := strings.TrimSpace(string(line))
	for i := range text {
		for bit := range 8 {
			damaged := []byte(text)
			damaged[i] ^= 1 << bit
			if f, ok := parseFrame(damaged); ok {
				t.Errorf("bit %d of %d damaged: %q is taken as %+v", bit, i, damaged, f)
			}
		}
	}
	for _, bad := range []string{"", "MM1", "MM1 0007 *00000000", strings.ToUpper(text), text + " ", strings.Replace(text, "OK 480", "OK  480", 1), strings.Repeat("x", 600) + text} {
		if _, ok := parseFrame([]byte(bad)); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, words := range [][]string{nil, {""}, {"a b"}, {"a\n"}, {"ä"}, {strings.Repeat("x", maxFrame)}} {
		if line, err := (frame{1, words}).encode(); err == nil {
			t.Errorf("%q was written as %q", words, line)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, seed := range []string{"MM1 0007 OK 480 *989db7a4", "noise MM1 0000 HELLO *bfefd8dc", "MM1 ffff ERR bad *", "MM1 MM1 0001 OK *00000000"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := parseFrame(data)
		if !ok {
			return
		}
		line, err := got.encode()
		if err != nil {
			t.Fatalf("%q was read as %+v, which cannot be written: %v", data, got, err)
		}
		if !bytes.HasSuffix(bytes.TrimRight(data, "\r"), bytes.TrimRight(line, "\r\n")) {
			t.Errorf("%q was read as %q", data, line)
		}
	})
}

// FuzzSplitter: whatever comes, no line is longer than the limit, and one that stands alone
// comes through.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("abc\r\n\xff\x00"), 3)
	f.Add(bytes.Repeat([]byte("x"), 2000), 100)
	f.Fuzz(func(t *testing.T, noise []byte, chunk int) {
		var s splitter
		var last string
		take := func(line []byte) {
			if len(line) > maxFrame {
				t.Fatalf("a line of %d bytes", len(line))
			}
			last = string(line)
		}
		chunk = max(1, min(chunk, 1000))
		for data := append(noise, "\nMM1 0001 OK *x\n"...); len(data) > 0; data = data[min(chunk, len(data)):] {
			s.add(data[:min(chunk, len(data))], take)
		}
		if last != "MM1 0001 OK *x" {
			t.Errorf("the last line is %q", last)
		}
	})
}

// FuzzProof: what verify prints.
func FuzzProof(f *testing.F) {
	f.Add([]byte("sha256 Fingerprint=" + strings.Repeat("AB:", 31) + "AB\nTUlN\nUUE=\n"))
	f.Add([]byte(strings.Repeat("0", 64)))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseProof(data)
		if err != nil && (p.Fingerprint != [32]byte{} && p.Signature != nil) {
			t.Errorf("%q: %v, and %+v", data, err, p)
		}
	})
}
