package issuer

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	issuance *prometheus.HistogramVec
	signing  *prometheus.HistogramVec
	alarms   *prometheus.CounterVec
	queued   *prometheus.CounterVec
	dropped  prometheus.Counter
}

func newMetrics() *metrics {
	buckets := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	m := &metrics{
		issuance: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "issuance_seconds", Buckets: buckets,
			Help: "Duration of the issuance cycle by profile, issuer and outcome: issued, or the rule that refused.",
		}, []string{"profile", "issuer", "outcome"}),
		signing: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "signer_seconds", Buckets: buckets,
			Help: "Duration of a signature by the issuing key, its verification included.",
		}, []string{"issuer", "outcome"}),
		alarms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "alarms_total",
			Help: "Findings that a person must look at: clone, key-shared, certificate-unknown.",
		}, []string{"kind"}),
		queued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "enrollments_queued_total",
			Help: "Requests that were put before a person, by cause: label, webhook, second-key.",
		}, []string{"cause"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refusals_dropped_total",
			Help: "Refusals that are not on record: they came faster than they can be written, or the ledger could not write.",
		}),
	}
	// There from the start: the rise from nothing to one is not seen as a rise.
	m.alarms.WithLabelValues("clone")
	m.alarms.WithLabelValues("key-shared")
	m.alarms.WithLabelValues("certificate-unknown")
	for _, cause := range []string{causeLabel, causeWebhook, causeSecondKey} {
		m.queued.WithLabelValues(cause)
	}
	return m
}

// Metrics lists the collectors of the registration authority.
func (ra *RA) Metrics() []prometheus.Collector {
	return []prometheus.Collector{ra.metrics.issuance, ra.metrics.signing, ra.metrics.alarms, ra.metrics.queued, ra.metrics.dropped}
}

// observe counts one run of the cycle. Profile and issuer come from the
// configuration, and outcomes are rules: closed sets all three.
func (m *metrics) observe(profile, issuer string, err error, d time.Duration) {
	m.issuance.WithLabelValues(profile, issuer, outcome(err)).Observe(d.Seconds())
}

func (m *metrics) signed(issuer string, err error, d time.Duration) {
	result := "signed"
	if err != nil {
		result = "failed"
	}
	m.signing.WithLabelValues(issuer, result).Observe(d.Seconds())
}

func outcome(err error) string {
	var refusal *Refusal
	switch {
	case err == nil:
		return "issued"
	case errors.As(err, &refusal):
		return refusal.Rule
	default:
		return "internal"
	}
}
