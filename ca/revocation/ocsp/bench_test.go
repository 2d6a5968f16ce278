package ocsp_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"syscall"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"mintmark/ca/revocation/ocsp"
)

// benchmarkPaths has a responder keep answers about some certificates and returns the paths to
// ask for them by GET.
func benchmarkPaths(b *testing.B) (*ocsp.Responder, []string) {
	w := newWorld(b, "P-256", nil)
	run(b, w.responder)
	issuing := w.authority(b, "issuing")
	var paths []string
	for i := range 64 {
		device := w.enroll(b, fmt.Sprintf("dev-%d", i))
		mustAsk(b, w.responder, device, issuing, xocsp.Good)
		request, err := xocsp.CreateRequest(device, issuing, nil)
		if err != nil {
			b.Fatal(err)
		}
		paths = append(paths, ocsp.Path+"issuing/"+url.PathEscape(base64.StdEncoding.EncodeToString(request)))
	}
	return w.responder, paths
}

// cpuTime is the processor time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report says how many answers a second there were, and how many one core gives that has nothing
// else to do.
func report(b *testing.B, before time.Duration) {
	b.Helper()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
	b.ReportMetric(float64(b.N)/(cpuTime(b)-before).Seconds(), "answers/core-s")
}

// discard is a response that nobody reads.
type discard struct {
	header http.Header
	n      int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { d.n += len(p); return len(p), nil }

// BenchmarkHandler is the handler alone, for requests that are parsed already.
func BenchmarkHandler(b *testing.B) {
	responder, paths := benchmarkPaths(b)
	var requests []*http.Request
	for _, path := range paths {
		requests = append(requests, httptest.NewRequest(http.MethodGet, path, nil))
	}
	b.ReportAllocs()
	used := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		d := &discard{header: make(http.Header)}
		if responder.ServeHTTP(d, requests[i%len(requests)]); d.n < 500 {
			b.Fatalf("%d bytes", d.n)
		}
	}
	report(b, used)
}

// BenchmarkSigning is an answer that is looked up and signed.
func BenchmarkSigning(b *testing.B) {
	w := newWorld(b, "P-256", func(_ *world, c *ocsp.Config) { // without Run nothing is kept
		c.Unlimited = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	issuing, device := w.authority(b, "issuing"), w.enroll(b, "dev-1")
	request, err := xocsp.CreateRequest(device, issuing, nil)
	if err != nil {
		b.Fatal(err)
	}
	used := cpuTime(b)
	b.ResetTimer()
	for range b.N {
		if n := post(w.responder, "issuing", request).Body.Len(); n < 500 {
			b.Fatalf("%d bytes", n)
		}
	}
	report(b, used)
}

// BenchmarkLoopback is everything: kept connections over the loopback, client and server in one
// process. GOMAXPROCS=1 has both on one core.
func BenchmarkLoopback(b *testing.B) {
	responder, paths := benchmarkPaths(b)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: responder}
	go server.Serve(listener)
	defer server.Shutdown(context.Background())
	used := cpuTime(b)
	b.ResetTimer()
	b.SetParallelism(16)
	b.RunParallel(func(p *testing.PB) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		for i := 0; p.Next(); i++ {
			if _, err := io.WriteString(conn, "GET "+paths[i%len(paths)]+" HTTP/1.1\r\nHost: ca.example\r\n\r\n"); err != nil {
				b.Error(err)
				return
			}
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				b.Error(err)
				return
			}
			if n, err := io.Copy(io.Discard, answer.Body); err != nil || n < 500 || answer.StatusCode != http.StatusOK {
				b.Errorf("status %d, %d bytes, %v", answer.StatusCode, n, err)
				return
			}
		}
	})
	report(b, used)
}
