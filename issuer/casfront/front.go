// Package casfront is smallstep's certificate authority service (cas/apiv1)
// over mintmark's issuance cycle.
//
// The seam is at the whole cycle, never at the bare signer: what an embedded
// smallstep authority lets in by its provisioners (ACME, SCEP, JWK, cloud
// identities) is authorised by a profile, linted and recorded like everything
// else. What the interface cannot carry through the cycle is refused.
package casfront

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// timeout bounds one call: the interface has no context of its own.
const timeout = 30 * time.Second

// The operations, in the record of refusals.
const (
	opCreate = "cas create"
	opRenew  = "cas renew"
)

// Route says what certificates of one provisioner are issued as.
type Route struct {
	Profile string
	Issuer  string
	// Authorize is issuer.Trusted or issuer.Inventory; the zero value refuses
	// everything. A provisioner has no credential of a work order.
	Authorize issuer.Rule
}

// Front implements the service. It may be used concurrently.
type Front struct {
	ra       *issuer.RA
	routes   map[string]Route
	fallback *Route
}

var (
	_ apiv1.CertificateAuthorityService = (*Front)(nil)
	_ apiv1.CertificateAuthorityGetter  = (*Front)(nil)
)

// New returns a front that issues by the name of the provisioner, so that one
// authority can issue from several CAs. fallback serves requests without a
// provisioner, as for the authority's own certificate; nil refuses them.
func New(ra *issuer.RA, routes map[string]Route, fallback *Route) *Front {
	return &Front{ra: ra, routes: routes, fallback: fallback}
}

// CreateCertificate runs the issuance cycle for the request's CSR. The profile
// decides what is in the certificate; the template counts only as what the
// authority has authorised: a certificate that names something else is not
// returned but refused beforehand.
func (f *Front) CreateCertificate(req *apiv1.CreateCertificateRequest) (*apiv1.CreateCertificateResponse, error) {
	if req.CSR == nil || req.Template == nil {
		return nil, errors.New("casfront: a certification request and a template are needed")
	}
	route := f.fallback
	name := "smallstep"
	refused := ledger.Refused{
		Operation: opCreate, Requester: ledger.Requester{Kind: "cas", Name: name},
		Subject: issuer.NameText(req.CSR.Subject, req.CSR.RawSubject), Key: sha256.Sum256(req.CSR.RawSubjectPublicKeyInfo),
	}
	if req.Provisioner != nil && !req.IsCAServerCert {
		name = req.Provisioner.Name
		refused.Requester.Name = name
		r, ok := f.routes[name]
		if !ok {
			return nil, f.refuse(refused, "cas-route", fmt.Errorf("provisioner %q has no route to a profile", name))
		}
		route = &r
	}
	if route == nil {
		return nil, f.refuse(refused, "cas-route", errors.New("requests without a provisioner have no route to a profile"))
	}
	refused.Profile = route.Profile
	if err := sameNames(req.CSR, req.Template); err != nil {
		return nil, f.refuse(refused, "cas-names", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answer, err := f.ra.Enroll(ctx, issuer.Request{
		Profile: route.Profile, Issuer: route.Issuer, CSR: req.CSR.Raw,
		Requester: ledger.Requester{Kind: "cas", Name: name}, Authorize: route.Authorize, Operation: opCreate,
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.CreateCertificateResponse{Certificate: answer.Certificate, CertificateChain: answer.Chain}, nil
}

// refuse records what never reached the cycle, which records the rest itself.
func (f *Front) refuse(r ledger.Refused, rule string, err error) error {
	r.Rule, r.Text = rule, err.Error()
	f.ra.Refused(r)
	return fmt.Errorf("casfront: %w", err)
}

// sameNames refuses a request whose names are not those that the authority
// authorised in the template: the cycle reads names from the request.
func sameNames(csr *x509.CertificateRequest, authorised *x509.Certificate) error {
	if authorised.IsCA {
		return errors.New("CA certificates are not issued through this service")
	}
	if csr.Subject.CommonName != authorised.Subject.CommonName {
		return fmt.Errorf("the request's common name %q is not the authorised %q", csr.Subject.CommonName, authorised.Subject.CommonName)
	}
	text := func(dns []string, email []string, ips []string, uris []string) []string {
		all := slices.Concat(dns, email, ips, uris)
		slices.Sort(all)
		return slices.Compact(all)
	}
	requested := text(csr.DNSNames, csr.EmailAddresses, stringsOf(csr.IPAddresses), stringsOf(csr.URIs))
	allowed := text(authorised.DNSNames, authorised.EmailAddresses, stringsOf(authorised.IPAddresses), stringsOf(authorised.URIs))
	for _, name := range requested {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("the request names %q, which was not authorised", name)
		}
	}
	return nil
}

func stringsOf[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}

// RenewCertificate refuses: the call carries a template copied from a
// certificate that nobody need have issued, and no proof of possession.
// Devices renew by enrolling again with their key.
func (f *Front) RenewCertificate(req *apiv1.RenewCertificateRequest) (*apiv1.RenewCertificateResponse, error) {
	refused := ledger.Refused{
		Operation: opRenew, Requester: ledger.Requester{Kind: "cas", Name: "smallstep"},
		Rule: "cas-renewal", Text: "a renewal without a certification request proves nothing; enroll again",
	}
	if req.Template != nil {
		refused.Subject = req.Template.Subject.String()
	}
	f.ra.Refused(refused)
	return nil, apiv1.NotImplementedError{Message: "casfront: a renewal without a certification request proves nothing; enroll again"}
}

// RevokeCertificate revokes in the ledger, by serial number.
func (f *Front) RevokeCertificate(req *apiv1.RevokeCertificateRequest) (*apiv1.RevokeCertificateResponse, error) {
	var number *big.Int
	switch {
	case req.Certificate != nil:
		number = req.Certificate.SerialNumber
	default:
		var ok bool
		if number, ok = new(big.Int).SetString(req.SerialNumber, 0); !ok {
			return nil, fmt.Errorf("casfront: %q is not a serial number", req.SerialNumber)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if _, err := f.ra.Revoke(ctx, ledger.Selector{Serial: issuer.SerialOf(number)}, ledger.Reason(req.ReasonCode), "smallstep"); err != nil {
		return nil, fmt.Errorf("casfront: revoking: %w", err)
	}
	return &apiv1.RevokeCertificateResponse{Certificate: req.Certificate}, nil
}

// GetCertificateAuthority returns the trust anchor of the named authority.
func (f *Front) GetCertificateAuthority(req *apiv1.GetCertificateAuthorityRequest) (*apiv1.GetCertificateAuthorityResponse, error) {
	authority, err := f.ra.Authority(req.Name)
	if err != nil {
		return nil, err
	}
	return &apiv1.GetCertificateAuthorityResponse{RootCertificate: authority.Root()}, nil
}
