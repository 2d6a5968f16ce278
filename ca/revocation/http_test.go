package revocation_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/ca/revocation"
	"mintmark/internal/ledger"
)

// TestHandler: what RFC 9110 and caches want of a CRL and a CA certificate.
func TestHandler(t *testing.T) {
	w := newWorld(t)
	w.revoked(2, 2)
	p := w.publisher(2)
	w.publish(p)
	h := p.Handler()
	for path, shard := range map[string]int{"/crl/line-a.crl": 0, "/crl/line-a/1.crl": 1, "/crl/line-a/2.crl": 2} {
		stored, err := w.store.LatestCRL(t.Context(), "line-a", shard)
		if err != nil {
			t.Fatal(err)
		}
		a := get(t, h, http.MethodGet, path, "Accept-Encoding", "gzip, br")
		if a.Code != 200 || !bytes.Equal(a.Body.Bytes(), stored.DER) {
			t.Fatalf("GET %s: %d, %d bytes", path, a.Code, a.Body.Len())
		}
		etag := strconv.Quote(strconv.FormatInt(stored.Number, 10))
		for name, want := range map[string]string{
			"Content-Type": "application/pkix-crl", "Cache-Control": "public, max-age=1440", "Etag": etag, "Content-Encoding": "",
			"Last-Modified": stored.ThisUpdate.UTC().Format(http.TimeFormat), "Content-Length": strconv.Itoa(len(stored.DER)),
		} {
			if got := a.Header().Get(name); got != want {
				t.Errorf("GET %s: %s %q, want %q", path, name, got, want)
			}
		}
		if a := get(t, h, http.MethodHead, path); a.Code != 200 || a.Body.Len() != 0 || a.Header().Get("Content-Length") != strconv.Itoa(len(stored.DER)) || a.Header().Get("Etag") != etag {
			t.Errorf("HEAD %s: %d %v", path, a.Code, a.Header())
		}
		for _, condition := range [][]string{{"If-None-Match", etag}, {"If-Modified-Since", stored.ThisUpdate.UTC().Format(http.TimeFormat)}} {
			if a := get(t, h, http.MethodGet, path, condition...); a.Code != http.StatusNotModified || a.Body.Len() != 0 {
				t.Errorf("GET %s with %v: %d", path, condition, a.Code)
			}
		}
		if a := get(t, h, http.MethodGet, path, "If-None-Match", `"1"`); a.Code != 200 {
			t.Errorf("GET %s with another ETag: %d", path, a.Code)
		}
		if a := get(t, h, http.MethodPost, path); a.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, a.Code)
		}
	}
	for _, path := range []string{
		"/crl/line-a/0.crl", "/crl/line-a/3.crl", "/crl/line-a/01.crl", "/crl/line-a/+1.crl", "/crl/line-a/-1.crl", "/crl/line-a/1", "/crl/line-a/.crl", "/crl/line-a/65536.crl",
		"/crl/line-a/99999999999999999999.crl", "/crl/nobody.crl", "/crl/nobody/1.crl", "/crl/line-a", "/crl/line-a/1/1.crl", "/crl/line-a%2F1.crl", "/ca/nobody.crt", "/ca/line-a", "/crl/",
	} {
		if a := get(t, h, http.MethodGet, path); a.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, a.Code)
		}
	}
	if a := get(t, h, http.MethodGet, "/ca/line-a.crt"); a.Code != 200 || !bytes.Equal(a.Body.Bytes(), w.line.Certificate().Raw) || a.Header().Get("Content-Type") != "application/pkix-cert" {
		t.Errorf("CA certificate: %d %v", a.Code, a.Header())
	}
	// Towards its end a CRL is kept for less, and then not at all.
	w.now = w.now.Add(5 * time.Hour)
	if a := get(t, h, http.MethodGet, "/crl/line-a.crl"); a.Code != 200 || a.Header().Get("Cache-Control") != "public, max-age=0" {
		t.Errorf("after its end: %d %v", a.Code, a.Header())
	}
}

// asked counts what a ledger is asked for, and fails on demand.
type asked struct {
	ledger.Revocations
	lists, bodies atomic.Int32
	fails         atomic.Bool
}

func (a *asked) CRLs(ctx context.Context) ([]ledger.CRL, error) {
	a.lists.Add(1)
	if a.fails.Load() {
		return nil, errors.New("the ledger is away")
	}
	return a.Revocations.CRLs(ctx)
}

func (a *asked) LatestCRL(ctx context.Context, issuer string, shard int) (ledger.CRL, error) {
	a.bodies.Add(1)
	if a.fails.Load() {
		return ledger.CRL{}, errors.New("the ledger is away")
	}
	return a.Revocations.LatestCRL(ctx, issuer, shard)
}

// TestManyRequests: however many ask, the ledger is asked once a second, and for a CRL once
// as long as it is the latest; while it is away the last one counts, to its end.
func TestManyRequests(t *testing.T) {
	w := newWorld(t)
	w.publish(w.publisher(2))
	l := &asked{Revocations: w.store}
	p := w.publisher(2, func(c *revocation.Config) { c.Ledger = l })
	h := p.Handler()
	var wait sync.WaitGroup
	var wrong atomic.Int32
	for range 8 {
		wait.Go(func() {
			for i := range 250 {
				path, want := points("line-a", i%3)[0][len("http://pki.example"):], 200
				if i%5 == 0 {
					path, want = "/crl/nobody-"+strconv.Itoa(i)+".crl", 404
				}
				if get(t, h, http.MethodGet, path).Code != want {
					wrong.Add(1)
				}
			}
		})
	}
	wait.Wait()
	if wrong.Load() > 0 || l.lists.Load() != 1 || l.bodies.Load() != 3 {
		t.Errorf("%d wrong answers; the ledger was asked for %d lists and %d CRLs", wrong.Load(), l.lists.Load(), l.bodies.Load())
	}
	w.now = w.now.Add(time.Second)
	w.revoked(2, 1)
	w.publish(w.publisher(2))
	tag := func(path string) string { return get(t, h, http.MethodGet, path).Header().Get("Etag") }
	if got, want := tag("/crl/line-a/2.crl"), strconv.Quote(strconv.FormatInt(w.numbers()[2], 10)); got != want {
		t.Errorf("a second later: CRL %s, want %s", got, want)
	}
	before := tag("/crl/line-a/1.crl")
	l.fails.Store(true)
	w.now = w.now.Add(time.Hour)
	if got := tag("/crl/line-a/1.crl"); got != before {
		t.Errorf("without the ledger: CRL %s, want %s", got, before)
	}
	if a := get(t, h, http.MethodGet, "/crl/root.crl"); a.Code != 503 || a.Header().Get("Retry-After") == "" {
		t.Errorf("one that was never read: %d", a.Code)
	}
	w.now = w.now.Add(4 * time.Hour)
	if a := get(t, h, http.MethodGet, "/crl/line-a/1.crl"); a.Code != 503 {
		t.Errorf("past its end, without the ledger: %d", a.Code)
	}
	l.fails.Store(false)
	if a := get(t, h, http.MethodGet, "/crl/line-a/1.crl"); a.Code != 503 {
		t.Errorf("in the same second: %d", a.Code)
	}
	w.now = w.now.Add(time.Second)
	if a := get(t, h, http.MethodGet, "/crl/root.crl"); a.Code != 200 {
		t.Errorf("with the ledger back: %d", a.Code)
	}
}
