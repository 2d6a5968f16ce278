package dpssim

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// startSim starts a simulator for one test.
func startSim(t testing.TB, change ...func(*Config)) *Sim {
	t.Helper()
	var cfg Config
	for _, f := range change {
		f(&cfg)
	}
	s, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the simulator: %v", err)
		}
	})
	return s
}

// client is an HTTP client that keeps Azure's names and connects to the simulator, with
// a client certificate if one is given. Connections are not used twice, so that no
// transport tries again by itself.
func (s *Sim) client(t testing.TB, certificate ...tls.Certificate) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.RootPEM()) {
		t.Fatal("the trust anchor is no certificate")
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: certificate},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Addr())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// call makes a request and returns status, header and body. header is alternating names
// and values.
func (s *Sim) call(t testing.TB, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client(t).Do(r)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return resp.StatusCode, resp.Header, string(b)
}

// local is the address of the simulator's own endpoints.
func (s *Sim) local() string { return "https://" + s.Addr() }

// parseJSON reads an object.
func parseJSON(t testing.TB, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return out
}

// eventsOf reads the events of a kind, as a person would.
func (s *Sim) eventsOf(t testing.TB, kind string) []event {
	t.Helper()
	status, _, body := s.call(t, "GET", s.local()+"/_sim/events?kind="+kind, "")
	var out []event
	if err := json.Unmarshal([]byte(body), &out); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	return out
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// tool finds a program. Without it the test is skipped, or fails where
// MINTMARK_TOOLS is "required".
func tool(t testing.TB, name string) string {
	t.Helper()
	return pkitest.Tool(t, name)
}

// curl runs curl through the simulator's port and returns its output, standard error
// behind standard output.
func (s *Sim) curl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	root := t.TempDir() + "/root.pem"
	if err := os.WriteFile(root, s.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "curl"), append([]string{"--silent", "--show-error", "--max-time", "60", "--cacert", root, "--connect-to", "::" + s.Addr()}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
