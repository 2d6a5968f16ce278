package token

import "github.com/prometheus/client_golang/prometheus"

// metrics are the collectors of one token. Its name is a constant label, so that those
// of several tokens can be in one registry.
type metrics struct {
	state      *prometheus.GaugeVec
	sessions   *prometheus.GaugeVec
	signatures *prometheus.CounterVec
	seconds    prometheus.Histogram
	reopens    *prometheus.CounterVec
	restarts   *prometheus.CounterVec
	failovers  prometheus.Counter
	refused    prometheus.Counter
}

func newMetrics(name string) *metrics {
	token := prometheus.Labels{"token": name}
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: name, Help: help, ConstLabels: token}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: token}
	}
	return &metrics{
		state:      prometheus.NewGaugeVec(gauge("token_state", "1 for the state that the token (leg primary or spare) is in, else 0."), []string{"leg", "state"}),
		sessions:   prometheus.NewGaugeVec(gauge("token_sessions", "Sessions that are open with the token."), []string{"leg"}),
		signatures: prometheus.NewCounterVec(counter("token_signatures_total", "Calls of the library for a signature, by result: ok, lost, hang, crash or error."), []string{"leg", "result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "token_sign_seconds", Help: "Time of a signature, retries and waits included.", ConstLabels: token,
			Buckets: []float64{.0002, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		reopens:   prometheus.NewCounterVec(counter("token_reopens_total", "Times that sessions were opened anew, by cause."), []string{"leg", "cause"}),
		restarts:  prometheus.NewCounterVec(counter("token_restarts_total", "Times that the process that holds the library was restarted, by cause."), []string{"leg", "cause"}),
		failovers: prometheus.NewCounter(counter("token_failovers_total", "Times that the spare took over from the primary.")),
		refused:   prometheus.NewCounter(counter("token_pin_refused_total", "PINs that the token or its spare refused.")),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.state, m.sessions, m.signatures, m.seconds, m.reopens, m.restarts, m.failovers, m.refused}
}
