package rest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds what a service can make us wait.
const maxRetryAfter = 10 * time.Minute

// retryAfter reads a Retry-After header, seconds or a date (RFC 9110, 10.2.3). What is
// neither, and what lies in the past, is zero; more than ten minutes are ten minutes.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// RetryAfter reads the header of an answer that came another way than through a
// Client, by the same rules.
func RetryAfter(header http.Header, now time.Time) time.Duration {
	return retryAfter(header.Get("Retry-After"), now)
}
