package est

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/issuer"
)

func TestConfig(t *testing.T) {
	pool := x509.NewCertPool()
	good := Label{Name: "a", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted}
	with := func(edit func(*Label)) []Label {
		l := good
		edit(&l)
		return []Label{l}
	}
	for name, c := range map[string]struct {
		labels []Label
		realm  string
		err    string
	}{
		"good":                     {labels: []Label{good}},
		"no label segment":         {labels: with(func(l *Label) { l.Name = "" })},
		"makers":                   {labels: with(func(l *Label) { l.Maker = &Maker{Roots: pool, Device: "commonName"} })},
		"empty user":               {labels: with(func(l *Label) { l.Passwords = []Password{{"", [32]byte{1}}} })},
		"none":                     {err: "no labels"},
		"upper case":               {labels: with(func(l *Label) { l.Name = "Line" }), err: "name must be"},
		"slash":                    {labels: with(func(l *Label) { l.Name = "a/b" }), err: "name must be"},
		"dots":                     {labels: with(func(l *Label) { l.Name = ".." }), err: "name must be"},
		"long":                     {labels: with(func(l *Label) { l.Name = strings.Repeat("a", 33) }), err: "name must be"},
		"12 name of an operation":  {labels: with(func(l *Label) { l.Name = "cacerts" }), err: "EST operation"},
		"12 name of another":       {labels: with(func(l *Label) { l.Name = "serverkeygen" }), err: "EST operation"},
		"twice":                    {labels: []Label{good, good}, err: "twice"},
		"no profile":               {labels: with(func(l *Label) { l.Profile = "" }), err: "profile and issuer"},
		"no issuer":                {labels: with(func(l *Label) { l.Issuer = "" }), err: "profile and issuer"},
		"makers without attribute": {labels: with(func(l *Label) { l.Maker = &Maker{Roots: pool} }), err: "neither commonName nor serialNumber"},
		"maker without roots":      {labels: with(func(l *Label) { l.Maker = &Maker{Device: "commonName"} }), err: "without roots"},
		"user with colon":          {labels: with(func(l *Label) { l.Passwords = []Password{{"a:b", [32]byte{1}}} }), err: "colon"},
		"no secret":                {labels: with(func(l *Label) { l.Passwords = []Password{{User: "a"}} }), err: "no secret"},
		"by order":                 {labels: with(func(l *Label) { l.Authorize = issuer.ByOrder })},
		"by inventory":             {labels: with(func(l *Label) { l.Authorize = issuer.Inventory })},
		"no rule":                  {labels: with(func(l *Label) { l.Authorize = "" }), err: "none of trusted"},
		"unknown rule":             {labels: with(func(l *Label) { l.Authorize = "everybody" }), err: "none of trusted"},
		"password past the quota":  {labels: with(func(l *Label) { l.Authorize, l.Passwords = issuer.ByOrder, []Password{{"a", [32]byte{1}}} }), err: "past every quota"},
		"maker past the quota": {labels: with(func(l *Label) {
			l.Authorize, l.Maker = issuer.ByOrder, &Maker{Roots: pool, Device: "commonName"}
		}), err: "past every quota"},
		"realm with quote":   {labels: []Label{good}, realm: `a"b`, err: "realm"},
		"realm with newline": {labels: []Label{good}, realm: "a\nb", err: "realm"},
	} {
		h, err := NewHandler(Config{Authority: newAuthority(t), Labels: c.labels, Realm: c.realm, Logger: slog.New(slog.DiscardHandler)})
		switch {
		case c.err == "" && (err != nil || h == nil):
			t.Errorf("%s: %v", name, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
	if _, err := NewHandler(Config{Labels: []Label{good}}); err == nil {
		t.Error("no authority: accepted")
	}
}

func TestLogAndMetrics(t *testing.T) {
	f := newFixture(t)
	f.raw(t, enroll(t, "logged"))
	f.raw(t, rawRequest{method: "GET", path: "/evil%7f%0a%22level=ERROR"})
	f.raw(t, rawRequest{method: "GET", path: "/.well-known/est/strange/cacerts"})
	lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines for 3 requests:\n%s", len(lines), f.log)
	}
	for i, want := range [][]string{
		{"level=INFO", "op=simpleenroll", "label=\"\"", "peer=127.0.0.1", "requester=password:line-1", "serial=", "status=200", "duration="},
		{"level=WARN", "op=_unknown", "status=404", `path="/evil\x7f\n\"level=ERROR"`},
		{"level=WARN", "op=cacerts", "label=_unknown", "status=404", "rule=label", "path=/.well-known/est/strange/cacerts"},
	} {
		for _, w := range want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("no %s in %s", w, lines[i])
			}
		}
	}
	if strings.Contains(f.log.String(), goodSecret) {
		t.Error("a secret is in the log")
	}
	if got := counted(t, f.handler, "est_requests_total"); got != 3 {
		t.Errorf("%v requests counted", got)
	}
}

// counted sums a counter over its labels.
func counted(t testing.TB, h *Handler, name string) (sum float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(h.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestRetryAfter(t *testing.T) {
	for d, want := range map[time.Duration]int{0: 30, time.Millisecond: 1, time.Second: 1, 1500 * time.Millisecond: 2, time.Hour: 3600} {
		for range 50 {
			if got := retryAfter(d); got < want || got > want+want/4+1 {
				t.Errorf("%v: %d", d, got)
			}
		}
	}
}

// A client that has gone is nobody's internal error.
func TestCancelled(t *testing.T) {
	f := newHandler(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.authority.enrolled = fmt.Errorf("waiting: %w", context.Canceled)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://est.test/.well-known/est/simpleenroll", strings.NewReader(enroll(t, "gone").body))
	r.Header.Set("Content-Type", mediaTypePKCS10)
	r.SetBasicAuth(goodUser, goodSecret)
	f.handler.ServeHTTP(httptest.NewRecorder(), r)
	if log := f.log.String(); strings.Contains(log, "level=ERROR") || !strings.Contains(log, "rule="+ruleCancelled) {
		t.Error(log)
	}
}

func TestConcurrent(t *testing.T) {
	f := newFixture(t)
	own := f.authority.own(t, "parallel", nil)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			client := f.client([]string{"", "line-a"}[i%2], own, true)
			defer func() { client.http.CloseIdleConnections() }()
			for range 3 {
				if _, err := client.CACerts(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := client.Reenroll(t.Context(), newCSR(t, newKey(t), "parallel")); err != nil {
					t.Error(err)
				}
				if _, err := client.Enroll(t.Context(), []byte("not a request")); err == nil {
					t.Error("enrolled without a request")
				}
			}
		})
	}
	group.Wait()
}

// The issuer is an Authority.
var _ Authority = (*issuer.RA)(nil)
