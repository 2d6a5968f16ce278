package est

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/issuer"
)

// pendingLabels are labels at which requests may wait, each with another
// password.
func pendingLabels() func(*fixture, *Config) {
	return withLabels(
		Label{Name: "wait", Passwords: goodPasswords(), Own: []string{"device"}, Approval: true, Retry: 100 * time.Second},
		Label{Name: "wait-2", Passwords: goodPasswords(), Approval: true},
		Label{Name: "wait-own", Own: []string{"device"}, Renewal: Renewal{Approval: true}},
		Label{Name: "keys", Passwords: goodPasswords(), SecondKey: issuer.HoldSecondKey, Keygen: &Keygen{Plain: true}},
	)
}

func newPendingFixture(t *testing.T) *fixture {
	return newFixture(t, func(f *fixture, c *Config) {
		pendingLabels()(f, c)
		signer := f.authority.root.server(t)
		c.Signer = func() (*tls.Certificate, error) { return signer, nil }
	})
}

// accepted checks the one form of a 202.
func accepted(t *testing.T, m message, low, high int) {
	t.Helper()
	if m.status != http.StatusAccepted || len(m.body) != 0 || m.field(t, "Content-Length") != "0" {
		t.Errorf("status %d, body %q", m.status, m.body)
	}
	if strings.Contains(m.header, "Content-Type") {
		t.Errorf("Content-Type of nothing in\n%s", m.header)
	}
	if n, err := strconv.Atoi(m.field(t, "Retry-After")); err != nil || n < low || n > high {
		t.Errorf("Retry-After %d, %v; want %d to %d", n, err, low, high)
	}
}

func TestPending(t *testing.T) {
	f := newPendingFixture(t)
	pending := &issuer.Refusal{Kind: issuer.Pending, Rule: "approval-pending", Text: "a person decides", Recorded: false}

	t.Run("41 43 89 Retry-After in digits and an empty body", func(t *testing.T) {
		f.authority.enrolled = pending
		r := enroll(t, "waiting")
		r.path = "/.well-known/est/wait/simpleenroll"
		accepted(t, f.raw(t, r), 100, 126)
		if got := f.authority.last(t); !got.Approval || got.Label != "wait" {
			t.Errorf("request %+v", got)
		}
		r.path = "/.well-known/est/wait-2/simpleenroll"
		accepted(t, f.raw(t, r), 60, 76)
		f.authority.enrolled = &issuer.Refusal{Kind: issuer.Pending, Rule: "approval-pending", RetryAfter: 10 * time.Second}
		accepted(t, f.raw(t, r), 10, 13)
		for _, line := range strings.Split(strings.TrimSpace(f.log.String()), "\n") {
			if !strings.Contains(line, "level=INFO") || !strings.Contains(line, "status=202") || !strings.Contains(line, "rule=approval-pending") {
				t.Error(line)
			}
		}
		if n := len(f.authority.refused); n != 0 {
			t.Errorf("%d refusals on record", n)
		}
		if n := counterOf(t, f, "202", "approval-pending"); n != 3 {
			t.Errorf("%v counted", n)
		}
	})
	t.Run("43 a rejected request turns 403", func(t *testing.T) {
		f.authority.enrolled = &issuer.Refusal{Kind: issuer.Forbidden, Rule: "approval-rejected", Text: "no"}
		r := enroll(t, "waiting")
		r.path = "/.well-known/est/wait/simpleenroll"
		refused(t, f.raw(t, r), 403, "approval-rejected")
	})
	t.Run("renewals wait by their own rule", func(t *testing.T) {
		f.authority.enrolled = nil
		own := f.authority.own(t, "renewed", nil)
		for label, want := range map[string]bool{"wait": false, "wait-own": true} {
			for _, op := range []string{"simplereenroll", "simpleenroll"} {
				r := reenroll(t, own)
				r.path = "/.well-known/est/" + label + "/" + op
				if m := f.raw(t, r); m.status != 200 {
					t.Errorf("status %d: %s", m.status, m.body)
				}
				if got := f.authority.last(t); got.Approval != want {
					t.Errorf("%s %s: approval %t", label, op, got.Approval)
				}
			}
		}
	})
	t.Run("a key that the server makes does not wait", func(t *testing.T) {
		f.authority.enrolled = pending
		r := enroll(t, "waiting")
		r.path = "/.well-known/est/keys/serverkeygen"
		refused(t, f.raw(t, r), 403, ruleKeygenApproval)
		if got := f.authority.last(t); got.SecondKey != issuer.RefuseSecondKey || got.Approval || got.Generated == nil {
			t.Errorf("request %+v", got)
		}
		f.authority.enrolled = nil
	})
}

// 42 97: the request is found again whatever path it comes by, and the rules of
// the label where it waits go on to hold.
func TestQueued(t *testing.T) {
	f := newPendingFixture(t)
	r := enroll(t, "queued")
	csr, err := base64.StdEncoding.DecodeString(r.body)
	if err != nil {
		t.Fatal(err)
	}
	f.authority.queued[string(csr)] = "wait"
	t.Run("42 97 under the label where it waits", func(t *testing.T) {
		for _, path := range []string{"/.well-known/est/simpleenroll", "/.well-known/est/wait/simpleenroll", "/.well-known/est/line-a/simpleenroll", "/nobody/.well-known/est/simpleenroll"} {
			r.path = path
			if m := f.raw(t, r); m.status != 200 {
				t.Errorf("%s: status %d: %s", path, m.status, m.body)
			}
			if got := f.authority.last(t); got.Label != "wait" || !got.Approval {
				t.Errorf("%s: request at %q", path, got.Label)
			}
		}
		if !strings.Contains(f.log.String(), "label=wait peer=127.0.0.1 asked_at=line-a") {
			t.Error("the log does not say both labels")
		}
	})
	t.Run("a label with a weaker rule is no way around it", func(t *testing.T) {
		f.authority.queued[string(csr)] = "own" // no passwords there
		r.path = "/.well-known/est/simpleenroll"
		refused(t, f.raw(t, r), 403, ruleNoCertificate)
		f.authority.mu.Lock()
		last := f.authority.refused[len(f.authority.refused)-1]
		f.authority.mu.Unlock()
		if last.Label != "own" {
			t.Errorf("record %+v", last)
		}
	})
	t.Run("a label that is gone", func(t *testing.T) {
		f.authority.queued[string(csr)] = "gone"
		if m := f.raw(t, r); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		if got := f.authority.last(t).Label; got != "" {
			t.Errorf("label %q", got)
		}
	})
	t.Run("renewals too, and never serverkeygen", func(t *testing.T) {
		own := f.authority.own(t, "queued", nil)
		renewal := reenroll(t, own)
		csr, _ := base64.StdEncoding.DecodeString(renewal.body)
		f.authority.queued[string(csr)] = "wait-own"
		if m := f.raw(t, renewal); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		if got := f.authority.last(t); got.Label != "wait-own" || !got.Approval {
			t.Errorf("request %+v", got)
		}
		asked := f.authority.asked
		renewal.path, renewal.certificate, renewal.header = "/.well-known/est/keys/serverkeygen", nil, r.header
		f.raw(t, renewal)
		if got := f.authority.last(t); f.authority.asked != asked || got.Label != "keys" {
			t.Errorf("asked %d times, request at %q", f.authority.asked-asked, got.Label)
		}
	})
	t.Run("what cannot be read is refused after authentication", func(t *testing.T) {
		bad := r
		bad.path, bad.body, bad.header = "/.well-known/est/wait/simpleenroll", "", r.header[:1:1]
		challenged(t, f.raw(t, bad)) // curl --anyauth asks like that
		bad.header = r.header
		refused(t, f.raw(t, bad), 400, ruleEncoding)
	})
	t.Run("a ledger that does not answer", func(t *testing.T) {
		f.authority.queuedErr = &issuer.Refusal{Kind: issuer.Unavailable, Rule: "ledger", Text: "try later"}
		refused(t, f.raw(t, r), 503, "ledger")
		f.authority.queuedErr = errors.New("disk on fire")
		if m := f.raw(t, r); m.status != 500 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
}

// Where nothing can wait, nobody is asked about it.
func TestNothingQueues(t *testing.T) {
	f := newFixture(t)
	if m := f.raw(t, enroll(t, "direct")); m.status != 200 || f.authority.asked != 0 {
		t.Errorf("status %d, asked %d times", m.status, f.authority.asked)
	}
}

// counterOf returns a counter of requests.
func counterOf(t *testing.T, f *fixture, code, rule string) (sum float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(f.handler.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if family.GetName() == "est_requests_total" && labels["code"] == code && labels["rule"] == rule {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
