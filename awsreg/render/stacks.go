package render

import (
	"fmt"
	"strings"

	"mintmark/awsreg"
)

// stack is one of the stacks of package deploy with its parameters.
type stack struct {
	name       string // of the stack
	template   string // file in deploy/aws
	parameters map[string]string
}

func (s stack) parameterFile() string { return s.name + ".parameters.json" }

// iotStack is the file with the IoT resources, for targets whose stack owns them.
const iotStack = "iot.json"

// stacks lists what a target needs, in the order in which it is deployed: roles
// and functions before whatever refers to them.
func (in Input) stacks() []stack {
	t := in.Target.WithDefaults()
	var list []stack
	add := func(name, template string, parameters map[string]string) {
		list = append(list, stack{in.stackName(name), template, parameters})
	}
	if t.JITR != nil {
		add("jitr", "jitr.yaml", in.function(map[string]string{
			"FunctionName": functionName(t.JITR.Function), "Table": t.Manifest.Table, "Policy": t.JITR.Policy,
			"RulePrefix": t.JITR.Rule, "MaxAge": t.Manifest.MaxAge.String(),
		}))
	}
	roles := make(map[string]bool)
	for _, ca := range t.CAs {
		if role := roleOf(ca); role != "" && !roles[role] {
			roles[role] = true
			add("jitp-"+role, "jitp.yaml", map[string]string{"RoleName": role})
		}
	}
	for _, f := range t.Fleets {
		p := map[string]string{
			"ProvisionFunctionName": functionName(f.Hook), "ProvisioningRoleName": roleName(f.RoleARN),
			"Template": f.Template, "ThingPrefix": f.ThingPrefix, "DevicePolicy": f.Policy,
			"Table": t.Manifest.Table, "MaxAge": t.Manifest.MaxAge.String(),
		}
		if t.Rotation != nil {
			p["RotationTemplate"], p["RotateFunctionName"] = f.RotationTemplate, functionName(f.RotationHook)
			p["RotationTable"] = t.Rotation.Table
		}
		add("fleet-"+f.Template, "fleet.yaml", in.function(p))
	}
	if r := t.Rotation; r != nil {
		add("rotation", "rotation.yaml", in.function(map[string]string{
			"PresenceFunctionName": functionName(r.Presence), "MonitorFunctionName": "mintmark-monitor",
			"Table": t.Manifest.Table, "RotationTable": r.Table, "PresenceRule": r.Rule,
			"AlertTopic": r.Topic, "AlertTopics": strings.ReplaceAll(r.Topic, "<thing>", "*"),
		}))
	}
	if t.Provider != nil {
		p := map[string]string{
			"ProviderFunctionName": functionName(t.Provider.Function), "ProviderName": t.Provider.Name,
			"Table": t.Manifest.Table, "MaxAge": t.Manifest.MaxAge.String(),
			"EstUrl": in.Provider.URL, "EstLabel": in.Provider.Label, "EstCA": in.Provider.CA, "SecretArn": in.Provider.Secret,
		}
		if t.Rotation != nil {
			p["Rotation"], p["RotationTable"] = "true", t.Rotation.Table
		}
		add("provider", "provider.yaml", in.function(p))
	}
	if c := in.Callback; c != nil {
		add("connect", "connect.yaml", in.function(map[string]string{
			"ConnectFunctionName": functionName(c.Function), "Domain": c.Domain,
			"Table": t.Manifest.Table, "MaxAge": t.Manifest.MaxAge.String(),
			"Crls": strings.Join(c.CRLs, " "), "Ocsp": c.OCSP, "Anchors": c.Anchors,
		}))
	}
	if in.Ingest != nil {
		add("ingest", "ingest.yaml", in.Ingest.parameters())
	}
	return list
}

// function adds where the functions' bundle is.
func (in Input) function(p map[string]string) map[string]string {
	p["CodeBucket"], p["CodeKey"], p["Architecture"] = in.Code.Bucket, in.Code.Key, in.Code.Architecture
	return p
}

// stackName is unique in an account and region. The name of a stack takes letters,
// digits and hyphens.
func (in Input) stackName(part string) string {
	return "mintmark-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, in.Target.Name+"-"+part)
}

func roleOf(ca awsreg.CA) string {
	if ca.JITP == nil {
		return ""
	}
	return roleName(ca.JITP.RoleARN)
}

// roleName is the name in the ARN of a role without its path.
func roleName(arn string) string {
	_, name, ok := strings.Cut(arn, ":role/")
	if !ok {
		return ""
	}
	return name[strings.LastIndex(name, "/")+1:]
}

// apart refuses what two stacks would make: CloudFormation makes a thing once.
func apart(stacks []stack) error {
	made := make(map[string]string)
	for _, s := range stacks {
		for _, parameter := range []string{"FunctionName", "ProvisionFunctionName", "RotateFunctionName", "PresenceFunctionName",
			"MonitorFunctionName", "ProviderFunctionName", "ConnectFunctionName", "RoleName", "ProvisioningRoleName", "RuleRoleName"} {
			name := s.parameters[parameter]
			if name == "" {
				continue
			}
			kind := "function"
			if strings.HasSuffix(parameter, "RoleName") {
				kind = "role"
			}
			if other, taken := made[kind+name]; taken {
				return fmt.Errorf("the stacks %s and %s would both make the %s %q: give each its own in mintmark.yaml", other, s.name, kind, name)
			}
			made[kind+name] = s.name
		}
	}
	return nil
}
