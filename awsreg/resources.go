package awsreg

import (
	"context"
	"fmt"

	"mintmark/internal/reconcile"
)

// resources lists what a target consists of, in the order in which it is made:
// everything that a device meets on its first connection is there before its CA
// is let in.
func (r *Registrar) resources(ctx context.Context, s *session) ([]resource, error) {
	t := s.target
	var list []resource
	policies := make(map[string]string)
	policy := func(name, document string) error {
		document = or(document, DevicePolicy(t))
		if other, ok := policies[name]; ok {
			if !sameJSON(other, document) {
				return fmt.Errorf("AWS target %q gives IoT policy %q two different documents", t.Name, name)
			}
			return nil
		}
		policies[name] = document
		if refused := refusedBy(preflightPolicy(name, document)); refused != "" {
			list = append(list, refusal("policy", name, refused))
			return nil
		}
		list = append(list, policyResource(s.iot, name, document))
		return nil
	}

	if t.JITR != nil {
		if refused := refusedBy(preflightJITR(t)); refused != "" {
			list = append(list, refusal("jitr", t.JITR.Function, refused))
		}
		list = append(list, tableResource(s.dynamo, t.Manifest.table()))
		if err := policy(t.JITR.policy(), t.JITR.PolicyDocument); err != nil {
			return nil, err
		}
	}
	for _, ca := range t.CAs {
		if ca.Use == UseJITP {
			if err := policy(ca.JITP.Policy, ca.JITP.PolicyDocument); err != nil {
				return nil, err
			}
		}
	}
	var cas []resource
	for _, ca := range t.CAs {
		issuer, err := r.issuer(ctx, ca.Issuer)
		if err != nil {
			return nil, err
		}
		if ca.Use == UseJITR {
			list = append(list, ruleResource(s.iot, *t.JITR, CertificateID(issuer.Certificate.Raw)))
		}
		cas = append(cas, r.caResource(s, ca, issuer))
	}
	return append(list, cas...), nil
}

// refusal is a resource that cannot be made.
func refusal(kind, subject, why string) resource {
	return resource{func(context.Context) (reconcile.Change, action, error) {
		return reconcile.Change{Kind: kind, Subject: subject, Action: reconcile.Refuse, After: why}, nil, nil
	}}
}
