package server

import (
	"fmt"
	"os"
	"path/filepath"

	"mintmark/awsreg"
	"mintmark/internal/config"
	"mintmark/issuer"
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

// awsTargetsOf are the AWS targets of a configuration, with the policy files that they
// name. It opens nothing else, so that it can run beside a server. What AWS
// would refuse is for awsreg.Preflight.
func awsTargetsOf(c *config.Config, profiles map[string]*issuer.Profile) ([]awsreg.Target, error) {
	t := translation{c, profiles}
	var list []awsreg.Target
	for i, one := range c.AWS.Targets {
		target, err := t.target(one)
		if err != nil {
			return nil, fmt.Errorf("%s: aws.targets[%d]%w", filepath.Join(c.Dir, config.File), i, err)
		}
		list = append(list, target)
	}
	if err := awsreg.ValidateTargets(list); err != nil {
		return nil, fmt.Errorf("%s: aws.targets: %w", filepath.Join(c.Dir, config.File), err)
	}
	return list, nil
}

// translation makes targets of the configuration's. What is left out there stays
// so: the defaults are awsreg's.
type translation struct {
	config   *config.Config
	profiles map[string]*issuer.Profile
}

// target translates one target. Its errors begin with the key below the target.
func (t translation) target(c config.AWSTarget) (awsreg.Target, error) {
	target := awsreg.Target{
		Name: c.Name, AccountID: c.AccountID, Region: c.Region, Profile: c.Profile, RoleARN: c.RoleARN, Endpoint: c.Endpoint,
		Manifest: awsreg.Manifest{Table: c.Manifest.Table, MaxAge: c.Manifest.MaxAge}, StackOwned: c.Stack, QuotaScale: c.QuotaScale,
	}
	for i, a := range c.CAs {
		converted, err := t.ca(a)
		if err != nil {
			return target, fmt.Errorf(".cas[%d]%w", i, err)
		}
		target.CAs = append(target.CAs, converted)
	}
	if j := c.JITR; j != nil {
		document, err := t.read(j.PolicyFile)
		if err != nil {
			return target, fmt.Errorf(".jitr%w", err)
		}
		target.JITR = &awsreg.JITR{Function: j.Function, Rule: j.Rule, Policy: j.Policy, PolicyDocument: document}
	}
	for i, f := range c.Fleets {
		document, err := t.read(f.PolicyFile)
		if err != nil {
			return target, fmt.Errorf(".fleets[%d]%w", i, err)
		}
		target.Fleets = append(target.Fleets, awsreg.Fleet{
			Template: f.Template, RoleARN: f.RoleARN, Hook: f.Hook, Policy: f.Policy, ClaimPolicy: f.ClaimPolicy, PolicyDocument: document,
			ThingPrefix: f.ThingPrefix, ThingType: f.ThingType, Groups: f.Groups, Attributes: f.Attributes, AWSKeys: f.AWSKeys,
			RotationTemplate: f.RotationTemplate, RotationHook: f.RotationHook,
		})
	}
	if r := c.Rotation; r != nil {
		target.Rotation = &awsreg.Rotation{Table: r.Table, Period: r.Period, Grace: r.Grace, Topic: r.Topic, Presence: r.Presence, Rule: r.Rule}
	}
	if p := c.Provider; p != nil {
		target.Provider = &awsreg.Provider{Name: p.Name, Function: p.Function}
	}
	return target, nil
}

func (t translation) ca(c config.AWSCA) (awsreg.CA, error) {
	out := awsreg.CA{Issuer: c.Issuer, Mode: c.Mode, Use: c.Use, State: c.State, Sweep: c.Sweep}
	if j := c.JITP; j != nil {
		document, err := t.read(j.PolicyFile)
		if err != nil {
			return out, fmt.Errorf(".jitp%w", err)
		}
		out.JITP = &awsreg.JITP{RoleARN: j.RoleARN, Policy: j.Policy, PolicyDocument: document}
		if profile := t.profiles[j.Profile]; profile != nil {
			out.JITP.ThingName = awsName[profile.DeviceID()]
		}
	}
	if r := c.Register; r != nil {
		document, err := t.read(r.PolicyFile)
		if err != nil {
			return out, fmt.Errorf(".register%w", err)
		}
		out.Register = &awsreg.Register{Policy: r.Policy, PolicyDocument: document, ThingType: r.ThingType, Groups: r.Groups}
	}
	return out, nil
}

// read is the text of a policy_file, empty for none.
func (t translation) read(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	data, err := os.ReadFile(t.config.Path(name))
	if err != nil {
		return "", fmt.Errorf(".policy_file: %w", err)
	}
	return string(data), nil
}
