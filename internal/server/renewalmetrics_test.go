package server

import (
	"context"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// movedClock is a registration authority's time.
type movedClock struct{ at time.Time }

func (c *movedClock) now() time.Time { return c.at }

// TestOverdueMetrics: a device is counted where the life of its certificate stands, and in
// one place only.
func TestOverdueMetrics(t *testing.T) {
	s := openLocal(t, newState(t), nil)
	defer s.Close()
	answer, err := s.ra.Enroll(t.Context(), issuer.Request{
		Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: ledger.Requester{Kind: "password", Name: "line"},
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "press-1"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	begin, end := answer.Certificate.NotBefore, answer.Certificate.NotAfter
	clock := &movedClock{begin}
	s.ra.Now = clock.now
	registry := prometheus.NewRegistry()
	registry.MustRegister(newOverdueCollector(s))
	for _, test := range []struct {
		part float64 // of its life
		want map[string]float64
	}{
		{0.5, map[string]float64{"80": 0, "90": 0, "100": 0}},
		{0.85, map[string]float64{"80": 1, "90": 0, "100": 0}},
		{0.95, map[string]float64{"80": 0, "90": 1, "100": 0}},
		{1.01, map[string]float64{"80": 0, "90": 0, "100": 1}},
	} {
		clock.at = begin.Add(time.Duration(test.part * float64(end.Sub(begin))))
		if err := s.countOverdue(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]float64)
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == "renewals_overdue" {
					got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
				} else if at := m.GetGauge().GetValue(); at != float64(clock.at.Unix()) {
					t.Errorf("counted at %v, want %d", at, clock.at.Unix())
				}
			}
		}
		for past, want := range test.want {
			if n, ok := got[past]; !ok || n != want {
				t.Errorf("at %v of its life: past %s are %v, want %v", test.part, past, n, want)
			}
		}
	}
}
