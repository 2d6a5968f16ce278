package server

import (
	"math"
	"net/http"
	"runtime/debug"
	"time"
)

// limitTimes bounds how long one client can take, and how much memory its
// connection holds. A device on the slowest link sends its request of some
// kilobytes within seconds; one that sends a byte per second is cut off in the
// handshake or header after 10 s and in the body after 20 s from its first byte, if it is not
// evicted before (see gate).
func limitTimes(s *http.Server) {
	// Also the deadline of the TLS handshake, which a small microcontroller
	// computes for some seconds.
	s.ReadHeaderTimeout = 10 * time.Second
	s.ReadTimeout = 20 * time.Second
	// From the end of the header: the body, the enrollment with its webhook and
	// its signature in a token, and a client that reads slowly. A connection that
	// is being answered is never evicted, so this bounds how long it can be held.
	s.WriteTimeout = time.Minute
	s.IdleTimeout = 2 * time.Minute
	s.MaxHeaderBytes = 32 << 10
	// The defaults, 250 requests and 1 MiB for each connection, are for browsers.
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          16,
		MaxReceiveBufferPerConnection: 64 << 10,
		MaxReceiveBufferPerStream:     64 << 10,
		SendPingTimeout:               15 * time.Second,
		PingTimeout:                   15 * time.Second,
	}
}

// softMemory is how much memory the Go runtime takes before it collects garbage
// more often than the heap's growth asks for.
const softMemory = 160 << 20

// limitMemory sets a soft limit unless the environment has set one (GOMEMLIMIT):
// connections that come and go fast leave garbage that would otherwise be kept until
// the heap has doubled.
func limitMemory() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(softMemory)
	}
}
