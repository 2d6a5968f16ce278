package admin

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Internal is the rule of an error whose cause only the server's log has.
const Internal = "internal"

// Error is an answer that refuses a request. On the wire it is the body of
// every answer with a status of 400 or more.
type Error struct {
	// Status is that of the answer.
	Status int `json:"-"`
	// Rule names what refused: a rule of the issuance cycle or of the API.
	Rule string `json:"rule"`
	// Text says what was found and what to do.
	Text string `json:"text"`
	// RequestID finds the request in the server's log.
	RequestID string `json:"request_id,omitempty"`
	// RetryAfter is set when the same request may succeed later.
	RetryAfter time.Duration `json:"-"`
}

func (e *Error) Error() string {
	switch {
	case e.Rule == Internal:
		return fmt.Sprintf("%s: request %s; the server's log has the cause", e.Text, e.RequestID)
	case e.Status >= http.StatusInternalServerError && e.Status != http.StatusServiceUnavailable:
		return e.Text // nothing was refused: it was tried and failed
	}
	text := fmt.Sprintf("refused by rule %s: %s", e.Rule, e.Text)
	if e.RetryAfter > 0 {
		text += fmt.Sprintf("; try again in %v", e.RetryAfter)
	}
	return text
}

// IsNotFound reports whether err says that what was asked for does not exist.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}
