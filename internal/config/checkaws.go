package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// What AWS IoT Core takes as names.
// https://docs.aws.amazon.com/iot/latest/apireference/API_Operations_AWS_IoT.html
var (
	accountID  = pattern.New(`^[0-9]{12}$`)
	policyName = pattern.New(`^[\w+=,.@-]{1,128}$`)
	thingName  = pattern.New(`^[a-zA-Z0-9:_-]{1,128}$`) // of types and groups, too
	ruleName   = pattern.New(`^[a-zA-Z0-9_]{1,128}$`)
	tableName  = pattern.New(`^[a-zA-Z0-9_.-]{3,255}$`) // DynamoDB's
	roleARN    = pattern.New(`^arn:aws[a-z-]*:iam::([0-9]{12}):role/[\w+=,.@/-]{1,512}$`)
	lambdaARN  = pattern.New(`^arn:aws[a-z-]*:lambda:([a-z0-9-]+):([0-9]{12}):function:[a-zA-Z0-9_-]{1,64}(:[a-zA-Z0-9$_-]{1,128})?$`)
)

const (
	// minReconcile keeps a comparison of every certificate from being asked for
	// all the time; maxReconcile is the time after which nobody would call it one.
	minReconcile, maxReconcile = time.Minute, 31 * 24 * time.Hour
	// minManifestAge is twice the time at which the server says that the manifest
	// is complete.
	minManifestAge, maxManifestAge = 2 * time.Minute, 31 * 24 * time.Hour
	maxPeriod                      = 100 * 365 * 24 * time.Hour
)

func (c *Config) checkAWS(bad func(field, format string, args ...any)) {
	switch d := c.AWS.Reconcile; {
	case d == 0 && c.AWS.Adopt:
		bad("aws.adopt_revocations", "is of no use while aws.reconcile is 0: revocations at AWS are found when both sides are compared")
	case d != 0 && (d < minReconcile || d > maxReconcile):
		bad("aws.reconcile", "%s is neither 0 (never) nor between %s and %s", DurationText(d), DurationText(minReconcile), DurationText(maxReconcile))
	}
	seen := make(map[string]bool)
	for i, t := range c.AWS.Targets {
		field := fmt.Sprintf("aws.targets[%d]", i)
		if seen[t.Name] {
			bad(field+".name", "%q is defined twice", t.Name)
		}
		seen[t.Name] = true
		t.check(c, func(key, format string, args ...any) { bad(field+key, format, args...) })
	}
}

// check finds what is wrong with one target; keys begin with a dot.
func (t AWSTarget) check(c *Config, bad report) {
	if !name.MatchString(t.Name) {
		bad(".name", "%q must match %s", t.Name, name)
	}
	if !accountID.MatchString(t.AccountID) {
		bad(".account_id", "%q is not twelve digits", t.AccountID)
	}
	if t.Region == "" {
		bad(".region", "must be set")
	}
	if t.RoleARN != "" && !roleARN.MatchString(t.RoleARN) {
		bad(".role_arn", "%q is not the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME", t.RoleARN)
	}
	if t.Endpoint != "" {
		if u, err := url.Parse(t.Endpoint); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			bad(".endpoint", "%q is not a URL", t.Endpoint)
		}
	}
	if t.QuotaScale != 0 && (t.QuotaScale < 0.01 || t.QuotaScale > 10_000) {
		bad(".quota_scale", "%v is not between 0.01 and 10000: it multiplies AWS's default quotas, so leave it out unless yours were raised", t.QuotaScale)
	}
	if t.Manifest.Table != "" && !tableName.MatchString(t.Manifest.Table) {
		bad(".manifest.table", "%q is no name of a DynamoDB table: 3 to 255 letters, digits and _ . -", t.Manifest.Table)
	}
	if age := t.Manifest.MaxAge; age != 0 && (age < minManifestAge || age > maxManifestAge) {
		bad(".manifest.max_age", "%s is not between %s and %s: the server renews the manifest every minute, and past this age devices are refused", DurationText(age), DurationText(minManifestAge), DurationText(maxManifestAge))
	}
	jitr := false
	for j, a := range t.CAs {
		jitr = jitr || a.Use == "jitr"
		a.check(c, t, func(key, format string, args ...any) { bad(fmt.Sprintf(".cas[%d]%s", j, key), format, args...) })
	}
	if jitr != (t.JITR != nil) {
		bad(".jitr", "must be set exactly when a CA's use is jitr")
	}
	if t.JITR != nil {
		t.checkFunction(t.JITR.Function, func(format string, args ...any) { bad(".jitr.function", format, args...) })
		checkPolicy(t.JITR.Policy, true, func(format string, args ...any) { bad(".jitr.policy", format, args...) })
		if t.JITR.Rule != "" && !ruleName.MatchString(t.JITR.Rule) {
			bad(".jitr.rule", "%q is no name of a topic rule: letters, digits and underscores", t.JITR.Rule)
		}
	}
	t.checkFleets(bad)
	t.checkRotation(bad)
	t.checkProvider(c, bad)
	t.checkCallback(bad)
	t.checkIngest(bad)
}

// check finds what is wrong with one CA of a target.
func (a AWSCA) check(c *Config, t AWSTarget, bad report) {
	if a.Issuer == "" {
		bad(".issuer", "must be set")
	}
	switch a.Mode {
	case "DEFAULT", "SNI_ONLY":
	case "NONE":
		if a.Use != "register" {
			bad(".mode", "NONE leaves the CA itself unregistered, which is for use register only: set DEFAULT or SNI_ONLY")
		}
		if a.State != "" && a.State != "active" {
			bad(".state", "%q is of a registered CA, and with mode NONE this one is not: remove it from cas, or leave state out", a.State)
		}
	default:
		bad(".mode", "%q is none of DEFAULT, SNI_ONLY, and, with use register, NONE", a.Mode)
	}
	switch a.Use {
	case "jitr", "jitp", "register", "none":
	default:
		bad(".use", "%q is none of jitr, jitp, register, none", a.Use)
	}
	if (a.Use == "jitp") != (a.JITP != nil) {
		bad(".jitp", "must be set exactly when use is jitp: a registration is for JITR or for JITP, never both")
	}
	if (a.Use == "register") != (a.Register != nil) {
		bad(".register", "must be set exactly when use is register: it says what each device certificate is registered with")
	}
	if a.Use == "jitp" && a.JITP != nil {
		if c.Profiles[a.JITP.Profile].Preset != "aws-jitp" {
			bad(".jitp.profile", "%q is not a profile with preset aws-jitp", a.JITP.Profile)
		}
		t.checkRole(a.JITP.RoleARN, func(format string, args ...any) { bad(".jitp.role_arn", format, args...) })
		checkPolicy(a.JITP.Policy, true, func(format string, args ...any) { bad(".jitp.policy", format, args...) })
	}
	if r := a.Register; r != nil {
		checkPolicy(r.Policy, true, func(format string, args ...any) { bad(".register.policy", format, args...) })
		checkThingType(r.ThingType, r.Groups, func(key, format string, args ...any) { bad(".register"+key, format, args...) })
	}
	switch a.State {
	case "", "registered", "active", "quiet":
		if a.Sweep != "" && a.Sweep != "keep" {
			bad(".sweep", "%q is for a CA whose state is inactive or deleted: the device certificates of any other stay", a.Sweep)
		}
	case "inactive", "deleted":
	default:
		bad(".state", "%q is none of registered, active, quiet, inactive, deleted", a.State)
	}
	switch a.Sweep {
	case "", "keep", "deactivate", "revoke":
	default:
		bad(".sweep", "%q is none of keep, deactivate, revoke", a.Sweep)
	}
}

// words reports about one value.
type words func(format string, args ...any)

// checkRole checks a role that AWS IoT assumes: it is of the target's account.
func (t AWSTarget) checkRole(arn string, bad words) {
	switch m := roleARN.FindStringSubmatch(arn); {
	case arn == "":
		bad("must be set: the role that AWS IoT assumes, arn:aws:iam::%s:role/NAME", t.AccountID)
	case m == nil:
		bad("%q is not the ARN of a role: arn:aws:iam::%s:role/NAME", arn, t.AccountID)
	case m[1] != t.AccountID:
		bad("%q is a role of account %s, and the target is account %s: AWS IoT assumes roles of its own account only", arn, m[1], t.AccountID)
	}
}

// checkFunction checks a Lambda function that AWS IoT invokes: it is of the
// target's account and region.
func (t AWSTarget) checkFunction(arn string, bad words) {
	switch m := lambdaARN.FindStringSubmatch(arn); {
	case arn == "":
		bad("must be set: the ARN of a Lambda function, arn:aws:lambda:%s:%s:function:NAME", t.Region, t.AccountID)
	case m == nil:
		bad("%q is not the ARN of a Lambda function: arn:aws:lambda:%s:%s:function:NAME", arn, t.Region, t.AccountID)
	case m[1] != t.Region || m[2] != t.AccountID:
		bad("%q is of account %s in %s, and the target is account %s in %s: AWS IoT invokes functions of its own account and region only", arn, m[2], m[1], t.AccountID, t.Region)
	}
}

func checkPolicy(name string, must bool, bad words) {
	switch {
	case name == "" && must:
		bad("must be set: the name of the IoT policy that devices get")
	case name != "" && !policyName.MatchString(name):
		bad("%q is no name of an IoT policy: 1 to 128 letters, digits and + = , . @ _ -", name)
	}
}

// checkThingType checks what things are made with.
func checkThingType(kind string, groups []string, bad report) {
	// A thing is in ten groups at most:
	// https://docs.aws.amazon.com/general/latest/gr/iot-core.html
	const mostGroups = 10
	if kind != "" && !thingName.MatchString(kind) {
		bad(".thing_type", "%q is no name of a thing type: 1 to 128 letters, digits and : _ -", kind)
	}
	if len(groups) > mostGroups {
		bad(".groups", "there are %d, and a thing is in %d groups at most", len(groups), mostGroups)
	}
	seen := make(map[string]bool)
	for i, g := range groups {
		key := fmt.Sprintf(".groups[%d]", i)
		if !thingName.MatchString(g) {
			bad(key, "%q is no name of a thing group: 1 to 128 letters, digits and : _ -", g)
		}
		if seen[g] {
			bad(key, "%q is listed twice", g)
		}
		seen[g] = true
	}
}

func isHTTP(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	for _, s := range schemes {
		if strings.EqualFold(u.Scheme, s) {
			return true
		}
	}
	return false
}
