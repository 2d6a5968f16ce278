package sqldb

import (
	"runtime"
	"syscall"
	"time"
)

// processors says whether this process keeps those busy that it may use. It may not be
// used concurrently.
type processors struct {
	at   time.Time
	used time.Duration // until then, by all threads
	full bool
}

const (
	lookEvery = 50 * time.Millisecond
	busyFrom  = 0.85 // of the time of all processors
	busyUntil = 0.70
)

// busy looks now and then.
func (p *processors) busy() bool {
	now := time.Now()
	elapsed := now.Sub(p.at)
	if elapsed < lookEvery {
		return p.full
	}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return false
	}
	used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	if !p.at.IsZero() {
		p.full = full(p.full, used-p.used, elapsed, runtime.GOMAXPROCS(0))
	}
	p.at, p.used = now, used
	return p.full
}

// full judges what was used of so many processors, and does not change its mind for little.
func full(before bool, used, elapsed time.Duration, processors int) bool {
	share := float64(used) / (float64(elapsed) * float64(processors))
	return share >= busyFrom || before && share >= busyUntil
}
