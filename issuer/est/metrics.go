package est

import "github.com/prometheus/client_golang/prometheus"

// unknown is the metrics label for what is not in a closed set. It is neither
// an operation nor a possible label.
const unknown = "_unknown"

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics() metrics {
	return metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "est_requests_total",
			Help: "EST requests by operation, label, status code and the rule that refused, if one did.",
		}, []string{"op", "label", "code", "rule"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "est_request_seconds",
			Help:    "Time from the first byte of the request's header to the last of the answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"op"}),
	}
}

// Metrics returns the handler's collectors, for registering.
func (h *Handler) Metrics() []prometheus.Collector {
	return []prometheus.Collector{h.metrics.requests, h.metrics.seconds}
}
