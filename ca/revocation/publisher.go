// Package revocation publishes what is revoked: one CRL per authority, signed
// on a schedule and soon after each revocation, and served over plain HTTP
// together with the CA certificates that devices look for.
//
// It owns the schedule and the HTTP shape. What is revoked stands in the
// ledger; the encoding and the signature of a CRL are package ca's.
package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"crypto/x509"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// Config is what New needs; every field must be set.
type Config struct {
	Ledger ledger.Revocations
	// Authorities lists those whose CRLs are ours to sign, as they are now.
	Authorities func() []*ca.Authority
	// Period is how often a CRL is signed when nothing is revoked.
	Period time.Duration
	// Lifetime is from thisUpdate to nextUpdate.
	Lifetime time.Duration
	Now      func() time.Time
	Logger   *slog.Logger
}

// Publisher signs and serves CRLs. Its methods may be called concurrently.
type Publisher struct {
	Config
	// signing holds the *turn of each authority by its name: numbers rise in the order
	// of signing, and a key that hangs keeps its own CRL only.
	signing sync.Map
	cached  struct {
		sync.Mutex
		crls map[string]cachedCRL
	}

	nextUpdate *prometheus.GaugeVec
	failures   *prometheus.CounterVec
}

// cachedCRL is a CRL as it was read.
type cachedCRL struct {
	crl ledger.CRL
	at  time.Time
}

// New returns a publisher that has published nothing yet.
func New(config Config) *Publisher {
	p := &Publisher{
		Config: config,
		nextUpdate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "crl_next_update_timestamp_seconds",
			Help: "nextUpdate of the latest CRL of each authority, in Unix time.",
		}, []string{"issuer"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crl_failures_total",
			Help: "CRLs that could not be signed or stored.",
		}, []string{"issuer"}),
	}
	p.cached.crls = make(map[string]cachedCRL)
	return p
}

// Metrics lists the collectors.
func (p *Publisher) Metrics() []prometheus.Collector {
	return []prometheus.Collector{p.nextUpdate, p.failures}
}

const (
	// patience is how long the CRLs of the others wait for one. It goes on beside them.
	patience = 2 * time.Second
	// hung is when the signature of a CRL has failed, whether it comes back or not.
	hung = time.Minute
)

// errSigning says that the CRL of an authority is being signed still.
var errSigning = errors.New("the signature of a CRL that was begun before has not come back")

// PublishDue signs the CRL of each authority that has none, whose period is
// over, or whose CRL does not show a revocation. One authority's failure does
// not stop the others, and a key that hangs delays them by seconds at most; the
// errors are returned.
func (p *Publisher) PublishDue(ctx context.Context, fence ledger.Fence) error {
	pending, err := p.Ledger.RevocationsSince(ctx)
	if err != nil {
		return fmt.Errorf("counting unpublished revocations: %w", err)
	}
	var errs []error
	for _, authority := range p.Authorities() {
		// Nobody asks for the CRL of an authority that has expired, and it could
		// not be valid for any time.
		if !p.Now().Before(authority.Certificate().NotAfter) {
			p.nextUpdate.DeleteLabelValues(authority.Name())
			continue
		}
		latest, err := p.Ledger.LatestCRL(ctx, authority.Name(), 0)
		if err == nil {
			// Also of an authority whose key is elsewhere, whose CRLs come from there.
			p.nextUpdate.WithLabelValues(authority.Name()).Set(float64(latest.NextUpdate.Unix()))
		}
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			errs = append(errs, err)
			continue
		case pending[ledger.CRLName{Issuer: authority.Name()}] == 0 && p.Now().Before(latest.ThisUpdate.Add(p.Period)):
			continue
		}
		if err := p.publishSoon(ctx, fence, authority); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// publishSoon is Publish, left to itself if it takes longer than patience. What fails
// is logged and counted here, whenever it does.
func (p *Publisher) publishSoon(ctx context.Context, fence ledger.Fence, authority *ca.Authority) error {
	failed := func(err error) error {
		p.failures.WithLabelValues(authority.Name()).Inc()
		p.Logger.Error("publishing a CRL", "issuer", authority.Name(), "error", err)
		return err
	}
	t := p.turn(authority.Name())
	select {
	case <-t.free:
	default:
		if since := p.Now().Sub(time.Unix(0, t.began.Load())); since >= hung {
			return failed(fmt.Errorf("signing a CRL of %s: %w for %v", authority.Name(), errSigning, since.Round(time.Second)))
		}
		return nil // it may come yet
	}
	result := make(chan error, 1)
	t.began.Store(p.Now().UnixNano())
	go func() {
		defer func() { t.free <- struct{}{} }()
		// The work of a lease ends when all others are done. The fence keeps what comes
		// later from being stored where the lease was lost.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hung)
		defer cancel()
		err := p.publish(ctx, fence, authority)
		if errors.Is(err, ca.ErrNoSigner) {
			err = nil
		}
		if err != nil {
			err = failed(err)
		}
		result <- err
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		p.Logger.Warn("signing a CRL takes long: those of other authorities go first", "issuer", authority.Name())
		return nil
	}
}

// turn says whose it is to sign the CRL of an authority.
type turn struct {
	free  chan struct{} // holds a token while nobody signs
	began atomic.Int64  // when the last one did, in Unix nanoseconds
}

func (p *Publisher) turn(name string) *turn {
	fresh := &turn{free: make(chan struct{}, 1)}
	fresh.free <- struct{}{}
	t, _ := p.signing.LoadOrStore(name, fresh)
	return t.(*turn)
}

// Publish signs and stores the next CRL of one authority. ca.ErrNoSigner if
// its key is elsewhere.
func (p *Publisher) Publish(ctx context.Context, fence ledger.Fence, authority *ca.Authority) error {
	t := p.turn(authority.Name())
	select {
	case <-t.free:
		defer func() { t.free <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("signing a CRL of %s: %w: %w", authority.Name(), errSigning, ctx.Err())
	}
	t.began.Store(p.Now().UnixNano())
	return p.publish(ctx, fence, authority)
}

// publish is Publish for who has the turn.
func (p *Publisher) publish(ctx context.Context, fence ledger.Fence, authority *ca.Authority) error {
	// Before a number is taken: an authority whose key is elsewhere, or away, would
	// take one every minute.
	err := authority.Open(ctx)
	if err == nil {
		err = authority.Ready()
	}
	if err != nil {
		return fmt.Errorf("signing a CRL of %s: %w", authority.Name(), err)
	}
	now := p.Now().Truncate(time.Second)
	work, err := p.Ledger.NextCRL(ctx, fence, authority.Name(), 0, now, p.Period)
	if err != nil {
		return fmt.Errorf("taking the next CRL number of %s: %w", authority.Name(), err)
	}
	crl := ca.CRL{Number: big.NewInt(work.Number), ThisUpdate: now, NextUpdate: now.Add(p.Lifetime)}
	// A CRL that outlives its authority could not be verified to its end.
	if end := authority.Certificate().NotAfter; crl.NextUpdate.After(end) {
		crl.NextUpdate = end
	}
	for _, entry := range work.Entries {
		serial, ok := new(big.Int).SetString(string(entry.Serial), 16)
		if !ok {
			return fmt.Errorf("the ledger holds the serial number %q, which is not hexadecimal", entry.Serial)
		}
		// A revocation of this very moment, or one from before the clock was set
		// back, must not keep the CRL from being signed.
		at := entry.At.Truncate(time.Second)
		if at.After(now) {
			at = now
		}
		crl.Entries = append(crl.Entries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: at.UTC(), ReasonCode: int(entry.Reason)})
	}
	der, err := authority.SignCRL(ctx, crl)
	if err != nil {
		return fmt.Errorf("signing CRL %d of %s: %w", work.Number, authority.Name(), err)
	}
	err = p.Ledger.PutCRL(ctx, fence, ledger.CRL{
		Issuer: authority.Name(), Number: work.Number, ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate, DER: der,
	})
	if err != nil {
		return fmt.Errorf("storing CRL %d of %s: %w", work.Number, authority.Name(), err)
	}
	p.nextUpdate.WithLabelValues(authority.Name()).Set(float64(crl.NextUpdate.Unix()))
	p.Logger.Info("published a CRL", "issuer", authority.Name(), "number", work.Number, "entries", len(crl.Entries), "next_update", crl.NextUpdate)
	return nil
}
