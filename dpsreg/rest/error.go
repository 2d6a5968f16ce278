package rest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Bounds of what is taken from an answer that refuses.
const (
	maxErrorBody = 64 << 10
	maxMessage   = 600 // characters
	maxTracking  = 128
)

// Error is an answer that refuses. Text of the service is in it, cut to a sane length
// and without control characters; nothing of what was sent is.
type Error struct {
	Status     int    // HTTP
	Code       int    // of the service, as 409201; zero if it says none
	Message    string // of the service
	TrackingID string
	RetryAfter time.Duration // zero if it says none
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP %d", e.Status)
	if e.Code != 0 {
		fmt.Fprintf(&b, ", error %d", e.Code)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	} else if text := http.StatusText(e.Status); text != "" {
		fmt.Fprintf(&b, ": %s", text)
	}
	if e.TrackingID != "" {
		fmt.Fprintf(&b, " (tracking id %s)", e.TrackingID)
	}
	return b.String()
}

// Temporary reports whether the same request may succeed later: 429 and 5xx.
func (e *Error) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= 500
}

// lostError is a call without an answer that can be read. Whether it took effect is
// not known.
type lostError struct {
	err   error
	final bool // another attempt would end in the same way
}

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// Lost marks the error of a call that got no answer that can be read, so that
// Temporary knows it. A server with a certificate that is not trusted will not have
// another one soon, and a caller who has gone will not be back; time that was up for
// this attempt alone is not up for the next.
func Lost(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	return &lostError{err, ctx.Err() != nil || errors.As(err, &certificate)}
}

// Temporary reports whether the same request may succeed later: an Error that is
// Temporary, or no answer at all. Whether a change took effect is then not known: it
// must be read before it is made again.
func Temporary(err error) bool {
	var gone *lostError
	if errors.As(err, &gone) {
		return !gone.final
	}
	var refused *Error
	return errors.As(err, &refused) && refused.Temporary()
}

// parseError reads the body of an answer that refuses. Known forms:
//
//	{"errorCode": 409201, "trackingId": "...", "message": "..."}     DPS
//	{"Message": "ErrorCode:DeviceNotFound;...", "ExceptionMessage": "Tracking ID:..."}  IoT Hub
//	{"Message": "{\"errorCode\":404001,\"trackingId\":...}"}       IoT Hub, newer
//
// DPS repeats its code in the header x-ms-error-code. Source: swagger of both
// (ProvisioningServiceErrorDetails), and the vendor's clients for the hub's forms.
func parseError(status int, header http.Header, body []byte, now time.Time) *Error {
	e := &Error{Status: status, RetryAfter: retryAfter(header.Get("Retry-After"), now)}
	e.read(body, true)
	if e.Code == 0 {
		if code, err := strconv.Atoi(header.Get("X-Ms-Error-Code")); err == nil && code > 0 {
			e.Code = code
		}
	}
	e.Message = Clean(e.Message)
	e.TrackingID = cut(e.TrackingID, maxTracking)
	return e
}

func (e *Error) read(body []byte, nested bool) {
	// Names are compared without case, as encoding/json does: message and Message.
	var in struct {
		Code      json.RawMessage `json:"errorCode"`
		Message   json.RawMessage `json:"message"`
		Tracking  json.RawMessage `json:"trackingId"`
		Exception json.RawMessage `json:"exceptionMessage"`
	}
	if json.Unmarshal(body, &in) != nil {
		return // a proxy's page says nothing that helps
	}
	message := text(in.Message)
	if nested && strings.HasPrefix(strings.TrimSpace(message), "{") {
		e.read([]byte(message), false)
	}
	if e.Message == "" {
		e.Message = message
	}
	if code, err := strconv.Atoi(strings.Trim(string(in.Code), `"`)); err == nil && code > 0 && e.Code == 0 {
		e.Code = code
	}
	if e.TrackingID == "" {
		e.TrackingID = text(in.Tracking)
	}
	if e.TrackingID == "" {
		if _, id, ok := strings.Cut(text(in.Exception), "Tracking ID:"); ok {
			id, _, _ = strings.Cut(id, "-TimeStamp")
			e.TrackingID = id
		}
	}
}

// text is a JSON string, or nothing.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// Clean makes foreign text fit for a line of a log: no control and no formatting
// characters, single spaces, at most 600 characters.
func Clean(s string) string { return cut(s, maxMessage) }

func cut(s string, n int) string {
	// Far more than n characters of a byte each; what is left of a character that was
	// cut is made a replacement character.
	s = s[:min(len(s), 16*n)]
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), !unicode.IsGraphic(r):
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	for i := range s {
		if n--; n < 0 {
			return s[:i] + "..."
		}
	}
	return s
}
