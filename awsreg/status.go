package awsreg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/awsreg/hook"
	"mintmark/internal/reconcile"
)

// Status is what a target looks like now.
type Status struct {
	Target    string
	AccountID string
	Region    string
	CAs       []CAStatus
	Manifest  *ManifestStatus // nil if no function decides
	// Plan is what Apply would do; empty when the target is as it should be.
	Plan reconcile.Plan
}

// CAStatus is one CA of a target.
type CAStatus struct {
	Issuer        string
	CertificateID string
	Use           string
	NotAfter      time.Time
	Registered    bool
	// The following are AWS's words, empty unless Registered.
	State            string
	Mode             string
	AutoRegistration string
	// Findings are what Preflight says.
	Findings []Finding
}

// ManifestStatus is the state of the functions' manifest.
type ManifestStatus struct {
	Table    string
	PushedAt time.Time // zero if it was never complete
	Server   string
	MaxAge   time.Duration
	// Fresh reports whether the Lambda would act on it.
	Fresh bool
}

// Status reads a target. It changes nothing.
func (r *Registrar) Status(ctx context.Context, t Target) (Status, error) {
	plan, err := r.Plan(ctx, t)
	if err != nil {
		return Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	s, err := r.session(ctx, t, false)
	if err != nil {
		return Status{}, err
	}
	status := Status{Target: t.Name, AccountID: t.AccountID, Region: t.Region, Plan: plan}
	for _, ca := range t.CAs {
		one, err := r.caStatus(ctx, s, ca)
		if err != nil {
			return Status{}, fmt.Errorf("AWS target %q: %w", t.Name, err)
		}
		status.CAs = append(status.CAs, one)
	}
	if t.JITR != nil {
		if status.Manifest, err = r.manifest(ctx, s); err != nil {
			return Status{}, fmt.Errorf("AWS target %q: %w", t.Name, err)
		}
	}
	return status, nil
}

func (r *Registrar) caStatus(ctx context.Context, s *session, ca CA) (CAStatus, error) {
	issuer, err := r.issuer(ctx, ca.Issuer)
	if err != nil {
		return CAStatus{}, err
	}
	one := CAStatus{
		Issuer:        ca.Issuer,
		CertificateID: CertificateID(issuer.Certificate.Raw),
		Use:           ca.Use,
		NotAfter:      issuer.Certificate.NotAfter,
		Findings:      Preflight(issuer, s.target, ca, r.cfg.Now()),
	}
	var state *caState
	err = retry(ctx, func() (err error) {
		state, err = describeCA(ctx, s.iot, one.CertificateID, issuer)
		return err
	})
	if err != nil || state == nil {
		return one, err
	}
	one.Registered = true
	one.State, one.Mode, one.AutoRegistration = string(state.status), string(state.mode), string(state.auto)
	return one, nil
}

func (r *Registrar) manifest(ctx context.Context, s *session) (*ManifestStatus, error) {
	m := &ManifestStatus{Table: s.target.Manifest.table(), MaxAge: s.target.Manifest.maxAge()}
	var head hook.Head
	err := retry(ctx, func() (err error) {
		head, err = hook.Table{Client: s.dynamo, Name: m.Table}.Head(ctx)
		return err
	})
	if errors.Is(err, hook.ErrUnknown) || code(err) == codeNotFound { // never pushed, or no table yet
		return m, nil
	}
	if err != nil {
		return nil, explain("reading the manifest's head", err)
	}
	m.PushedAt, m.Server = head.PushedAt, head.Server
	if head.MaxAge > 0 {
		m.MaxAge = head.MaxAge
	}
	m.Fresh = r.cfg.Now().Sub(m.PushedAt) <= m.MaxAge
	return m, nil
}
