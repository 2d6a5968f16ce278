package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"mintmark/awsreg"
	"mintmark/internal/jobs"
	"mintmark/internal/ledger"
)

// firstComparison is how long after its start a server compares the ledger with
// AWS for the first time: what has to be told first is told by then.
const firstComparison = 10 * time.Minute

// maxDrift bounds the file of a comparison that is read.
const maxDrift = 64 << 20

// drifts keeps what the last comparison of each target found, in a file each, so
// that commands see it after a restart and without a server. Its methods may be
// called concurrently.
type drifts struct {
	dir string

	mu     sync.Mutex
	counts map[string]*driftCounts // of what was read or kept; nil for none
}

// driftCounts are what the metrics show of a comparison.
type driftCounts struct {
	at                               time.Time
	repaired, adopted, left, unknown int
}

func newDrifts(state string) *drifts {
	return &drifts{dir: filepath.Join(state, "aws"), counts: make(map[string]*driftCounts)}
}

// cached counts what the last comparison found, from the file only the first time.
func (d *drifts) cached(target string) (driftCounts, bool) {
	d.mu.Lock()
	counts, ok := d.counts[target]
	d.mu.Unlock()
	if !ok {
		drift, found, err := d.last(target)
		if err != nil || !found {
			return driftCounts{}, false
		}
		d.count(target, drift)
		return countsOf(drift), true
	}
	return *counts, true
}

func (d *drifts) count(target string, drift awsreg.Drift) {
	counts := countsOf(drift)
	d.mu.Lock()
	defer d.mu.Unlock()
	if before := d.counts[target]; before == nil || before.at.Before(counts.at) {
		d.counts[target] = &counts
	}
}

func countsOf(drift awsreg.Drift) driftCounts {
	return driftCounts{at: drift.At, repaired: len(drift.Repaired), adopted: len(drift.Adopted), left: len(drift.Left), unknown: drift.Unknown}
}

func (d *drifts) file(target string) string { return filepath.Join(d.dir, target+".drift.json") }

// last is what the last comparison found; ok is false if there was none.
func (d *drifts) last(target string) (drift awsreg.Drift, ok bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(d.file(target))
	if errors.Is(err, fs.ErrNotExist) {
		return drift, false, nil
	}
	if err == nil && info.Size() > maxDrift {
		err = fmt.Errorf("%s: larger than %d bytes", d.file(target), maxDrift)
	}
	if err != nil {
		return drift, false, err
	}
	content, err := os.ReadFile(d.file(target))
	if err != nil {
		return drift, false, err
	}
	if err := json.Unmarshal(content, &drift); err != nil {
		return awsreg.Drift{}, false, fmt.Errorf("reading %s (remove it, and compare again): %w", d.file(target), err)
	}
	return drift, true, nil
}

// keep replaces what is kept, whole or not at all.
func (d *drifts) keep(drift awsreg.Drift) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	content, err := json.Marshal(drift)
	if err != nil {
		return fmt.Errorf("encoding what was found: %w", err)
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(d.dir, ".drift-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("keeping what was found: %w", err)
	}
	return os.Rename(f.Name(), d.file(drift.Target))
}

// Drift is what the last comparison of a target found; ok is false if this server
// has made none.
func (t *targets) Drift(name string) (drift awsreg.Drift, ok bool, err error) {
	if _, err := t.find(name); err != nil {
		return awsreg.Drift{}, false, err
	}
	return t.drifts.last(name)
}

// errComparing says that a comparison runs already.
var errComparing = fmt.Errorf("the target is being compared with the ledger already: %w", ledger.ErrBusy)

// Reconcile compares a target with the ledger and repairs what it may; one
// comparison of a target at a time. With adopt it revokes in the ledger what is
// REVOKED at AWS, up to limit certificates, as the actor.
func (t *targets) Reconcile(ctx context.Context, name string, adopt bool, limit int, actor string) (awsreg.Drift, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Drift{}, err
	}
	if !t.comparing[name].TryLock() {
		return awsreg.Drift{}, errComparing
	}
	defer t.comparing[name].Unlock()
	ctx = context.WithValue(ctx, adoptionKey{}, &adoption{left: limit, actor: actor})
	drift, err := t.registrar.Reconcile(ctx, target, adopt)
	if err != nil {
		return drift, err
	}
	drift.Target = name
	if drift.At.IsZero() {
		drift.At = t.s.ra.Now()
	}
	t.report(drift)
	t.drifts.count(name, drift)
	if err := t.drifts.keep(drift); err != nil {
		t.s.log.Error("what the comparison with AWS found is not kept", "target", name, "error", err)
	}
	return drift, nil
}

// report logs what a comparison found.
func (t *targets) report(drift awsreg.Drift) {
	log := t.s.log.With("target", drift.Target, "checked", drift.Checked, "repaired", len(drift.Repaired), "adopted", len(drift.Adopted), "left", len(drift.Left))
	switch n := drift.Unknown; {
	case n > 0:
		log.Error("AWS has certificates under our CAs that were never issued here: the key of a CA may be in other hands", "unknown", n)
	case len(drift.Left) > 0:
		log.Warn("AWS and the ledger differ, and a person must decide: mintmark aws drift shows it")
	default:
		log.Info("AWS was compared with the ledger")
	}
}

// adoption is how much one comparison may revoke in the ledger, and as whom.
type adoption struct {
	mu    sync.Mutex
	left  int
	actor string
}

// adoptionKey is the context key of the adoption of a comparison.
type adoptionKey struct{}

// adopt revokes in the ledger what was found REVOKED at AWS: device and claim
// certificates, and of one comparison no more than it may. Nothing is revoked
// if that is too little for all of them.
func (t *targets) adopt(ctx context.Context, serials []ledger.Serial) error {
	a, ok := ctx.Value(adoptionKey{}).(*adoption)
	if !ok {
		return errors.New("no comparison asks for this")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var due []ledger.Serial
	for _, serial := range serials {
		c, err := t.s.ledger.Certificate(ctx, serial)
		if err != nil {
			return fmt.Errorf("looking up certificate %s: %w", serial, err)
		}
		if c.Purpose != ledger.ForDevice && c.Purpose != ledger.ForClaim {
			return fmt.Errorf("certificate %s is for %s, which no cloud decides about", serial, c.Purpose)
		}
		if c.State == ledger.Valid && !slices.Contains(due, serial) {
			due = append(due, serial)
		}
	}
	if len(due) > a.left {
		return fmt.Errorf("%d certificates are revoked at AWS and valid here, and %d may be revoked in one run (access.revoke_limit): find out who revoked them, and revoke them with mintmark cert revoke", len(due), a.left)
	}
	for _, serial := range due {
		if _, err := t.s.ra.Revoke(ctx, ledger.Selector{Serial: serial, Most: 1}, ledger.Unspecified, a.actor); err != nil {
			return fmt.Errorf("revoking certificate %s: %w", serial, err)
		}
		a.left--
	}
	return nil
}

// keepReconciled compares a target with the ledger at the configured interval,
// on the server that delivers to it.
func (t *targets) keepReconciled(ctx context.Context, target awsreg.Target) {
	every := t.s.config.AWS.Reconcile
	if every <= 0 {
		return
	}
	timer := time.NewTimer(min(firstComparison, every))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	jobs.Run(ctx, jobs.Config{
		Ledger: t.s.ledger, Name: awsreg.TaskKind(target) + "/compare", Holder: t.s.config.Server, TTL: awsLease, Every: every,
		Now: t.s.ra.Now, Logger: t.s.log,
	}, func(ctx context.Context, _ ledger.Fence) error {
		if !t.ours[target.Name].Load() {
			return nil // another server delivers to it, and compares it, too
		}
		_, err := t.Reconcile(ctx, target.Name, t.s.config.AWS.Adopt, t.s.config.Access.RevokeLimit, "aws/"+target.Name)
		if errors.Is(err, errComparing) {
			return nil // a person was quicker
		}
		return err
	})
}
