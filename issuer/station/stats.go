package station

import (
	"sync"
	"time"
)

// Stats is how a run goes.
type Stats struct {
	Done, Again, Failed int           // devices by what became of them last
	Waiting, Ready      int           // in the queue: for the server; for the device to come back
	Average             time.Duration // of the steps of a device that is done
	Running             time.Duration
}

// Yield is the share of devices that are done of those that are done or have failed,
// from 0 to 1; 1 before the first.
func (s Stats) Yield() float64 {
	if s.Done+s.Again+s.Failed == 0 {
		return 1
	}
	return float64(s.Done+s.Again) / float64(s.Done+s.Again+s.Failed)
}

// Rate is how many devices are done in an hour.
func (s Stats) Rate() float64 {
	if s.Running < time.Second {
		return 0
	}
	return float64(s.Done) / s.Running.Hours()
}

// counter counts. A device that failed and then is done counts as done.
type counter struct {
	mu     sync.Mutex
	began  time.Time
	last   map[string]Outcome
	counts map[Outcome]int
	taken  time.Duration
}

func (c *counter) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began, c.last, c.counts, c.taken = now, make(map[string]Outcome), make(map[Outcome]int), 0
}

func (c *counter) add(device string, o Outcome, taken time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return // while the station is opened
	}
	before, known := c.last[device]
	if before == Done && o == Again {
		return
	}
	if known {
		c.counts[before]--
	}
	c.last[device] = o
	c.counts[o]++
	if o == Done {
		c.taken += taken
	}
}

// of is what became of a device last in this run.
func (c *counter) of(device string) Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[device]
}

// Stats is how the run goes now.
func (s *Station) Stats() Stats {
	var out Stats
	for _, e := range s.queue.states() {
		switch e {
		case Requested, Making:
			out.Waiting++
		default:
			out.Ready++
		}
	}
	c := &s.stats
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Done, out.Again, out.Failed = c.counts[Done], c.counts[Again], c.counts[Failed]
	if out.Done > 0 {
		out.Average = c.taken / time.Duration(out.Done)
	}
	if !c.began.IsZero() {
		out.Running = s.Now().Sub(c.began)
	}
	return out
}
