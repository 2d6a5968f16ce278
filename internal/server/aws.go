package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/awsreg"
	"mintmark/internal/config"
	"mintmark/internal/jobs"
	"mintmark/internal/ledger"
	"mintmark/internal/outbox"
	"mintmark/internal/reconcile"
)

// awsName translates a profile's subject attributes into the parameters of
// just-in-time provisioning (AWS IoT developer guide, jit-provisioning). An
// attribute without a parameter is not in the map.
var awsName = map[string]string{
	"commonName":         "CommonName",
	"serialNumber":       "SerialNumber",
	"country":            "Country",
	"stateOrProvince":    "StateName",
	"organization":       "Organization",
	"organizationalUnit": "OrganizationalUnit",
	"dnQualifier":        "DistinguishedNameQualifier",
}

// targets are the AWS accounts and regions of the configuration.
type targets struct {
	s         *Server
	list      []awsreg.Target
	registrar *awsreg.Registrar
	workers   map[string]*outbox.Worker // deliver each target's tasks
	beats     map[string]poke           // wake what keeps each target current
	stale     map[string]*atomic.Bool   // the target lacks what was recorded before it was there
	ours      map[string]*atomic.Bool   // this server has the lease of the target's deliveries
}

// awsLease is how long after a server's end another one takes over telling a
// target.
const awsLease = time.Minute

func newTargets(s *Server) (*targets, error) {
	t := &targets{s: s, workers: make(map[string]*outbox.Worker), beats: make(map[string]poke),
		stale: make(map[string]*atomic.Bool), ours: make(map[string]*atomic.Bool)}
	for i, c := range s.config.AWS.Targets {
		target, err := t.target(c)
		if err != nil {
			return nil, fmt.Errorf("aws.targets[%d]: %w", i, err)
		}
		t.list = append(t.list, target)
		t.beats[target.Name] = make(poke, 1)
		t.stale[target.Name], t.ours[target.Name] = new(atomic.Bool), new(atomic.Bool)
		t.workers[target.Name] = outbox.New(outbox.Config{
			Ledger: s.ledger, Kind: awsreg.TaskKind(target), Now: s.ra.Now, Logger: s.log,
			Deliver: func(ctx context.Context, tasks []ledger.Task) []error { return t.registrar.Deliver(ctx, target, tasks) },
		})
	}
	if err := awsreg.ValidateTargets(t.list); err != nil {
		return nil, err
	}
	var err error
	t.registrar, err = awsreg.New(awsreg.Config{
		Issuer: t.issuer, Verification: s.ra.Verification, Server: s.config.Server, Now: s.ra.Now, Logger: s.log,
	})
	return t, err
}

// target translates one target of the configuration.
func (t *targets) target(c config.AWSTarget) (awsreg.Target, error) {
	target := awsreg.Target{Name: c.Name, AccountID: c.AccountID, Region: c.Region, Profile: c.Profile, RoleARN: c.RoleARN, Endpoint: c.Endpoint,
		Manifest: awsreg.Manifest{Table: c.Manifest.Table, MaxAge: c.Manifest.MaxAge}}
	for _, a := range c.CAs {
		converted := awsreg.CA{Issuer: a.Issuer, Mode: a.Mode, Use: a.Use}
		if a.JITP != nil {
			profile := t.s.ra.Profiles[a.JITP.Profile]
			document, err := t.read(a.JITP.PolicyFile)
			if err != nil {
				return target, err
			}
			converted.JITP = &awsreg.JITP{
				RoleARN: a.JITP.RoleARN, Policy: a.JITP.Policy, PolicyDocument: document,
				ThingName: awsName[profile.DeviceID()],
			}
		}
		target.CAs = append(target.CAs, converted)
	}
	if c.JITR != nil {
		document, err := t.read(c.JITR.PolicyFile)
		if err != nil {
			return target, err
		}
		target.JITR = &awsreg.JITR{
			Function: c.JITR.Function, Rule: c.JITR.Rule, Policy: c.JITR.Policy, PolicyDocument: document,
		}
	}
	return target, nil
}

func (t *targets) read(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	data, err := os.ReadFile(t.s.config.Path(name))
	return string(data), err
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

func (t *targets) find(name string) (awsreg.Target, error) {
	for _, target := range t.list {
		if target.Name == name {
			return target, nil
		}
	}
	return awsreg.Target{}, fmt.Errorf("AWS target %q: %w", name, ledger.ErrNotFound)
}

// Plan says what Apply would do to a target.
func (t *targets) Plan(ctx context.Context, name string) (reconcile.Plan, error) {
	target, err := t.find(name)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return t.registrar.Plan(ctx, target)
}

// Apply brings a target to the configured state.
func (t *targets) Apply(ctx context.Context, name string, progress func(reconcile.Change)) (reconcile.Plan, error) {
	target, err := t.find(name)
	if err != nil {
		return reconcile.Plan{}, err
	}
	plan, err := t.registrar.Apply(ctx, target, progress)
	for _, change := range plan.Changes {
		if change.Mutates() && (change.Kind == "table" || change.Kind == "ca") {
			// A new table knows nothing of what was issued before it, and a new
			// registration nothing of what was revoked before it.
			t.stale[name].Store(true)
		}
	}
	t.workers[name].Poke()
	t.beats[name].Set()
	return plan, err
}

// Status says what AWS has of a target.
func (t *targets) Status(ctx context.Context, name string) (awsreg.Status, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Status{}, err
	}
	return t.registrar.Status(ctx, target)
}

// IAMPolicy is what the server's credentials must be allowed for a target.
func (t *targets) IAMPolicy(name string) (string, error) {
	target, err := t.find(name)
	if err != nil {
		return "", err
	}
	return awsreg.IAMPolicy(target)
}

// run delivers what each target must be told, until ctx ends. Of several servers
// one does it, under a lease; and each tells what its own Apply made necessary.
func (t *targets) run(ctx context.Context) {
	var wait sync.WaitGroup
	for _, target := range t.list {
		lease := jobs.Config{
			Ledger: t.s.ledger, Name: awsreg.TaskKind(target), Holder: t.s.config.Server, TTL: awsLease, Every: awsLease / 4,
			Now: t.s.ra.Now, Logger: t.s.log,
		}
		wait.Go(func() {
			jobs.Run(ctx, lease, func(ctx context.Context, _ ledger.Fence) error { return t.deliver(ctx, target) })
		})
		wait.Go(func() { t.keepCurrent(ctx, target) })
	}
	wait.Wait()
}

// deliver tells a target for as long as the lease lasts. Deliveries may come
// again and in any order (awsreg), so that one which a paused server brings
// after its lease does no harm.
func (t *targets) deliver(ctx context.Context, target awsreg.Target) error {
	t.stale[target.Name].Store(true)
	t.ours[target.Name].Store(true)
	defer t.ours[target.Name].Store(false)
	t.beats[target.Name].Set()
	if err := t.workers[target.Name].Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// keepCurrent tells a target all that was recorded before it could be told:
// when this server begins to deliver to it, and after its table or a
// registration was made here. The server that delivers then says again and
// again, with JITR, that the manifest is complete, for as long as it is: the
// activator trusts a manifest no longer than its maximum age.
func (t *targets) keepCurrent(ctx context.Context, target awsreg.Target) {
	const often, seldom = 2 * time.Second, time.Minute
	for {
		pause := seldom
		asOf := t.s.ra.Now()
		backlog, err := t.s.ledger.Backlog(ctx)
		switch {
		case err != nil:
		case t.stale[target.Name].Swap(false):
			if err = t.tellAll(ctx, target); err != nil {
				t.stale[target.Name].Store(true)
			} else {
				pause = 0
			}
		case !t.ours[target.Name].Load():
		case backlog[awsreg.TaskKind(target)] > 0:
			pause = often // until it is drained
		case target.JITR != nil:
			err = t.registrar.Beat(ctx, target, asOf)
		}
		if err != nil && ctx.Err() == nil {
			t.s.log.Warn("keeping AWS current", "target", target.Name, "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-t.beats[target.Name]:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// tellAll delivers what there is to tell of every unexpired certificate under
// the target's CAs. Deliveries are idempotent.
func (t *targets) tellAll(ctx context.Context, target awsreg.Target) error {
	told := 0
	for _, a := range target.CAs {
		query := ledger.Query{Issuer: a.Issuer, Purpose: ledger.ForDevice, Limit: 1000}
		for more := true; more; {
			page, err := t.s.ledger.Certificates(ctx, query)
			if err != nil {
				return err
			}
			var tasks []ledger.Task
			for _, c := range page.Certificates {
				if (c.State == ledger.Valid || c.State == ledger.Revoked) && t.s.ra.Now().Before(c.NotAfter) {
					tasks = append(tasks, awsreg.TasksFor([]awsreg.Target{target}, c)...)
				}
			}
			for batch := range slices.Chunk(tasks, 100) {
				if err := errors.Join(t.registrar.Deliver(ctx, target, batch)...); err != nil {
					return fmt.Errorf("telling of certificates under %s: %w", a.Issuer, err)
				}
				told += len(batch)
			}
			query.After, more = page.Next, page.Next != ""
		}
	}
	if told > 0 {
		t.s.log.Info("told AWS of every certificate", "target", target.Name, "certificates", told)
	}
	return nil
}
