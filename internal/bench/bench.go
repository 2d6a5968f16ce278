// Package bench measures how many certificates a second one server core can
// enroll, against what that core can sign at all.
//
// The server is the real one in a process of its own, bound to one core, with
// durable storage and lint on; the load comes from this process on another
// core, in closed loops over loopback. Rates swing with the machine from hour
// to hour: what counts is the ratio to the raw rate, measured on the server's
// core just before and after each run.
package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"mintmark/internal/server"
)

// Options say what to run.
type Options struct {
	// Binary is the mintmark binary that serves.
	Binary string
	// Duration is how long each load runs; 8 s if zero.
	Duration time.Duration
	// Out gets the table, JSON the file with the figures.
	Out  io.Writer
	JSON string
	// Only runs the load of that name; empty for all.
	Only string
	// Profile makes the server write a CPU profile there; empty for none.
	Profile string
}

// Figure is one line of the result.
type Figure struct {
	Name       string  `json:"name"`
	Value      float64 `json:"value"`
	Unit       string  `json:"unit"`
	RatioToRaw float64 `json:"ratio_to_raw,omitempty"`
	// CPU is the server's processor time for one certificate.
	CPU time.Duration `json:"-"`
	// Batch is how many records shared a durable commit.
	Batch      float64       `json:"-"`
	P50, P99   time.Duration `json:"-"`
	Handshakes int64         `json:"-"`

	rates [2]float64 // of which Value is the ratio
}

// loads are the runs: keep-alive connections, and a new full handshake with
// client certificate for each enrollment.
var loads = []struct {
	name      string
	clients   int
	keepAlive bool
}{
	{"est_keepalive_8", 8, true},
	{"est_keepalive_64", 64, true},
	{"est_newtls_8", 8, false},
	{"est_newtls_64", 64, false},
}

// Run measures and reports. It needs two cores.
func Run(ctx context.Context, o Options) error {
	if o.Duration == 0 {
		o.Duration = 8 * time.Second
	}
	cores, err := allowedCores()
	if err != nil {
		return err
	}
	if len(cores) < 2 {
		return errors.New("bench needs two cores: one for the server, one for the load")
	}
	serverCore, loadCore := cores[0], cores[1]

	dir, err := os.MkdirTemp("", "mintmark-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	state := filepath.Join(dir, "state")
	quiet := slog.New(slog.DiscardHandler)
	if err := server.Init(ctx, server.InitOptions{Dir: state, Names: []string{"localhost", "127.0.0.1"}}, quiet, io.Discard); err != nil {
		return fmt.Errorf("making a state directory: %w", err)
	}
	if err := unlimited(state); err != nil {
		return err
	}
	// Before this process is bound to one core.
	tokens, err := token(ctx, o, dir)
	if err != nil {
		return err
	}
	target, stop, err := start(ctx, o, state, serverCore)
	if err != nil {
		return err
	}
	defer stop()
	if err := bindProcess(loadCore); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)

	fleet, err := newFleet(state, target.est)
	if err != nil {
		return err
	}
	if err := fleet.enroll(ctx, 64); err != nil {
		return fmt.Errorf("enrolling the clients: %w", err)
	}

	var figures []Figure
	var raws []float64
	before, err := raw(serverCore)
	if err != nil {
		return err
	}
	raws = append(raws, before)
	for _, load := range loads {
		if o.Only != "" && o.Only != load.name {
			continue
		}
		used, err := target.usage()
		if err != nil {
			return err
		}
		// More requests than any server could answer in the time.
		requests := int(before*o.Duration.Seconds()*0.6) + 2*load.clients
		result, err := fleet.run(ctx, load.clients, load.keepAlive, requests, o.Duration)
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
		usedAfter, err := target.usage()
		if err != nil {
			return err
		}
		after, err := raw(serverCore)
		if err != nil {
			return err
		}
		raws = append(raws, after)
		reference := (before + after) / 2
		before = after
		figures = append(figures, Figure{
			Name: load.name, Value: result.rate, Unit: "certificates/s", RatioToRaw: result.rate / reference,
			CPU:   (usedAfter.cpu - used.cpu) / time.Duration(result.count),
			Batch: (usedAfter.records - used.records) / (usedAfter.commits - used.commits),
			P50:   result.p50, P99: result.p99, Handshakes: result.handshakes,
		})
	}
	var answers []Figure
	if o.Only == "" || o.Only == presigned {
		answered, err := fleet.presigned(ctx, target, 64, o.Duration)
		if err != nil {
			return fmt.Errorf("%s: %w", presigned, err)
		}
		answers = append(answers, answered)
	}
	figures = append([]Figure{{Name: "raw", Value: mean(raws), Unit: "certificates/s", RatioToRaw: 1, CPU: time.Duration(float64(time.Second) / mean(raws))}}, figures...)
	if err := stop(); err != nil {
		return fmt.Errorf("stopping the server: %w", err)
	}
	if err := errors.Join(report(o.Out, figures), reportToken(o.Out, tokens)); err != nil {
		return err
	}
	for _, f := range answers {
		if err := reportOCSP(o.Out, f); err != nil {
			return err
		}
	}
	figures = append(append(figures, answers...), tokens...)
	data, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.JSON, append(data, '\n'), 0o644)
}

// unlimited makes the loopback a station and the only label one without limits:
// the load comes from one address and few devices, as no line's does. And it has OCSP answered.
func unlimited(state string) error {
	path := filepath.Join(state, "mintmark.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const end = "    own: [device]"
	head, tail, found := strings.Cut(string(text), end)
	if !found {
		return errors.New("the configuration that init writes has no label to change")
	}
	changed := head + end + tail + "\n    limits: {identity: 0, address: 0}\n\nlimits:\n  stations: [127.0.0.0/8]\n\nocsp: {enabled: true}\n"
	return os.WriteFile(path, []byte(changed), 0o600)
}

func report(out io.Writer, figures []Figure) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tcertificates/s\tratio to raw\tserver CPU ms\trecords/commit\tp50 ms\tp99 ms\tfull handshakes\t")
	for _, f := range figures {
		if f.P50 == 0 {
			fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.3f\t\t\t\t\t\n", f.Name, f.Value, f.RatioToRaw, f.CPU.Seconds()*1000)
			continue
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.3f\t%.1f\t%.1f\t%.1f\t%d\t\n", f.Name, f.Value, f.RatioToRaw, f.CPU.Seconds()*1000, f.Batch,
			float64(f.P50.Microseconds())/1000, float64(f.P99.Microseconds())/1000, f.Handshakes)
	}
	return w.Flush()
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// target is the server under load.
type target struct {
	est, http, metrics string // addresses
	pid                int
}

// start runs the server on one core. stop ends it and may be called twice.
func start(ctx context.Context, o Options, state string, core int) (t *target, stop func() error, err error) {
	args := []string{"serve", "--dir", state, "--listen", "127.0.0.1:0"}
	if o.Profile != "" {
		args = append(args, "--cpuprofile", o.Profile)
	}
	cmd := exec.CommandContext(ctx, o.Binary, args...)
	// The log goes to a file, as under a service manager.
	log, err := os.Create(filepath.Join(filepath.Dir(state), "server.log"))
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := startOn(core, cmd); err != nil {
		return nil, nil, fmt.Errorf("starting %s: %w", o.Binary, err)
	}
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cmd.Process.Signal(syscall.SIGTERM)
		return cmd.Wait()
	}
	t = &target{pid: cmd.Process.Pid}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if a, ok := strings.CutPrefix(lines.Text(), "metrics listening on "); ok {
			t.metrics = a
		}
		if a, ok := strings.CutPrefix(lines.Text(), "http listening on "); ok {
			t.http = a
		}
		if a, ok := strings.CutPrefix(lines.Text(), "est listening on "); ok {
			t.est = a
			go io.Copy(io.Discard, stdout)
			return t, stop, nil
		}
	}
	return nil, nil, errors.Join(errors.New("the server did not come up"), stop())
}
