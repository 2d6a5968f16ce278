package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mintmark/internal/pkitest"
	"mintmark/issuer/est"
)

// soonRed is how long /healthz may take to turn red: docs/operations.md.
const soonRed = 5 * time.Second

// waitRed polls /healthz until it is red. The time counts from since, when
// nothing could be made durable any more.
func waitRed(t *testing.T, c *child, since time.Time) {
	t.Helper()
	eventually(t, "/healthz turns red", func() bool {
		code, _ := c.status(t, "/healthz")
		return code == 503
	})
	if took := time.Since(since); took > soonRed {
		t.Errorf("/healthz turned red after %v, want at most %v", took, soonRed)
	}
}

// wantReadable checks that a server which cannot write serves what it has.
func wantReadable(t *testing.T, c *child) {
	t.Helper()
	if anchors, err := c.client(t).CACerts(t.Context()); err != nil || len(anchors) != 2 {
		t.Errorf("cacerts: %d certificates, %v", len(anchors), err)
	}
	code, body := get(t, "http://"+c.http+"/crl/issuing.crl")
	if code != 200 {
		t.Errorf("CRL: %d %s", code, body)
	} else if _, err := x509.ParseRevocationList([]byte(body)); err != nil {
		t.Errorf("CRL: %v", err)
	}
}

// wantRefused checks that a new device is told to come again.
func wantRefused(t *testing.T, f *fleet, c *child) {
	t.Helper()
	err := f.enroll(t.Context(), c.client(t), f.next())
	var status *est.StatusError
	if !errors.As(err, &status) || status.Code != 503 || status.RetryAfter == 0 || !strings.Contains(status.Text, "refused by rule") {
		t.Errorf("a server that cannot write answers %v", err)
	}
}

// wantResumed waits until the same process issues again and is healthy.
func wantResumed(t *testing.T, f *fleet, c *child) {
	t.Helper()
	client := c.client(t)
	eventually(t, "issuing resumes", func() bool { return f.enroll(t.Context(), client, f.next()) == nil })
	eventually(t, "/healthz turns green", func() bool {
		code, _ := c.status(t, "/healthz")
		return code == 200
	})
}

// smallDisk is a file system of 3 MB with a state directory and a file that
// takes the rest of the room.
type smallDisk struct{ dir string }

// fill takes all room but some.
func (d smallDisk) fill(t *testing.T, leave int64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &fs); err != nil {
		t.Fatal(err)
	}
	ballast, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		_, err = ballast.Write(make([]byte, max(int64(fs.Bfree)*fs.Bsize-leave, 0)))
		ballast.Close()
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func (d smallDisk) makeRoom(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		t.Fatal(err)
	}
}

func (d smallDisk) ballast() string { return filepath.Join(d.dir, "ballast") }

// wantRefused takes all room until a new device is refused. A server that tries
// to resume copies its WAL into the database, which may free some room that it
// can use, and rightly does.
func (d smallDisk) wantRefused(t *testing.T, f *fleet, c *child) {
	t.Helper()
	client := c.client(t)
	eventually(t, "a device is refused", func() bool {
		d.fill(t, 0)
		var status *est.StatusError
		return errors.As(f.enroll(t.Context(), client, f.next()), &status) && status.Code == 503
	})
}

// waitFinding takes all room until a page tells a finding.
func (d smallDisk) waitFinding(t *testing.T, c *child, page, finding string) {
	t.Helper()
	eventually(t, page+" tells "+finding, func() bool {
		d.fill(t, 0)
		code, body := c.status(t, page)
		return code == 503 && strings.Contains(body, finding)
	})
}

// TestDiskFull fills the disk of a server under load, once more while nobody
// enrolls, and makes room each time; at last it kills the server meanwhile.
func TestDiskFull(t *testing.T) {
	disk := smallDisk{filepath.Join(t.TempDir(), "state")}
	if err := os.Mkdir(disk.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk.dir, "tmpfs", 0, "size=3m,mode=700"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk.dir, 0); err != nil {
			t.Error(err)
		}
	})
	copyState(t, disk.dir, newState(t))
	t.Run("server", func(t *testing.T) { // ended before the disk goes
		f := &fleet{t: t}
		server := startChild(t, disk.dir)
		wantResumed(t, f, server) // it works to begin with
		disk.fill(t, 1200<<10)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			f.run(ctx, server, 8)
		}()
		var since time.Time
		probe := server.client(t)
		eventually(t, "the disk is full", func() bool {
			var status *est.StatusError
			err := f.enroll(ctx, probe, f.next())
			since = time.Now()
			return errors.As(err, &status) && status.Code == 503
		})
		waitRed(t, server, since)
		full := f.count()
		cancel()
		<-loaded
		disk.wantRefused(t, f, server)
		wantReadable(t, server)
		disk.waitFinding(t, server, "/readyz", `"ledger"`)
		disk.makeRoom(t)
		wantResumed(t, f, server)

		disk.fill(t, 0)
		waitRed(t, server, time.Now())
		disk.wantRefused(t, f, server)
		disk.makeRoom(t)
		wantResumed(t, f, server)
		t.Logf("full after %d certificates, %d in the end", full, f.count())

		disk.wantRefused(t, f, server)
		server.kill()
		disk.makeRoom(t)
		server = startChild(t, disk.dir)
		wantResumed(t, f, server)
		server.stop(t)
		f.check(disk.dir)
	})
}

// strace attaches to a server and returns how to detach. Calls that it is told
// to inject fail for as long as it is attached.
func (c *child) strace(t *testing.T, args ...string) (detach func()) {
	t.Helper()
	pkitest.Tool(t, "strace")
	cmd := exec.Command("strace", append([]string{"-f", "-p", fmt.Sprint(c.cmd.Process.Pid)}, args...)...)
	var said output
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Skipf("strace does not start: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	detach = func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
			t.Error("strace does not detach")
		}
	}
	t.Cleanup(detach)
	eventually(t, "strace attaches", func() bool {
		select {
		case <-ended:
			t.Skipf("strace cannot attach here: %s", said.String())
		default:
		}
		return strings.Contains(said.String(), " attached")
	})
	return detach
}

// TestDiskSyncFails lets every fsync fail for a while under load: nothing
// leaves meanwhile, and issuing resumes without a restart.
func TestDiskSyncFails(t *testing.T) {
	dir := newState(t)
	f := &fleet{t: t}
	server := startChild(t, dir)
	wantResumed(t, f, server)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		f.run(ctx, server, 4)
	}()
	eventually(t, "there is load", func() bool { return f.count() > 20 })

	trace := filepath.Join(t.TempDir(), "trace")
	detach := server.strace(t, "-o", trace, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
	probe := server.client(t)
	var since time.Time
	eventually(t, "a sync fails", func() bool {
		var status *est.StatusError
		err := f.enroll(ctx, probe, f.next())
		since = time.Now()
		return errors.As(err, &status) && status.Code == 503
	})
	waitRed(t, server, since)
	// Everybody who asked before the failure has their answer by now, and from
	// here on nobody gets one.
	cancel()
	<-loaded
	before := f.count()
	ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	f.run(ctx, server, 4)
	if after := f.count(); after != before {
		t.Errorf("%d certificates left while no sync succeeded", after-before)
	}
	wantRefused(t, f, server)
	wantReadable(t, server)
	detach()
	if n := bytes.Count(pkitest.ReadFile(t, trace), []byte("(INJECTED)")); n < 2 {
		t.Errorf("%d syncs failed: too few to tell anything", n)
	}
	wantResumed(t, f, server)
	server.kill() // what left must not need an orderly end
	f.check(dir)
	t.Logf("%d certificates received, %d syncs failed", f.count(), bytes.Count(pkitest.ReadFile(t, trace), []byte("(INJECTED)")))
}
