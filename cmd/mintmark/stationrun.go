package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/cwriter"

	"mintmark/issuer/station"
)

func newStationRun(a *app) *cobra.Command {
	var f stationFlags
	var count int
	var wait bool
	c := a.command("run [flags]", "Provision device after device",
		`Run looks for a device, takes its certification request, has it signed, puts
certificate and chain into the device, has the device prove that it holds them,
writes a line to the record, and looks for the next device. It ends after
--count devices, whatever has become of them, or by Ctrl-C, which lets the
device at hand be finished; a second Ctrl-C ends it at once. Whatever ends it,
the next run goes on where it was.

While the server is away, a device's request is kept and the device may go; it
gets its certificate when it is back. With --wait it stays.

With --csr it is for one request in a file, and devices need no configuration.

It exits with 0 if every device is done or waits for the server, and with 1 if
one has failed or nothing more can be had from the server.`,
		`  mintmark station run --config line-1.yaml
  mintmark station run --config line-1.yaml --count 50 --wait
  mintmark station run --url https://ca.example.org:8443 --label line-1 --ca root.pem --password-file WO-117.credential --csr device.csr --out device.pem`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if count < 0 {
				return usagef("--count %d is less than none", count)
			}
			return a.stationRun(c.Context(), &f, count, wait)
		})
	f.bind(c)
	f.bindServer(c)
	flags := c.Flags()
	flags.IntVar(&count, "count", 0, "end after so many `devices` (default: never)")
	flags.BoolVar(&wait, "wait", false, "keep each device until its certificate is there")
	flags.StringVar(&f.csr, "csr", "", "`file` with one certification request, or - for standard input")
	flags.StringVar(&f.out, "out", "", "`file` for its certificate and chain")
	c.MarkFlagsRequiredTogether("csr", "out")
	return c
}

// ran is the end of a run for a program.
type ran struct {
	Order   string  `json:"order"`
	Done    int     `json:"done"`
	Again   int     `json:"again"`
	Failed  int     `json:"failed"`
	Waiting int     `json:"waiting"`
	Ready   int     `json:"ready"`
	Yield   float64 `json:"yield"`
	PerHour float64 `json:"per_hour"`
	Average float64 `json:"seconds_per_device"`
}

func (a *app) stationRun(ctx context.Context, f *stationFlags, count int, wait bool) error {
	settings, err := f.read()
	if err != nil {
		return err
	}
	if f.csr != "" {
		count = 1
		if err := checkOut(f.out); err != nil {
			return err
		}
	}
	board := &board{a: a, live: isTerminal(a.err) && !a.json}
	s, l, err := a.openStation(ctx, settings, f, func(o *station.Options) {
		o.Wait, o.Report = wait, board.report
		board.order = o.Order
	})
	if err != nil {
		return err
	}
	defer l.close()
	hard, stop, done := twice(ctx)
	defer done()
	ended := board.begin(s)
	err = s.Run(hard, count, stop)
	ended()
	stats := s.Stats()
	err = errors.Join(err, s.Close())
	if errors.Is(err, context.Canceled) && hard.Err() != nil {
		err = fmt.Errorf("ended at once: the next run goes on where this one was")
	}
	a.sayStation(stats)
	if a.json {
		err = errors.Join(err, a.printJSON(ran{
			l.order, stats.Done, stats.Again, stats.Failed, stats.Waiting, stats.Ready, stats.Yield(), stats.Rate(), stats.Average.Seconds(),
		}))
	}
	if err == nil && stats.Failed > 0 {
		err = fmt.Errorf("%d of %d devices failed: the record says why", stats.Failed, stats.Done+stats.Again+stats.Failed)
	}
	return err
}

// sayStation sums a run up.
func (a *app) sayStation(stats station.Stats) {
	a.say("%d done, %d done before, %d failed, %d wait for the server, %d for being put back", stats.Done, stats.Again, stats.Failed, stats.Waiting, stats.Ready)
	if stats.Waiting > 0 {
		a.say("mintmark station flush asks for what waits, without a device")
	}
}

// twice returns a channel that the first signal closes, and a context that the second
// one ends. The context of the command ends by the first one.
func twice(ctx context.Context) (context.Context, <-chan struct{}, func()) {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	over := make(chan struct{})
	go func() {
		for n := 0; n < 2; n++ {
			select {
			case <-signals:
			case <-over:
				return
			}
		}
		cancel()
	}()
	return hard, ctx.Done(), func() {
		signal.Stop(signals)
		close(over)
		cancel()
	}
}

// board shows a run: a line for each device, and on a terminal a line below them that
// says how it goes.
type board struct {
	a     *app
	order string
	live  bool

	mu    sync.Mutex
	drawn bool
}

// report prints an event.
func (b *board) report(e station.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
	text := printable(e.Text)
	switch {
	case e.Outcome != "" && !b.a.json:
		fmt.Fprintf(b.a.out, "%-6s %s: %s\n", e.Outcome, printable(e.Device), text)
	case e.Device != "":
		b.a.say("%s: %s", printable(e.Device), text)
	default:
		b.a.say("%s", text)
	}
	b.draw(e.Stats)
}

// begin keeps the live line up to date until the function is called.
func (b *board) begin(s *station.Station) func() {
	if !b.live {
		return func() {}
	}
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.redraw(s.Stats())
			case <-over:
				return
			}
		}
	}()
	return func() {
		close(over)
		<-gone
		b.mu.Lock()
		defer b.mu.Unlock()
		b.wipe()
	}
}

func (b *board) redraw(stats station.Stats) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
	b.draw(stats)
}

func (b *board) wipe() {
	if b.drawn {
		fmt.Fprint(b.a.err, "\r\x1b[K")
		b.drawn = false
	}
}

func (b *board) draw(s station.Stats) {
	if !b.live {
		return
	}
	text := []rune(fmt.Sprintf("%s  %d done  %d failed  %d waiting  %d ready  yield %.1f%%  %.1f s a device  %.0f an hour",
		printable(b.order), s.Done+s.Again, s.Failed, s.Waiting, s.Ready, 100*s.Yield(), s.Average.Seconds(), s.Rate()))
	// A line that is wrapped could not be wiped.
	if width, _, err := cwriter.New(b.a.err).GetTermSize(); err == nil && width > 1 && len(text) >= width {
		text = text[:width-1]
	}
	fmt.Fprint(b.a.err, string(text))
	b.drawn = true
}
