package admin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"mintmark/admin"
)

func roundTrip(t *testing.T, ctx context.Context, h http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://mintmark/v1/x%2Fy?a=b", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	return (&http.Client{Transport: admin.InProcess(h)}).Do(r)
}

func TestInProcess(t *testing.T) {
	step := make(chan struct{})
	answer, err := roundTrip(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != "body" || r.URL.EscapedPath() != "/v1/x%2Fy" || r.URL.Query().Get("a") != "b" || r.Host != "mintmark" {
			t.Errorf("arrived as %s %s with %q", r.Host, r.URL, body)
		}
		w.Header().Set("X-Early", "yes")
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "no")
		io.WriteString(w, "one\n")
		<-step // the first line must be there before the second is written
		io.WriteString(w, "two\n")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusTeapot || answer.Header.Get("X-Early") != "yes" || answer.Header.Get("X-Late") != "" {
		t.Errorf("answered %s %v", answer.Status, answer.Header)
	}
	line := make([]byte, 4)
	if _, err := io.ReadFull(answer.Body, line); err != nil || string(line) != "one\n" {
		t.Fatalf("read %q, %v", line, err)
	}
	close(step)
	rest, err := io.ReadAll(answer.Body)
	if err != nil || string(rest) != "two\n" {
		t.Errorf("read %q, %v", rest, err)
	}
}

func TestInProcessEmpty(t *testing.T) {
	answer, err := roundTrip(t, t.Context(), func(http.ResponseWriter, *http.Request) {})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || len(body) != 0 || answer.StatusCode != http.StatusOK {
		t.Errorf("answered %s %q, %v", answer.Status, body, err)
	}
}

func TestInProcessPanic(t *testing.T) {
	answer, err := roundTrip(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		panic("a bug")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("a handler that panicked answered %q without an error", body)
	}
}

func TestInProcessCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := false
	local := admin.InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done() // it sees the caller go
		if _, err := io.WriteString(w, "too late"); err == nil {
			t.Error("wrote to a caller that is gone")
		}
		ended = true
	}))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mintmark/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := local.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if local.Wait(); !ended {
		t.Error("the handler still runs")
	}
}
