package server

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/admin/adminhttp"
	"mintmark/awsreg"
	"mintmark/internal/ledger"
	"mintmark/internal/outbox"
	"mintmark/internal/reconcile"
)

// targets are the AWS accounts and regions of the configuration.
type targets struct {
	s         *Server
	list      []awsreg.Target
	registrar *awsreg.Registrar
	workers   map[string][]*outbox.Worker // deliver each target's tasks, the urgent ones apart
	beats     map[string]poke             // wake what keeps each target current
	stale     map[string]*atomic.Bool     // the target lacks what was recorded before it was there
	ours      map[string]*atomic.Bool     // this server has the lease of the target's deliveries
	left      map[string]*outstanding     // what only AWS IoT is still to be told
	comparing map[string]*sync.Mutex      // held by the one comparison with the ledger that runs
	drifts    *found[awsreg.Drift]        // what the last comparisons found
}

func newTargets(s *Server) (*targets, error) {
	t := &targets{s: s, workers: make(map[string][]*outbox.Worker), beats: make(map[string]poke),
		stale: make(map[string]*atomic.Bool), ours: make(map[string]*atomic.Bool),
		left: make(map[string]*outstanding), comparing: make(map[string]*sync.Mutex), drifts: newDrifts(s.config.Dir)}
	var err error
	if t.list, err = targetsOf(s.config, s.ra.Profiles); err != nil {
		return nil, err
	}
	for _, target := range t.list {
		t.beats[target.Name] = make(poke, 1)
		t.stale[target.Name], t.ours[target.Name] = new(atomic.Bool), new(atomic.Bool)
		t.left[target.Name], t.comparing[target.Name] = newOutstanding(), new(sync.Mutex)
		for _, kind := range []string{awsreg.TaskKind(target), awsreg.UrgentKind(target)} {
			t.workers[target.Name] = append(t.workers[target.Name], outbox.New(outbox.Config{
				Ledger: s.ledger, Kind: kind, Now: s.ra.Now, Logger: s.log,
				// As much as keeps the account's quotas busy; the registrar bounds each call.
				Batch: awsreg.BatchSize, Timeout: 5 * time.Minute,
				Deliver: func(ctx context.Context, tasks []ledger.Task) []error {
					errs := t.registrar.Deliver(ctx, target, tasks)
					t.left[target.Name].note(tasks, errs)
					return errs
				},
			}))
		}
	}
	t.registrar, err = awsreg.New(awsreg.Config{
		Issuer: t.issuer, Verification: s.ra.Verification, Records: s.ledger, Revoke: t.adopt,
		Server: s.config.Server, Now: s.ra.Now, Logger: s.log,
	})
	return t, err
}

// issuer is what awsreg must know of an issuing CA: its certificate, and the
// subject attributes that every certificate under it has.
func (t *targets) issuer(_ context.Context, name string) (awsreg.Issuer, error) {
	authority, err := t.s.ra.Authority(name)
	if err != nil {
		return awsreg.Issuer{}, err
	}
	var subject []string
	for _, c := range t.s.config.AWS.Targets {
		for _, a := range c.CAs {
			if a.Issuer == name && a.JITP != nil {
				for _, attribute := range t.s.ra.Profiles[a.JITP.Profile].AlwaysInSubject() {
					if n, ok := awsName[attribute]; ok {
						subject = append(subject, n)
					}
				}
				return awsreg.Issuer{Name: name, Certificate: authority.Certificate(), Subject: subject}, nil
			}
		}
	}
	return awsreg.Issuer{Name: name, Certificate: authority.Certificate()}, nil
}

// check refuses to start with a target that names an authority which is not
// there: its registrations would never come.
func (t *targets) check() error {
	for i, target := range t.list {
		for j, a := range target.CAs {
			if _, err := t.s.ra.Authority(a.Issuer); err != nil {
				return fmt.Errorf("aws.targets[%d].cas[%d].issuer: %w: create it with mintmark ca create", i, j, err)
			}
		}
	}
	return nil
}

// Targets lists the names of the configured targets.
func (t *targets) Targets() []string {
	names := make([]string, len(t.list))
	for i, target := range t.list {
		names[i] = target.Name
	}
	return names
}

// Place is the account and the region of a target.
func (t *targets) Place(name string) (account, region string) {
	target, _ := t.find(name) // of one that is not there, nowhere
	return target.AccountID, target.Region
}

func (t *targets) find(name string) (awsreg.Target, error) {
	for _, target := range t.list {
		if target.Name == name {
			return target, nil
		}
	}
	return awsreg.Target{}, fmt.Errorf("AWS target %q: %w", name, ledger.ErrNotFound)
}

// fleetLabels are the labels of work orders for the fleets of all targets.
func (t *targets) fleetLabels() map[string]adminhttp.Label {
	labels := make(map[string]adminhttp.Label)
	for _, target := range t.list {
		for _, fleet := range target.Fleets {
			labels[target.Label(fleet)] = adminhttp.Label{Profile: adminhttp.FleetProfile, Orders: true, Target: target.Name}
		}
	}
	return labels
}

// Plan says what Apply would do to a target.
func (t *targets) Plan(ctx context.Context, name string) (reconcile.Plan, error) {
	target, err := t.find(name)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return t.registrar.Plan(ctx, target)
}

// Apply brings a target to the configured state, as far as that was agreed to.
func (t *targets) Apply(ctx context.Context, name string, agreed awsreg.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	target, err := t.find(name)
	if err != nil {
		return reconcile.Plan{}, err
	}
	plan, err := t.registrar.ApplyAgreed(ctx, target, agreed, progress)
	for _, change := range plan.Changes {
		if change.Mutates() {
			// A new table knows nothing of what was issued before it, a new
			// registration nothing of what was revoked before it, and a new
			// fleet nothing of its orders.
			t.stale[name].Store(true)
		}
	}
	t.wake(name)
	t.beats[name].Set()
	return plan, err
}

// Status says what AWS has of a target, and counts certificates if asked to.
func (t *targets) Status(ctx context.Context, name string, count bool) (awsreg.Status, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Status{}, err
	}
	return t.registrar.Status(ctx, target, count)
}

// IAMPolicy is what the server's credentials must be allowed for a target.
func (t *targets) IAMPolicy(name string) (string, error) {
	target, err := t.find(name)
	if err != nil {
		return "", err
	}
	return awsreg.IAMPolicy(target)
}

// ClaimFromAWS has AWS issue a claim certificate for an order.
func (t *targets) ClaimFromAWS(ctx context.Context, name string, order ledger.Order, csr []byte) (awsreg.Claim, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Claim{}, err
	}
	return t.registrar.ClaimFromAWS(ctx, target, order, csr)
}

// Claims lists the claim certificates of an order that the account knows, and
// counts the devices that came in with them.
func (t *targets) Claims(ctx context.Context, name, order string) ([]awsreg.Claim, int, error) {
	target, err := t.find(name)
	if err != nil {
		return nil, 0, err
	}
	return t.registrar.Claims(ctx, target, order)
}

// Bulk writes the input of a bulk registration.
func (t *targets) Bulk(ctx context.Context, name string, query ledger.Query, w io.Writer) (awsreg.Bulk, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Bulk{}, err
	}
	return t.registrar.WriteBulk(ctx, target, query, w)
}
