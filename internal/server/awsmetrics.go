package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

// driftCollector shows what the last comparisons with AWS found. Its labels are
// the configured targets and four kinds.
type driftCollector struct {
	t     *targets
	found *prometheus.Desc
	at    *prometheus.Desc
}

func newDriftCollector(t *targets) *driftCollector {
	return &driftCollector{
		t: t,
		found: prometheus.NewDesc("aws_drift_certificates",
			"Certificates that the last comparison of a target found different: repaired, adopted, left for a person, and of these unknown to the ledger.", []string{"target", "kind"}, nil),
		at: prometheus.NewDesc("aws_drift_timestamp_seconds", "When a target was last compared with the ledger, in Unix time; 0 for never.", []string{"target"}, nil),
	}
}

func (c *driftCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.found
	ch <- c.at
}

func (c *driftCollector) Collect(ch chan<- prometheus.Metric) {
	for _, target := range c.t.list {
		drift, ok := c.t.drifts.cached(target.Name) // zeros before the first: a rule on a rise must see it
		for _, one := range []struct {
			kind string
			n    int
		}{{"repaired", drift.repaired}, {"adopted", drift.adopted}, {"left", drift.left}, {"unknown", drift.unknown}} {
			ch <- prometheus.MustNewConstMetric(c.found, prometheus.GaugeValue, float64(one.n), target.Name, one.kind)
		}
		at := 0.0
		if ok {
			at = float64(drift.at.Unix())
		}
		ch <- prometheus.MustNewConstMetric(c.at, prometheus.GaugeValue, at, target.Name)
	}
}
