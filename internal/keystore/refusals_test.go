package keystore

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestRefusals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hsm", "refused")
	r := &refusals{dir: dir}
	want := func(token, version string, want bool) {
		t.Helper()
		// By another one too: it is on disk.
		for _, r := range []*refusals{r, {dir: dir}} {
			if got, err := r.Refused(token, version); err != nil || got != want {
				t.Errorf("%s, %q: %t, %v", token, version, got, err)
			}
		}
	}
	put := func(token, version string) {
		t.Helper()
		if err := r.Put(token, version); err != nil {
			t.Fatal(err)
		}
	}
	want("a", "1", false)
	drop := func(token, version string) {
		t.Helper()
		if err := r.Drop(token, version); err != nil {
			t.Error(err)
		}
	}
	drop("a", "1")
	put("a", "1")
	put("a", "line\nbreak \"\"")
	put("a/spare", "1")
	want("a", "1", true)
	want("a", "line\nbreak \"\"", true)
	want("a", "line", false)
	want("a/spare", "1", true)
	want("b", "1", false)
	drop("a", "line")
	drop("a", "1")
	want("a", "1", false)
	want("a", "line\nbreak \"\"", true)
	want("a/spare", "1", true)
	for i := range maxRefusals + 3 {
		put("a", strconv.Itoa(i))
	}
	want("a", "2", false)
	want("a", "3", true)
}

func FuzzParseRefusals(f *testing.F) {
	f.Add([]byte("\"file /pin, 8 bytes, changed 17\"\n\"x\"\n"))
	f.Add([]byte("x"))
	f.Add([]byte("\"\\n\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		versions, err := parseRefusals(data)
		if err != nil {
			return
		}
		var again []byte
		for _, v := range versions {
			again = fmt.Appendln(again, strconv.Quote(v))
		}
		back, err := parseRefusals(again)
		if len(again) <= maxRefusalFile && (err != nil || !slices.Equal(back, versions)) {
			t.Errorf("%q is read back as %q, %v", versions, back, err)
		}
	})
}
