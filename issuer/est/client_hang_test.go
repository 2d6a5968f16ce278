package est

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestClientHungHandshake: a handshake that hangs does not outlive the request by
// much, although net/http goes on with it for requests to come.
func TestClientHungHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		client := &Client{URL: "https://127.0.0.1"}
		client.shared().Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return near, nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if list, err := client.CACerts(ctx); err == nil {
			t.Errorf("%v of nobody", list)
		}
		start := time.Now()
		io.Copy(io.Discard, far) // until it is closed
		if hung := time.Since(start); hung > connectTimeout {
			t.Errorf("the connection was open for %v more", hung)
		}
	})
}
