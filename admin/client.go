package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MaxRequest bounds the body of a request, in bytes.
const MaxRequest = 1 << 20

// maxAnswer bounds what the client reads of an answer that is not streamed: a
// page of a thousand certificates, or a CRL of a million entries.
const maxAnswer = 128 << 20

// Client calls the administrative API. Its methods may be called concurrently.
// Refusals are *Error; what needs a second officer and was proposed instead of
// done is *Proposed.
type Client struct {
	http *http.Client
	base string
}

// New returns a client over rt, which reaches one server whatever host the URL
// names.
func New(rt http.RoundTripper) *Client {
	return &Client{
		http: &http.Client{
			Transport:     rt,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: "http://mintmark",
	}
}

// Close drops idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// call sends in as JSON, unless it is nil, and decodes the answer.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (T, error) {
	answer, err := c.send(ctx, method, path, query, in)
	if err != nil {
		var none T
		return none, err
	}
	return decodeAnswer[T](answer)
}

// decodeAnswer reads the JSON of an answer of success, and closes it.
func decodeAnswer[T any](answer *http.Response) (out T, err error) {
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return out, fmt.Errorf("reading the server's answer: %w", err)
	}
	if len(content) > maxAnswer {
		return out, fmt.Errorf("the server answered with more than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(content, &out); err != nil {
		return out, fmt.Errorf("decoding the server's answer: %w", err)
	}
	return out, nil
}

// send makes a request and returns an answer of success; its body must be
// closed.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		content, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		if len(content) > MaxRequest {
			return nil, fmt.Errorf("the request measures %d bytes; %d are allowed", len(content), MaxRequest)
		}
		body = bytes.NewReader(content)
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return c.do(r)
}

// do makes a request and returns an answer of success; its body must be closed.
func (c *Client) do(r *http.Request) (*http.Response, error) {
	answer, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // who calls knows the host, if it is one
		}
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	switch {
	case answer.StatusCode >= 300:
		defer answer.Body.Close()
		return nil, refusal(answer)
	case answer.StatusCode == http.StatusAccepted:
		defer answer.Body.Close()
		return nil, proposed(answer)
	}
	return answer, nil
}

// proposed reads what became of an operation that needs a second officer.
func proposed(answer *http.Response) error {
	p := new(Proposed)
	if err := json.NewDecoder(io.LimitReader(answer.Body, MaxRequest)).Decode(&p.Approval); err != nil || p.Approval.ID == "" {
		return fmt.Errorf("the server accepted the request without saying as what: mintmark approval list may show it")
	}
	return p
}

// refusal reads the error of an answer.
func refusal(answer *http.Response) error {
	e := &Error{Status: answer.StatusCode, RequestID: answer.Header.Get("X-Request-Id")}
	content, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err := json.Unmarshal(content, e); err != nil || e.Text == "" {
		e.Rule, e.Text = "http", fmt.Sprintf("the server answered %d %s: %s", e.Status, http.StatusText(e.Status), strings.TrimSpace(string(content)))
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
