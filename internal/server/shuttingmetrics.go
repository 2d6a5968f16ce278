package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// shuttingCollector shows what was revoked, held or released and is not everywhere yet.
type shuttingCollector struct {
	s            *Server
	count, since *prometheus.Desc
}

func newShuttingCollector(s *Server) *shuttingCollector {
	return &shuttingCollector{
		s:     s,
		count: prometheus.NewDesc("revocations_outstanding", "Revocations, holds and releases that are not at a place yet.", []string{"where"}, nil),
		since: prometheus.NewDesc("revocations_outstanding_seconds", "How long the oldest of them has waited.", []string{"where"}, nil),
	}
}

func (c *shuttingCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.count
	ch <- c.since
}

// Collect shows every place there is, so that an alarm on one is not one about a series
// that is missing.
func (c *shuttingCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	list, err := c.s.outstanding(ctx)
	if err != nil {
		return
	}
	count, since := make(map[string]float64), make(map[string]float64)
	for _, a := range c.s.ra.Authorities() {
		count["crl/"+a.Name()] = 0
	}
	for _, t := range c.s.aws.list {
		count["aws/"+t.Name] = 0
	}
	for _, t := range c.s.azure.list {
		count["azure/"+t.Name] = 0
	}
	for _, o := range list {
		count[o.Where], since[o.Where] = float64(o.Count), max(0, c.s.ra.Now().Sub(o.Since).Seconds())
	}
	for where := range count {
		ch <- prometheus.MustNewConstMetric(c.count, prometheus.GaugeValue, count[where], where)
		ch <- prometheus.MustNewConstMetric(c.since, prometheus.GaugeValue, since[where], where)
	}
}
