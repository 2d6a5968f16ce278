package server

import (
	"math"
	"net/http"
	"runtime/debug"
	"time"
)

// limitTimes bounds how long one client can take, and how much memory its
// connection holds. A device on the slowest link that is in use, of 1,000 bytes a
// second and a latency of most of a second, takes ten seconds and more for a
// handshake with chains of RSA certificates, and as long for its request. So these
// bounds are wide: who sends a byte per second has them, too, as long as nobody
// else wants the place (see gate).
func limitTimes(s *http.Server) {
	// Also the deadline of the TLS handshake, which a small microcontroller
	// computes for some seconds.
	s.ReadHeaderTimeout = 30 * time.Second
	s.ReadTimeout = time.Minute // from the first byte, body included
	// From the end of the header: the body, the enrollment with its webhook and
	// its signature in a token, and a client that reads slowly.
	s.WriteTimeout = 90 * time.Second
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
