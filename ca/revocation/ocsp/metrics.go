package ocsp

import "github.com/prometheus/client_golang/prometheus"

// outcome is what became of a request, from a closed set.
type outcome int

const (
	outcomeGood outcome = iota
	outcomeRevoked
	outcomeUnknown
	outcomeSeveral
	outcomeMalformed
	outcomeUnauthorized
	outcomeTryLater
	outcomeLimited
	outcomeInternal
)

var outcomeNames = [...]string{"good", "revoked", "unknown", "several", "malformed", "unauthorized", "try-later", "limited", "internal"}

// outcomes are those of answers about one certificate.
var outcomes = [...]outcome{good: outcomeGood, revoked: outcomeRevoked, unknown: outcomeUnknown}

type metrics struct {
	all        []prometheus.Collector
	answers    [len(outcomeNames)]prometheus.Counter
	signatures prometheus.Counter
	notAfter   *prometheus.GaugeVec
}

func newMetrics(r *Responder) *metrics {
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ocsp_answers_total",
		Help: "OCSP requests by what was answered: good, revoked, unknown, several (certificates in one request), malformed, unauthorized, try-later, limited (an address that asks for too many signatures), internal.",
	}, []string{"outcome"})
	m := &metrics{
		signatures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ocsp_signatures_total", Help: "OCSP answers that were signed.",
		}),
		notAfter: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ocsp_responder_not_after_timestamp_seconds", Help: "notAfter of the certificate of this server's OCSP responder for each authority, in Unix time.",
		}, []string{"issuer"}),
	}
	for i, name := range outcomeNames {
		m.answers[i] = answers.WithLabelValues(name)
	}
	m.all = []prometheus.Collector{answers, m.signatures, m.notAfter,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ocsp_kept_answers", Help: "OCSP answers that are kept signed.",
		}, func() float64 { n, _ := r.cache.size(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ocsp_seen_timestamp_seconds", Help: "When this server's OCSP responder last asked the ledger what was revoked, in Unix time; 0 for never.",
		}, func() float64 {
			if seen := r.Seen(); !seen.IsZero() {
				return float64(seen.UnixMilli()) / 1000
			}
			return 0
		})}
	return m
}

// Metrics lists the collectors.
func (r *Responder) Metrics() []prometheus.Collector { return r.metrics.all }
