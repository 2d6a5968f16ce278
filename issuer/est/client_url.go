package est

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// target is the URL of an operation: RFC 7030, Section 3.2.2. The path of
// Client.URL, or else the well-known one, then the label, then the operation.
func (c *Client) target(op string) (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "", fmt.Errorf("parsing server URL: %w", errors.Unwrap(err)) // the URL may hold a password
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", fmt.Errorf("server URL %q must be https://HOST[:PORT], and after it at most the path of the EST operations", u.Redacted())
	}
	path := segments(u.Path)
	if len(path) == 0 {
		path = []string{".well-known", "est"}
	}
	path = append(path, segments(c.Label)...)
	if slices.Contains(path, "") || slices.Contains(path, ".") || slices.Contains(path, "..") {
		return "", fmt.Errorf("label %q and URL %q make a path with an empty segment or with dots for one", c.Label, u.Redacted())
	}
	// A URL that ends in an operation was meant to be its base.
	if last := path[len(path)-1]; slices.Contains(operations, last) {
		return "", fmt.Errorf("server URL or label ends in %q, which is an operation: leave that out", last)
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + strings.Join(append(path, op), "/")}).String(), nil
}

// segments splits a path; none if it is empty or a slash.
func segments(path string) []string {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}
