package faults

import (
	"bufio"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/config"
	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/pkitest"
	"mintmark/internal/server"
	"mintmark/issuer/est"
)

// atOnce is what an answer may take that needs no key.
const atOnce = time.Second

// factory is a whole server whose keys are in a token.
type factory struct {
	*soft
	dir                string
	est, http, metrics string // addresses
	client             *est.Client
	crl                string // path
	devices            int
	stop               func()
}

func newFactory(t *testing.T) *factory {
	t.Helper()
	f := &factory{soft: newSoft(t), dir: filepath.Join(t.TempDir(), "state")}
	o := server.InitOptions{Dir: f.dir, Names: []string{"localhost", "127.0.0.1"}, PKCS11: f.uri("?pin-source=" + f.pinFile)}
	if err := server.Init(t.Context(), o, slog.New(slog.DiscardHandler), io.Discard); err != nil {
		t.Fatal(err)
	}
	// The load comes from one address, and as one requester.
	path := filepath.Join(f.dir, config.File)
	const label = "    own: [device]"
	text := string(pkitest.ReadFile(t, path))
	if strings.Count(text, label) != 1 {
		t.Fatalf("the configuration has no label to change:\n%s", text)
	}
	text = strings.Replace(text, label, label+"\n    limits: {identity: 0, address: 0}", 1) + "\nlimits:\n  stations: [127.0.0.0/8]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	return f
}

// start serves until the test ends or stop is called.
func (f *factory) start(t *testing.T) {
	t.Helper()
	c, err := config.Load(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	log := &output{}
	reader, writer := io.Pipe()
	s, err := server.Open(t.Context(), c, server.Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(log, nil)), Out: writer})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := errors.Join(s.Serve(ctx), s.Close())
		writer.CloseWithError(io.EOF)
		ended <- err
	}()
	stopped := false
	f.stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		f.client.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serving: %v", err)
		}
	}
	stop := f.stop
	t.Cleanup(func() {
		stop()
		if text := log.String(); t.Failed() {
			t.Logf("log of the server, its end:\n%s", text[max(0, len(text)-6000):])
		}
	})
	f.est, f.client = "", &est.Client{}
	for in := bufio.NewScanner(reader); f.est == "" && in.Scan(); {
		name, address, _ := strings.Cut(in.Text(), " listening on ")
		switch name {
		case "est":
			f.est = address
		case "http":
			f.http = address
		case "metrics":
			f.metrics = address
		}
	}
	if f.est == "" {
		t.Fatalf("the server did not start: %s", log.String())
	}
	go io.Copy(io.Discard, reader)
	user, secret, _ := strings.Cut(strings.TrimSpace(string(pkitest.ReadFile(t, filepath.Join(f.dir, "secrets/enroll")))), ":")
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pkitest.ReadFile(t, filepath.Join(f.dir, "root.pem"))) {
		t.Fatal("root.pem holds no certificate")
	}
	f.client = &est.Client{URL: "https://" + f.est, RootCAs: roots, User: user, Password: secret}
}

// enroll asks for the certificate of a new device.
func (f *factory) enroll(t *testing.T) error {
	t.Helper()
	f.devices++
	key := pkitest.NewKey(t)
	cert, err := f.client.Enroll(t.Context(), pkitest.CSR(t, key, pkix.Name{CommonName: fmt.Sprintf("press-%d", f.devices)}))
	if err != nil {
		return err
	}
	if f.crl == "" {
		u, err := url.Parse(cert.CRLDistributionPoints[0])
		if err != nil {
			t.Fatal(err)
		}
		f.crl = u.Path
	}
	return nil
}

// busy reports whether err is a 503 with Retry-After.
func busy(err error) bool {
	var status *est.StatusError
	return errors.As(err, &status) && status.Code == http.StatusServiceUnavailable && status.RetryAfter > 0
}

// wantOthers wants what needs no key to be answered at once.
func (f *factory) wantOthers(t *testing.T, what string) {
	t.Helper()
	for name, ask := range map[string]func() error{
		"/cacerts":  func() error { _, err := f.client.CACerts(t.Context()); return err },
		"the CRL":   func() error { return get("http://" + f.http + f.crl) },
		"/healthz":  func() error { return get("http://" + f.metrics + "/healthz") },
		"/metrics":  func() error { return get("http://" + f.metrics + "/metrics") },
		"readiness": func() error { return unready("http://" + f.metrics + "/readyz") },
	} {
		start := time.Now()
		if err := ask(); err != nil {
			t.Errorf("%s: %s: %v", what, name, err)
		}
		if took := time.Since(start); took > atOnce {
			t.Errorf("%s: %s took %v", what, name, took)
		}
	}
}

var plain = &http.Client{Timeout: patience}

func get(url string) error {
	answer, err := plain.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", answer.Status)
	}
	return nil
}

// unready wants an answer, whatever it is: what it says may be some seconds old.
func unready(url string) error {
	answer, err := plain.Get(url)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// intents counts what the issuance log has recorded as about to be signed.
func (f *factory) intents(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.dir, "log", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the log: %v, %v", files, err)
	}
	n := 0
	for _, file := range files {
		n += strings.Count(string(pkitest.ReadFile(t, file)), `"kind":"intent"`)
	}
	return n
}

// TestFaultServer takes the token from under a server, lets it hang and refuse its PIN.
// Devices are told when to come back, and everything else goes on.
func TestFaultServer(t *testing.T) {
	f := newFactory(t)
	if err := f.enroll(t); err != nil {
		t.Fatal(err)
	}
	t.Run("away", func(t *testing.T) {
		for range 2 {
			back := f.leave(t)
			eventually(t, "the token is missed", func() bool { return busy(f.enroll(t)) })
			intents, logins := f.intents(t), f.Get(shim.Logins)
			for range 5 {
				start := time.Now()
				if err := f.enroll(t); !busy(err) {
					t.Errorf("enrolling: %v, want 503 with Retry-After", err)
				}
				if took := time.Since(start); took > atOnce {
					t.Errorf("refusing took %v", took)
				}
			}
			f.wantOthers(t, "while the token is away")
			if n := f.intents(t) - intents; n != 0 {
				t.Errorf("%d serial numbers were spent on a key that is known to be away", n)
			}
			if n := f.Get(shim.Logins) - logins; n != 0 {
				t.Errorf("%d logins while the token was away", n)
			}
			back()
			took := eventually(t, "a device is served again", func() bool { return f.enroll(t) == nil })
			t.Logf("served %v after the token had come back", took.Round(time.Millisecond))
			if took > recovery {
				t.Errorf("that is later than %v", recovery)
			}
			if n := f.Get(shim.Logins) - logins; n > 1 {
				t.Errorf("%d logins when the token came back", n)
			}
		}
	})
	t.Run("hangs", func(t *testing.T) {
		f.Set(shim.Hang, shim.HangSign|shim.HangLogin)
		asked := make(chan error, 1)
		start := time.Now()
		go func() { asked <- f.enroll(t) }()
		eventually(t, "the library hangs", func() bool { return f.Get(shim.Hung) > 0 })
		for done := false; !done; {
			f.wantOthers(t, "while the library hangs")
			select {
			case err := <-asked:
				done = true
				if !busy(err) {
					t.Errorf("enrolling: %v, want 503 with Retry-After", err)
				}
			default:
			}
		}
		t.Logf("the device was told to come back after %v", time.Since(start).Round(time.Millisecond))
		f.Mend()
		eventually(t, "a device is served again", func() bool { return f.enroll(t) == nil })
	})
	t.Run("PIN", func(t *testing.T) {
		f.Set(shim.Login, ckrPINIncorrect)
		logins := f.Get(shim.Logins)
		for range 3 {
			f.stop()
			f.start(t)
			for range 3 {
				if err := f.enroll(t); !busy(err) {
					t.Errorf("enrolling: %v, want 503 with Retry-After", err)
				}
			}
			f.wantOthers(t, "while the PIN is refused")
		}
		if n := f.Get(shim.Logins) - logins; n != 1 {
			t.Errorf("%d logins, want 1 over three starts of the server", n)
		}
	})
}
