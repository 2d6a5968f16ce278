package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// flush writes the refusals that wait.
func flush(t testing.TB, ra *issuer.RA) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ra.KeepRefusals(ctx)
}

// refusals flushes and lists the newest.
func refusals(t testing.TB, ra *issuer.RA, query ledger.RefusalQuery) []ledger.Refused {
	t.Helper()
	flush(t, ra)
	found, err := ra.Ledger.Refusals(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestEnrollRecordsRefusals finds each refused request once, by everything
// that is known of it.
func TestEnrollRecordsRefusals(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	wo := order(t, l, "wo", func(o *ledger.Order) { o.Ranges = []ledger.Range{{First: "press-1", Last: "press-5"}} })
	key := pkitest.NewKey(t)
	r := by("wo")
	r.Operation, r.CSR = "est simpleenroll", csr(t, key, "press-9")
	_, err := ra.Enroll(t.Context(), r)
	refusal := wantRefused(t, err, issuer.Forbidden, "order-range")

	list := refusals(t, ra, ledger.RefusalQuery{Device: "press-9"})
	if len(list) != 1 {
		t.Fatalf("%d records of one refusal", len(list))
	}
	got := list[0]
	if got.At.IsZero() || got.ID == 0 {
		t.Errorf("record %+v", got)
	}
	got.At, got.ID = time.Time{}, 0
	want := ledger.Refused{
		Server: "test", Operation: "est simpleenroll", Label: "line", Profile: "device", Order: wo.ID, Rule: "order-range", Text: refusal.Text,
		Device: "press-9", Subject: "CN=press-9", Key: spki(t, key), Requester: r.Requester,
	}
	if got != want {
		t.Errorf("record\n%+v, want\n%+v", got, want)
	}
	// Also what could not be read, and who was not known.
	r.CSR, r.Requester.Address = []byte("garbage"), netip.MustParseAddr("203.0.113.5")
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Malformed, "csr-syntax")
	if list := refusals(t, ra, ledger.RefusalQuery{Address: "203.0.113.5"}); len(list) != 1 || list[0].Rule != "csr-syntax" || list[0].Key != [32]byte{} {
		t.Errorf("%+v", list)
	}
	// What succeeds, fails inside or is given up by its client is no refusal.
	before := len(refusals(t, ra, ledger.RefusalQuery{}))
	mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	if _, err := ra.Enroll(t.Context(), issuer.Request{Profile: "nowhere", Requester: password}); !errors.Is(err, issuer.ErrNoProfile) {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r = under(issuer.Trusted)
	r.CSR = csr(t, pkitest.NewKey(t), "press-2")
	if _, err := ra.Enroll(gone, r); err == nil {
		t.Error("enrolled for a client that has gone")
	}
	if after := len(refusals(t, ra, ledger.RefusalQuery{})); after != before {
		t.Errorf("%d records of what was no refusal", after-before)
	}
	if _, err := ra.EnrollClaim(t.Context(), wo, "issuing", "device", r.CSR, admin); err == nil {
		t.Fatal("a claim of the device profile")
	}
	if list := refusals(t, ra, ledger.RefusalQuery{Rule: "purpose"}); len(list) != 1 || list[0].Order != "wo" || list[0].Operation != "order.create" {
		t.Errorf("%+v", list)
	}
}

// TestRefusedIsClipped records what strangers write.
func TestRefusedIsClipped(t *testing.T) {
	ra := newRA(t, newLedger(t), nil)
	long := strings.Repeat("ü\x00\n\xff\u202e\u2028", 1<<12)
	ra.Refused(ledger.Refused{
		Operation: long, Label: long, Profile: long, Order: long, Rule: "subject", Text: long, Device: long, Subject: long,
		Requester: ledger.Requester{Kind: "password", Name: long},
	})
	list := refusals(t, ra, ledger.RefusalQuery{Rule: "subject"})
	if len(list) != 1 {
		t.Fatalf("%d records", len(list))
	}
	r := list[0]
	for _, text := range []string{r.Operation, r.Label, r.Profile, r.Order, r.Text, r.Device, r.Subject, r.Requester.Name} {
		if len(text) == 0 || len(text) > 1024 || !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\n\u202e\u2028") {
			t.Errorf("recorded %d bytes: %.20q", len(text), text)
		}
	}
}

// slow is a ledger whose Refuse can be held up and made to fail.
type slow struct {
	ledger.Ledger
	mu      sync.Mutex
	batches []int
	keep    int
	fail    error
	sick    error
}

func (s *slow) Refuse(_ context.Context, refused []ledger.Refused, keep int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.batches, s.keep = append(s.batches, len(refused)), keep
	return nil
}

func (s *slow) Health() error {
	if s.sick != nil {
		return s.sick
	}
	return s.Ledger.Health()
}

func (s *slow) written() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, batch := range s.batches {
		n += batch
	}
	return n
}

// TestFloodOfRefusals: nobody waits for a refusal to be written, memory and
// writes are bounded, and what is lost is counted.
func TestFloodOfRefusals(t *testing.T) {
	l := &slow{Ledger: newLedger(t)}
	ra := newRA(t, l, func(c *issuer.Config) { c.KeepRefusals = 7000 })
	for i := range 5000 {
		ra.Refused(ledger.Refused{Rule: "credential", Text: fmt.Sprint(i)})
	}
	lost := int(dropped(t, ra))
	if lost == 0 || lost > 1000 {
		t.Errorf("%d of 5000 refusals dropped while nobody wrote", lost)
	}
	flush(t, ra)
	if n := l.written(); n != 5000-lost || l.keep != 7000 {
		t.Errorf("%d written, %d dropped, %d kept", n, lost, l.keep)
	}
	for _, n := range l.batches {
		if n > 256 {
			t.Errorf("a batch of %d", n)
		}
	}
	// What cannot be written waits while the ledger is sick, and is counted if
	// it fails.
	ra.Refused(ledger.Refused{Rule: "credential"})
	l.sick = errors.New("no disk")
	flush(t, ra)
	l.sick = nil
	written := l.written()
	flush(t, ra)
	if l.written() != written+1 {
		t.Error("what waited for the ledger is lost")
	}
	l.fail = errors.New("no space")
	ra.Refused(ledger.Refused{Rule: "credential"})
	flush(t, ra)
	if n := int(dropped(t, ra)); n != lost+1 {
		t.Errorf("%d dropped, want %d", n, lost+1)
	}
}

// TestPaceOfRefusals: a batch is soon written, and no more than four a second.
func TestPaceOfRefusals(t *testing.T) {
	l := &slow{Ledger: newLedger(t)}
	ra := newRA(t, l, nil)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { ra.KeepRefusals(ctx) })
		ra.Refused(ledger.Refused{Rule: "credential", At: time.Now()})
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if n := l.written(); n != 1 {
			t.Errorf("%d written after 300 ms", n)
		}
		for range 2000 {
			ra.Refused(ledger.Refused{Rule: "credential", At: time.Now()})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := l.written(); n != 1+4*256 {
			t.Errorf("%d written after another second", n)
		}
		cancel()
		wait.Wait()
		if n := l.written(); n != 2001 {
			t.Errorf("%d written at the end", n)
		}
	})
}

// dropped reads the counter of lost refusals.
func dropped(t testing.TB, ra *issuer.RA) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(ra.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "refusals_dropped_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no counter")
	return 0
}
