package sqldb_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
)

// What a killed server has answered is in the store, however often it is
// killed and wherever.
func TestKill(t *testing.T) {
	kills := 40
	if testing.Short() {
		kills = 5
	}
	dir := t.TempDir()
	var reported []ledger.Serial
	for range kills {
		var out bytes.Buffer
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir, childMode+"=crash")
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20*time.Millisecond + rand.N(280*time.Millisecond))
		cmd.Process.Kill()
		cmd.Wait()
		serials, _ := finished(t, &out)
		reported = append(reported, serials...)
	}
	inspect(t, dir, reported)
	t.Logf("%d kills, %d certificates reported", kills, len(reported))
	if len(reported) == 0 {
		t.Error("no certificate was ever reported")
	}
}

// failingSync runs a child and, once it issues, makes the named system calls of
// all its threads fail: for good, or until it has noticed and a while longer.
// The lines are those that the child printed.
func failingSync(t *testing.T, calls string, forGood bool) (dir string, serials []ledger.Serial, lines []string) {
	t.Helper()
	pkitest.Tool(t, "strace")
	dir = t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childMode+"=fsync")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var strace *exec.Cmd
	defer func() {
		cmd.Wait()
		if strace != nil {
			strace.Process.Kill()
			strace.Wait()
		}
	}()
	var out bytes.Buffer
	in := bufio.NewScanner(io.TeeReader(stdout, &out))
	for n := 0; in.Scan(); n++ {
		switch {
		case n == 20:
			// The counts of a rule are per thread, so that it must hold for
			// every call from when it is attached.
			strace = exec.Command("strace", "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"), "-p", fmt.Sprint(cmd.Process.Pid),
				"-e", "trace="+calls, "-e", "inject="+calls+":error=EIO")
			if err := strace.Start(); err != nil {
				t.Skipf("strace does not start: %v", err)
			}
		case !forGood && strings.HasPrefix(in.Text(), "unavailable"):
			time.AfterFunc(150*time.Millisecond, func() { strace.Process.Signal(os.Interrupt) })
			forGood = true // once is enough
		}
	}
	serials, lines = finished(t, &out)
	return dir, serials, lines
}

// The log syncs with fdatasync, SQLite with fsync.
var syncCalls = []string{"fsync,fdatasync", "fdatasync", "fsync"}

func unavailable(line string) bool { return strings.HasPrefix(line, "unavailable") }

func TestSyncFailsForGood(t *testing.T) {
	for _, calls := range syncCalls {
		t.Run(calls, func(t *testing.T) {
			t.Parallel() // each has a process of its own, and mostly waits
			dir, serials, lines := failingSync(t, calls, true)
			first := slices.IndexFunc(lines, unavailable)
			if first < 0 && len(serials) > 100 {
				t.Skip("strace cannot attach here")
			}
			if first < 0 || len(serials) == 0 {
				t.Fatalf("no failure or no success was seen: %q", lines)
			}
			for _, line := range lines[first:] {
				if line != "unavailable true" {
					t.Fatalf("after the first failure: %q", line)
				}
			}
			inspect(t, dir, serials)
		})
	}
}

func TestSyncFailsForAWhile(t *testing.T) {
	for _, calls := range syncCalls {
		t.Run(calls, func(t *testing.T) {
			t.Parallel() // each has a process of its own, and mostly waits
			dir, serials, lines := failingSync(t, calls, false)
			if slices.IndexFunc(lines, unavailable) < 0 {
				t.Skip("strace cannot attach here")
			}
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "done ") {
				t.Errorf("did not resume: last line %q", last)
			}
			inspect(t, dir, serials)
		})
	}
}

// A full disk stops issuing, not reading, and room makes it resume.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("store", func(t *testing.T) { // closed before the disk goes
		s, _ := open(t, dir, func(c *sqldb.Config) { c.Retry = 20 * time.Millisecond })
		ctx := context.Background()
		epoch, err := s.Join(ctx, "alpha", time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var reported []ledger.Serial
		issue := func() error {
			line, err := enroll(s, epoch)
			if err == nil {
				reported = append(reported, ledger.Serial(strings.TrimPrefix(line, "done ")))
			}
			return err
		}
		for err == nil && len(reported) < 10000 {
			err = issue()
		}
		if !errors.Is(err, ledger.ErrUnavailable) {
			t.Fatalf("after %d certificates: %v", len(reported), err)
		}
		if s.Health() == nil {
			t.Error("store calls itself sound")
		}
		full := len(reported)
		for range 20 {
			time.Sleep(10 * time.Millisecond)
			if err := issue(); err == nil {
				break // SQLite may find room in its own files
			}
		}
		for _, serial := range []ledger.Serial{reported[0], reported[full-1]} {
			if c, err := s.Certificate(ctx, serial); err != nil || c.State != ledger.Valid {
				t.Errorf("reading while full: %v, %v", c.State, err)
			}
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			if err = issue(); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil || s.Health() != nil {
			t.Fatalf("with room again: %v, health %v", err, s.Health())
		}
		t.Logf("full after %d certificates", full)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		inspect(t, dir, reported)
	})
}
