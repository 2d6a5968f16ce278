package webhook

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

func TestVerdicts(t *testing.T) {
	for _, want := range []issuer.Verdict{{Decision: issuer.Allow}, {Decision: issuer.Deny, Reason: "not on the plan: Süd 3"}, {Decision: issuer.Hold, Reason: strings.Repeat("a", 200)}} {
		got, err := service(t, decides(t, string(want.Decision), want.Reason), nil).Ask(t.Context(), asked)
		if err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

// TestRefuses: whatever is no verdict is an error that says why.
func TestRefuses(t *testing.T) {
	const right = `{"version":1,"id":"question-1","decision":"allow"}`
	header := func(code int, key, value string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(key, value)
			w.WriteHeader(code)
			io.WriteString(w, right)
		}
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"error", header(500, "X", "y"), "status 500"},
		{"other success", header(202, "X", "y"), "status 202"},
		{"partial", header(206, "X", "y"), "status 206"},
		{"redirect", header(307, "Location", "/elsewhere"), "status 307"},
		{"not modified", header(304, "X", "y"), "status 304"},
		{"media type", header(200, "Content-Type", "text/html"), "Content-Type"},
		{"large header", header(200, "X", strings.Repeat("a", 64<<10)), "header"},
		{"compressed", header(200, "Content-Type", "application/gzip"), "Content-Type"},
		{"oversize", answers(`{"version":1,"id":"question-1","decision":"allow","reason":"` + strings.Repeat("a", 5000) + `"}`), "4096 bytes"},
		{"endless", answers(right + strings.Repeat(" ", 1<<20)), "4096 bytes"},
		{"cut off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "500")
			io.WriteString(w, right)
		}, "EOF"},
		{"garbage", answers("\x00\x01"), "JSON"},
		{"empty", answers(""), "JSON"},
		{"null", answers("null"), "JSON"},
		{"list", answers("[" + right + "]"), "JSON"},
		{"two", answers(right + right), "follows"},
		{"not UTF-8", answers(strings.Replace(right, "allow", "all\xffow", 1)), "UTF-8"},
		{"other id", answers(strings.Replace(right, "question-1", "question-2", 1)), "id is not that of the question"},
		{"no id", answers(`{"version":1,"decision":"allow"}`), "must be strings"},
		{"id of another type", answers(`{"version":1,"id":1,"decision":"allow"}`), "must be strings"},
		{"other version", answers(strings.Replace(right, "1", "2", 1)), "version"},
		{"version as text", answers(strings.Replace(right, ":1", `:"1"`, 1)), "version"},
		{"no decision", answers(`{"version":1,"id":"question-1"}`), "must be strings"},
		{"other decision", answers(strings.Replace(right, "allow", "Allow", 1)), "none of allow"},
		{"decision in capitals", answers(strings.Replace(right, "decision", "Decision", 1)), "unknown field"},
		{"decision twice", answers(`{"version":1,"id":"question-1","decision":"deny","decision":"allow"}`), "twice"},
		{"unknown field", answers(`{"version":1,"id":"question-1","decision":"allow","if":"paid"}`), "unknown field"},
		{"true", answers(`{"version":1,"id":"question-1","decision":true}`), "neither a string nor a number"},
		{"nested", answers(`{"version":1,"id":"question-1","decision":"allow","reason":{"a":"b"}}`), "neither a string nor a number"},
		{"long reason", answers(`{"version":1,"id":"question-1","decision":"allow","reason":"` + strings.Repeat("a", 201) + `"}`), "200 bytes"},
		{"reason of two lines", answers(`{"version":1,"id":"question-1","decision":"deny","reason":"a\nb"}`), "printed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := refused(t, service(t, test.answer, nil)); !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error does not say %q: %v", test.want, err)
			}
		})
	}
	if v, err := service(t, answers(right), nil).Ask(t.Context(), asked); err != nil || v.Decision != issuer.Allow {
		t.Errorf("the right answer: %+v, %v", v, err)
	}
}

// TestNoRedirect: where a redirect leads is never asked.
func TestNoRedirect(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		decides(t, "allow", "")(w, r)
	}))
	defer other.Close()
	refused(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusPermanentRedirect)
	}, nil))
	if elsewhere.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

// TestSlow: a service that never answers is given up at the deadline, which
// counts from the question and not from each step. The service hangs for as long as the
// test takes; the only way out is the deadline.
func TestSlow(t *testing.T) {
	for _, begun := range []bool{false, true} {
		over := make(chan struct{})
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if begun { // the deadline holds for the body, too
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"version":1,`)
				w.(http.Flusher).Flush()
			}
			<-over
		}))
		err := refused(t, ask(t, server, func(c *Config) { c.Timeout = 50 * time.Millisecond }))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(over)
		server.Close()
	}
	if c, err := New(Config{URL: "https://mes.example/", Secret: secret}); err != nil || c.config.Timeout != 2*time.Second {
		t.Errorf("the deadline that is not set: %v", err)
	}
}

// TestCrowd: not more than maxAsking questions are with the service; the others
// wait, and within their deadline.
func TestCrowd(t *testing.T) {
	over := make(chan struct{})
	var inside, most atomic.Int32
	arrived := make(chan struct{}, maxAsking)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := inside.Add(1); n > most.Load() {
			most.Store(n)
		}
		arrived <- struct{}{}
		<-over
		inside.Add(-1)
		decides(t, "allow", "")(w, r)
	}))
	defer server.Close()
	client := ask(t, server, nil)
	var wait sync.WaitGroup
	for range maxAsking {
		wait.Go(func() {
			if _, err := client.Ask(t.Context(), asked); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxAsking {
		<-arrived
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Ask(late, asked); err == nil || !strings.Contains(err.Error(), "wait for an answer already") {
		t.Errorf("one too many: %v", err)
	}
	close(over)
	wait.Wait()
	if _, err := client.Ask(t.Context(), asked); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestReuse: questions share a connection.
func TestReuse(t *testing.T) {
	client := service(t, decides(t, "allow", ""), nil)
	for i := range 3 {
		var reused bool
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
		if _, err := client.Ask(ctx, asked); err != nil || reused != (i > 0) {
			t.Errorf("question %d: connection reused: %v; %v", i, reused, err)
		}
	}
}

func TestForeignService(t *testing.T) {
	client := service(t, decides(t, "allow", ""), func(c *Config) { c.Roots = x509.NewCertPool() })
	var unknown x509.UnknownAuthorityError
	if err := refused(t, client); !errors.As(err, &unknown) {
		t.Errorf("a service under a CA that is not trusted: %v", err)
	}
}

// TestNoProxy: the proxy of the environment is not asked. net/http reads the
// environment once in a process, so that this is a process of its own.
func TestNoProxy(t *testing.T) {
	const marker = "WEBHOOK_TEST_PROXY"
	if os.Getenv(marker) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoProxy$")
		cmd.Env = append(os.Environ(), marker+"=1", "HTTPS_PROXY=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	client, err := New(Config{URL: "https://webhook.invalid/", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequest(http.MethodPost, client.config.URL, nil)
	if proxy, err := http.ProxyFromEnvironment(r); err != nil || proxy == nil {
		t.Fatalf("the environment has no proxy: %v", err)
	}
	if err := refused(t, client); strings.Contains(err.Error(), "proxy") || strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("a proxy was asked: %v", err)
	}
}

func TestClientCertificate(t *testing.T) {
	ours, another := certificate(t, x509.ExtKeyUsageClientAuth), certificate(t, x509.ExtKeyUsageClientAuth)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mintmark-Signature") != "" {
			t.Error("a signature beside the certificate")
		}
		decides(t, "allow", "")(w, r)
	}))
	pool := x509.NewCertPool()
	pool.AddCert(ours.Leaf)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	defer server.Close()
	with := func(c *tls.Certificate, err error) *Client {
		return ask(t, server, func(config *Config) {
			config.Secret, config.Certificate = nil, func() (*tls.Certificate, error) { return c, err }
		})
	}
	if _, err := with(ours, nil).Ask(t.Context(), asked); err != nil {
		t.Error(err)
	}
	refused(t, with(another, nil))
	refused(t, with(nil, errors.New("the file is gone")))
}

// TestSignatureOpenSSL: openssl makes the same HMAC over the bytes that went
// over the wire.
func TestSignatureOpenSSL(t *testing.T) {
	var body []byte
	var header string
	client := service(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		header = r.Header.Get("Mintmark-Signature")
		answers(`{"version":1,"id":"question-1","decision":"allow"}`)(w, r)
	}, func(c *Config) { c.Now = func() time.Time { return asked.At } })
	if _, err := client.Ask(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	file := pkitest.WriteFile(t, "signed", []byte(fmt.Sprintf("%d.%s", asked.At.Unix(), body)))
	out := strings.Fields(pkitest.OpenSSL(t, "dgst", "-sha256", "-hmac", string(secret), file))
	if want := fmt.Sprintf("t=%d,v1=%s", asked.At.Unix(), out[len(out)-1]); header != want {
		t.Errorf("header %q, openssl says %q", header, want)
	}
}

// TestPython asks a service that shares no code with this.
func TestPython(t *testing.T) {
	python := pkitest.Tool(t, "python3")
	own := certificate(t, x509.ExtKeyUsageServerAuth)
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, filepath.Join("testdata", "service.py"),
		pkitest.WriteFile(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Leaf.Raw})),
		pkitest.WriteFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		pkitest.WriteFile(t, "secret", secret))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(own.Leaf)
	with := func(secret []byte) *Client {
		c, err := New(Config{URL: strings.TrimSpace(line), Roots: roots, Secret: secret, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	client := with(secret)
	if v, err := client.Ask(t.Context(), asked); err != nil || v.Decision != issuer.Allow {
		t.Errorf("a press that it knows: %+v, %v", v, err)
	}
	other := asked
	other.Device = "press-2"
	if v, err := client.Ask(t.Context(), other); err != nil || v != (issuer.Verdict{Decision: issuer.Deny, Reason: "no such press"}) {
		t.Errorf("one that it does not: %+v, %v", v, err)
	}
	if err := refused(t, with([]byte(strings.Repeat("x", 32)))); !strings.Contains(err.Error(), "status 401") {
		t.Errorf("another secret: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := Config{URL: "https://mes.example/enroll", Secret: secret}
	for name, change := range map[string]func(*Config){
		"no TLS":         func(c *Config) { c.URL = "http://mes.example/enroll" },
		"no host":        func(c *Config) { c.URL = "https:///enroll" },
		"a user":         func(c *Config) { c.URL = "https://a:b@mes.example/" },
		"short secret":   func(c *Config) { c.Secret = secret[:31] },
		"no credential":  func(c *Config) { c.Secret = nil },
		"two of them":    func(c *Config) { c.Certificate = func() (*tls.Certificate, error) { return nil, nil } },
		"nothing at all": func(c *Config) { *c = Config{} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "a:b") || strings.Contains(err.Error(), string(secret[:20])) {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	client, _ := New(good)
	if _, err := client.Ask(t.Context(), issuer.Question{}); err == nil {
		t.Error("a question without an id")
	}
}
