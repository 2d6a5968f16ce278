// Package remote has the certificates of a batch issued by the administrative API. It is
// apart from package batch, which knows no server.
package remote

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"mintmark/admin"
	"mintmark/issuer/batch"
)

// Certifier asks a server for certificates of one profile, CA and order. It may be used
// concurrently.
type Certifier struct {
	Client                 *admin.Client
	Profile, Issuer, Order string
}

// Certify implements batch.Certifier.
func (c Certifier) Certify(ctx context.Context, id string, items []batch.Item) ([]batch.Result, error) {
	in := admin.Batch{Profile: c.Profile, Issuer: c.Issuer, Order: c.Order, Items: make([]admin.BatchItem, len(items))}
	for i, item := range items {
		if len(item.CSR) > 0 {
			in.Items[i].CSR = item.CSR
		} else {
			in.Items[i].Name, in.Items[i].Key = item.Name, item.Key
		}
	}
	answer, err := c.Client.BatchCertificates(ctx, id, in)
	if err != nil {
		return nil, final(err)
	}
	if len(answer.Results) != len(items) {
		return nil, fmt.Errorf("the server answered %d items with %d results", len(items), len(answer.Results))
	}
	chains := make([][]*x509.Certificate, len(answer.Chains))
	for i, list := range answer.Chains {
		for _, der := range list {
			one, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("parsing a CA certificate of the server's answer: %w", err)
			}
			chains[i] = append(chains[i], one)
		}
	}
	results := make([]batch.Result, len(items))
	for i, r := range answer.Results {
		switch {
		case r.Refusal != nil:
			results[i] = batch.Result{Rule: r.Refusal.Rule, Text: r.Refusal.Detail, Retry: r.Refusal.Retry}
			continue
		case r.Chain < 0 || r.Chain >= len(chains):
			return nil, fmt.Errorf("the server's answer names chain %d, and has %d", r.Chain, len(chains))
		}
		one, err := x509.ParseCertificate(r.Certificate)
		if err != nil {
			return nil, fmt.Errorf("parsing the certificate of item %d of the server's answer: %w", i, err)
		}
		results[i] = batch.Result{Certificate: one, Chain: chains[r.Chain], Device: r.Device, Prior: r.Prior}
	}
	return results, nil
}

// Sign implements batch.Certifier.
func (c Certifier) Sign(ctx context.Context, id string, manifest []byte) ([]byte, error) {
	signature, err := c.Client.SignManifest(ctx, id, manifest)
	return signature, final(err)
}

// final marks what the same call would be answered again.
func final(err error) error {
	var refusal *admin.Error
	if errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError {
		return &batch.FinalError{Err: err}
	}
	return err
}
