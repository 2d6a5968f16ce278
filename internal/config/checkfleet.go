package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

var (
	templateName = pattern.New(`^[0-9A-Za-z_-]{1,36}$`)
	thingPrefix  = pattern.New(`^[a-zA-Z0-9:_-]{0,64}$`) // the rest of 128 is for the serial number
	attribute    = pattern.New(`^[a-zA-Z0-9_.,@/:#-]{1,128}$`)
	attributeFor = pattern.New(`^[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}$`)
	providerName = pattern.New(`^[\w=,@-]{1,128}$`)
	secretName   = pattern.New(`^[a-zA-Z0-9/_+=.@:!-]{1,512}$`)
	domainName   = pattern.New(`^[\w.-]{1,128}$`)
	alertTopic   = pattern.New(`^[^$+#\x00-\x20][^+#\x00-\x20]{0,255}$`)
)

// The attributes that mintmark sets, and how many a thing has: three without a
// thing type, fifty with one.
// https://docs.aws.amazon.com/iot/latest/developerguide/thing-types.html
const (
	ownAttributes     = 2 // serial_number and cert_issuance
	untypedAttributes = 3
	typedAttributes   = 50
)

func (t AWSTarget) checkFleets(bad report) {
	templates := make(map[string]string) // what has taken a name
	for i, f := range t.Fleets {
		field := fmt.Sprintf(".fleets[%d]", i)
		in := func(key, format string, args ...any) { bad(field+key, format, args...) }
		at := func(key string) words {
			return func(format string, args ...any) { in(key, format, args...) }
		}
		if f.Template == "" {
			in(".template", "must be set: the name of the provisioning template")
		}
		taken := func(key, name string) {
			switch {
			case name == "":
			case !templateName.MatchString(name):
				in(key, "%q is no name of a provisioning template: 1 to 36 letters, digits, _ and -", name)
			case templates[name] != "":
				in(key, "%q is the template of %s, too: each needs a name of its own", name, templates[name])
			}
			templates[name] = field[1:] + key
		}
		taken(".template", f.Template)
		t.checkRole(f.RoleARN, at(".role_arn"))
		t.checkFunction(f.Hook, at(".hook"))
		checkPolicy(f.Policy, false, at(".policy"))
		checkPolicy(f.ClaimPolicy, false, at(".claim_policy"))
		if f.Policy != "" && f.Policy == f.ClaimPolicy {
			in(".claim_policy", "%q is the devices' policy, too: whoever holds a claim certificate would be a device", f.ClaimPolicy)
		}
		if !thingPrefix.MatchString(f.ThingPrefix) {
			in(".thing_prefix", "%q is not made of at most 64 letters, digits and : _ -, as names of things are", f.ThingPrefix)
		}
		checkThingType(f.ThingType, f.Groups, in)
		f.checkAttributes(in)
		switch {
		case t.Rotation == nil && f.RotationHook+f.RotationTemplate != "":
			in(".rotation_template", "and rotation_hook are of no use: the target has no rotation section")
		case t.Rotation != nil:
			t.checkFunction(f.RotationHook, at(".rotation_hook"))
			name := f.RotationTemplate
			if name == "" && f.Template != "" {
				name = f.Template + "-rotation"
			}
			if f.RotationTemplate == "" && templateName.MatchString(f.Template) && !templateName.MatchString(name) {
				in(".rotation_template", "must be set: %q is longer than the 36 characters of a template's name", name)
			} else {
				taken(".rotation_template", name)
			}
		}
	}
}

func (f AWSFleet) checkAttributes(bad report) {
	for _, name := range slices.Sorted(maps.Keys(f.Attributes)) {
		key := ".attributes." + name
		switch {
		case !attribute.MatchString(name):
			bad(".attributes", "%q is no name of an attribute: 1 to 128 letters, digits and _ . , @ / : # -", name)
		case name == "serial_number" || name == "cert_issuance":
			bad(key, "is set by mintmark for every thing: choose another name")
		case !attributeFor.MatchString(f.Attributes[name]):
			bad(key, "%q is no value of an attribute: at most 800 letters, digits and _ . , @ / : # = [ ] -", f.Attributes[name])
		}
	}
	most, why := untypedAttributes-ownAttributes, "a thing without a type has three attributes, of which two are mintmark's: set thing_type"
	if f.ThingType != "" {
		most, why = typedAttributes-ownAttributes, "a thing has fifty attributes, of which two are mintmark's"
	}
	if len(f.Attributes) > most {
		bad(".attributes", "there are %d, and %d are possible: %s", len(f.Attributes), most, why)
	}
}

func (t AWSTarget) checkRotation(bad report) {
	r := t.Rotation
	if r == nil {
		return
	}
	in := func(key, format string, args ...any) { bad(".rotation"+key, format, args...) }
	manifest, table := t.Manifest.Table, r.Table
	if manifest == "" {
		manifest = "mintmark-devices"
	}
	if table != "" && !tableName.MatchString(table) {
		in(".table", "%q is no name of a DynamoDB table: 3 to 255 letters, digits and _ . -", table)
	}
	if table == manifest {
		in(".table", "%q is the manifest, too: rotations need a table of their own", table)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{".period", r.Period}, {".grace", r.Grace}} {
		if d.value != 0 && (d.value < time.Second || d.value > maxPeriod) {
			in(d.key, "%s is not between 1s and 36500d: leave it out for the default", DurationText(d.value))
		}
	}
	switch {
	case r.Topic == "":
	case !alertTopic.MatchString(r.Topic):
		in(".topic", "%q is no topic to publish to: at most 256 characters, no blanks, no + or #, and not beginning with $", r.Topic)
	case !strings.Contains(r.Topic, "<thing>"):
		in(".topic", "%q lacks <thing>: each device would be told to rotate when any is", r.Topic)
	}
	t.checkFunction(r.Presence, func(format string, args ...any) { in(".presence", format, args...) })
	if r.Rule != "" && !ruleName.MatchString(r.Rule) {
		in(".rule", "%q is no name of a topic rule: letters, digits and underscores", r.Rule)
	}
}

func (t AWSTarget) checkProvider(c *Config, bad report) {
	p := t.Provider
	if p == nil {
		return
	}
	in := func(key, format string, args ...any) { bad(".certificate_provider"+key, format, args...) }
	if p.Name != "" && !providerName.MatchString(p.Name) {
		in(".name", "%q is no name of a certificate provider: 1 to 128 letters, digits and _ = , @ -", p.Name)
	}
	t.checkFunction(p.Function, func(format string, args ...any) { in(".function", format, args...) })
	if p.URL != "" && !isHTTP(p.URL, "https") {
		in(".url", "must be https://host[:port] of a server that the function reaches, without user and fragment")
	}
	if !label.MatchString(p.Label) {
		in(".label", "%q is no EST label: at most 32 of a-z, 0-9 and -", p.Label)
	}
	c.checkProviderLabel(p.Label, func(format string, args ...any) { in(".label", format, args...) })
	if p.Secret != "" && !secretName.MatchString(p.Secret) {
		in(".secret", "must be the name or the ARN of a secret in AWS Secrets Manager, never the secret itself")
	}
	if (p.URL == "") != (p.Secret == "") || p.URL == "" && p.Label != "" {
		in("", "url, label and secret belong together: the function needs all of them to have certificates signed, and none where you deploy it yourself")
	}
}

// checkProviderLabel checks the label of this server at which the function has
// certificates signed. What it cannot find may be at another server.
func (c *Config) checkProviderLabel(name string, bad words) {
	i := slices.IndexFunc(c.Labels, func(l Label) bool { return l.Name == name })
	if name == "" || i < 0 {
		return
	}
	l := c.Labels[i]
	if l.Authorize == "trusted" {
		bad("label %q authorizes whatever the function asks for (trusted): set inventory, so that the server decides about each device once more", name)
	}
	for _, t := range c.AWS.Targets {
		for _, a := range t.CAs {
			if a.Issuer == l.Issuer && (a.Use == "jitr" || a.Use == "jitp" || a.Use == "register") {
				bad("label %q issues under %q, whose certificates come into service in target %q by %s: a certificate that was signed for a claim would get past the hook; take an issuer of its own", name, l.Issuer, t.Name, a.Use)
			}
		}
	}
}

func (t AWSTarget) checkCallback(bad report) {
	b := t.Callback
	if b == nil {
		return
	}
	in := func(key, format string, args ...any) { bad(".connect_callback"+key, format, args...) }
	if strings.HasPrefix(t.Region, "us-gov-") {
		in("", "AWS has no connect callback in GovCloud: remove it")
	}
	if !domainName.MatchString(b.Domain) {
		in(".domain", "%q is no name of a domain configuration: 1 to 128 letters, digits and _ . -", b.Domain)
	}
	t.checkFunction(b.Function, func(format string, args ...any) { in(".function", format, args...) })
	if len(b.CRLs) == 0 && b.OCSP == "" {
		in("", "crls or ocsp must be set: without either nothing is asked")
	}
	for i, u := range b.CRLs {
		if !isHTTP(u, "http", "https") || strings.ContainsAny(u, " \t\n") {
			in(fmt.Sprintf(".crls[%d]", i), "%q is not http:// or https:// with a host", u)
		}
	}
	if b.OCSP != "" && !isHTTP(b.OCSP, "http", "https") {
		in(".ocsp", "%q is not http:// or https:// with a host", b.OCSP)
	}
}
