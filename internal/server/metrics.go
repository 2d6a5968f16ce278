package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/awsreg"
	"mintmark/dpsreg"
)

// ledgerMetrics count the group commits.
type ledgerMetrics struct {
	size    prometheus.Histogram
	latency prometheus.Histogram
}

func newLedgerMetrics() *ledgerMetrics {
	return &ledgerMetrics{
		size: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledger_commit_records", Help: "Records that shared one durable commit.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256},
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledger_commit_seconds", Help: "Duration of one durable commit, issuance log included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
	}
}

func (m *ledgerMetrics) observe(records int, d time.Duration) {
	m.size.Observe(float64(records))
	m.latency.Observe(d.Seconds())
}

func (m *ledgerMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.size, m.latency}
}

// stateCollector reads gauges when they are asked for.
type stateCollector struct {
	s       *Server
	expiry  *prometheus.Desc
	usable  *prometheus.Desc
	backlog *prometheus.Desc
	healthy *prometheus.Desc
}

func newStateCollector(s *Server) *stateCollector {
	return &stateCollector{
		s:       s,
		expiry:  prometheus.NewDesc("ca_not_after_timestamp_seconds", "notAfter of each authority, in Unix time.", []string{"issuer"}, nil),
		usable:  prometheus.NewDesc("label_usable", "1 if a label can issue, 0 if its issuing CA is too short-lived for its profile.", []string{"label"}, nil),
		backlog: prometheus.NewDesc("registration_backlog", "Tasks that wait to be told to a cloud, by kind.", []string{"kind"}, nil),
		healthy: prometheus.NewDesc("ledger_healthy", "1 if the ledger can write durably.", nil, nil),
	}
}

func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.expiry, c.usable, c.backlog, c.healthy} {
		ch <- d
	}
}

func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	truth := map[bool]float64{true: 1}
	for _, a := range c.s.ra.Authorities() {
		gauge(c.expiry, float64(a.Certificate().NotAfter.Unix()), a.Name())
	}
	for _, l := range c.s.config.Labels {
		gauge(c.usable, truth[c.s.ra.Usable(l.Profile, l.Issuer) == nil], l.Name)
	}
	gauge(c.healthy, truth[c.s.ledger.Health() == nil])
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	backlog, err := c.s.ledger.Backlog(ctx)
	if err != nil {
		return
	}
	for _, t := range c.s.aws.list {
		for _, kind := range []string{awsreg.TaskKind(t), awsreg.UrgentKind(t)} {
			gauge(c.backlog, float64(backlog[kind]), kind)
		}
	}
	for _, t := range c.s.azure.list {
		for _, kind := range []string{dpsreg.TaskKind(t), dpsreg.UrgentKind(t)} {
			gauge(c.backlog, float64(backlog[kind]), kind)
		}
	}
}
