package station

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Server is what issues the certificates: an *est.Client. Its methods may be called
// concurrently. An error that is the server's answer is a Status.
type Server interface {
	// Enroll returns the certificate for a request in DER; for a request that it has
	// answered before, the same one.
	Enroll(ctx context.Context, csr []byte) (*x509.Certificate, error)
	// CACerts returns issuing CAs and trust anchors.
	CACerts(ctx context.Context) ([]*x509.Certificate, error)
}

// Status is an answer of the server that holds no certificate: the HTTP status, the
// server's explanation, and when it wants to be asked again, or zero. The errors of
// package est have it, which does not build for every system that has a station.
type Status interface {
	error
	Status() (code int, text string, retry time.Duration)
}

// answer is what an error of the server means to the line.
type answer int

const (
	away    answer = iota // it may answer later
	failing               // it failed on this request: others may fare better
	pending               // a person decides, later
	refused               // this device gets nothing, as it is
	trouble               // no device gets anything until a person has done something
)

// forAll are the rules that refuse every device of an order, so that none of them has
// failed: what a person changes at the order lets them all in.
var forAll = []string{
	"order-label", "order-network", "order-early", "order-expired", "order-exhausted", "order-closed", "claim-label",
	"certificate-expired", "certificate-not-yet-valid", "certificate-revoked", "label-disabled",
}

var ruleOf = regexp.MustCompile(`^refused by rule ([a-z0-9-]{1,64}):`)

// classify says what an error means, and when the server may be asked again, if it said.
func classify(err error) (answer, time.Duration) {
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	var status Status
	switch {
	case errors.As(err, &untrusted), errors.As(err, &alert):
		return trouble, 0
	case !errors.As(err, &status):
		return away, 0
	}
	code, text, retry := status.Status()
	switch {
	case code == http.StatusAccepted:
		return pending, retry
	case code == http.StatusInternalServerError && retry == 0:
		return failing, 0
	case code >= 500 && code != http.StatusNotImplemented, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return away, retry
	case code == http.StatusUnauthorized, code == http.StatusNotFound, code == http.StatusMethodNotAllowed, code < 400, code >= 500:
		return trouble, 0 // also a redirection, and an operation that there is not
	}
	if rule := ruleOf.FindStringSubmatch(text); rule != nil && slices.Contains(forAll, rule[1]) {
		return trouble, 0
	}
	return refused, 0
}

// Trouble says that no device gets a certificate until a person has done something.
// What waits goes on waiting.
type Trouble struct{ Err error }

func (t *Trouble) Error() string { return t.Err.Error() }
func (t *Trouble) Unwrap() error { return t.Err }

// Refused is the server's answer that a device gets no certificate.
type Refused struct{ Err error }

func (r *Refused) Error() string {
	var status Status
	if errors.As(r.Err, &status) {
		if code, text, _ := status.Status(); text != "" {
			return fmt.Sprintf("the server answered %d: %s", code, oneLine(text))
		}
	}
	return r.Err.Error()
}
func (r *Refused) Unwrap() error { return r.Err }

// Between two questions to a server that is away, and at most.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// absence is how long the server is left alone after it did not answer.
type absence struct {
	mu    sync.Mutex
	delay time.Duration
	until time.Time
}

// failed notes that the server did not answer, and returns when it is asked again.
func (a *absence) failed(now time.Time, asked time.Duration) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.delay = min(max(2*a.delay, firstRetry), lastRetry)
	// Stations that lost the server together must not come back together.
	a.until = now.Add(max(a.delay+rand.N(a.delay/2), asked))
	return a.until
}

func (a *absence) answered() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.delay, a.until = 0, time.Time{}
}

// nextTry is how long a request on which the server fails is left alone: as long as it has
// waited already, within the bounds.
func nextTry(waited time.Duration) time.Duration {
	d := min(max(waited, firstRetry), lastRetry)
	return d + rand.N(d/2)
}

// over reports whether the server may be asked.
func (a *absence) over(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !now.Before(a.until)
}
