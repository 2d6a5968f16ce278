package batch_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/issuer/batch"
	"mintmark/issuer/batch/remote"
)

// The environment of a process that runs a batch and is killed.
const (
	killFolder = "BATCH_TEST_FOLDER"
	killSocket = "BATCH_TEST_SOCKET"
	killAt     = "BATCH_TEST_STEP"  // of the steps, from 1
	killAfter  = "BATCH_TEST_AFTER" // or so long after the first, in nanoseconds
)

// TestKilledRun is not a test: it is the process that TestKill kills.
func TestKilledRun(t *testing.T) {
	dir := os.Getenv(killFolder)
	if dir == "" {
		t.Skip("only as a process of TestKill")
	}
	client, err := admin.Dial(os.Getenv(killSocket))
	if err != nil {
		t.Fatal(err)
	}
	b, err := batch.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	die := func() { syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }
	at, _ := strconv.Atoi(os.Getenv(killAt))
	after, _ := strconv.ParseInt(os.Getenv(killAfter), 10, 64)
	var steps atomic.Int64
	b.SetStep(func(string) {
		n := steps.Add(1)
		if n == int64(at) {
			die()
		}
		if n == 1 && after > 0 {
			time.AfterFunc(time.Duration(after), die)
		}
	}, killPart)
	if _, err := b.Run(t.Context(), remote.Certifier{Client: client, Profile: "device", Issuer: "issuing"}, batch.Options{}); err != nil {
		t.Fatal(err)
	}
}

// A batch of the kill walk: two parts.
const (
	killDevices = 5
	killPart    = 3
)

// killed runs the batch in a process that is killed, and reports whether it was.
func killed(t *testing.T, f *factory, dir string, environment ...string) bool {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestKilledRun$")
	c.Env = append(os.Environ(), append(environment, killFolder+"="+dir, killSocket+"="+f.socket)...)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("the process ended by itself: %v\n%s", err, out)
	}
	return false
}

// TestKill kills a run with SIGKILL after each of its steps, one after the other, and goes
// on: once with another that is killed at the same place, then with one that is not. Each device
// ends up with one certificate, in one part, beside its key.
func TestKill(t *testing.T) {
	f := newFactory(t)
	f.listen(t)
	step := 1
	for ; ; step++ {
		dir, b := create(t, f.plan(), batch.Numbered("SN-"+strconv.Itoa(step)+"-", 1, killDevices, 2), killPart)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		died := killed(t, f, dir, killAt+"="+strconv.Itoa(step))
		if died && (step%5 == 0 || os.Getenv("MINTMARK_LONG") == "1") {
			killed(t, f, dir, killAt+"="+strconv.Itoa(step))
		}
		b = reopen(t, dir, killPart)
		if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || s.Issued != killDevices || !s.Signed {
			t.Fatalf("after a kill at step %d: %+v, %v", step, s, err)
		}
		b.Close()
		f.wholeOf(t, dir, step)
		if !died {
			break
		}
	}
	if step < 2*7 {
		t.Errorf("a run has %d steps", step)
	}
}

// wholeOf checks one batch of the walk: those before it are in the same ledger.
func (f *factory) wholeOf(t *testing.T, dir string, step int) {
	t.Helper()
	certs, keys := shipped(t, dir)
	if len(certs) != killDevices || len(keys) != killDevices {
		t.Errorf("step %d: %d certificates and %d keys shipped", step, len(certs), len(keys))
	}
	for name := range certs {
		page, err := f.client.Certificates(t.Context(), admin.Query{Device: name, State: "valid"})
		if err != nil || len(page.Certificates) != 1 {
			t.Errorf("step %d: %s has %d certificates in force: %v", step, name, len(page.Certificates), err)
		}
	}
	f.matching(t, certs, keys)
	if v, err := batch.Verify(dir, f.roots(), time.Now()); err != nil || v.Devices != killDevices || len(v.Unlisted) > 0 {
		t.Errorf("step %d: %+v, %v", step, v, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, one := range left {
		names = append(names, one.Name())
	}
	if !slices.Equal(names, []string{batch.Delivery, "input.ndjson", "journal.ndjson", "lock", "plan.json"}) {
		t.Errorf("step %d: the folder has %v", step, names)
	}
}

// TestKillAnytime does the same at any time, as often as there is time for.
func TestKillAnytime(t *testing.T) {
	if os.Getenv("MINTMARK_LONG") != "1" {
		t.Skip("MINTMARK_LONG=1 runs it")
	}
	f := newFactory(t)
	f.listen(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 3000, 5), killPart)
	b.Close()
	kills := 0
	for wait := 7 * time.Millisecond; killed(t, f, dir, killAfter+"="+strconv.FormatInt(int64(wait), 10)); wait += 3 * time.Millisecond {
		kills++
	}
	b = reopen(t, dir, killPart)
	if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || s.Issued != 3000 {
		t.Fatalf("%+v, %v", s, err)
	}
	f.whole(t, dir, 3000)
	t.Logf("killed %d times", kills)
}

// TestKillTornJournal: a line that was written in part was never acted on.
func TestKillTornJournal(t *testing.T) {
	f := newFactory(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 6, 2), 3)
	if _, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil {
		t.Fatal(err)
	}
	b.Close()
	name := filepath.Join(dir, "journal.ndjson")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(whole, `{"part":3,"items":[[0`...), 0o600); err != nil {
		t.Fatal(err)
	}
	b = reopen(t, dir, 3)
	if s, err := b.Run(t.Context(), nil, batch.Options{}); err != nil || s.Issued != 6 {
		t.Errorf("%+v, %v", s, err)
	}
	if now, err := os.ReadFile(name); err != nil || string(now) != string(whole) {
		t.Errorf("the journal is %q, %v", now, err)
	}
}
