package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

// foundCollector shows what the last comparisons with a cloud found. Its labels are
// the configured targets and a few kinds.
type foundCollector struct {
	targets func() []string
	kinds   []string // of the numbers in a tally
	cached  func(target string) (tally, bool)
	found   *prometheus.Desc
	at      *prometheus.Desc
}

// newFoundCollector names its metrics after a cloud: aws_drift_certificates,
// aws_drift_timestamp_seconds.
func newFoundCollector(cloud, what, help string, targets func() []string, kinds []string, cached func(string) (tally, bool)) *foundCollector {
	return &foundCollector{
		targets: targets, kinds: kinds, cached: cached,
		found: prometheus.NewDesc(cloud+"_drift_"+what, help, []string{"target", "kind"}, nil),
		at:    prometheus.NewDesc(cloud+"_drift_timestamp_seconds", "When a target was last compared with the ledger, in Unix time; 0 for never.", []string{"target"}, nil),
	}
}

func (c *foundCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.found
	ch <- c.at
}

func (c *foundCollector) Collect(ch chan<- prometheus.Metric) {
	for _, target := range c.targets() {
		last, ok := c.cached(target) // zeros before the first: a rule on a rise must see it
		for i, kind := range c.kinds {
			n := 0
			if ok {
				n = last.counts[i]
			}
			ch <- prometheus.MustNewConstMetric(c.found, prometheus.GaugeValue, float64(n), target, kind)
		}
		at := 0.0
		if ok {
			at = float64(last.at.Unix())
		}
		ch <- prometheus.MustNewConstMetric(c.at, prometheus.GaugeValue, at, target)
	}
}
