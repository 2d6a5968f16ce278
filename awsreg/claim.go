package awsreg

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// Claim is a claim certificate as AWS has it.
type Claim struct {
	CertificateID string
	Order         string
	Status        string // AWS's word
	Template      string
	Policy        string // the claim policy, attached; empty while it is not
	// PEM is the certificate where AWS issued it; empty for one of ours.
	PEM string
}

// maxRequest is the length of a request that AWS takes, in characters of PEM.
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateCertificateFromCsr.html
const maxRequest = 4096

// ClaimFromAWS has AWS issue a claim certificate for a request, in PEM or DER,
// whose key never leaves its owner, and binds it to the work order. It is INACTIVE
// until policy and claim# item are there. The order must be open and its label one
// of the target's fleets.
//
// Issuing is not idempotent at AWS. Where an answer was lost, a certificate stays
// behind that is INACTIVE and has no policy, so that it is good for nothing;
// Reconcile reports it.
func (r *Registrar) ClaimFromAWS(ctx context.Context, t Target, order ledger.Order, csr []byte) (Claim, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	request, err := parseRequest(csr)
	if err != nil {
		return Claim{}, fmt.Errorf("claim under work order %q: %w", order.ID, err)
	}
	fleet, now, ok, err := r.fleetOrder(ctx, t, order.ID)
	switch {
	case err != nil:
		return Claim{}, err
	case !ok:
		return Claim{}, fmt.Errorf("work order %q is not for a fleet of AWS target %q: its label must be %s<template>", order.ID, t.Name, "aws:"+t.Name+"/")
	case now.State != ledger.OrderOpen:
		return Claim{}, fmt.Errorf("work order %q is %s: it gets no more claims", order.ID, now.State)
	case t.Provider != nil:
		return Claim{}, fmt.Errorf("AWS target %q has a certificate provider, which answers every CreateCertificateFromCsr of the account and admits claims only: have the claim issued by a CA of yours", t.Name)
	}
	s, err := r.session(ctx, t, false)
	if err != nil {
		return Claim{}, err
	}
	out, err := s.createFromRequest(ctx, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request.Raw})))
	if err != nil {
		return Claim{}, err
	}
	claim := Claim{
		CertificateID: aws.ToString(out.CertificateId), Order: order.ID, Template: fleet.Template, Policy: fleet.claimPolicy(),
		PEM: aws.ToString(out.CertificatePem),
	}
	if err := r.bind(ctx, s, &claim, request, aws.ToString(out.CertificateArn)); err != nil {
		return Claim{}, fmt.Errorf("claim %s under work order %q, which AWS has issued and which is not in service: %w", claim.CertificateID, order.ID, err)
	}
	return claim, nil
}

// createFromRequest has AWS issue an INACTIVE certificate. A call without an answer
// is made again all the same: what it may have left behind is good for nothing.
func (s *session) createFromRequest(ctx context.Context, request string) (*iot.CreateCertificateFromCsrOutput, error) {
	var out *iot.CreateCertificateFromCsrOutput
	err := retry(ctx, func() (err error) {
		out, err = s.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: aws.String(request)})
		return err
	})
	return out, explain("having AWS issue a claim certificate", err)
}

// bind ties a certificate that AWS issued to its order, and lets it in last.
func (r *Registrar) bind(ctx context.Context, s *session, claim *Claim, request *x509.CertificateRequest, arn string) error {
	block, _ := pem.Decode([]byte(claim.PEM))
	if block == nil {
		return errors.New("AWS answered without a certificate")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("AWS answered with a certificate that does not parse: %w", err)
	}
	if !bytes.Equal(c.RawSubjectPublicKeyInfo, request.RawSubjectPublicKeyInfo) {
		return errors.New("AWS answered with a certificate of another key")
	}
	if err := sameID(CertificateID(c.Raw), &claim.CertificateID); err != nil {
		return err
	}
	if err := s.attachPolicy(ctx, claim.Policy, arn); err != nil {
		return err
	}
	if err := s.putItems(ctx, s.target.Manifest.table(), hook.Claim{CertificateID: claim.CertificateID, Order: claim.Order}.Item()); err != nil {
		return err
	}
	order, err := r.cfg.Records.Order(ctx, claim.Order)
	if err != nil {
		return fmt.Errorf("looking up work order %q: %w", claim.Order, err)
	}
	if order.State != ledger.OrderOpen {
		return fmt.Errorf("the work order is %s by now", order.State)
	}
	status, err := s.setStatus(ctx, claim.CertificateID, types.CertificateStatusActive)
	if err != nil {
		return err
	}
	claim.Status = string(status)
	// Whoever shut the order since the reading may have looked before the
	// certificate was ACTIVE; who does it after the next one finds it so.
	if order, err = r.cfg.Records.Order(ctx, claim.Order); err == nil && order.State == ledger.OrderOpen {
		return nil
	}
	if shut := s.deactivate(ctx, claim.CertificateID); shut != nil {
		return shut
	}
	if err != nil {
		return fmt.Errorf("looking up work order %q: %w", claim.Order, err)
	}
	return fmt.Errorf("the work order is %s by now", order.State)
}

// parseRequest reads a certification request, in PEM or DER, and verifies its
// proof of possession.
func parseRequest(csr []byte) (*x509.CertificateRequest, error) {
	if len(csr) > maxRequest {
		return nil, fmt.Errorf("the certification request has %d bytes, AWS takes at most %d characters", len(csr), maxRequest)
	}
	der := csr
	if bytes.HasPrefix(bytes.TrimSpace(csr), []byte("-----")) {
		block, rest := pem.Decode(csr)
		if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("the certification request is not one in PEM")
		}
		der = block.Bytes
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parsing certification request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certification request: its signature is not by its key: %w", err)
	}
	if n := len(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})); n > maxRequest {
		return nil, fmt.Errorf("the certification request has %d characters in PEM, AWS takes at most %d", n, maxRequest)
	}
	return request, nil
}

// Claims lists the claim certificates of a work order that the account knows, of
// whichever issuer, in the order of their ids, and how many devices the hook has
// admitted under the order.
func (r *Registrar) Claims(ctx context.Context, t Target, order string) (claims []Claim, used int, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	fleet, _, ok, err := r.fleetOrder(ctx, t, order)
	if err != nil {
		return nil, 0, err
	}
	if !ok {
		return nil, 0, fmt.Errorf("work order %q is not for a fleet of AWS target %q: %w", order, t.Name, ledger.ErrNotFound)
	}
	s, err := r.session(ctx, t, false)
	if err != nil {
		return nil, 0, err
	}
	ids, at, ours, err := r.claimsUnder(ctx, s, fleet, order)
	if err != nil {
		return nil, 0, err
	}
	found, failed := make([]*Claim, len(ids)), make([]error, len(ids))
	inParallel(workers, len(ids), func(i int) {
		d, err := s.describe(ctx, ids[i])
		if failed[i] = ignoreNotFound(err); err != nil {
			return
		}
		found[i] = &Claim{CertificateID: ids[i], Order: order, Status: string(d.Status), Template: fleet.Template}
		if _, attached := at[ids[i]]; attached {
			found[i].Policy = fleet.claimPolicy()
		}
		if _, is := ours[ids[i]]; !is {
			found[i].PEM = aws.ToString(d.CertificatePem)
		}
	})
	if err := errors.Join(failed...); err != nil {
		return nil, 0, err
	}
	for _, c := range found {
		if c != nil {
			claims = append(claims, *c)
		}
	}
	items, err := s.getItems(ctx, t.Manifest.table(), hook.UsedKey(order))
	if err != nil || len(items) == 0 {
		return claims, 0, err
	}
	used, err = hook.DecodeUsed(items[hook.UsedKey(order)])
	return claims, used, err
}
