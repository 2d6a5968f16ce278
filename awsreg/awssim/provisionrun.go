package awssim

import (
	"maps"
	"slices"
)

// carryOut does what a plan says for a registered certificate, in AWS's order:
// thing, policy, attach both, activate (AWS IoT developer guide, jit-provisioning).
// The caller holds w.mu.
func (w *world) carryOut(p *provisionPlan, cert *certificate) error {
	var th *thing
	if p.thing != "" {
		var err error
		if th, err = w.provisionThing(p); err != nil {
			return err
		}
	}
	for _, pol := range p.policies {
		if _, there := w.policies[pol.name]; !there && pol.text != "" {
			if _, err := w.addPolicy(pol.name, pol.text); err != nil {
				return err
			}
		}
		if err := w.attach(pol.name, w.certARN(cert.id)); err != nil {
			return err
		}
	}
	if th != nil {
		if err := w.attachThing(th, cert, false); err != nil {
			return err
		}
	}
	if cert.status != p.status {
		w.setStatus(cert, p.status)
	}
	return nil
}

// provisionThing makes the thing of a plan, or does to an existing one what
// OverrideSettings say. Without them it stays as it is; that this is AWS's default
// is not documented.
func (w *world) provisionThing(p *provisionPlan) (*thing, error) {
	th, exists := w.things[p.thing]
	if !exists {
		var err error
		if th, err = w.addTypedThing(p.thing, p.typeName, p.attrs); err != nil {
			return nil, err
		}
		return th, w.setGroups(th, p.groups, "MERGE")
	}
	conflict := func(property string) error {
		return iotError("ResourceRegistrationFailureException", "ResourceConflictsException: thing %s already exists with another %s, and OverrideSettings say FAIL", p.thing, property)
	}
	attrs, typeName := th.attributes, th.typeName
	if len(p.attrs) > 0 && !maps.Equal(attrs, p.attrs) {
		switch p.overrides["AttributePayload"] {
		case "FAIL":
			return nil, conflict("AttributePayload")
		case "REPLACE":
			attrs = maps.Clone(p.attrs)
		case "MERGE":
			attrs = maps.Clone(attrs)
			maps.Copy(attrs, p.attrs)
		}
	}
	if p.typeName != "" && typeName != p.typeName {
		switch p.overrides["ThingTypeName"] {
		case "FAIL":
			return nil, conflict("ThingTypeName")
		case "REPLACE":
			typeName = p.typeName
		}
	}
	mode := p.overrides["ThingGroups"]
	if mode == "FAIL" && len(p.groups) > 0 && !w.inExactly(th, p.groups) {
		return nil, conflict("ThingGroups")
	}
	if typeName != th.typeName || !maps.Equal(attrs, th.attributes) {
		if err := w.setThing(th, typeName, attrs); err != nil {
			return nil, err
		}
	}
	return th, w.setGroups(th, p.groups, mode)
}

// setGroups makes a thing a member of groups: of these too (MERGE), of only these
// (REPLACE), or of none more.
func (w *world) setGroups(th *thing, groups []string, mode string) error {
	if len(groups) == 0 || mode != "MERGE" && mode != "REPLACE" {
		return nil
	}
	if mode == "REPLACE" {
		for _, g := range w.groupsOf(th.name) {
			if !slices.Contains(groups, g.name) {
				if err := w.removeFromGroup(th.name, g.name); err != nil {
					return err
				}
			}
		}
	}
	for _, g := range groups {
		if err := w.addToGroup(th.name, g); err != nil {
			return err
		}
	}
	return nil
}

// inExactly reports whether a thing is in these groups and no others.
func (w *world) inExactly(th *thing, groups []string) bool {
	have := w.groupsOf(th.name)
	for _, g := range have {
		if !slices.Contains(groups, g.name) {
			return false
		}
	}
	for _, name := range groups {
		if !slices.ContainsFunc(have, func(g *thingGroup) bool { return g.name == name }) {
			return false
		}
	}
	return true
}
