package bench

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFillUsesWhatIsThere(t *testing.T) {
	r := &run{Options: Options{Out: io.Discard}}
	dir := t.TempDir()
	state := filepath.Join(dir, "state-1k")
	note := filepath.Join(state, filledBy)
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.fill(t.Context(), dir, 1000); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("one that was cut off: %v", err)
	}
	if err := os.WriteFile(note, []byte(`{"certificates": 1000, "serials": ["0a"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := r.fill(t.Context(), dir, 1000)
	if err != nil || f.State != state || f.Certificates != 1000 || len(f.Serials) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	// What cannot be read may be whole, and is not to be removed for that.
	if err := errors.Join(os.Remove(note), os.Mkdir(note, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.fill(t.Context(), dir, 1000); err == nil || strings.Contains(err.Error(), "remove it") || !strings.Contains(err.Error(), note) {
		t.Errorf("one that cannot be read: %v", err)
	}
}

// What was not filled to its end takes no space, and is not in the way of the next run.
func TestFillCleansUp(t *testing.T) {
	dir := t.TempDir()
	r := &run{Options: Options{Out: io.Discard, Binary: "/nonexistent"}, dir: t.TempDir(), cores: cores(t)}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for ctx, want := range map[context.Context]error{t.Context(): fs.ErrNotExist, interrupted: context.Canceled} {
		if _, err := r.fill(ctx, dir, 1000); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v, %v", left, err)
		}
	}
}
