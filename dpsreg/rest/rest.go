// Package rest speaks to the REST interfaces of Azure IoT that have no Go SDK: the
// data plane of the Device Provisioning Service and the identity registry of IoT Hub.
// It authorises, bounds what it reads and reads their errors; it says what may be
// tried again and leaves that to others. It knows no resource.
package rest

import (
	"context"
	"net/http"
	"time"
)

// Authorization makes the value of the Authorization header. Safe for concurrent use.
type Authorization interface {
	Header(ctx context.Context) (string, error)
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
	// Throttled is called when the service answers 429, with what it says to wait,
	// zero if it says nothing; nil if nobody wants to know.
	Throttled func(time.Duration)
	// Again is called after a read that failed in passing, with the number of its
	// attempts. It waits and returns nil for another attempt, or returns the error to
	// give up with. If nil there is no other attempt.
	Again func(ctx context.Context, attempts int, err error) error
	Now   func() time.Time // time.Now if nil
}
