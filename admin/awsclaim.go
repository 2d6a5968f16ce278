package admin

import (
	"context"
	"net/http"
	"net/url"
)

// AWSClaimRequest asks for a claim certificate of a work order.
type AWSClaimRequest struct {
	// Order is a work order for a fleet of the target.
	Order string `json:"order"`
	// CSR is the certification request (PEM); its key stays where it was made.
	CSR string `json:"csr"`
	// AWSIssued has AWS issue the certificate, instead of the issuing CA of the
	// work orders.
	AWSIssued bool `json:"aws_issued,omitempty"`
}

// AWSClaim is a claim certificate as AWS has it.
type AWSClaim struct {
	CertificateID string `json:"certificate_id"`
	Order         string `json:"order"`
	// Status is AWS's word. It is empty for a certificate that AWS has not been
	// told of yet.
	Status   string `json:"status,omitempty"`
	Template string `json:"template,omitempty"`
	Policy   string `json:"policy,omitempty"`
	// Serial is that of a certificate of ours; empty for one that AWS issued.
	Serial string `json:"serial,omitempty"`
}

// AWSClaimIssued is a claim certificate that was issued.
type AWSClaimIssued struct {
	Claim AWSClaim `json:"claim"`
	// Certificate and Chain are PEM. Chain ends below the trust anchor and is
	// empty if AWS issued the certificate.
	Certificate string `json:"certificate"`
	Chain       string `json:"chain,omitempty"`
}

// AWSClaims are the claim certificates of one work order.
type AWSClaims struct {
	Claims []AWSClaim `json:"claims"`
	// Used counts the devices that came in with them.
	Used int `json:"used"`
}

// AWSClaim issues a claim certificate and binds it to a work order. One of ours
// is registered with AWS soon after; AWSClaims shows when.
func (c *Client) AWSClaim(ctx context.Context, target string, in AWSClaimRequest) (AWSClaimIssued, error) {
	return call[AWSClaimIssued](ctx, c, http.MethodPost, awsPath(target)+"/claims", nil, in)
}

// AWSClaims lists the claim certificates of a work order, of whichever issuer.
func (c *Client) AWSClaims(ctx context.Context, target, order string) (AWSClaims, error) {
	return call[AWSClaims](ctx, c, http.MethodGet, awsPath(target)+"/claims", url.Values{"order": {order}}, nil)
}
