package est

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// PendingError is a 202: the request waits for an approval, and the same
// request made after the delay gets the certificate (RFC 7030, Section 4.2.3).
type PendingError struct{ RetryAfter time.Duration }

func (e *PendingError) Error() string {
	return fmt.Sprintf("request is pending: repeat it after %v", e.RetryAfter)
}

// StatusError is an answer that refuses the request.
type StatusError struct {
	Code       int
	Text       string        // the server's explanation, at most 4 KiB
	Challenge  string        // WWW-Authenticate of a 401
	RetryAfter time.Duration // zero if the server did not say
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("server answered %d %s", e.Code, http.StatusText(e.Code))
	if e.Text != "" {
		text += fmt.Sprintf(": %q", e.Text)
	}
	return text
}

// checkAnswer returns nil for an answer that holds certificates.
func checkAnswer(answer *http.Response, content []byte) error {
	retry := parseRetryAfter(answer.Header.Get("Retry-After"), time.Now())
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusAccepted:
		// RFC 7030, Section 4.2.3: a 202 must say when to come back.
		if retry == 0 {
			return errors.New("server answered 202 without a usable Retry-After")
		}
		return &PendingError{RetryAfter: retry}
	default:
		return &StatusError{
			Code:       answer.StatusCode,
			Text:       strings.TrimSpace(string(content[:min(len(content), 4<<10)])),
			Challenge:  answer.Header.Get("WWW-Authenticate"),
			RetryAfter: retry,
		}
	}
	mediaType, parameters, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || mediaType != mediaTypeCACerts {
		return fmt.Errorf("server answered with Content-Type %q, not %s", answer.Header.Get("Content-Type"), mediaTypeCACerts)
	}
	if smime := parameters["smime-type"]; smime != "" && !strings.EqualFold(smime, "certs-only") {
		return fmt.Errorf("server answered with smime-type %q, not certs-only", smime)
	}
	return nil
}

// parseRetryAfter reads a delay in seconds or a date: RFC 9110, Section 10.2.3.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		// A delay beyond a year is a mistake, and would overflow.
		return time.Duration(max(0, min(seconds, 365*24*3600))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
