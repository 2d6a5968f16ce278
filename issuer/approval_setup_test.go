package issuer_test

import (
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// counters returns the counters of ra, by name and label.
func counters(t testing.TB, ra *issuer.RA) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(ra.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if c := m.GetCounter(); c != nil {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				got[name] = c.GetValue()
			}
		}
	}
	return got
}

// enrollments lists what has been put before a person.
func enrollments(t testing.TB, l ledger.Ledger) []ledger.Enrollment {
	t.Helper()
	list, err := l.Enrollments(t.Context(), ledger.EnrollmentQuery{})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// decide approves or rejects for a day.
func decide(t testing.TB, l ledger.Ledger, id string, approve bool) {
	t.Helper()
	decideAt(t, l, id, approve, time.Now())
}

func decideAt(t testing.TB, l ledger.Ledger, id string, approve bool, now time.Time) {
	t.Helper()
	if _, err := l.DecideEnrollment(t.Context(), id, approve, "alice", "for the eyes of operators", now, now.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
}

func named(commonName string) pkix.Name { return pkix.Name{CommonName: commonName} }
