package server

import "github.com/prometheus/client_golang/prometheus"

// gateMetrics count connections. All labels are from closed sets.
type gateMetrics struct {
	all  []prometheus.Collector
	open *prometheus.GaugeVec // listener, state

	states  [connStates]prometheus.Gauge
	evicted prometheus.Counter
	refused *prometheus.CounterVec // reason

	evictedVec, refusedVec *prometheus.CounterVec
}

func newGateMetrics() *gateMetrics {
	m := &gateMetrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "connections", Help: "Open connections by listener and by what they are about."}, []string{"listener", "state"}),
		evictedVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "connections_evicted_total", Help: "Connections closed for another client, because they were idle or longest without success."}, []string{"listener"}),
		refusedVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "connections_refused_total", Help: "New connections closed at once: their address has its share (address), or all connections have requests that may be on record (busy)."}, []string{"listener", "reason"}),
	}
	m.all = []prometheus.Collector{m.open, m.evictedVec, m.refusedVec}
	return m
}

// of returns the metrics of one listener, all of them from the start.
func (m *gateMetrics) of(listener string) *gateMetrics {
	own := &gateMetrics{evicted: m.evictedVec.WithLabelValues(listener), refused: m.refusedVec.MustCurryWith(prometheus.Labels{"listener": listener})}
	for s := range connStates {
		own.states[s] = m.open.WithLabelValues(listener, s.String())
	}
	for _, reason := range []string{refusedAddress, refusedBusy, refusedClosing} {
		own.refused.WithLabelValues(reason)
	}
	return own
}

func (m *gateMetrics) enter(s connState) { m.states[s].Inc() }
func (m *gateMetrics) leave(s connState) { m.states[s].Dec() }
