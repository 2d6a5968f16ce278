package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"mintmark/issuer/batch"
)

// batchPace is how often a run without a terminal says how far it is.
const batchPace = 10 * time.Second

// batchProgress shows how far a run has come, how fast it is, and how long it still takes.
type batchProgress struct {
	a     *app
	bars  *mpb.Progress // nil without a terminal
	bar   *mpb.Bar
	words atomic.Pointer[string] // that the bar ends with; it is drawn by another goroutine
	began time.Time
	said  time.Time
	waits bool // the CA does not answer
}

func newBatchProgress(a *app) *batchProgress {
	p := &batchProgress{a: a, began: time.Now()}
	p.said = p.began
	if isTerminal(a.err) {
		p.bars = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))
	}
	return p
}

// update is batch.Options.Progress.
func (p *batchProgress) update(now batch.Progress) {
	words := batchPaceWords(now, time.Since(p.began))
	if now.Waiting != "" {
		words += ", waits for the server"
	}
	p.words.Store(&words)
	if waits := now.Waiting != ""; waits != p.waits {
		p.waits = waits
		if waits {
			p.say("nothing is issued at the moment, and the server is asked again: %s", printable(now.Waiting))
		} else {
			p.say("the server answers again")
		}
	}
	switch {
	case p.bars != nil && p.bar == nil:
		p.bar = p.bars.AddBar(int64(now.Total), mpb.PrependDecorators(decor.CountersNoUnit("%d / %d devices ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *p.words.Load() })))
	case p.bars == nil && time.Since(p.said) >= batchPace:
		p.said = time.Now()
		p.a.say("%d of %d devices%s", now.Issued+now.Refused, now.Total, words)
	}
	if p.bar != nil {
		p.bar.SetCurrent(int64(now.Issued + now.Refused))
	}
}

// say writes a line, above the bar if there is one.
func (p *batchProgress) say(format string, args ...any) {
	if p.bars == nil {
		p.a.say(format, args...)
		return
	}
	fmt.Fprintf(p.bars, format+"\n", args...)
}

// batchPaceWords are rate and time left of a run, by the keys while there are no certificates
// yet; nothing as long as they are not known.
func batchPaceWords(now batch.Progress, took time.Duration) string {
	done := now.Issued - now.Before + now.Refused
	left := now.Total - now.Issued - now.Refused
	what := ""
	if done <= 0 {
		done, left, what = now.Keys, left-now.Keys, " keys"
	}
	if done <= 0 || took <= 0 {
		return ""
	}
	rate := float64(done) / took.Seconds()
	digits := 0
	if rate < 10 {
		digits = 1
	}
	return fmt.Sprintf(" %.*f%s/s, %v left", digits, rate, what, time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
}

// end ends the bar.
func (p *batchProgress) end(well bool) {
	if p.bar != nil {
		if well {
			p.bar.SetTotal(-1, true)
		} else {
			p.bar.Abort(false)
		}
	}
	if p.bars != nil {
		p.bars.Wait()
	}
}
