package main

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/internal/pkcs10"
	"mintmark/issuer/est"
)

// TestAttributesOnce: one answer of csrattrs says which key to make and whether to
// link the request.
func TestAttributesOnce(t *testing.T) {
	var asked, linked atomic.Int64
	// An attribute for challengePassword, and a key on P-384.
	answer := base64.StdEncoding.EncodeToString([]byte{0x30, 0x1f,
		0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07,
		0x30, 0x12, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x31, 0x07, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/csrattrs") {
			asked.Add(1)
			w.Header().Set("Content-Type", "application/csrattrs")
			io.WriteString(w, answer)
			return
		}
		body, _ := io.ReadAll(r.Body)
		der, _ := base64.StdEncoding.DecodeString(string(body))
		if attributes, err := pkcs10.ParseAttributes(der); err == nil && attributes.Linked {
			linked.Add(1)
		}
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer server.Close()
	dir := t.TempDir()
	root, key := filepath.Join(dir, "root.pem"), filepath.Join(dir, "new.key")
	if err := os.WriteFile(root, certificatePEM(server.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := output(t, "est", "enroll", "--url", server.URL, "--ca", root, "--name", "press-1", "--new-key", key, "--out", filepath.Join(dir, "new.pem"))
	var status *est.StatusError
	if !errors.As(err, &status) || status.Code != http.StatusForbidden {
		t.Fatal(err)
	}
	if asked.Load() != 1 || linked.Load() != 1 {
		t.Errorf("csrattrs was asked for %d times, and %d requests were linked", asked.Load(), linked.Load())
	}
	made, err := readKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if kind, err := keyKind(made.Public()); err != nil || kind != "P-384" {
		t.Errorf("the key is %s, %v", kind, err)
	}
}

// TestPendingWords: what waits is said once while it waits, and at the end what a
// person can do.
func TestPendingWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		a := &app{err: &said}
		again := &est.PendingError{RetryAfter: 6 * time.Second}
		err := a.repeat(t.Context(), 8*time.Second, func() error { return again })
		if want := "the request waits for a person's approval at the server: repeating it in 6s\n"; said.String() != want {
			t.Errorf("said %q, want %q", said.String(), want)
		}
		if !errors.As(err, new(*est.PendingError)) || !strings.HasSuffix(err.Error(), "(mintmark enroll list there); run the same command again, or add --wait 30m") {
			t.Errorf("%v", err)
		}
	})
}

// TestRepeatedWords: a cause is said again only after another one.
func TestRepeatedWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		a := &app{err: &said}
		calls := 0
		a.repeat(t.Context(), 10*time.Minute, func() error {
			calls++
			switch {
			case calls == 100:
				return &est.StatusError{Code: 503, Text: "locked", RetryAfter: 2 * time.Second}
			case calls == 200:
				return nil
			}
			return &est.StatusError{Code: 503, Text: "absent", RetryAfter: time.Second}
		})
		if n := strings.Count(said.String(), "\n"); calls != 200 || n != 3 || strings.Count(said.String(), "locked") != 1 {
			t.Errorf("%d calls and %d lines:\n%s", calls, n, said.String())
		}
	})
}

func TestRepeat(t *testing.T) {
	again := &est.PendingError{RetryAfter: 10 * time.Second}
	busy := &est.StatusError{Code: 503, RetryAfter: 20 * time.Second}
	refused := &est.StatusError{Code: 403}
	for _, c := range []struct {
		name    string
		wait    time.Duration
		answers []error
		calls   int
		want    error
	}{
		{"at once", time.Minute, []error{nil}, 1, nil},
		{"after a 202 and a 503", time.Minute, []error{again, busy, nil}, 3, nil},
		{"refused", time.Minute, []error{refused, nil}, 1, refused},
		{"beyond the wait", 15 * time.Second, []error{again, again, nil}, 2, again},
		{"without waiting", 0, []error{busy, nil}, 1, busy},
		{"503 that does not say when", time.Minute, []error{&est.StatusError{Code: 503}, nil}, 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				a := &app{err: io.Discard}
				err := a.repeat(t.Context(), c.wait, func() error {
					calls++
					return c.answers[calls-1]
				})
				if !errors.Is(err, c.want) || calls != c.calls {
					t.Errorf("%d calls and %v, want %d and %v", calls, err, c.calls, c.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		a := &app{err: io.Discard}
		if err := a.repeat(ctx, time.Minute, func() error { return again }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted: %v", err)
		}
	})
}
