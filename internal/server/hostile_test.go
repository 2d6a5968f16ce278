package server

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/config"
	"mintmark/internal/pkitest"
)

// TestHostileLoad: 1,000 clients that send bodies of 1 GB and 2,000 that send a
// byte per second, from 3,000 addresses, do not keep honest clients from
// enrolling, each with its first request; the server stays under its bound of
// connections and under 250 MB.
func TestHostileLoad(t *testing.T) {
	const (
		honest    = 20               // at least
		lasting   = 20 * time.Second // ten times the patience with a connection
		maxMemory = 250 << 20
	)
	dir := newState(t)
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	bound := c.Limits.Connections
	server := startChild(t, dir)
	watch := server.watch(t)
	credential := strings.TrimSpace(string(pkitest.ReadFile(t, filepath.Join(dir, enrollSecret))))
	attack := startAttack(t, server.est, credential)
	eventually(t, "the attack is under way", func() bool { return attack.figures(t)["Open"] > bound64(bound) })

	var times []time.Duration
	begun := time.Now()
	for i := 0; i < honest || time.Since(begun) < lasting; i++ {
		start := time.Now()
		if err := enrollFrom(t, server, credential, i); err != nil {
			t.Errorf("honest client %d, after %v: %v", i, time.Since(start).Round(time.Millisecond), err)
		}
		times = append(times, time.Since(start))
	}
	watch.stop()
	figures, memory := attack.stop(t), server.peak(t)
	slices.Sort(times)
	_, page := server.status(t, "/metrics")
	t.Logf("honest: %d enrollments in %v, median %v, slowest %v", len(times), time.Since(begun).Round(time.Second), times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
	t.Logf("hostile: %d connections, %d MB sent", figures["Connections"], figures["Bytes"]>>20)
	t.Logf("server: at most %d connections of %d, %d sockets, %d MB resident", watch.connections, bound, watch.sockets, memory>>20)
	for _, line := range regexp.MustCompile(`(?m)^mintmark_connections_(evicted|refused)_total\{.*"est".*$`).FindAllString(page, -1) {
		t.Log(line)
	}
	// The gauges of the states are read one after the other, and a connection that
	// goes from one to the next in between counts twice; sockets that were closed
	// linger. That the gate itself never lets one in too many is TestGate's.
	if most := bound + bound/20; watch.connections > most || watch.sockets > most {
		t.Errorf("%d connections and %d sockets were open, and %d are the bound", watch.connections, watch.sockets, bound)
	}
	if memory > maxMemory {
		t.Errorf("the server took %d MB", memory>>20)
	}
	if strings.Contains(page, `connections_evicted_total{listener="est"} 0`) {
		t.Error("nobody was evicted")
	}
	// An attack that is none would show nothing.
	if watch.connections < bound*9/10 || figures["Bytes"] < 10<<20 || figures["Connections"] < 2*(bulkClients+slowClients) {
		t.Error("that was no attack")
	}
	server.stop(t)
}

func bound64(bound int) int64 { return int64(min(bound, bulkClients+slowClients) * 9 / 10) }

// enrollFrom enrolls one device from an address of its own over a connection of
// its own, and asks once.
func enrollFrom(t *testing.T, server *child, credential string, i int) error {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 99, 0, byte(i+1))}}
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: dialer.DialContext, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots(t, server.dir)},
	}}
	body := base64.StdEncoding.EncodeToString(newDevice(t, fmt.Sprintf("honest-%d", i)).csr)
	r, err := http.NewRequest(http.MethodPost, "https://"+server.est+"/.well-known/est/simpleenroll", strings.NewReader(body))
	if err != nil {
		return err
	}
	user, secret, _ := strings.Cut(credential, ":")
	r.SetBasicAuth(user, secret)
	r.Header.Set("Content-Type", "application/pkcs10")
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || len(text) == 0 {
		return fmt.Errorf("status %d, %q, %v", answer.StatusCode, text, err)
	}
	return nil
}

// attackProcess runs attack in a process of its own.
type attackProcess struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startAttack(t *testing.T, address, credential string) *attackProcess {
	t.Helper()
	p := &attackProcess{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), attackEnv+"="+address+" "+base64.StdEncoding.EncodeToString([]byte(credential)))
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	return p
}

func (p *attackProcess) figures(t *testing.T) (f map[string]int64) {
	t.Helper()
	fmt.Fprintln(p.in)
	if !p.lines.Scan() {
		t.Fatal("the hostile clients are gone")
	}
	if err := json.Unmarshal(p.lines.Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func (p *attackProcess) stop(t *testing.T) map[string]int64 {
	t.Helper()
	f := p.figures(t)
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	return f
}

// watcher samples what a server takes.
type watcher struct {
	server      *child
	stopping    chan struct{}
	wait        sync.WaitGroup
	before      int // sockets without an attack
	connections int // by its metrics, the most that were seen
	sockets     int // by the kernel
}

func (c *child) watch(t *testing.T) *watcher {
	w := &watcher{server: c, stopping: make(chan struct{}), before: c.sockets(t)}
	w.wait.Go(func() {
		for {
			select {
			case <-w.stopping:
				return
			case <-time.After(200 * time.Millisecond):
				w.sample(t)
			}
		}
	})
	return w
}

var openConnections = regexp.MustCompile(`(?m)^mintmark_connections\{listener="est",state="[a-z]+"\} ([0-9]+)$`)

func (w *watcher) sample(t *testing.T) {
	w.sockets = max(w.sockets, w.server.sockets(t)-w.before)
	code, page := w.server.status(t, "/metrics")
	open := 0
	for _, m := range openConnections.FindAllStringSubmatch(page, -1) {
		n, _ := strconv.Atoi(m[1])
		open += n
	}
	if code != http.StatusOK || len(openConnections.FindAllString(page, -1)) != int(connStates) {
		t.Errorf("the metrics listener answers %d and does not count connections", code)
	}
	w.connections = max(w.connections, open)
}

func (w *watcher) stop() {
	close(w.stopping)
	w.wait.Wait()
}

// sockets counts the sockets that a process has open.
func (c *child) sockets(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	if err != nil {
		t.Error(err)
	}
	n := 0
	for _, f := range files {
		// One that is gone again is none.
		if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", c.cmd.Process.Pid, f.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

// peak is the most memory that a process has had, in bytes.
func (c *child) peak(t *testing.T) int {
	t.Helper()
	status := pkitest.ReadFile(t, fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	m := regexp.MustCompile(`(?m)^VmHWM:\s+([0-9]+) kB$`).FindSubmatch(status)
	if m == nil {
		t.Fatal("no VmHWM")
	}
	kilobytes, _ := strconv.Atoi(string(m[1]))
	return kilobytes << 10
}
