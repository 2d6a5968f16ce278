//go:build linux

package station

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// TestNothingLeft: what the program of a step has started ends with it, or the next step would
// find it at the device.
func TestNothingLeft(t *testing.T) {
	pkitest.Tool(t, "sh")
	const begin = "(echo begun; exec sleep 600) >hold & "
	for _, test := range []struct {
		name, step, text string
		scanner, held    bool
	}{
		{"a scanner", "identify", begin + "wait", true, false},
		{"below a scanner", "identify", "sh -c '" + begin + "wait' & wait", true, false},
		{"a program", "request", begin + "wait", false, false},
		{"a program that has ended", "request", "(echo begun >&3; exec sleep 600) 3>hold & read x <more; exit 0", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"hold", "more"} {
				if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := NewCommands(CommandsConfig{dir: dir, Scanner: test.scanner})
			c.held = 50 * time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := c.run(ctx, test.step, "SN-001", []string{"sh", "-c", test.text}, nil)
				ended <- err
			}()
			hold, err := os.Open(filepath.Join(dir, "hold")) // when it is written to
			if err != nil {
				t.Fatal(err)
			}
			defer hold.Close()
			if err := hold.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			out := bufio.NewReader(hold)
			if line, err := out.ReadString('\n'); err != nil || line != "begun\n" {
				t.Fatalf("%q, %v", line, err)
			}
			if test.held {
				more, err := os.OpenFile(filepath.Join(dir, "more"), os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				more.Close()
			} else {
				cancel()
			}
			if err := <-ended; err == nil || errors.Is(err, context.Canceled) == test.held {
				t.Errorf("it ended with %v", err)
			}
			// The other end is closed when nobody has it any more.
			if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
				t.Errorf("something is left of it: %q, %v", rest, err)
			}
		})
	}
}
