package ocsp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

const (
	// making bounds the issuance of a responder's certificate.
	making = 30 * time.Second
	// makingPause is how long nobody tries again after a failure.
	makingPause = 5 * time.Second
)

// office is the responder of one authority, with the next one in the making.
type office struct {
	mu      sync.Mutex
	current *delegate
	making  chan struct{} // closed when the next one is there or not; nil while none is made
	failed  time.Time
	err     error
}

var errNoDelegate = errors.New("the responder has no certificate")

// delegate returns who signs for an authority. One that is past half of its life
// is replaced in the background; without one the caller waits for it.
func (r *Responder) delegate(ctx context.Context, a *ca.Authority) (*delegate, error) {
	o := r.office(a.Name())
	for {
		now := r.Now()
		o.mu.Lock()
		d := o.current
		serves := d.serves(a, now)
		if serves && !d.old(now) {
			o.mu.Unlock()
			return d, nil
		}
		if o.making == nil && (o.failed.IsZero() || now.Sub(o.failed).Abs() >= makingPause) {
			o.making = make(chan struct{})
			go r.appoint(context.WithoutCancel(ctx), o, a)
		}
		made, err := o.making, o.err
		o.mu.Unlock()
		switch {
		case serves:
			return d, nil
		case made == nil:
			return nil, fmt.Errorf("%w: %w", errNoDelegate, err)
		}
		select {
		case <-made:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the responder's certificate: %w", ctx.Err())
		}
	}
}

// appoint has an authority certify its next responder.
func (r *Responder) appoint(ctx context.Context, o *office, a *ca.Authority) {
	ctx, cancel := context.WithTimeout(ctx, making)
	defer cancel()
	var d *delegate
	certificate, key, err := r.Issue(ctx, a.Name())
	if err == nil {
		d, err = newDelegate(a, certificate, key)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.making)
	o.making = nil
	if err != nil {
		o.failed, o.err = r.Now(), err
		r.Logger.Error("certifying an OCSP responder", "issuer", a.Name(), "error", err)
		return
	}
	o.current, o.failed, o.err = d, time.Time{}, nil
	r.metrics.notAfter.WithLabelValues(a.Name()).Set(float64(certificate.NotAfter.Unix()))
	r.Logger.Info("an OCSP responder was certified", "issuer", a.Name(), "serial", serialOf(certificate.SerialNumber), "not_after", certificate.NotAfter)
}

func (r *Responder) office(name string) *office {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.offices[name]
	if o == nil {
		o = &office{}
		r.offices[name] = o
	}
	return o
}

// dismiss has nobody sign any more by a certificate that was revoked. Relying parties
// do not look, because it says that they need not (id-pkix-ocsp-nocheck): what
// it has signed is dropped here, and ends by itself elsewhere.
func (r *Responder) dismiss(serials []ledger.Serial) {
	changed := make(map[ledger.Serial]bool, len(serials))
	for _, serial := range serials {
		changed[serial] = true
	}
	r.mu.Lock()
	offices := make(map[string]*office, len(r.offices))
	for name, o := range r.offices {
		offices[name] = o
	}
	r.mu.Unlock()
	for name, o := range offices {
		o.mu.Lock()
		d := o.current
		gone := d != nil && changed[serialOf(d.certificate.SerialNumber)]
		if gone {
			o.current = nil
		}
		o.mu.Unlock()
		if gone {
			r.cache.dropSigner(d)
			r.Logger.Warn("the certificate of an OCSP responder was revoked; another is asked for", "issuer", name, "serial", serialOf(d.certificate.SerialNumber))
		}
	}
}
