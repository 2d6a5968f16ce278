package server

import (
	"context"
	"encoding/json"
	"fmt"

	"mintmark/awsreg"
	"mintmark/awsreg/lint"
)

// Doctor says what AWS would refuse of a target, and what it would take although
// it is a mistake, without a call: the CAs' certificates, and the documents that
// Apply writes, generated or from policy_file.
func (t *targets) Doctor(ctx context.Context, name string) ([]awsreg.Finding, error) {
	target, err := t.find(name)
	if err != nil {
		return nil, err
	}
	var list []awsreg.Finding
	for _, a := range target.CAs {
		issuer, err := t.issuer(ctx, a.Issuer)
		if err != nil {
			return nil, fmt.Errorf("looking up issuing CA %q: %w", a.Issuer, err)
		}
		list = append(list, awsreg.Preflight(issuer, target, a, t.s.ra.Now())...)
	}
	for _, d := range documents(target) {
		if d.role != "" && !isPolicy(d.text) {
			list = append(list, awsreg.Finding{Severity: awsreg.Refused, Rule: "document", Subject: d.subject,
				Text: "it is no policy, which is a JSON object with Version and Statement: see policy_file in mintmark.yaml"})
			continue
		}
		found, err := lint.Check(d.subject+".json", []byte(d.text), lint.Options{Role: d.role, Now: t.s.ra.Now()})
		if err != nil {
			list = append(list, awsreg.Finding{Severity: awsreg.Refused, Rule: "document", Subject: d.subject, Text: err.Error()})
		}
		for _, f := range found {
			subject := d.subject
			if f.Line > 0 {
				subject += fmt.Sprintf(", line %d", f.Line)
			}
			list = append(list, awsreg.Finding{Severity: awsreg.Severity(f.Severity), Rule: f.Rule, Subject: subject, AWS: f.AWS, Text: f.Text})
		}
	}
	return list, nil
}

// isPolicy reports whether a text has the form of a policy.
func isPolicy(text string) bool {
	var policy struct{ Version, Statement json.RawMessage }
	return json.Unmarshal([]byte(text), &policy) == nil && policy.Version != nil && policy.Statement != nil
}

// document is a policy or a template of a target.
type document struct {
	subject string
	role    lint.Role
	text    string
}

func documents(t awsreg.Target) []document {
	var list []document
	device := func(subject, configured, generated string) {
		if configured == "" {
			configured = generated
		}
		list = append(list, document{subject, lint.Device, configured})
	}
	if j := t.JITR; j != nil {
		device("policy of jitr", j.PolicyDocument, awsreg.DevicePolicy(t))
	}
	for _, a := range t.CAs {
		if a.JITP != nil {
			device(fmt.Sprintf("policy of CA %q", a.Issuer), a.JITP.PolicyDocument, awsreg.DevicePolicy(t))
		}
		if a.Register != nil {
			device(fmt.Sprintf("policy of CA %q", a.Issuer), a.Register.PolicyDocument, awsreg.DevicePolicy(t))
		}
	}
	for _, f := range t.Fleets {
		device(fmt.Sprintf("policy of fleet %q", f.Template), f.PolicyDocument, awsreg.FleetPolicy(t, f))
		list = append(list, document{fmt.Sprintf("claim policy of fleet %q", f.Template), lint.Claim, awsreg.ClaimPolicy(t, f)})
		for _, p := range awsreg.Templates(t, f) {
			list = append(list, document{fmt.Sprintf("template %q", p.Name), "", p.Body})
		}
	}
	return list
}
