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
	signing sync.Mutex // one CRL at a time: numbers rise in the order of signing
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

// PublishDue signs the CRL of each authority that has none, whose period is
// over, or whose CRL does not show a revocation. One authority's failure does
// not stop the others; the first error is returned.
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
		latest, err := p.Ledger.LatestCRL(ctx, authority.Name())
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			errs = append(errs, err)
			continue
		case pending[authority.Name()] == 0 && p.Now().Before(latest.ThisUpdate.Add(p.Period)):
			p.nextUpdate.WithLabelValues(authority.Name()).Set(float64(latest.NextUpdate.Unix()))
			continue
		}
		if err := p.Publish(ctx, fence, authority); err != nil && !errors.Is(err, ca.ErrNoSigner) {
			p.failures.WithLabelValues(authority.Name()).Inc()
			p.Logger.Error("publishing a CRL", "issuer", authority.Name(), "error", err)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Publish signs and stores the next CRL of one authority. ca.ErrNoSigner if
// its key is elsewhere.
func (p *Publisher) Publish(ctx context.Context, fence ledger.Fence, authority *ca.Authority) error {
	p.signing.Lock()
	defer p.signing.Unlock()
	// Before a number is taken: an authority whose key is elsewhere would take
	// one every minute.
	if err := authority.Open(ctx); err != nil {
		return fmt.Errorf("signing a CRL of %s: %w", authority.Name(), err)
	}
	now := p.Now().Truncate(time.Second)
	work, err := p.Ledger.NextCRL(ctx, fence, authority.Name(), now, p.Period)
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
