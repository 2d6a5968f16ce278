package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAskLoop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 20 {
			cancel()
		}
		switch r.URL.Path {
		case "/good":
			w.Write(make([]byte, 400))
		case "/short":
			w.Write(make([]byte, 5))
		default:
			http.Error(w, strings.Repeat("x", 400), http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }
	address := server.Listener.Addr().String()
	if n, err := askLoop(ctx, address, []string{get("/good"), get("/good")}); n != 20 || err != nil {
		t.Errorf("%d of 20, %v", n, err)
	}
	for _, path := range []string{"/short", "/none"} {
		if n, err := askLoop(t.Context(), address, []string{get("/good"), get(path)}); n != 1 || err == nil {
			t.Errorf("%s: %d, %v", path, n, err)
		}
	}
}
