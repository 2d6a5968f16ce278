package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"
)

// clients is how many devices there are, and the most that a load has at a time.
const clients = 64

// loads are the runs: keep-alive connections, and a new full handshake with
// client certificate for each enrollment; the last one with the key exchange of devices, of which
// few speak a post-quantum one yet.
var loads = []struct {
	name      string
	clients   int
	keepAlive bool
	exchange  []tls.CurveID // nil for Go's choice
}{
	{keepalive8, 8, true, nil},
	{keepalive64, 64, true, nil},
	{newTLS8, 8, false, nil},
	{newTLS64, 64, false, nil},
	{newTLS64X25519, 64, false, []tls.CurveID{tls.X25519}},
}

// The runs with EST.
const (
	rawFigure      = "raw"
	keepalive8     = "est_keepalive_8"
	keepalive64    = "est_keepalive_64"
	newTLS8        = "est_newtls_8"
	newTLS64       = "est_newtls_64"
	newTLS64X25519 = "est_newtls_64_x25519"
	halfLoad       = "est_p99_half_load"
	rssIdle        = "rss_idle"
	rssLoad        = "rss_load"

	// idle is how long a server has had nothing to do when its memory counts as idle.
	idle = 10 * time.Second
)

// est measures one server under every load.
func (r *run) est(ctx context.Context) error {
	state, err := r.state(ctx, "est", "")
	if err != nil {
		return err
	}
	t, err := r.start(ctx, state)
	if err != nil {
		return err
	}
	defer t.stop()
	if r.wants(rssIdle) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(idle):
		}
		m, err := memory(t.Process.Pid)
		if err != nil {
			return err
		}
		r.add(Figure{Name: rssIdle, Value: m.now / 1e6, Unit: "MB", note: fmt.Sprintf("%.1f MB are its own, the rest pages of the binary", m.own/1e6)})
	}
	f, err := newFleet(state, t.est)
	if err != nil {
		return err
	}
	if err := f.enroll(ctx, clients); err != nil {
		return fmt.Errorf("enrolling the clients: %w", err)
	}
	half := 0.0
	for _, load := range loads {
		if !r.needs(load.name) {
			continue
		}
		f.exchange(load.exchange)
		figure, err := r.load(ctx, t, f, load.name, load.clients, load.keepAlive)
		if err != nil {
			return err
		}
		if load.name == keepalive64 {
			half = figure.Value / 2
		}
		r.add(figure)
	}
	if r.wants(halfLoad) {
		result, err := f.open(ctx, clients, half, r.Duration)
		if err != nil {
			return fmt.Errorf("%s: %w", halfLoad, err)
		}
		r.add(Figure{Name: halfLoad, Value: millis(result.p99), Unit: "ms", p50: result.p50, p99: result.p99,
			note: fmt.Sprintf("%.0f certificates/s were asked for, %.0f issued", half, result.rate)})
	}
	if r.wants(presigned) {
		figure, err := f.presigned(ctx, t, clients, r.Duration)
		if err != nil {
			return fmt.Errorf("%s: %w", presigned, err)
		}
		r.add(figure)
	}
	if r.wants(rssLoad) {
		m, err := memory(t.Process.Pid)
		if err != nil {
			return err
		}
		r.add(Figure{Name: rssLoad, Value: m.most / 1e6, Unit: "MB"})
	}
	if r.wants(rawFigure) {
		if len(r.raws) == 0 { // no load, which it would have been measured for
			one, err := raw(r.serverCore)
			if err != nil {
				return err
			}
			r.raws = append(r.raws, one)
		}
		r.add(mean(r.raws...).figure(rawFigure))
	}
	return t.stop()
}

// load runs a closed loop between two measurements of the reference.
func (r *run) load(ctx context.Context, t *target, f *fleet, name string, clients int, keepAlive bool) (Figure, error) {
	before, err := raw(r.serverCore)
	if err != nil {
		return Figure{}, err
	}
	// More requests than a server could answer in the time. Where the reference was slow for
	// something else that ran, the load ends with the requests.
	requests := int(before.rate*r.Duration.Seconds()*0.6) + 2*clients
	used, err := t.usage(ctx)
	if err != nil {
		return Figure{}, err
	}
	result, err := f.run(ctx, clients, keepAlive, requests, r.Duration)
	if err != nil {
		return Figure{}, fmt.Errorf("%s: %w", name, err)
	}
	usedAfter, err := t.usage(ctx)
	if err != nil {
		return Figure{}, err
	}
	after, err := raw(r.serverCore)
	if err != nil {
		return Figure{}, err
	}
	reference := mean(before, after)
	r.raws = append(r.raws, reference)
	records, commits := usedAfter.records-used.records, usedAfter.commits-used.commits
	if records < 2*float64(result.count) { // an intent and a certificate
		return Figure{}, fmt.Errorf("%s: %d enrollments were answered, and %.0f records committed where there are two for each", name, result.count, records)
	}
	cpu := (usedAfter.cpu - used.cpu) / time.Duration(result.count)
	return Figure{
		Name: name, Value: result.rate, Unit: "certificates/s", RatioToRaw: result.rate / reference.rate,
		CPUms: millis(cpu), CPURatio: 1 / reference.byCPU / cpu.Seconds(),
		count: result.count, batch: records / commits,
		p50: result.p50, p99: result.p99, handshakes: result.handshakes,
	}, nil
}
