package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// token is an Authorization that is always the same.
type token string

func (t token) Header(context.Context) (string, error) { return string(t), nil }

// serve starts a server and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return &Client{Base: server.URL, APIVersion: "2021-10-01", Authorization: token("Bearer secret-token"), HTTP: server.Client()}
}

func TestCall(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		for name, want := range map[string]string{
			"Authorization": "Bearer secret-token", "If-Match": `"abc"`, "Content-Type": "application/json; charset=utf-8",
			"Accept": "application/json", "X-Ms-Max-Item-Count": "7",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if r.Method != "PUT" || r.URL.EscapedPath() != "/enrollments/a%2Fb:c" || r.URL.RawQuery != "api-version=2021-10-01" || string(body) != `{"a":1}` {
			t.Errorf("%s %s?%s %s", r.Method, r.URL.EscapedPath(), r.URL.RawQuery, body)
		}
		w.Header().Set("X-Ms-Continuation", "next")
		io.WriteString(w, `{"b":2}`)
	})
	var waited int
	c.Wait = func(_ context.Context, n int) error { waited += n; return nil }
	path, err := Join("enrollments", "a/b:c")
	if err != nil {
		t.Fatal(err)
	}
	var into struct{ B int }
	header, err := c.Do(t.Context(), Call{
		Method: "PUT", Path: path, IfMatch: "abc", Body: map[string]int{"a": 1}, Into: &into, Operations: 3,
		Header: http.Header{"X-Ms-Max-Item-Count": {"7"}},
	})
	if err != nil || into.B != 2 || header.Get("X-Ms-Continuation") != "next" || waited != 3 {
		t.Errorf("%v, %+v, %v, waited for %d", err, into, header, waited)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{`"a"`: `"a"`, `a`: `"a"`, `*`: `*`, `W/"a"`: `W/"a"`, `AAAAAAExpNs=`: `"AAAAAAExpNs="`, `"`: `"""`} {
		if got := quote(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

func TestJoin(t *testing.T) {
	for _, bad := range []string{"", ".", ".."} {
		if path, err := Join("enrollments", bad); err == nil {
			t.Errorf("%q makes %s", bad, path)
		}
	}
	if path, err := Join("a b", "?x#%"); err != nil || path != "/a%20b/%3Fx%23%25" {
		t.Errorf("%s, %v", path, err)
	}
}

// TestRefused: what a service can answer that is not what was asked for.
func TestRefused(t *testing.T) {
	long := `{"message":"` + strings.Repeat("x", MaxAnswer) + `"}`
	for _, test := range []struct {
		name      string
		handler   http.HandlerFunc
		want      string // part of the text
		status    int    // of an *Error; zero for another error
		temporary bool
	}{
		{"documented", answer(409, `{"errorCode":409201,"trackingId":"t-1","message":"Enrollment already exists.","timestampUtc":"2026-11-22T00:00:00Z"}`), "HTTP 409, error 409201: Enrollment already exists. (tracking id t-1)", 409, false},
		{"throttled", answer(429, `{"errorCode":429001,"message":"slow down"}`), "HTTP 429, error 429001: slow down", 429, true},
		{"server error without a body", answer(500, ""), "HTTP 500: Internal Server Error", 500, true},
		{"a proxy's page", answer(502, "<html>no</html>"), "HTTP 502: Bad Gateway", 502, true},
		{"an error of 1 MiB", answer(400, long), "HTTP 400: Bad Request", 400, false},
		{"too long", answer(200, long), "longer than 1048576 bytes", 0, false},
		{"no JSON", answer(200, "hello"), "reading the answer", 0, false},
		{"two values", answer(200, "{} {}"), "reading the answer", 0, false},
		{"a wrong type", answer(200, `{"b":"two"}`), "reading the answer", 0, false},
		{"an empty answer", answer(200, ""), "reading the answer", 0, false},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"b":`)
		}, "reading the answer", 0, true},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF", 0, true},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusTemporaryRedirect)
		}, "redirects, which is not followed", 307, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, test.handler)
			var into struct{ B int }
			_, err := c.Do(t.Context(), Call{Method: "GET", Path: "/x", Into: &into})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %s", err, test.want)
			}
			if Temporary(err) != test.temporary {
				t.Errorf("temporary: %v", !test.temporary)
			}
			var refused *Error
			if errors.As(err, &refused) != (test.status != 0) || refused != nil && refused.Status != test.status {
				t.Errorf("%#v, want status %d", err, test.status)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, refused), "secret-token") {
				t.Error("the token is in the error")
			}
			if len(err.Error()) > 2000 {
				t.Errorf("the error has %d characters", len(err.Error()))
			}
		})
	}
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// TestRedirect: neither token nor request goes where an answer points, whatever the
// client that was given would do.
func TestRedirect(t *testing.T) {
	var followed atomic.Int32
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer other.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		http.Redirect(w, r, other.URL, http.StatusFound)
	})
	jar := &countingJar{}
	c.HTTP.Jar = jar
	for range 2 {
		if _, err := c.Do(t.Context(), Call{Method: "GET", Path: "/x"}); err == nil {
			t.Error("a redirect is a success")
		}
	}
	if n := followed.Load(); n != 0 || jar.n != 0 {
		t.Errorf("followed %d times, %d uses of cookies", n, jar.n)
	}
}

func TestPlainHTTP(t *testing.T) {
	var called atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Add(1) }))
	defer server.Close()
	c := &Client{Base: server.URL, Authorization: token("Bearer x")}
	if _, err := c.Do(t.Context(), Call{Method: "GET", Path: "/x"}); err == nil || called.Load() != 0 {
		t.Errorf("error %v, %d calls", err, called.Load())
	}
}

// TestUntrusted: a server that another roots' certificate has is not asked again.
func TestUntrusted(t *testing.T) {
	c := serve(t, answer(200, "{}"))
	c.HTTP = &http.Client{}
	if _, err := c.Do(t.Context(), Call{Method: "GET", Path: "/x"}); err == nil || Temporary(err) {
		t.Errorf("error %v, temporary %v", err, Temporary(err))
	}
}

// TestSlow: time that is up for one call is not up for the next, unless it is the
// caller's.
func TestSlow(t *testing.T) {
	hang := make(chan struct{})
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	defer close(hang)
	c.HTTP.Timeout = 20 * time.Millisecond
	if _, err := c.Do(t.Context(), Call{Method: "GET", Path: "/x"}); err == nil || !Temporary(err) {
		t.Errorf("a slow server: %v", err)
	}
	c.HTTP.Timeout = 0
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := c.Do(ctx, Call{Method: "GET", Path: "/x"}); !errors.Is(err, context.Canceled) || Temporary(err) {
		t.Errorf("a caller who has gone: %v", err)
	}
}

// TestAgain: only what changes nothing is asked again, and only what may pass.
func TestAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		read   bool
		status int
		calls  int32
	}{
		{"a read that passes", true, 503, 3},
		{"a read that does not", true, 404, 1},
		{"a change", false, 503, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var calls atomic.Int32
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.WriteHeader(test.status)
			})
			given := errors.New("given up")
			c.Again = func(_ context.Context, attempts int, err error) error {
				if attempts == 3 {
					return given
				}
				return nil
			}
			_, err := c.Do(t.Context(), Call{Method: "POST", Path: "/x", Read: test.read})
			if calls.Load() != test.calls || errors.Is(err, given) != (test.calls == 3) || err == nil {
				t.Errorf("%d calls, error %v", calls.Load(), err)
			}
		})
	}
}

func TestThrottled(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(429)
	})
	var told time.Duration
	c.Throttled = func(d time.Duration) { told = d }
	_, err := c.Do(t.Context(), Call{Method: "GET", Path: "/x"})
	var refused *Error
	if !errors.As(err, &refused) || refused.RetryAfter != 7*time.Second || told != 7*time.Second {
		t.Errorf("%v, told %v", err, told)
	}
}

// TestWaitFails: a call that may not leave does not.
func TestWaitFails(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	c.Wait = func(context.Context, int) error { return context.DeadlineExceeded }
	if _, err := c.Do(t.Context(), Call{Method: "GET", Path: "/x"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestUnwritable(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	if _, err := c.Do(t.Context(), Call{Method: "PUT", Path: "/x", Body: json.RawMessage("{")}); err == nil {
		t.Error("a body that is no JSON was sent")
	}
}

type countingJar struct{ n int }

func (j *countingJar) SetCookies(*url.URL, []*http.Cookie) { j.n++ }
func (j *countingJar) Cookies(*url.URL) []*http.Cookie     { j.n++; return nil }
