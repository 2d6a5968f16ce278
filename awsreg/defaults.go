package awsreg

import "slices"

// WithDefaults is the target with every name and limit filled in that it leaves
// to mintmark, for whoever writes it out.
func (t Target) WithDefaults() Target {
	t.Manifest = Manifest{Table: t.Manifest.table(), MaxAge: t.Manifest.maxAge()}
	if t.JITR != nil {
		j := *t.JITR
		j.Rule, j.Policy, j.PolicyDocument = j.rule(), j.policy(), or(j.PolicyDocument, DevicePolicy(t))
		t.JITR = &j
	}
	fleets := slices.Clone(t.Fleets)
	for i, f := range fleets {
		fleets[i].Policy, fleets[i].ClaimPolicy = f.policy(), f.claimPolicy()
		fleets[i].PolicyDocument = or(f.PolicyDocument, FleetPolicy(t, f))
		fleets[i].RotationTemplate = ""
		if t.Rotation != nil {
			fleets[i].RotationTemplate = f.rotationTemplate()
		}
	}
	t.Fleets = fleets
	if t.Rotation != nil {
		t.Rotation = &Rotation{
			Table: t.Rotation.table(), Period: t.Rotation.period(), Grace: t.Rotation.grace(), Topic: t.Rotation.topic(),
			Presence: t.Rotation.Presence, Rule: t.Rotation.rule(),
		}
	}
	if t.Provider != nil {
		t.Provider = &Provider{Name: t.Provider.name(), Function: t.Provider.Function}
	}
	return t
}
