package adminhttp

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/internal/ledger"
)

// FleetProfile stands for the profile in work orders for a fleet at AWS. It is the
// name of none: under such an order, certificates come from AWS or from the
// certificate provider of the account, and not from a label of ours.
const FleetProfile = "aws"

// maxClaimCSR is how long a certification request may be for AWS, in PEM.
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateCertificateFromCsr.html
const maxClaimCSR = 4096

// listClaims shows the claim certificates of a work order: what AWS has, and what
// is issued here and not told yet.
func (h *handler) listClaims(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	q := query(r, "order")
	id := q.text("order")
	if q.err != nil {
		return q.err
	}
	if _, err := h.fleetOrder(r.Context(), name, id); err != nil {
		return err
	}
	ours, err := h.Ledger.Certificates(r.Context(), ledger.Query{Order: id, Purpose: ledger.ForClaim, Limit: admin.MaxPage})
	if err != nil {
		return err
	}
	there, used, err := h.AWS.Claims(r.Context(), name, id)
	if err != nil {
		return fromAWS(err)
	}
	out := admin.AWSClaims{Claims: make([]admin.AWSClaim, 0, len(there)), Used: used}
	serials := make(map[string]ledger.Serial)
	for _, c := range ours.Certificates {
		if c.DER != nil {
			serials[awsreg.CertificateID(c.DER)] = c.Serial
		}
	}
	known := make(map[string]bool)
	for _, c := range there {
		one := wireClaim(c)
		one.Serial = string(serials[c.CertificateID])
		known[c.CertificateID] = true
		out.Claims = append(out.Claims, one)
	}
	for _, c := range ours.Certificates {
		if certificate := awsreg.CertificateID(c.DER); c.State == ledger.Valid && h.RA.Now().Before(c.NotAfter) && !known[certificate] {
			out.Claims = append(out.Claims, admin.AWSClaim{CertificateID: certificate, Order: id, Serial: string(c.Serial)})
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) newAWSClaim(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	var in admin.AWSClaimRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	order, err := h.fleetOrder(r.Context(), name, in.Order)
	if err != nil {
		return err
	}
	if in.AWSIssued {
		return h.claimFromAWS(w, r, name, order, in.CSR)
	}
	csr, err := h.claimRequest(in.CSR)
	if err != nil {
		return err
	}
	var issued admin.OrderCredential
	if err := h.claim(r, order, csr, &issued); err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(issued.Certificate.PEM))
	return writeJSON(w, http.StatusCreated, admin.AWSClaimIssued{
		Claim:       admin.AWSClaim{CertificateID: awsreg.CertificateID(block.Bytes), Order: order.ID, Serial: issued.Certificate.Serial},
		Certificate: issued.Certificate.PEM, Chain: issued.Chain,
	})
}

// claimFromAWS asks what the registration authority asks for a claim certificate
// of ours: the order is open, and the requester has the key.
func (h *handler) claimFromAWS(w http.ResponseWriter, r *http.Request, target string, order ledger.Order, text string) error {
	der, err := requestDER(text)
	if err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	switch {
	case err != nil:
		return fail(http.StatusBadRequest, "csr", "csr: %v", err)
	case len(text) > maxClaimCSR:
		return fail(http.StatusBadRequest, "csr", "csr has %d bytes in PEM, and AWS takes %d", len(text), maxClaimCSR)
	case order.State != ledger.OrderOpen:
		return fromOrder(&ledger.OrderError{Order: order.ID, Why: string(order.State)}, order.ID)
	case !h.RA.Now().Before(order.NotAfter):
		return fail(http.StatusConflict, "order-expired", "work order %q has ended on %s: extend it first", order.ID, order.NotAfter.UTC().Format(minute))
	}
	// A certificate that AWS has issued is bound to its order even if nobody
	// waits any more.
	claim, err := h.AWS.ClaimFromAWS(context.WithoutCancel(r.Context()), target, order, der)
	if err != nil {
		return fromAWS(err)
	}
	h.Logger.Info("claim certificate issued by AWS", "target", target, "order", order.ID, "certificate", claim.CertificateID, "actor", actor(r))
	return writeJSON(w, http.StatusCreated, admin.AWSClaimIssued{Claim: wireClaim(claim), Certificate: claim.PEM})
}

// fleetOrder is a work order for a fleet of the target.
func (h *handler) fleetOrder(ctx context.Context, target, id string) (ledger.Order, error) {
	if id == "" {
		return ledger.Order{}, fail(http.StatusBadRequest, "order", "order must be set: claim certificates belong to a work order")
	}
	order, err := h.Ledger.Order(ctx, id)
	if err != nil {
		return order, fromOrder(err, id)
	}
	switch place := h.Labels[order.Label].Target; {
	case place == target:
		return order, nil
	case place != "":
		return order, fail(http.StatusConflict, "order-label", "work order %q is for target %q, not for %q", id, place, target)
	}
	return order, fail(http.StatusConflict, "order-label", "work order %q is for label %q, which is no fleet of target %q: make one with mintmark order create --label aws:%s/TEMPLATE", id, order.Label, target, target)
}

func wireClaim(c awsreg.Claim) admin.AWSClaim {
	return admin.AWSClaim{CertificateID: c.CertificateID, Order: c.Order, Status: c.Status, Template: c.Template, Policy: c.Policy}
}
