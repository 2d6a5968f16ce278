package awsreg

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mintmark/internal/pattern"
)

var (
	accountPattern = pattern.New(`^[0-9]{12}$`)
	regionPattern  = pattern.New(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)
)

// What AWS takes as names. They are checked before anything is made of them,
// because a name with a wildcard in it would widen a policy.
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateProvisioningTemplate.html
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateCertificateProvider.html
var (
	templatePattern    = pattern.New(`^[0-9A-Za-z_-]{1,36}$`)
	thingPattern       = pattern.New(`^[a-zA-Z0-9:_-]{1,128}$`)
	thingPrefixPattern = pattern.New(`^[a-zA-Z0-9:_-]{0,127}$`)
	providerPattern    = pattern.New(`^[\w=,@-]{1,128}$`)
	policyNamePattern  = pattern.New(`^[\w+=,.@-]{1,128}$`)
	rulePattern        = pattern.New(`^[a-zA-Z0-9_]{1,128}$`)
	tablePattern       = pattern.New(`^[a-zA-Z0-9_.-]{3,255}$`)
)

// Validate reports what is wrong with a target on its own. What else AWS would
// refuse is for Preflight.
func (t Target) Validate() error {
	if t.Name == "" {
		return errors.New("AWS target without a name")
	}
	if err := t.check(); err != nil {
		return fmt.Errorf("AWS target %q: %w", t.Name, err)
	}
	return nil
}

func (t Target) check() error {
	switch {
	case !accountPattern.MatchString(t.AccountID):
		return fmt.Errorf("account id %q is not 12 digits", t.AccountID)
	case !regionPattern.MatchString(t.Region):
		return fmt.Errorf("region %q is not the name of a region", t.Region)
	case !(t.QuotaScale >= 0): // nor NaN
		return fmt.Errorf("quota scale %g: it multiplies AWS's quotas, and cannot be negative", t.QuotaScale)
	}
	if err := checkEndpoint(t.Endpoint); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, ca := range t.CAs {
		if err := ca.validate(); err != nil {
			return fmt.Errorf("CA %q: %w", ca.Issuer, err)
		}
		if seen[ca.Issuer] {
			return fmt.Errorf("CA %q is listed twice; a registration is for one use", ca.Issuer)
		}
		seen[ca.Issuer] = true
		if ca.Use == UseJITR && ca.registered() && t.JITR == nil {
			return fmt.Errorf("CA %q is for just-in-time registration, but the target has no jitr section to say which function decides", ca.Issuer)
		}
	}
	if err := t.checkFleets(); err != nil {
		return err
	}
	if t.Rotation != nil {
		if err := t.Rotation.check(t.Manifest.table()); err != nil {
			return fmt.Errorf("rotation: %w", err)
		}
	}
	if p := t.Provider; p != nil {
		if !providerPattern.MatchString(p.name()) {
			return fmt.Errorf("certificate provider: the name %q must be 1 to 128 letters, digits and _ = , @ -", p.name())
		}
		if p.Function == "" {
			return errors.New("certificate provider: no function is named that has requests signed")
		}
	}
	return nil
}

func (ca CA) validate() error {
	switch {
	case ca.Issuer == "":
		return errors.New("no issuer named")
	case ca.Mode == ModeNone && ca.Use != UseRegister:
		return fmt.Errorf("mode %s is for use %s: AWS lets a device of an unregistered CA in only when its certificate is registered one by one", ModeNone, UseRegister)
	case ca.Mode != ModeDefault && ca.Mode != ModeSNIOnly && ca.Mode != ModeNone:
		return fmt.Errorf("mode %q is none of %s, %s, %s", ca.Mode, ModeDefault, ModeSNIOnly, ModeNone)
	case ca.Use != UseJITR && ca.Use != UseJITP && ca.Use != UseRegister && ca.Use != UseNone:
		return fmt.Errorf("use %q is none of %s, %s, %s, %s", ca.Use, UseJITR, UseJITP, UseRegister, UseNone)
	case ca.Use == UseJITP && ca.JITP == nil:
		return errors.New("use is jitp, but there is no jitp section")
	case ca.Use != UseJITP && ca.JITP != nil:
		return fmt.Errorf("has a jitp section, but use is %s: the template belongs to the registration, so a CA is for one way only", ca.Use)
	case ca.JITP != nil && ca.JITP.thingName() != "CommonName" && ca.JITP.thingName() != "SerialNumber":
		return fmt.Errorf("thing name from %q: use CommonName or SerialNumber", ca.JITP.ThingName)
	case ca.JITP != nil && ca.JITP.Policy == "":
		return errors.New("jitp section names no policy")
	case ca.Use == UseRegister && ca.Register == nil:
		return errors.New("use is register, but there is no register section")
	case ca.Use != UseRegister && ca.Register != nil:
		return fmt.Errorf("has a register section, but use is %s", ca.Use)
	}
	if r := ca.Register; r != nil {
		if !policyNamePattern.MatchString(r.Policy) {
			return fmt.Errorf("register section: the policy's name %q must be 1 to 128 letters, digits and + = , . @ _ -", r.Policy)
		}
		if err := checkThing(r.ThingType, r.Groups); err != nil {
			return fmt.Errorf("register section: %w", err)
		}
	}
	return ca.checkState()
}

func (ca CA) checkState() error {
	switch state, sweep := ca.state(), ca.sweep(); {
	case !slices.Contains([]string{StateRegistered, StateActive, StateQuiet, StateInactive, StateDeleted}, state):
		return fmt.Errorf("state %q is none of %s, %s, %s, %s, %s", state, StateRegistered, StateActive, StateQuiet, StateInactive, StateDeleted)
	case sweep != SweepKeep && sweep != SweepDeactivate && sweep != SweepRevoke:
		return fmt.Errorf("sweep %q is none of %s, %s, %s", sweep, SweepKeep, SweepDeactivate, SweepRevoke)
	case ca.serves() && sweep != SweepKeep:
		return fmt.Errorf("sweep is %s, but the CA is %s: devices would come in again; set state to %s or %s", sweep, state, StateInactive, StateDeleted)
	case state != StateActive && ca.Mode == ModeNone:
		return fmt.Errorf("state is %s, but in mode %s there is no registration to end: revoke its certificates, or take the CA out of the target", state, ModeNone)
	}
	return nil
}

// checkFleets refuses names that two things would have, because AWS keeps one.
func (t Target) checkFleets() error {
	templates, policies := make(map[string]string), make(map[string]string)
	for _, f := range t.Fleets {
		if err := t.checkFleet(f); err != nil {
			return fmt.Errorf("fleet %q: %w", f.Template, err)
		}
		names := []string{f.Template}
		if t.Rotation != nil {
			names = append(names, f.rotationTemplate())
		}
		for _, name := range names {
			if other, taken := templates[name]; taken {
				return fmt.Errorf("fleets %q and %q both have the template %q", other, f.Template, name)
			}
			templates[name] = f.Template
		}
		if other, taken := policies[f.claimPolicy()]; taken {
			return fmt.Errorf("fleets %q and %q have the claim policy %q together: a claim of one could use the template of the other", other, f.Template, f.claimPolicy())
		}
		policies[f.claimPolicy()] = f.Template
	}
	for _, f := range t.Fleets {
		if other, taken := policies[f.policy()]; taken {
			return fmt.Errorf("fleet %q gives its devices the policy %q, which is for the claims of fleet %q", f.Template, f.policy(), other)
		}
	}
	return nil
}

func (t Target) checkFleet(f Fleet) error {
	switch {
	case !templatePattern.MatchString(f.Template):
		return errors.New("the template's name must be 1 to 36 letters, digits and _ -")
	case f.RoleARN == "":
		return errors.New("no role is named that AWS assumes to provision")
	case f.Hook == "":
		return errors.New("no function is named that decides (hook): without one, any claim registers any device")
	case !policyNamePattern.MatchString(f.policy()) || !policyNamePattern.MatchString(f.claimPolicy()):
		return fmt.Errorf("the policies' names %q and %q must be 1 to 128 letters, digits and + = , . @ _ -", f.policy(), f.claimPolicy())
	case !thingPrefixPattern.MatchString(f.ThingPrefix):
		return fmt.Errorf("the prefix %q of things' names must be at most 127 letters, digits and : _ -", f.ThingPrefix)
	case t.Rotation == nil && (f.RotationHook != "" || f.RotationTemplate != ""):
		return errors.New("it names a template or function for rotation, but the target has no rotation section")
	case t.Rotation != nil && f.RotationHook == "":
		return errors.New("the target has a rotation section, but the fleet names no function that decides about it (rotation_hook)")
	case t.Rotation != nil && !templatePattern.MatchString(f.rotationTemplate()):
		return fmt.Errorf("the name %q of the rotation template must be 1 to 36 letters, digits and _ -: set rotation_template", f.rotationTemplate())
	}
	for _, name := range []string{serialAttribute, dateAttribute} {
		if _, set := f.Attributes[name]; set {
			return fmt.Errorf("the attribute %q is set by the template itself", name)
		}
	}
	return checkThing(f.ThingType, f.Groups)
}

func checkThing(thingType string, groups []string) error {
	if thingType != "" && !thingPattern.MatchString(thingType) {
		return fmt.Errorf("the name %q of the thing type must be 1 to 128 letters, digits and : _ -", thingType)
	}
	for i, g := range groups {
		if !thingPattern.MatchString(g) {
			return fmt.Errorf("the name %q of a thing group must be 1 to 128 letters, digits and : _ -", g)
		}
		if slices.Contains(groups[:i], g) {
			return fmt.Errorf("the thing group %q is listed twice", g)
		}
	}
	return nil
}

func (r Rotation) check(manifest string) error {
	switch {
	case r.table() == manifest:
		return fmt.Errorf("the table %q is the manifest's: what rotates needs one of its own", manifest)
	case !tablePattern.MatchString(r.table()):
		return fmt.Errorf("the name %q of the table must be 3 to 255 letters, digits and _ . -", r.table())
	case r.Period < 0 || r.Grace < 0:
		return errors.New("neither period nor grace can be negative")
	case r.Presence == "":
		return errors.New("no function is named that sees connections (presence): without one, no old certificate goes out of service")
	case !rulePattern.MatchString(r.rule()):
		return fmt.Errorf("the name %q of the topic rule must be 1 to 128 letters, digits and underscores", r.rule())
	}
	// A level of its own, so that a thing's name cannot reach another's topic.
	levels := strings.Split(r.topic(), "/")
	switch {
	case !slices.Contains(levels, thingPlace) || strings.Count(r.topic(), thingPlace) != 1:
		return fmt.Errorf("the topic %q must have %s as one of its levels, once: each device is told on a topic of its own", r.topic(), thingPlace)
	case strings.ContainsAny(r.topic(), "+#*?${}") || strings.HasPrefix(r.topic(), "$"):
		return fmt.Errorf("the topic %q must not have wildcards or variables in it", r.topic())
	// https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
	case len(levels) > 8 || len(r.alerts(strings.Repeat("x", 128))) > 256:
		return fmt.Errorf("the topic %q: AWS takes 8 levels and 256 characters, of which a thing's name may be 128", r.topic())
	}
	return nil
}

// ValidateTargets checks each target, and what they must not do together.
func ValidateTargets(targets []Target) error {
	names := make(map[string]bool)
	type place struct{ account, region, endpoint string }
	type claim struct{ issuer, region, endpoint string }
	places, claims := make(map[place]Target), make(map[claim]Target)
	for _, t := range targets {
		if err := t.Validate(); err != nil {
			return err
		}
		if names[t.Name] {
			return fmt.Errorf("two AWS targets are called %q", t.Name)
		}
		names[t.Name] = true
		// Two targets in one place would share the manifest's head, and each would
		// vouch for what the other has not pushed.
		p := place{t.AccountID, t.Region, t.Endpoint}
		if other, taken := places[p]; taken {
			return fmt.Errorf("AWS targets %q and %q are the same account and region: make them one", other.Name, t.Name)
		}
		places[p] = t
		for _, ca := range t.CAs {
			if ca.Mode != ModeDefault || ca.state() == StateDeleted {
				continue
			}
			c := claim{ca.Issuer, t.Region, t.Endpoint}
			if other, taken := claims[c]; taken {
				return fmt.Errorf("AWS targets %q and %q both register CA %q in %s mode in region %s: one account of a region may; use %s in the others",
					other.Name, t.Name, ca.Issuer, ModeDefault, t.Region, ModeSNIOnly)
			}
			claims[c] = t
		}
	}
	return nil
}
