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
	// Endpoint is where devices connect; the simulator's has a port.
	Endpoint string
	CAs      []CAStatus
	// Unconfigured are CAs of ours at AWS that the target does not have.
	Unconfigured []Unconfigured
	Manifest     *ManifestStatus // nil if no function decides
	// Resources are everything else that the target consists of: tables, thing
	// types and groups, policies, templates, topic rules, certificate provider.
	Resources []ResourceStatus
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
	// Certificates are how many device certificates are under it, by AWS's words
	// for their status; nil unless they were asked for and it is registered.
	Certificates map[string]int
	// Wanted is the state in the configuration (StateActive and so on).
	Wanted string
	// Findings are what Preflight says.
	Findings []Finding
}

// ResourceStatus is one thing that a target consists of.
type ResourceStatus struct {
	Kind  string
	Name  string
	There bool
	// Differs says what is not as it should be, and what would make it so; empty
	// if it is as it should be.
	Differs string
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

// Status reads a target. It changes nothing. With count it counts the
// certificates under each CA, which takes one call for 250 of them.
func (r *Registrar) Status(ctx context.Context, t Target, count bool) (Status, error) {
	s, _, plan, err := r.examine(ctx, t)
	if err != nil {
		return Status{}, err
	}
	status := Status{Target: t.Name, AccountID: t.AccountID, Region: t.Region, Plan: plan, Resources: resourceStatus(plan)}
	if err := r.readStatus(ctx, s, &status); err != nil {
		return Status{}, fmt.Errorf("AWS target %q: %w", t.Name, err)
	}
	if !count {
		return status, nil
	}
	for i, ca := range status.CAs {
		if !ca.Registered {
			continue
		}
		n, err := r.countByCA(ctx, s.iot, ca.CertificateID)
		if err != nil {
			return Status{}, explain(fmt.Sprintf("AWS target %q: counting the certificates under CA %q", t.Name, ca.Issuer), err)
		}
		status.CAs[i].Certificates = make(map[string]int, len(n))
		for word, k := range n {
			status.CAs[i].Certificates[string(word)] = k
		}
	}
	return status, nil
}

// readStatus reads what a plan does not show.
func (r *Registrar) readStatus(ctx context.Context, s *session, status *Status) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	if status.Endpoint, err = s.endpoint(ctx); err != nil {
		return err
	}
	for _, ca := range s.target.CAs {
		one, err := r.caStatus(ctx, s, ca)
		if err != nil {
			return err
		}
		status.CAs = append(status.CAs, one)
	}
	if status.Unconfigured, err = r.unconfigured(ctx, s); err != nil {
		return err
	}
	if s.target.decides() {
		status.Manifest, err = r.manifest(ctx, s)
	}
	return err
}

// resourceStatus reads a plan as a report.
func resourceStatus(plan reconcile.Plan) []ResourceStatus {
	var list []ResourceStatus
	for _, c := range plan.Changes {
		if c.Kind == kindCA || c.Kind == kindSweep {
			continue
		}
		one := ResourceStatus{Kind: c.Kind, Name: c.Subject, There: c.Before != ""}
		switch c.Action {
		case reconcile.None:
			one.There = c.After != absent
		case reconcile.Create, reconcile.Refuse:
			one.Differs = c.After
		default:
			one.Differs = fmt.Sprintf("it is %s; it should be %s", or(c.Before, absent), or(c.After, absent))
		}
		list = append(list, one)
	}
	return list
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
		Wanted:        ca.state(),
		NotAfter:      issuer.Certificate.NotAfter,
		Findings:      Preflight(issuer, s.target, ca, r.cfg.Now()),
	}
	if ca.Mode == ModeNone {
		one.Mode = ca.Mode // which says why it is not registered
		return one, nil
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
