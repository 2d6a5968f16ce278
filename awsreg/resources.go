package awsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mintmark/internal/reconcile"
)

// The kinds of what a target consists of, as plans name them.
const (
	kindTable      = "table"
	kindThingType  = "thing-type"
	kindThingGroup = "thing-group"
	kindPolicy     = "policy"
	kindProvider   = "certificate-provider"
	kindTemplate   = "template"
	kindRule       = "topic-rule"
	kindCA         = "ca"
	kindSweep      = "ca-sweep"
	kindSigner     = "manifest-ca"
)

// maxPages bounds lists of what is made by hand and never in great number.
const maxPages = 1000

var errTooManyPages = errors.New("AWS's list does not end")

// resources lists what a target consists of, in the order in which it is made.
// Everything that a device meets on its first connection is there before its CA
// is let in: the tables that the functions decide from, thing types and groups,
// policies, the certificate provider, templates, topic rules, and then the CAs.
// CAs that go out of service come last, so that their successors are there.
//
// What a stack owns is compared in its place and stops nothing: a device that
// comes before the stack is deployed is refused, and comes again.
func (r *Registrar) resources(ctx context.Context, s *session) ([]resource, error) {
	t := s.target
	policies, err := t.Policies()
	if err != nil {
		return nil, err
	}
	var list []resource
	add := func(all ...resource) { list = append(list, all...) }
	owned := func(res resource) {
		if t.StackOwned {
			res = foreign(res)
		}
		add(res)
	}

	for _, p := range preflightTarget(t) {
		if why := refusedBy(p.list); why != "" {
			add(refusal(p.kind, p.name, why))
		}
	}
	if t.decides() {
		add(tableResource(s.dynamo, t.Manifest.table()))
	}
	if t.Rotation != nil {
		add(tableResource(s.dynamo, t.Rotation.table()))
	}
	for _, name := range t.ThingTypes() {
		owned(thingTypeResource(s.iot, name))
	}
	for _, name := range t.ThingGroups() {
		owned(thingGroupResource(s.iot, name))
	}
	for _, p := range policies {
		if why := refusedBy(preflightPolicy(p.Name, p.Document)); why != "" {
			add(refusal(kindPolicy, p.Name, why))
			continue
		}
		owned(policyResource(s.iot, p.Name, p.Document))
	}
	if t.Provider != nil {
		add(providerResource(s.iot, *t.Provider))
	}
	for _, f := range t.Fleets {
		for _, template := range Templates(t, f) {
			owned(templateResource(s.iot, template))
		}
	}
	if t.Rotation != nil {
		owned(ruleResource(s.iot, PresenceRule(t)))
	}

	signers, err := r.signerResources(ctx, s)
	if err != nil {
		return nil, err
	}
	add(signers...)
	var cas, retired []resource
	for _, ca := range t.CAs {
		if ca.Mode == ModeNone {
			continue
		}
		issuer, err := r.issuer(ctx, ca.Issuer)
		if err != nil {
			return nil, err
		}
		if ca.registered() {
			if ca.Use == UseJITR {
				owned(ruleResource(s.iot, JITRRule(t, CertificateID(issuer.Certificate.Raw))))
			}
			cas = append(cas, r.caResource(s, ca, issuer))
			continue
		}
		retired = append(retired, r.retire(s, ca, issuer)...)
	}
	add(cas...)
	add(retired...)
	return list, nil
}

// foreign compares a resource and never changes it, because the target's stack
// owns it.
func foreign(res resource) resource {
	examine := res.examine
	res.examine = func(ctx context.Context) (reconcile.Change, action, error) {
		change, _, err := examine(ctx)
		if err == nil && change.Action != reconcile.None {
			wanted := change.After
			if change.Action == reconcile.Delete {
				wanted = absent
			}
			change.After = fmt.Sprintf("%s; the target's stack owns it (stack: true): render it with `mintmark aws render` and deploy it", wanted)
			change.Action, change.Destructive = reconcile.Foreign, false
		}
		return change, nil, err
	}
	return res
}

// refusal is a resource that cannot be made.
func refusal(kind, subject, why string) resource {
	return resource{examine: func(context.Context) (reconcile.Change, action, error) {
		return reconcile.Change{Kind: kind, Subject: subject, Action: reconcile.Refuse, After: why}, nil, nil
	}}
}

// Policy is an IoT policy of a target, with its document in JSON.
type Policy struct{ Name, Document string }

// Policies are the IoT policies of a target, in a fixed order. One name with two
// documents is an error, because AWS keeps one; both are in the list then.
func (t Target) Policies() ([]Policy, error) {
	var list []Policy
	var conflict error
	add := func(name, document string) {
		for _, p := range list {
			switch {
			case p.Name != name:
			case sameJSON(p.Document, document):
				return
			default:
				conflict = fmt.Errorf("AWS target %q gives IoT policy %q two different documents", t.Name, name)
			}
		}
		list = append(list, Policy{name, document})
	}
	if j := t.JITR; j != nil {
		add(j.policy(), or(j.PolicyDocument, DevicePolicy(t)))
	}
	for _, ca := range t.CAs {
		if !ca.serves() {
			continue
		}
		if ca.JITP != nil {
			add(ca.JITP.Policy, or(ca.JITP.PolicyDocument, DevicePolicy(t)))
		}
		if ca.Register != nil {
			add(ca.Register.Policy, or(ca.Register.PolicyDocument, DevicePolicy(t)))
		}
	}
	for _, f := range t.Fleets {
		add(f.policy(), or(f.PolicyDocument, FleetPolicy(t, f)))
		add(f.claimPolicy(), ClaimPolicy(t, f))
	}
	return list, conflict
}

// ThingTypes are the names of those that a target needs, each once and in a fixed
// order.
func (t Target) ThingTypes() []string {
	return t.things(func(thingType string, _ []string) []string {
		if thingType == "" {
			return nil
		}
		return []string{thingType}
	})
}

// ThingGroups are the same of groups.
func (t Target) ThingGroups() []string {
	return t.things(func(_ string, groups []string) []string { return groups })
}

func (t Target) things(pick func(thingType string, groups []string) []string) []string {
	var names []string
	for _, ca := range t.CAs {
		if ca.Register != nil && ca.serves() {
			names = append(names, pick(ca.Register.ThingType, ca.Register.Groups)...)
		}
	}
	for _, f := range t.Fleets {
		names = append(names, pick(f.ThingType, f.Groups)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
