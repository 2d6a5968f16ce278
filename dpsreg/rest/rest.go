// Package rest speaks to the REST interfaces of Azure IoT that have no Go SDK: the
// data plane of the Device Provisioning Service and the identity registry of IoT Hub.
// It authorises, limits, retries nothing by itself but says what may be tried again,
// and reads their errors. It knows no resource.
package rest

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Authorization makes the value of the Authorization header. Safe for concurrent use.
type Authorization interface {
	Header(ctx context.Context) (string, error)
}

// Error is an answer that refuses. Text of the service is in it, cut to a sane length;
// nothing of what was sent is.
type Error struct {
	Status     int    // HTTP
	Code       int    // of the service, as 409201; zero if it says none
	Message    string // of the service
	TrackingID string
	RetryAfter time.Duration // zero if it says none
}

func (e *Error) Error() string {
	return fmt.Sprintf("HTTP %d, error %d: %s (tracking id %s)", e.Status, e.Code, e.Message, e.TrackingID)
}

// Temporary reports whether the same request may succeed later: 429 and 5xx.
func (e *Error) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= 500
}

// Client speaks to one host. It may be used concurrently.
type Client struct {
	// Base is https://HOST without a path.
	Base          string
	APIVersion    string
	Authorization Authorization
	HTTP          *http.Client
	// Wait is called before each call with the number of operations that it counts for;
	// nil for no limit.
	Wait func(ctx context.Context, operations int) error
}
