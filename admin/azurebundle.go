package admin

import (
	"context"
	"encoding/json"
	"net/http"
)

// AzureProofs asks for proofs of possession of CAs' keys, or has them.
type AzureProofs struct {
	Version int          `json:"version"` // 1
	Target  string       `json:"target"`
	Proofs  []AzureProof `json:"proofs"`
}

// AzureProof asks for, or is, the proof of one CA.
type AzureProof struct {
	// Name is that of the CA's certificate at DPS, SHA256 its hash in hexadecimal.
	Name      string `json:"name"`
	Authority string `json:"authority"`
	SHA256    string `json:"sha256"`
	// Code is the verification code of DPS: the common name of the proof.
	Code string `json:"code"`
	// Certificate is the proof, PEM; empty in a request.
	Certificate string `json:"certificate,omitempty"`
}

// AzureBundle returns what a machine with a network needs to bring a target to the
// configured state in the place of a CA without one: JSON for azure bundle push. It has
// no key of a CA and no credentials, but the whole URLs of allocation functions, whose
// queries may be keys of theirs. It makes no call to Azure.
func (c *Client) AzureBundle(ctx context.Context, target string) (json.RawMessage, error) {
	return call[json.RawMessage](ctx, c, http.MethodGet, azurePath(target)+"/bundle", nil, nil)
}

// AzureBulk asks for individual enrollments of devices that have certificates of a profile and
// a work order.
type AzureBulk struct {
	Profile string   `json:"profile"`
	Order   string   `json:"order,omitempty"`
	Devices []string `json:"devices"` // at most MaxBatchItems
}

// AzureEnrollments are the bodies of individual enrollments.
type AzureEnrollments struct {
	Enrollments []json.RawMessage `json:"enrollments"`
}

// AzureBulk returns the individual enrollments that a target has for devices, as DPS takes
// them in a bulk operation, and makes no call to Azure. Devices that are kept out have none. It is
// an error if the target has none for devices of that profile and order, also without any.
func (c *Client) AzureBulk(ctx context.Context, target string, in AzureBulk) ([]json.RawMessage, error) {
	answer, err := call[AzureEnrollments](ctx, c, http.MethodPost, azurePath(target)+"/bulk", nil, in)
	return answer.Enrollments, err
}

// AzureProve has the CAs' keys sign the proofs that a request asks for. Whoever has
// one of them can have the CA verified by the service that gave the code.
func (c *Client) AzureProve(ctx context.Context, target string, request AzureProofs) (AzureProofs, error) {
	return call[AzureProofs](ctx, c, http.MethodPost, azurePath(target)+"/prove", nil, request)
}
