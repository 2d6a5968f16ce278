package server

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"mintmark/admin/adminhttp"
	"mintmark/awsreg"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/internal/outbox"
	"mintmark/internal/reconcile"
)

// awsTargets are the AWS accounts and regions of the configuration.
type awsTargets struct {
	s         *Server
	list      []awsreg.Target // as configured: what they are now is targets
	registrar *awsreg.Registrar
	by        map[string]*delivery    // by name of the target
	left      map[string]*outstanding // what only AWS IoT is still to be told, by name of the target
	found     *found[awsreg.Drift]    // what the last comparisons found
}

func newAWSTargets(s *Server) (*awsTargets, error) {
	t := &awsTargets{s: s, by: make(map[string]*delivery), left: make(map[string]*outstanding), found: newFound(s.config.Dir, "aws", awsTally)}
	var err error
	if t.list, err = awsTargetsOf(s.config, s.ra.Profiles); err != nil {
		return nil, err
	}
	for _, target := range t.list {
		d, left := newDelivery(), newOutstanding()
		t.by[target.Name], t.left[target.Name] = d, left
		for _, kind := range []string{awsreg.TaskKind(target), awsreg.UrgentKind(target)} {
			d.add(outbox.Config{
				Ledger: s.ledger, Kind: kind, Now: s.ra.Now, Logger: s.log,
				// As much as keeps the account's quotas busy; the registrar bounds each call.
				Batch: awsreg.BatchSize, Timeout: 5 * time.Minute,
				Deliver: func(ctx context.Context, tasks []ledger.Task) []error {
					errs := t.registrar.Deliver(ctx, t.as(target), tasks)
					left.note(tasks, errs)
					return errs
				},
			})
		}
	}
	t.registrar, err = awsreg.New(awsreg.Config{
		Issuer: t.issuer, Verification: t.verification, Records: s.ledger, Revoke: t.adopt,
		Server: s.config.Server, Now: s.ra.Now, Logger: s.log,
	})
	return t, err
}

// issuer is what awsreg must know of an issuing CA: its certificate, and the
// subject attributes that every certificate under it has. NAME@ROOT is the certificate
// of an authority under another root than the one that it goes by.
func (t *awsTargets) issuer(_ context.Context, name string) (awsreg.Issuer, error) {
	certificate, err := t.s.certificateOf(name)
	if err != nil {
		return awsreg.Issuer{}, err
	}
	configured := t.configuredAs(name)
	var subject []string
	for _, c := range t.s.config.AWS.Targets {
		for _, a := range c.CAs {
			if a.Issuer == configured && a.JITP != nil {
				for _, attribute := range t.s.ra.Profiles[a.JITP.Profile].AlwaysInSubject() {
					if n, ok := awsName[attribute]; ok {
						subject = append(subject, n)
					}
				}
				return awsreg.Issuer{Name: name, Certificate: certificate, Subject: subject}, nil
			}
		}
	}
	return awsreg.Issuer{Name: name, Certificate: certificate}, nil
}

// verification proves possession of an issuing CA's key; NAME@ROOT has that of NAME, and
// its subject.
func (t *awsTargets) verification(ctx context.Context, name, code string) ([]byte, error) {
	name, _, _ = strings.Cut(name, "@")
	return t.s.ra.Verification(ctx, name, code)
}

// configuredAs is the name under which the configuration has what a CA needs: its own, or
// that of the one that it replaces.
func (t *awsTargets) configuredAs(name string) string {
	name, _, _ = strings.Cut(name, "@")
	configured := func() bool {
		return slices.ContainsFunc(t.s.config.AWS.Targets, func(c config.AWSTarget) bool {
			return slices.ContainsFunc(c.CAs, func(a config.AWSCA) bool { return a.Issuer == name })
		})
	}
	// The last one first: each may have replaced what replaced another.
	for _, r := range slices.Backward(t.s.ra.KnownRotations()) {
		if r.Kind == ledger.RotateIssuing && r.New == name && !configured() {
			name = r.Old
		}
	}
	for _, r := range t.s.ra.KnownRotations() {
		if r.Kind == ledger.RotateIssuing && r.Old == name && !configured() {
			name = r.New // the file has followed
		}
	}
	return name
}

// targets are the targets as running rotations change them. No I/O.
func (t *awsTargets) targets() []awsreg.Target {
	at := moments(t.s.ra.KnownRotations(), nil)
	if len(at) == 0 {
		return t.list
	}
	var list []awsreg.Target
	h := t.s.hierarchy()
	for _, target := range t.list {
		list = append(list, awsAt(target, at, h))
	}
	return list
}

// as is a configured target as running rotations change it.
func (t *awsTargets) as(configured awsreg.Target) awsreg.Target {
	target, err := t.find(configured.Name)
	if err != nil {
		return configured // which is no target of ours
	}
	return target
}

// check refuses to start with a target that names an authority which is not
// there: its registrations would never come.
func (t *awsTargets) check() error {
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
func (t *awsTargets) Targets() []string {
	names := make([]string, len(t.list))
	for i, target := range t.list {
		names[i] = target.Name
	}
	return names
}

// Place is the account and the region of a target.
func (t *awsTargets) Place(name string) (account, region string) {
	target, _ := t.find(name) // of one that is not there, nowhere
	return target.AccountID, target.Region
}

// find is a target as running rotations change it.
func (t *awsTargets) find(name string) (awsreg.Target, error) {
	for _, target := range t.targets() {
		if target.Name == name {
			return target, nil
		}
	}
	return awsreg.Target{}, fmt.Errorf("AWS target %q: %w", name, ledger.ErrNotFound)
}

// fleetLabels are the labels of work orders for the fleets of all targets.
func (t *awsTargets) fleetLabels() map[string]adminhttp.Label {
	labels := make(map[string]adminhttp.Label)
	for _, target := range t.list {
		for _, fleet := range target.Fleets {
			labels[target.Label(fleet)] = adminhttp.Label{Profile: adminhttp.FleetProfile, Orders: true, Target: target.Name}
		}
	}
	return labels
}

// Plan says what Apply would do to a target.
func (t *awsTargets) Plan(ctx context.Context, name string) (reconcile.Plan, error) {
	target, err := t.find(name)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return t.registrar.Plan(ctx, target)
}

// Apply brings a target to the configured state, as far as that was agreed to.
func (t *awsTargets) Apply(ctx context.Context, name string, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	target, err := t.find(name)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return t.applyTarget(ctx, target, agreed, progress)
}

func (t *awsTargets) applyTarget(ctx context.Context, target awsreg.Target, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	name := target.Name
	plan, err := t.registrar.ApplyAgreed(ctx, target, agreed, progress)
	for _, change := range plan.Changes {
		if change.Mutates() {
			// A new table knows nothing of what was issued before it, a new
			// registration nothing of what was revoked before it, and a new
			// fleet nothing of its orders.
			t.by[name].stale.Store(true)
		}
	}
	t.by[name].wake()
	t.by[name].beat.Set()
	return plan, err
}

// Status says what AWS has of a target, and counts certificates if asked to.
func (t *awsTargets) Status(ctx context.Context, name string, count bool) (awsreg.Status, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Status{}, err
	}
	return t.registrar.Status(ctx, target, count)
}

// IAMPolicy is what the server's credentials must be allowed for a target.
func (t *awsTargets) IAMPolicy(name string) (string, error) {
	target, err := t.find(name)
	if err != nil {
		return "", err
	}
	return awsreg.IAMPolicy(target)
}

// ClaimFromAWS has AWS issue a claim certificate for an order.
func (t *awsTargets) ClaimFromAWS(ctx context.Context, name string, order ledger.Order, csr []byte) (awsreg.Claim, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Claim{}, err
	}
	return t.registrar.ClaimFromAWS(ctx, target, order, csr)
}

// Claims lists the claim certificates of an order that the account knows, and
// counts the devices that came in with them.
func (t *awsTargets) Claims(ctx context.Context, name, order string) ([]awsreg.Claim, int, error) {
	target, err := t.find(name)
	if err != nil {
		return nil, 0, err
	}
	return t.registrar.Claims(ctx, target, order)
}

// Bulk writes the input of a bulk registration.
func (t *awsTargets) Bulk(ctx context.Context, name string, query ledger.Query, w io.Writer) (awsreg.Bulk, error) {
	target, err := t.find(name)
	if err != nil {
		return awsreg.Bulk{}, err
	}
	return t.registrar.WriteBulk(ctx, target, query, w)
}
