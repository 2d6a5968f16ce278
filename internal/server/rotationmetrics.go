package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// anchorClasses are all classes of devices in a rotation.
var anchorClasses = []ledger.AnchorClass{
	ledger.AnchorMoved, ledger.AnchorWaived, ledger.AnchorTrusts, ledger.AnchorExpired, ledger.AnchorNever, ledger.AnchorSilent, ledger.AnchorLeft,
}

// rotationCollector shows the rotation that runs, and its devices as they were last
// counted.
type rotationCollector struct {
	s                             *Server
	state, devices, since, paused *prometheus.Desc
}

func newRotationCollector(s *Server) *rotationCollector {
	return &rotationCollector{
		s:       s,
		state:   prometheus.NewDesc("rotation_state", "1 for the state of the rotation that runs, 0 for all others.", []string{"state"}, nil),
		devices: prometheus.NewDesc("rotation_devices", "Devices of the rotation that runs by where they stand, counted every few minutes.", []string{"class"}, nil),
		since:   prometheus.NewDesc("rotation_since_timestamp_seconds", "When the rotation that runs came into its state, in Unix time; 0 if none runs.", nil, nil),
		paused:  prometheus.NewDesc("rotation_paused", "1 while the rotation that runs is paused.", nil, nil),
	}
}

func (c *rotationCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.state, c.devices, c.since, c.paused} {
		ch <- d
	}
}

func (c *rotationCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	truth := map[bool]float64{true: 1}
	r, runs := c.s.running()
	for _, state := range rotation.States {
		gauge(c.state, truth[runs && r.State == string(state)], string(state))
	}
	since := 0.0
	if runs {
		since = float64(r.Since.Unix())
	}
	gauge(c.since, since)
	gauge(c.paused, truth[runs && r.Paused != ""])
	c.s.following.mu.Lock()
	defer c.s.following.mu.Unlock()
	for _, class := range anchorClasses {
		n := 0
		if runs && c.s.following.of == r.ID {
			n = c.s.following.counts[class]
		}
		gauge(c.devices, float64(n), string(class))
	}
}
