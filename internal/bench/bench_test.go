package bench

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	good := Options{Duration: time.Second}
	for _, test := range []struct {
		name   string
		change func(*Options)
		want   string // of the error; empty for none
	}{
		{"nothing", func(*Options) {}, ""},
		{"a large ledger that is kept", func(o *Options) { o.Scale, o.ScaleDir = 1000, "large" }, ""},
		{"no time", func(o *Options) { o.Duration = 0 }, "--duration"},
		{"a negative time", func(o *Options) { o.Duration = -time.Second }, "--duration"},
		{"a ledger that is not large", func(o *Options) { o.Scale = 12 }, "--scale 12"},
		{"a negative ledger", func(o *Options) { o.Scale = -1000 }, "--scale -1000"},
		{"too large a ledger", func(o *Options) { o.Scale = mostScale + 1 }, "--scale"},
		{"a directory for no ledger", func(o *Options) { o.ScaleDir = "large" }, "--scale-dir"},
		{"another figure", func(o *Options) { o.Only = []string{"est"} }, "--list"},
	} {
		o := good
		test.change(&o)
		err := o.Check()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// runBench runs bench with a binary that is a shell script, and checks that it leaves nothing behind.
func runBench(t *testing.T, ctx context.Context, script string, only ...string) error {
	t.Helper()
	cores, err := allowedCores()
	if err != nil {
		t.Fatal(err)
	}
	if len(cores) < 2 {
		t.Skip("bench needs two cores")
	}
	t.Cleanup(func() {
		if err := bindProcess(cores...); err != nil {
			t.Error(err)
		}
	})
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	binary := filepath.Join(t.TempDir(), "mintmark")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	json := filepath.Join(t.TempDir(), "bench.json")
	err = Run(ctx, Options{Binary: binary, Duration: time.Second, Out: io.Discard, Only: only, JSON: json})
	left, derr := os.ReadDir(temporary)
	if derr != nil || len(left) > 0 {
		t.Errorf("in the temporary directory: %v, %v", left, derr)
	}
	if _, err := os.Stat(json); err == nil {
		t.Error("there is a file without figures")
	}
	return err
}

func TestServerThatDoesNotStart(t *testing.T) {
	err := runBench(t, t.Context(), "echo broken >&2; exit 3", rawFigure)
	if err == nil || !strings.Contains(err.Error(), "did not come up") || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "broken") {
		t.Errorf("%v", err)
	}
}

// The first word is that it was interrupted, and not what went wrong for that.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	if err := runBench(t, ctx, "exit 3", rawFigure); err == nil || err.Error() != "not all was measured: "+io.ErrClosedPipe.Error() {
		t.Errorf("%v", err)
	}
}

// Who asked for a figure that cannot be measured is not told by success that it was.
func TestNothingMeasured(t *testing.T) {
	if err := runBench(t, t.Context(), "", "start_5m"); err == nil || err.Error() != "nothing was measured" {
		t.Errorf("%v", err)
	}
}
