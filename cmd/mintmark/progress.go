package main

import (
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"mintmark/admin"
)

// progress shows how far an import has got: bars on a terminal, a line a stage
// elsewhere.
type progress struct {
	a     *app
	bars  *mpb.Progress // nil without a terminal
	bar   *mpb.Bar
	stage string
}

func newProgress(a *app) *progress {
	p := &progress{a: a}
	if isTerminal(a.err) {
		p.bars = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))
	}
	return p
}

// isTerminal reports whether what is written is seen by a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !isNull(info)
}

var stageWords = map[string]string{
	admin.StageChecking:   "checking the list",
	admin.StageImporting:  "importing",
	admin.StageCommitting: "putting it in force",
}

func (p *progress) update(now admin.ListProgress) {
	if now.Stage != p.stage {
		p.finish(true)
		p.stage = now.Stage
		words := stageWords[now.Stage]
		if p.bars == nil {
			p.a.say("%s", words)
			return
		}
		options := []mpb.BarOption{
			mpb.PrependDecorators(decor.Name(words, decor.WCSyncSpaceR), decor.CurrentNoUnit("%d rows", decor.WCSyncSpace)),
		}
		if now.Total > 0 {
			options = append(options, mpb.AppendDecorators(decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), "")))
		}
		p.bar = p.bars.AddBar(int64(now.Total), options...)
	}
	if p.bar != nil {
		p.bar.SetCurrent(int64(now.Rows))
	}
}

// finish ends the bar of a stage.
func (p *progress) finish(well bool) {
	if p.bar == nil {
		return
	}
	if well {
		p.bar.SetTotal(-1, true)
	} else {
		p.bar.Abort(false)
	}
	p.bar = nil
}

// end ends the last bar and waits until it is drawn.
func (p *progress) end(well bool) {
	p.finish(well)
	if p.bars != nil {
		p.bars.Wait()
	}
}
