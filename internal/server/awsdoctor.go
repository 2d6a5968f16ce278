package server

import (
	"context"
	"fmt"
	"slices"

	"mintmark/awsreg"
	"mintmark/awsreg/lint"
)

// Doctor says what AWS would refuse of a target, and what it would take although
// it is a mistake, without a call: all that Apply looks at before its first call,
// and what the linter finds in the documents that Apply writes, generated or from
// policy_file. Where both find the same, the linter's finding is told, which has
// the line.
func (t *awsTargets) Doctor(ctx context.Context, name string) ([]awsreg.Finding, error) {
	target, err := t.find(name)
	if err != nil {
		return nil, err
	}
	list, err := t.registrar.Doctor(ctx, target)
	if err != nil {
		return nil, err
	}
	documents, err := t.documents(ctx, target)
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		found, err := lint.Check(d.subject+".json", []byte(d.text), d.options)
		if err != nil {
			list = append(list, awsreg.Finding{Severity: awsreg.Refused, Rule: "document", Subject: d.subject, Text: err.Error()})
		}
		for _, f := range found {
			list = slices.DeleteFunc(list, func(other awsreg.Finding) bool { return d.same(f.Rule, other) })
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

// document is a policy or a template of a target.
type document struct {
	subject string
	owner   string // what awsreg's findings on it are about
	text    string
	options lint.Options
}

// preflightRule is what awsreg calls a rule of the linter, where the names differ.
var preflightRule = map[string]string{
	"syntax": "policy-syntax", "thing-attribute": "attributes", "jitp-parameter": "template-parameter", "role-arn": "role",
}

// same reports whether a finding of awsreg says what one of the linter says of the
// document.
func (d document) same(rule string, f awsreg.Finding) bool {
	return f.Subject == d.owner && (f.Rule == rule || f.Rule == preflightRule[rule])
}

// documents are the policies and templates that Apply writes, each once.
func (t *awsTargets) documents(ctx context.Context, target awsreg.Target) ([]document, error) {
	now := t.s.ra.Now()
	claims := make(map[string]bool) // the documents of claim policies, which are always ours
	for _, f := range target.Fleets {
		claims[awsreg.ClaimPolicy(target, f)] = true
	}
	policies, _ := target.Policies() // a conflict of names is among awsreg's findings
	var list []document
	for _, p := range policies {
		subject, role := fmt.Sprintf("IoT policy %q", p.Name), lint.Device
		if claims[p.Document] {
			role = lint.Claim
		}
		list = append(list, document{subject, subject, p.Document, lint.Options{Role: role, Now: now}})
	}
	for _, a := range target.CAs {
		if a.JITP == nil || a.State != "" && a.State != awsreg.StateActive {
			continue
		}
		issuer, err := t.issuer(ctx, a.Issuer)
		if err != nil {
			return nil, fmt.Errorf("looking up issuing CA %q: %w", a.Issuer, err)
		}
		body, err := awsreg.Template(issuer, *a.JITP)
		if err != nil {
			continue // none can be made, which is among awsreg's findings
		}
		list = append(list, document{fmt.Sprintf("template of CA %q", a.Issuer), fmt.Sprintf("CA %q", a.Issuer), body, lint.Options{Subject: issuer.Subject, Now: now}})
	}
	for _, f := range target.Fleets {
		for _, p := range awsreg.Templates(target, f) {
			list = append(list, document{fmt.Sprintf("template %q", p.Name), fmt.Sprintf("fleet %q", f.Template), p.Body, lint.Options{Now: now}})
		}
	}
	return list, nil
}
