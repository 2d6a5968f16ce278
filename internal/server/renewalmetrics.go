package server

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/internal/ledger"
)

const (
	// overdueEvery is how often devices that have not renewed are counted for the metrics, which
	// reads all of them.
	overdueEvery = 15 * time.Minute
	// overdueFirst is how long after its start a server counts them for the first time: those
	// who wait for it come first.
	overdueFirst = time.Minute
)

// overdue is what was counted last.
type overdue struct {
	mu     sync.Mutex
	counts ledger.Overdue
	at     time.Time // zero before the first count
}

// keepOverdue counts at an interval until ctx ends.
func (s *Server) keepOverdue(ctx context.Context) {
	timer := time.NewTimer(overdueFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := s.countOverdue(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("the devices that have not renewed were not counted", "error", err)
		}
		timer.Reset(overdueEvery)
	}
}

func (s *Server) countOverdue(ctx context.Context) error {
	now := s.ra.Now()
	_, counts, err := s.ledger.RenewalCurve(ctx, ledger.RenewalQuery{Now: now})
	if err != nil {
		return err
	}
	s.overdue.mu.Lock()
	defer s.overdue.mu.Unlock()
	s.overdue.counts, s.overdue.at = counts, now
	return nil
}

// overdueCollector shows how many devices have not renewed, as they were last counted.
type overdueCollector struct {
	s       *Server
	devices *prometheus.Desc
	at      *prometheus.Desc
}

func newOverdueCollector(s *Server) *overdueCollector {
	return &overdueCollector{
		s:       s,
		devices: prometheus.NewDesc("renewals_overdue", "Devices by how much of the life of their newest certificate is over, in percent: 80 to 90, 90 to 100, and expired within the last year. Counted every 15 minutes.", []string{"past"}, nil),
		at:      prometheus.NewDesc("renewals_counted_timestamp_seconds", "When they were counted last, in Unix time; 0 before the first time.", nil, nil),
	}
}

func (c *overdueCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.devices
	ch <- c.at
}

func (c *overdueCollector) Collect(ch chan<- prometheus.Metric) {
	c.s.overdue.mu.Lock()
	defer c.s.overdue.mu.Unlock()
	n := c.s.overdue.counts
	for past, count := range map[string]int{"80": n.Past80, "90": n.Past90, "100": n.Past100} {
		ch <- prometheus.MustNewConstMetric(c.devices, prometheus.GaugeValue, float64(count), past)
	}
	at := 0.0
	if !c.s.overdue.at.IsZero() {
		at = float64(c.s.overdue.at.Unix())
	}
	ch <- prometheus.MustNewConstMetric(c.at, prometheus.GaugeValue, at)
}
