//go:build linux

package station

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mintmark/internal/pkitest"
)

// terminal opens a pair of pseudo terminals and returns the side that has no name.
func terminal(t testing.TB) (*os.File, string) {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("/dev/pts/%d", n)
	// Held open, so that a device that ends does not hang the line up.
	hold, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close() })
	raw, err := unix.IoctlGetTermios(int(hold.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	raw.Lflag, raw.Iflag, raw.Oflag = 0, 0, 0
	if err := unix.IoctlSetTermios(int(hold.Fd()), unix.TCSETS, raw); err != nil {
		t.Fatal(err)
	}
	return f, name
}

// cable joins two terminals, and damages some of what goes through.
func cable(t testing.TB, share float64) (station, device string) {
	a, station := terminal(t)
	b, device := terminal(t)
	w := &wire{noise: rand.New(rand.NewPCG(1, 2)), share: share}
	var mu sync.Mutex
	pass := func(from, to *os.File) {
		buffer := make([]byte, 4096)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			data := w.damage(buffer[:n])
			mu.Unlock()
			if _, err := to.Write(data); err != nil {
				return
			}
		}
	}
	go pass(a, b)
	go pass(b, a)
	return station, device
}

// TestReference provisions the device of examples/station, which is written in C and uses
// openssl, over a serial line with noise. The second one loses its power on the way.
func TestReference(t *testing.T) {
	gcc, openssl := pkitest.Tool(t, "gcc"), pkitest.Tool(t, "openssl")
	binary := filepath.Join(t.TempDir(), "device")
	source := filepath.Join("..", "..", "examples", "station")
	if out, err := exec.Command(gcc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", binary, filepath.Join(source, "device.c"), filepath.Join(source, "mmline.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b := newBench(t)
	near, far := cable(t, 0.1)
	b.change = func(o *Options) {
		o.Roots, o.Verify = true, ByProof
		o.Limits.Request, o.Limits.Install, o.Limits.Verify = time.Minute, time.Minute, time.Minute
		s := NewSerial(SerialConfig{Port: near, Baud: 115200, Answer: time.Second, Tries: 4})
		s.pause = 20 * time.Millisecond
		o.Device = s
	}
	for i, id := range []string{"SN-001", "SN-002"} {
		folder := filepath.Join(t.TempDir(), id)
		start := func() *exec.Cmd {
			c := exec.Command(binary, far, folder, id)
			c.Stderr = os.Stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			return c
		}
		device := start()
		over := make(chan struct{})
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			for i == 1 { // once it has its trust anchors, and not its certificate
				if _, err := os.Stat(filepath.Join(folder, "roots.pem")); err == nil {
					device.Process.Kill()
					device.Wait()
					device = start()
					return
				}
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		_, err := b.run(1)
		close(over)
		<-gone
		device.Process.Kill()
		device.Wait()
		if err != nil {
			t.Fatal(err, b.said())
		}
		d := &flash{t, folder}
		lines := b.lines()
		if last := lines[len(lines)-1]; last.Device != id || last.Result != Done || last.Verified != ByProof {
			t.Fatalf("recorded: %+v\n%s", last, b.said())
		} else if sum := d.sha256(openssl); sum != last.Certificate {
			t.Errorf("the device holds %s, and %s is recorded", sum, last.Certificate)
		}
		if out, err := exec.Command(openssl, "verify", "-CAfile", filepath.Join(folder, "roots.pem"), "-untrusted", filepath.Join(folder, "cert.pem"), filepath.Join(folder, "cert.pem")).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if len(b.ca.issued) != i+1 {
			t.Errorf("%d certificates for %d devices", len(b.ca.issued), i+1)
		}
	}
}

// flash is the folder that is a device's flash.
type flash struct {
	t      testing.TB
	folder string
}

func (d *flash) sha256(openssl string) string {
	d.t.Helper()
	out, err := exec.Command(openssl, "x509", "-in", filepath.Join(d.folder, "cert.pem"), "-noout", "-fingerprint", "-sha256").Output()
	if err != nil {
		d.t.Fatal(err)
	}
	p, err := parseProof(out)
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.ToLower(hex.EncodeToString(p.Fingerprint[:]))
}
