package awsreg

import (
	"context"

	"mintmark/awsreg/hook"
	"mintmark/internal/reconcile"
)

// signers say which registrations are of one authority: those of authorities with more
// than one certificate. The function that activates devices compares the registration by
// which one came with the manifest's entry, and a device may come by either.
func (r *Registrar) signers(ctx context.Context, t Target) ([]hook.Signer, error) {
	several := make(map[string]bool)
	for _, ca := range t.CAs {
		if ca.other() && ca.Use == UseJITR {
			several[ca.authority()] = true
		}
	}
	var list []hook.Signer
	for _, ca := range t.CAs {
		if !several[ca.authority()] {
			continue
		}
		id, err := r.issuerID(ctx, ca.Issuer)
		if err != nil {
			return nil, err
		}
		list = append(list, hook.Signer{CertificateID: id, Issuer: ca.authority()})
	}
	return list, nil
}

// signerResources have the manifest say so before the second registration lets anybody
// in. They are never taken away: an entry may name the one while devices come by the
// other for as long as either is registered.
func (r *Registrar) signerResources(ctx context.Context, s *session) ([]resource, error) {
	signers, err := r.signers(ctx, s.target)
	if err != nil {
		return nil, err
	}
	var list []resource
	for _, signer := range signers {
		list = append(list, s.signerResource(signer))
	}
	return list, nil
}

func (s *session) signerResource(signer hook.Signer) resource {
	table, key := s.target.Manifest.table(), hook.SignerKey(signer.CertificateID)
	write := func(ctx context.Context) error { return s.putItems(ctx, table, signer.Item()) }
	return resource{examine: func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindSigner, Subject: signer.CertificateID, Action: reconcile.Create, After: "is of " + signer.Issuer}
		found, err := s.getItems(ctx, table, key)
		if code(err) == codeNotFound { // no table yet
			return change, write, nil
		}
		if err != nil {
			return change, nil, explain("reading table "+table, err)
		}
		item, is := found[key]
		if !is {
			return change, write, nil
		}
		if have, err := hook.DecodeSigner(item); err != nil || have != signer {
			change.Before, change.Action = "is of "+or(have.Issuer, "nobody"), reconcile.Update
			return change, write, nil
		}
		change.Before, change.Action = change.After, reconcile.None
		return change, nil, nil
	}}
}
