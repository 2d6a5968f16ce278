package issuer

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"time"

	"mintmark/internal/ledger"
)

// naming is what the server itself says of a certificate that is no device's:
// of the request only the key is taken.
type naming struct {
	commonName string
	until      time.Time        // the certificate ends no later; zero for the profile's validity
	key        crypto.PublicKey // that the request must have; nil for any
}

// named reports whether the server names the subjects of a purpose itself. Such
// a profile issues nothing by Enroll.
func named(purpose ledger.Purpose) bool {
	return purpose == ledger.ForClaim || purpose == ledger.ForOfficer || purpose == ledger.ForResponder || purpose == ledger.ForManifest
}

// subject is the subject to build the certificate from.
func (n *naming) subject() pkix.Name {
	return pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: n.commonName}}}
}

// check refuses a request with another key than the one that is recorded.
func (n *naming) check(csr *request) error {
	if n.key == nil {
		return nil
	}
	if key, ok := n.key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !key.Equal(csr.PublicKey) {
		return refuse(Forbidden, "principal-key", "the key of the request is not the one recorded for %q: make the request with that key, or have the recorded one changed first", n.commonName)
	}
	return nil
}

// bound ends the certificate with what it is for.
func (n *naming) bound(template *x509.Certificate) {
	if !n.until.IsZero() && n.until.Before(template.NotAfter) {
		template.NotAfter = n.until.Truncate(time.Second)
	}
}

// EnrollClaim issues the claim certificate of a work order through the issuance
// cycle. The profile has the preset claim; the certificate ends with the
// order's window. It costs no unit. Errors are Enroll's.
func (ra *RA) EnrollClaim(ctx context.Context, order ledger.Order, issuer, profile string, csr []byte, requester ledger.Requester) (Answer, error) {
	r := Request{
		Profile: profile, Issuer: issuer, CSR: csr, Requester: requester, Operation: "order.create",
		Authorize: ByOrder, Order: order.ID,
		naming: &naming{commonName: order.ID, until: order.NotAfter},
	}
	if refusal := ra.mayClaim(order, r); refusal != nil {
		ra.refused(r, refusal)
		return Answer{}, refusal
	}
	return ra.Enroll(ctx, r)
}

// mayClaim says why an order gets no claim certificate, or nil. One whose
// window has not begun gets it: the certificate is there when it begins.
func (ra *RA) mayClaim(order ledger.Order, r Request) *Refusal {
	switch p := ra.Profiles[r.Profile]; {
	case p != nil && p.Purpose != ledger.ForClaim:
		return refuse(Malformed, "purpose", "profile %s is for the purpose %s; a claim certificate needs one with the preset claim", p.Name, p.Purpose)
	case order.ID == "":
		return refuseOrder("unknown", order.ID)
	case order.State == ledger.OrderKilled:
		return refuseOrder("killed", order.ID)
	case order.State != ledger.OrderOpen:
		return refuseOrder("closed", order.ID)
	case !ra.Now().Before(order.NotAfter):
		return refuseOrder("expired", order.ID)
	}
	return nil
}

// EnrollOfficer issues the TLS certificate of a principal through the issuance
// cycle. The profile has the preset officer. key is the DER of the
// SubjectPublicKeyInfo that is recorded for the principal, which the request
// must have. Errors are Enroll's.
func (ra *RA) EnrollOfficer(ctx context.Context, name, issuer, profile string, csr, key []byte, requester ledger.Requester) (Answer, error) {
	r := Request{
		Profile: profile, Issuer: issuer, CSR: csr, Requester: requester, Operation: "principal.enroll",
		Authorize: Trusted,
	}
	public, err := x509.ParsePKIXPublicKey(key)
	var refusal *Refusal
	switch p := ra.Profiles[profile]; {
	case p != nil && p.Purpose != ledger.ForOfficer:
		refusal = refuse(Malformed, "purpose", "profile %s is for the purpose %s; a principal's certificate needs one with the preset officer", p.Name, p.Purpose)
	case name == "":
		refusal = refuse(Malformed, "subject", "the principal has no name")
	case err != nil:
		refusal = refuse(Conflict, "principal-key", "there is no usable key on record for %q: record one first", name)
		refusal.Err = err
	}
	if refusal != nil {
		ra.refused(r, refusal)
		return Answer{}, refusal
	}
	r.naming = &naming{commonName: name, key: public}
	return ra.Enroll(ctx, r)
}
