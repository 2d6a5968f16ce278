package server

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/outbox"
	"mintmark/internal/reconcile"
)

// maxCloudSecret bounds a file with the credentials of a cloud: a certificate with
// its RSA key of 4096 bits has 6 KiB.
const maxCloudSecret = 64 << 10

// azureTargets are the Device Provisioning Services of the configuration.
type azureTargets struct {
	s         *Server
	list      []dpsreg.Target   // as configured: what they are now is targets
	registrar *dpsreg.Registrar // of CAs and groups
	devices   *dpsreg.Devices
	by        map[string]*delivery // by name of the target
	found     *found[dpsreg.Drift] // what the last comparisons found
}

func newAzureTargets(s *Server) (*azureTargets, error) {
	t := &azureTargets{s: s, by: make(map[string]*delivery), found: newFound(s.config.Dir, "azure", azureTally)}
	var err error
	if t.list, err = azureTargetsOf(s.config); err != nil {
		return nil, err
	}
	for _, target := range t.list {
		d := newDelivery()
		t.by[target.Name] = d
		for _, kind := range []string{dpsreg.TaskKind(target), dpsreg.UrgentKind(target)} {
			d.add(outbox.Config{
				Ledger: s.ledger, Kind: kind, Now: s.ra.Now, Logger: s.log,
				// Devices keeps to the service's quota and bounds each delivery.
				Batch: dpsreg.BatchSize, Timeout: 10 * time.Minute,
				Deliver: func(ctx context.Context, tasks []ledger.Task) []error {
					return t.devices.Deliver(ctx, t.as(target), tasks)
				},
			})
		}
	}
	connections, err := dpsreg.NewConnections(dpsreg.Connecting{
		Secret: func(path string) ([]byte, error) { return keystore.SecretFile(path, maxCloudSecret) },
		Now:    s.ra.Now, Logger: s.log,
	})
	if err != nil {
		return nil, err
	}
	t.registrar, err = dpsreg.New(connections, dpsreg.Config{
		Authorities: t.authorities, LabelIssuer: t.labelIssuers(), Strangers: t.strangers, Verification: s.ra.Verification, Carried: s.ra.CarriedVerification,
		Records: s.ledger,
	})
	if err != nil {
		return nil, err
	}
	t.devices, err = dpsreg.NewDevices(connections, t.authorities, s.ledger)
	return t, err
}

// authorities are all CAs of ours with what is above them.
func (t *azureTargets) authorities() []dpsreg.Authority {
	var list []dpsreg.Authority
	for _, a := range t.s.ra.Authorities() {
		one := dpsreg.Authority{Name: a.Name(), Certificate: a.Certificate(), Chain: a.Chain()}
		for _, r := range t.s.ra.KnownRotations() {
			// Groups stand on the new root alone before the switch.
			if r.Kind != ledger.RotateRoot || !r.Emergency || rotation.State(r.State).Over() {
				continue
			}
			if path := t.s.ra.PathUnder(a.Name(), r.New); len(path) > 1 {
				one.Under = append(one.Under, path[0])
			}
		}
		list = append(list, one)
	}
	return list
}

// labelIssuers are the issuing CAs of the EST labels.
func (t *azureTargets) labelIssuers() map[string]string {
	issuers := make(map[string]string)
	for _, l := range t.s.config.Labels {
		issuers[l.Name] = l.Issuer
	}
	return issuers
}

// strangers are the authorities whose certificates must let nobody in as a device, each
// with what it issues, and those that rotations have put in the place of one.
func (t *azureTargets) strangers() map[string]string {
	strangers := make(map[string]string)
	add := func(name, issues string) {
		for _, one := range t.s.ra.Related(name) {
			strangers[one] = issues
		}
	}
	for _, l := range t.s.config.Labels {
		if l.Gateway != "" {
			add(l.Issuer, "CA certificates of gateways")
		}
	}
	add(t.s.config.Orders.Issuer, "claim certificates")
	add(t.s.config.Access.Issuer, "certificates of officers")
	return strangers
}

// check refuses to start with a target that names an authority which is not
// there: its devices would never get in.
func (t *azureTargets) check() error {
	for _, n := range azureNeeds(t.s.config) {
		if _, err := t.s.ra.Authority(n.authority); err != nil {
			return fmt.Errorf("%s: %w: create it with mintmark ca create", n.field, err)
		}
	}
	for _, target := range t.list {
		if err := t.registrar.Check(target); err != nil {
			t.s.log.Warn("nothing can be applied to a DPS target before this is put right", "target", target.Name, "error", err)
		}
	}
	return nil
}

// names are those of the configured targets.
func (t *azureTargets) names() []string {
	names := make([]string, len(t.list))
	for i, target := range t.list {
		names[i] = target.Name
	}
	return names
}

// Places lists the targets with where they are.
func (t *azureTargets) Places() []admin.AzurePlace {
	places := []admin.AzurePlace{}
	for _, target := range t.targets() {
		place := admin.AzurePlace{
			Target: target.Name, SubscriptionID: target.SubscriptionID, ResourceGroup: target.ResourceGroup, Service: target.Service,
			IDScope: target.IDScope, Labels: []string{},
		}
		for _, group := range target.Groups {
			place.Labels = append(place.Labels, group.Labels...)
		}
		for _, enrollment := range target.Enrollments {
			place.Labels = append(place.Labels, enrollment.Labels...)
		}
		slices.Sort(place.Labels)
		place.Labels = slices.Compact(place.Labels)
		places = append(places, place)
	}
	return places
}

// targets are the targets as running rotations change them. No I/O.
func (t *azureTargets) targets() []dpsreg.Target {
	at := moments(t.s.ra.KnownRotations(), nil)
	if len(at) == 0 {
		return t.list
	}
	h := t.s.hierarchy()
	var list []dpsreg.Target
	for _, target := range t.list {
		list = append(list, azureAt(target, at, h))
	}
	return list
}

// as is a configured target as running rotations change it.
func (t *azureTargets) as(configured dpsreg.Target) dpsreg.Target {
	target, err := t.find(configured.Name)
	if err != nil {
		return configured // which is no target of ours
	}
	return target
}

// find is a target as running rotations change it.
func (t *azureTargets) find(name string) (dpsreg.Target, error) {
	for _, target := range t.targets() {
		if target.Name == name {
			return target, nil
		}
	}
	return dpsreg.Target{}, fmt.Errorf("DPS target %q: %w", name, ledger.ErrNotFound)
}

// Plan says what Apply would do to a target.
func (t *azureTargets) Plan(ctx context.Context, name string) (reconcile.Plan, error) {
	target, err := t.find(name)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return t.registrar.Plan(ctx, target)
}

// Apply brings a target to the configured state, as far as that was agreed to.
func (t *azureTargets) Apply(ctx context.Context, name string, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	target, err := t.find(name)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return t.applyTarget(ctx, target, agreed, progress)
}

func (t *azureTargets) applyTarget(ctx context.Context, target dpsreg.Target, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error) {
	name := target.Name
	plan, err := t.registrar.Apply(ctx, target, agreed, progress)
	if slices.ContainsFunc(plan.Changes, func(c reconcile.Change) bool { return c.Action == reconcile.Create }) {
		// A new group lets in what was blocked before it was there.
		t.by[name].stale.Store(true)
	}
	t.by[name].wake()
	t.by[name].beat.Set()
	return plan, err
}

// Bulk returns the individual enrollments of devices that have got certificates of a profile
// and a work order, as bodies for DPS. It makes no call to Azure.
func (t *azureTargets) Bulk(ctx context.Context, name, profile, order string, devices []string) ([]json.RawMessage, error) {
	target, err := t.find(name)
	if err != nil {
		return nil, err
	}
	if !target.Enrolled(ledger.Certificate{Purpose: ledger.ForDevice, Device: "any", Profile: profile, Order: order}) {
		return nil, fmt.Errorf("DPS target %q has no individual enrollments for certificates of profile %q that come without a label: azure.targets[].enrollments says for which it has, and devices of a group need none", name, profile)
	}
	list, err := t.devices.Bulk(ctx, target, devices)
	if err != nil {
		return nil, fmt.Errorf("DPS target %q: %w", name, err)
	}
	bodies := make([]json.RawMessage, len(list))
	for i, e := range list {
		if bodies[i], err = json.Marshal(e); err != nil {
			return nil, fmt.Errorf("encoding an enrollment: %w", err)
		}
	}
	return bodies, nil
}

// Status says what DPS has of a target, and counts if asked to.
func (t *azureTargets) Status(ctx context.Context, name string, count bool) (dpsreg.Status, error) {
	target, err := t.find(name)
	if err != nil {
		return dpsreg.Status{}, err
	}
	return t.registrar.Status(ctx, target, count)
}

// Bundle is what a machine with a network needs in the place of this CA.
func (t *azureTargets) Bundle(ctx context.Context, name string) (dpsreg.Bundle, error) {
	target, err := t.find(name)
	if err != nil {
		return dpsreg.Bundle{}, err
	}
	return t.registrar.Bundle(ctx, target)
}

// Prove signs proofs of possession, for CAs of the target only: a proof lets whoever
// has it register the CA at the service that gave the code.
func (t *azureTargets) Prove(ctx context.Context, name string, request dpsreg.ProofRequest) (dpsreg.ProofRequest, error) {
	target, err := t.find(name)
	if err != nil {
		return dpsreg.ProofRequest{}, err
	}
	for _, p := range request.Proofs {
		if !slices.ContainsFunc(target.CAs, func(c dpsreg.CA) bool {
			return c.Authority == p.Authority && c.State != dpsreg.StateDeleted
		}) {
			return dpsreg.ProofRequest{}, fmt.Errorf("%q is no CA of DPS target %q: mintmark.yaml lists them under azure.targets[].cas", p.Authority, name)
		}
	}
	return t.registrar.Prove(ctx, request)
}

// pinning names the targets that let the device of a certificate in by exactly the
// certificates that they have been told of. No I/O.
func (t *azureTargets) pinning(c ledger.Certificate) (names []string) {
	for _, target := range t.list {
		if target.Enrolled(c) {
			names = append(names, target.Name)
		}
	}
	return names
}

// handover makes a target that pins a device take a certificate of it before the device
// gets it.
func (t *azureTargets) handover(ctx context.Context, name string, c ledger.Certificate) error {
	target, err := t.find(name)
	if err != nil {
		return err
	}
	return t.devices.Handover(ctx, target, c) // which names the target
}
