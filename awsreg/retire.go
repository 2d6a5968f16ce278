package awsreg

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/reconcile"
)

// retire takes a CA out of service in as many steps as its state and sweep ask
// for, each of which may be cut off: no auto-registration and INACTIVE, so that
// nothing new comes in; no topic rule; the certificates under it; and, last, no
// registration, because AWS lists certificates by a CA only while it has it.
// https://docs.aws.amazon.com/iot/latest/developerguide/manage-your-CA-certs.html
func (r *Registrar) retire(s *session, ca CA, issuer Issuer) []resource {
	id := CertificateID(issuer.Certificate.Raw)
	list := []resource{deactivation(s.iot, ca, issuer, id)}
	if ca.Use == UseJITR && s.target.JITR != nil {
		rule := noRuleResource(s.iot, s.target.JITR.ruleName(id))
		if s.target.StackOwned {
			rule = foreign(rule)
		}
		list = append(list, rule)
	}
	if ca.sweep() != SweepKeep {
		list = append(list, r.sweepResource(s, ca, issuer, id))
	}
	if ca.state() == StateDeleted {
		list = append(list, deletion(s.iot, ca, issuer, id))
	}
	return list
}

// deactivation makes a CA INACTIVE, with auto-registration off. One that is not
// registered is as good.
func deactivation(api caAPI, ca CA, issuer Issuer, id string) resource {
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindCA, Subject: caSubject(ca, id), Action: reconcile.None, After: notRegistered}
		have, err := describeCA(ctx, api, id, issuer)
		if err != nil || have == nil {
			return change, nil, err
		}
		// Template and mode stay as they are: nothing comes in under them.
		want := *have
		want.status, want.auto = types.CACertificateStatusInactive, types.AutoRegistrationStatusDisable
		change.Before, change.After = have.String(), want.String()
		update := want.drift(*have, id)
		if update == nil {
			return change, nil, nil
		}
		change.Action, change.Destructive = reconcile.Update, true
		return change, func(ctx context.Context) error {
			_, err := api.UpdateCACertificate(ctx, update)
			return explain(fmt.Sprintf("deactivating CA %q", ca.Issuer), err)
		}, nil
	}
	return resource{examine: examine}
}

// deletion ends the registration of a CA. Certificates under it stay registered,
// in the status that they have.
func deletion(api caAPI, ca CA, issuer Issuer, id string) resource {
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindCA, Subject: caSubject(ca, id), Action: reconcile.None, After: notRegistered}
		have, err := describeCA(ctx, api, id, issuer)
		if err != nil || have == nil {
			return change, nil, err
		}
		change.Action, change.Destructive = reconcile.Delete, true
		change.Before = fmt.Sprintf("registered, mode %s", have.mode)
		if ca.sweep() == SweepKeep {
			change.After += "; the certificates under it stay as they are, and AWS lists them by this CA no more"
		}
		return change, func(ctx context.Context) error {
			_, err := api.DeleteCACertificate(ctx, &iot.DeleteCACertificateInput{CertificateId: aws.String(id)})
			if code(err) == codeNotFound { // by a call whose answer was lost
				return nil
			}
			return explain(fmt.Sprintf("deleting the registration of CA %q", ca.Issuer), err)
		}, nil
	}
	return resource{examine: examine}
}

const notRegistered = "not registered"

func caSubject(ca CA, id string) string { return fmt.Sprintf("%s (%s)", ca.Issuer, id) }
