package awshttp

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// closed is a body as the SDK's is after it was closed: it ends in Read, and
// fails in WriteTo.
type closed struct{ io.Reader }

func (closed) WriteTo(io.Writer) (int64, error) { return 0, io.EOF }
func (closed) Close() error                     { return nil }

// TestWrap: a body that fails as the SDK's does breaks the connection, and not
// with the wrapped client.
func TestWrap(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != "request" {
			t.Errorf("the server got %q, %v", got, err)
		}
		w.Write([]byte("answer"))
	}))
	defer server.Close()
	do := func(c interface {
		Do(*http.Request) (*http.Response, error)
	}) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, closed{strings.NewReader("request")})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		got, err := io.ReadAll(answer.Body)
		if err == nil && string(got) != "answer" {
			t.Errorf("the answer is %q", got)
		}
		return err
	}
	if err := do(Wrap(server.Client())); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, closed{strings.NewReader("")}); err != io.EOF {
		t.Errorf("io.Copy does not mind the body, so there is nothing to wrap: %v", err)
	}
}

func TestNoBody(t *testing.T) {
	seen := make(chan io.ReadCloser, 2)
	c := Wrap(doFunc(func(r *http.Request) (*http.Response, error) {
		seen <- r.Body
		return nil, io.ErrUnexpectedEOF
	}))
	for _, b := range []io.ReadCloser{nil, http.NoBody} {
		if _, err := c.Do(&http.Request{Body: b}); err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
		if got := <-seen; got != b {
			t.Errorf("no body became %T", got)
		}
	}
}

type doFunc func(*http.Request) (*http.Response, error)

func (f doFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }
