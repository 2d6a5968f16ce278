package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// MaxAnswer is how much of an answer is read unless a call says otherwise, in bytes.
const MaxAnswer = 1 << 20

// Call is one request.
type Call struct {
	Method string
	// Path begins with a slash; Join makes it.
	Path string
	// IfMatch is the entity tag of what is changed, quoted or not; empty for no header.
	IfMatch string
	Header  http.Header // others; nil for none
	Body    any         // is sent as JSON; nil for no body
	Into    any         // what the answer is decoded into; nil if it is not looked at
	// Operations is how many operations of the service's quota it counts for; 1 if
	// zero.
	Operations int
	Limit      int64 // bytes of the answer; MaxAnswer if zero
	// Read says that the call changes nothing, so that it may be made again.
	Read bool
}

// Join makes a path of segments, each of them escaped. A segment that is empty, "."
// or ".." would be another resource and is an error.
func Join(segments ...string) (string, error) {
	var b strings.Builder
	for _, s := range segments {
		if s == "" || s == "." || s == ".." {
			return "", fmt.Errorf("%q cannot be part of a URL", s)
		}
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String(), nil
}

// Do makes a call and returns the header of its answer. Refusals are *Error; see
// Temporary for what may be tried again. It follows no redirection and keeps no
// cookie.
func (c *Client) Do(ctx context.Context, call Call) (http.Header, error) {
	for attempts := 1; ; attempts++ {
		header, err := c.once(ctx, call)
		if err == nil || !call.Read || c.Again == nil || !Temporary(err) {
			return header, err
		}
		if err := c.Again(ctx, attempts, err); err != nil {
			return nil, err
		}
	}
}

func (c *Client) once(ctx context.Context, call Call) (http.Header, error) {
	request, err := c.request(ctx, call)
	if err != nil {
		return nil, err
	}
	if c.Wait != nil {
		if err := c.Wait(ctx, max(call.Operations, 1)); err != nil {
			return nil, fmt.Errorf("waiting for the rate limit: %w", err)
		}
	}
	// After the wait, so that it is not old when it is sent.
	if c.Authorization != nil {
		value, err := c.Authorization.Header(ctx)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", value)
	}
	answer, err := c.client().Do(request)
	if err != nil {
		return nil, Lost(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return nil, c.refusal(answer)
	}
	limit := call.Limit
	if limit == 0 {
		limit = MaxAnswer
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	switch {
	case err != nil:
		return nil, Lost(ctx, fmt.Errorf("reading the answer to %s %s: %w", call.Method, call.Path, err))
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("the answer to %s %s is longer than %d bytes", call.Method, call.Path, limit)
	case call.Into == nil:
		return answer.Header, nil
	}
	if err := json.Unmarshal(body, call.Into); err != nil {
		return nil, fmt.Errorf("reading the answer to %s %s: %w", call.Method, call.Path, err)
	}
	return answer.Header, nil
}

// request makes everything of the request but its authorization.
func (c *Client) request(ctx context.Context, call Call) (*http.Request, error) {
	var body io.Reader
	if call.Body != nil {
		data, err := json.Marshal(call.Body)
		if err != nil {
			return nil, fmt.Errorf("writing the body of %s %s: %w", call.Method, call.Path, err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, call.Method, c.Base+call.Path+"?api-version="+url.QueryEscape(c.APIVersion), body)
	if err != nil {
		return nil, err
	}
	// A token in clear text is not a token any more.
	if request.URL.Scheme != "https" {
		return nil, errors.New("calls of Azure go over https only")
	}
	for name, values := range call.Header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "mintmark")
	if call.Body != nil {
		request.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if call.IfMatch != "" {
		request.Header.Set("If-Match", quote(call.IfMatch))
	}
	return request, nil
}

// quote makes an entity tag of what the services give as one: DPS with quotes inside
// the JSON string, hubs without (RFC 9110, 8.8.3).
func quote(etag string) string {
	if etag == "*" || len(etag) >= 2 && strings.HasSuffix(etag, `"`) && (etag[0] == '"' || strings.HasPrefix(etag, `W/"`)) {
		return etag
	}
	return `"` + etag + `"`
}

// client never goes where an answer points: the token would go along.
func (c *Client) client() *http.Client {
	client := http.Client{}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

func (c *Client) refusal(answer *http.Response) error {
	// What cannot be read of it does not change that it refuses.
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxErrorBody))
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	e := parseError(answer.StatusCode, answer.Header, body, now())
	if answer.StatusCode >= 300 && answer.StatusCode < 400 && e.Message == "" {
		e.Message = "the service redirects, which is not followed"
	}
	if answer.StatusCode == http.StatusTooManyRequests && c.Throttled != nil {
		c.Throttled(e.RetryAfter)
	}
	return e
}
