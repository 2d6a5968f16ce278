package heads

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// web keeps heads by PUT.
type web struct {
	name   string
	base   string // the address of a head without its name
	client *http.Client
	// authorize says in the request who asks; nil if nobody does.
	authorize func(r *http.Request, body []byte) error
}

// HTTP is an address that takes a head by PUT under its name and gives it back
// by GET. The token, if it is not empty, goes along as a bearer token; so the
// address must be https unless it is on this host.
func HTTP(address, token string) (Target, error) {
	base, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("parsing the address for heads: %w", err)
	}
	switch {
	case base.Host == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil:
		return nil, fmt.Errorf("heads go to an address of scheme, host and path, which %q is not", base.Redacted())
	case base.Scheme == "http" && !loopback(base.Hostname()):
		return nil, fmt.Errorf("%s: heads go to another host over https only", base.Redacted())
	case base.Scheme != "https" && base.Scheme != "http":
		return nil, fmt.Errorf("%s: heads go over https", base.Redacted())
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token for heads holds characters that cannot stand in a header")
	}
	t := newWeb(base.String(), strings.TrimSuffix(base.String(), "/")+"/")
	if token != "" {
		t.authorize = func(r *http.Request, _ []byte) error {
			r.Header.Set("Authorization", "Bearer "+token)
			return nil
		}
	}
	return t, nil
}

func newWeb(name, base string) *web {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	return &web{name: name, base: base, client: &http.Client{
		Transport: transport,
		Timeout:   30 * time.Second,
		// A redirect would take the credential elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (t *web) Name() string { return t.name }

// Put implements Target.
func (t *web) Put(ctx context.Context, name string, signed []byte) error {
	status, said, err := t.do(ctx, http.MethodPut, name, signed)
	switch {
	case err != nil:
		return err
	case status/100 == 2:
		return nil
	case status != http.StatusConflict && status != http.StatusPreconditionFailed:
		return fmt.Errorf("PUT %s answers status %d: %.200q", t.base+name, status, said)
	}
	status, have, err := t.do(ctx, http.MethodGet, name, nil)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("PUT %s says that it is there, and GET answers status %d", t.base+name, status)
	case !bytes.Equal(have, signed):
		return fmt.Errorf("%s: %w", t.base+name, ErrConflict)
	}
	return nil
}

func (t *web) do(ctx context.Context, method, name string, body []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, t.base+name, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("keeping head: %w", err)
	}
	if method == http.MethodPut {
		r.Header.Set("If-None-Match", "*")
		r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	if t.authorize != nil {
		if err := t.authorize(r, body); err != nil {
			return 0, nil, fmt.Errorf("keeping head: %w", err)
		}
	}
	answer, err := t.client.Do(r)
	if err != nil {
		// The error of a client names the address, never a header.
		return 0, nil, fmt.Errorf("keeping head: %w", err)
	}
	defer answer.Body.Close()
	if method == http.MethodPut {
		said, err := io.ReadAll(io.LimitReader(answer.Body, maxNote))
		if err != nil {
			return 0, nil, fmt.Errorf("keeping head: %w", err)
		}
		return answer.StatusCode, said, nil
	}
	content, err := readBounded(answer.Body)
	return answer.StatusCode, content, err
}
