package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mintmark/internal/config"
	"mintmark/internal/keystore"
	tokenchild "mintmark/internal/keystore/token/child"
	"mintmark/internal/pkitest"
	"mintmark/issuer/est"
)

// The tests of crashes and of broken disks run the server in a child process:
// this test binary again, told by its environment which state directory to
// serve.
const childDir = "SERVER_TEST_DIR"

func TestMain(m *testing.M) {
	tokenchild.Main()
	keystore.SpareRounds()
	if dir := os.Getenv(childDir); dir != "" {
		if err := serveChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, "mintmark:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if arguments := os.Getenv(attackEnv); arguments != "" {
		if err := attack(arguments); err != nil {
			fmt.Fprintln(os.Stderr, "attack:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if prototype.dir != "" {
		os.RemoveAll(prototype.dir)
	}
	os.Exit(code)
}

// serveChild serves a state directory until SIGTERM. Lines on standard input
// arm the hook inside the issuance cycle: "kill N" ends the process at once
// when a request has passed step N, "hold N" stops the next such request until
// "go". Each is acknowledged on standard output.
func serveChild(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var kill, hold atomic.Int64
	release := make(chan struct{})
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); fmt.Println("ok", in.Text()) {
			verb, number, _ := strings.Cut(in.Text(), " ")
			n, _ := strconv.ParseInt(number, 10, 64)
			switch verb {
			case "kill":
				kill.Store(n)
			case "hold":
				hold.Store(n)
			case "go":
				close(release)
			}
		}
	}()
	step := func(n int) {
		if kill.Load() == int64(n) {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		if hold.CompareAndSwap(int64(n), 0) {
			fmt.Println("held", n)
			<-release
		}
	}
	c, err := config.Load(dir)
	if err != nil {
		return err
	}
	s, err := Open(ctx, c, Options{
		Listen: "127.0.0.1:0", Out: os.Stdout, Step: step,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	return errors.Join(s.Serve(ctx), s.Close())
}

// prototype is one state directory with a server certificate, of which every
// test gets a copy: its keys are slow to make.
var prototype struct {
	once sync.Once
	dir  string
	err  error
}

// newState returns a state directory that was never served but once.
func newState(t testing.TB) string {
	t.Helper()
	prototype.once.Do(func() {
		if prototype.dir, prototype.err = os.MkdirTemp("", "server-test-*"); prototype.err == nil {
			prototype.err = makePrototype(filepath.Join(prototype.dir, "state"))
		}
	})
	if prototype.err != nil {
		t.Fatal(prototype.err)
	}
	dir := filepath.Join(t.TempDir(), "state")
	copyState(t, dir, filepath.Join(prototype.dir, "state"))
	return dir
}

func makePrototype(dir string) error {
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	o := InitOptions{Dir: dir, Organization: "Example Works", Names: []string{"localhost", "127.0.0.1"}}
	if err := Init(ctx, o, quiet, io.Discard); err != nil {
		return err
	}
	c, err := config.Load(dir)
	if err != nil {
		return err
	}
	s, err := Open(ctx, c, Options{Logger: quiet})
	if err != nil {
		return err
	}
	return errors.Join(newOwnTLS(s).refresh(ctx), s.Close())
}

// copyState copies a state directory that nobody serves, modes included.
func copyState(t testing.TB, to, from string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("copying the state directory: %v: %s", err, out)
	}
}

// editConfig replaces a text, which must be there once, in the configuration.
func editConfig(t testing.TB, dir, old, new string) {
	t.Helper()
	path := filepath.Join(dir, config.File)
	text := string(pkitest.ReadFile(t, path))
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q stands %d times in the configuration:\n%s", old, strings.Count(text, old), text)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(text, old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// output gathers what a process writes while others read it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// child is a server in a process of its own.
type child struct {
	dir                string
	est, http, metrics string // addresses
	cmd                *exec.Cmd
	stdin              io.Writer
	lines              chan string // of standard output, after the addresses
	log                output
	ended              chan struct{}
	err                error // of the process, once ended is closed
}

// patience is how long a test waits for what must happen on a busy machine.
const patience = time.Minute

// startChild serves dir and waits until the server listens. The process is
// killed at the end of the test at the latest.
func startChild(t testing.TB, dir string) *child {
	t.Helper()
	c := newChild(t, dir)
	for c.est == "" {
		line, ok := c.line()
		if !ok {
			t.Fatalf("the server did not start: %s", c.log.String())
		}
		name, address, _ := strings.Cut(line, " listening on ")
		switch name {
		case "est":
			c.est = address
		case "http":
			c.http = address
		case "metrics":
			c.metrics = address
		}
	}
	return c
}

// newChild starts a process that serves dir, which may fail.
func newChild(t testing.TB, dir string) *child {
	t.Helper()
	c := &child{dir: dir, lines: make(chan string, 16), ended: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), childDir+"="+dir)
	c.cmd.Stderr = &c.log
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for in := bufio.NewScanner(stdout); in.Scan(); {
			c.lines <- in.Text()
		}
		close(c.lines)
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			text := c.log.String()
			t.Logf("log of the server, its end:\n%s", text[max(0, len(text)-4000):])
		}
	})
	return c
}

// line is the next line of standard output; false when there will be none.
func (c *child) line() (string, bool) {
	select {
	case line, ok := <-c.lines:
		return line, ok
	case <-time.After(patience):
		return "", false
	}
}

// tell sends a command to the hook and waits for its acknowledgement.
func (c *child) tell(t testing.TB, command string) {
	t.Helper()
	fmt.Fprintln(c.stdin, command)
	c.expect(t, "ok "+command)
}

// expect waits for a line of standard output.
func (c *child) expect(t testing.TB, want string) {
	t.Helper()
	if line, ok := c.line(); !ok || line != want {
		t.Fatalf("the server said %q (%v), want %q", line, ok, want)
	}
}

// kill ends the process as a power failure would.
func (c *child) kill() {
	c.cmd.Process.Kill()
	<-c.ended
}

// wait waits for the process to end by itself.
func (c *child) wait(t testing.TB) error {
	t.Helper()
	select {
	case <-c.ended:
		return c.err
	case <-time.After(patience):
		t.Fatal("the server does not end")
		return nil
	}
}

// stop ends the server by SIGTERM, which must succeed.
func (c *child) stop(t testing.TB) {
	t.Helper()
	c.cmd.Process.Signal(syscall.SIGTERM)
	if err := c.wait(t); err != nil {
		t.Fatalf("stopping the server: %v", err)
	}
}

func (c *child) client(t testing.TB) *est.Client { return newClient(t, c.dir, c.est) }

// status fetches a page of the health listener.
func (c *child) status(t testing.TB, path string) (int, string) {
	t.Helper()
	return get(t, "http://"+c.metrics+path)
}

// newClient returns a device's client with the bootstrap credential.
func newClient(t testing.TB, dir, address string) *est.Client {
	t.Helper()
	user, secret, _ := strings.Cut(strings.TrimSpace(string(pkitest.ReadFile(t, filepath.Join(dir, enrollSecret)))), ":")
	return &est.Client{URL: "https://" + address, RootCAs: roots(t, dir), User: user, Password: secret}
}

// roots is the trust anchor of a state directory.
func roots(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pkitest.ReadFile(t, filepath.Join(dir, "root.pem"))) {
		t.Fatal("root.pem holds no certificate")
	}
	return pool
}

// get fetches a URL; status 0 stands for no answer.
func get(t testing.TB, url string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

// eventually polls until f holds, and says how long that took.
func eventually(t testing.TB, what string, f func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !f() {
		if time.Since(start) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}
