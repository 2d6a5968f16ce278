package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// MaxBatchItems is how many certificates one call of a batch asks for.
const MaxBatchItems = 500

// MaxBatch bounds the body of such a call, and MaxManifest the manifest of a batch, in
// bytes.
const (
	MaxBatch    = 12 << 20
	MaxManifest = 64 << 20
)

// Batch asks for certificates of a batch. All items are of one profile, CA and order.
type Batch struct {
	Profile string `json:"profile"`
	Issuer  string `json:"issuer"`
	// Order is the work order that pays for them; empty for none.
	Order string      `json:"order,omitempty"`
	Items []BatchItem `json:"items"`
}

// BatchCheck is about the certificates that a batch would ask for.
type BatchCheck struct {
	Profile, Issuer string
	Order           string // empty for none
	KeyType         string // of keys that the caller makes, as P-256; empty for none
}

// CheckBatch says whether such a batch could begin: whether there are that profile, CA and
// order, the order is for the profile, and the profile takes keys of that type. Nothing is issued.
func (c *Client) CheckBatch(ctx context.Context, b BatchCheck) error {
	query := url.Values{"profile": {b.Profile}, "issuer": {b.Issuer}}
	if b.Order != "" {
		query.Set("order", b.Order)
	}
	if b.KeyType != "" {
		query.Set("key_type", b.KeyType)
	}
	_, err := call[struct{}](ctx, c, http.MethodGet, "/v1/batches/check", query, nil)
	return err
}

// BatchItem asks for one certificate: by a certification request, or for a key that
// the caller has made and vouches for.
type BatchItem struct {
	CSR []byte `json:"csr,omitempty"` // DER
	// Name is the common name, and Key the SubjectPublicKeyInfo in DER, where there is
	// no CSR.
	Name string `json:"name,omitempty"`
	Key  []byte `json:"key,omitempty"`
}

// BatchResult is what became of the item in the same place.
type BatchResult struct {
	Certificate []byte `json:"certificate,omitempty"` // DER
	// Chain is which of BatchIssued.Chains leads on from it.
	Chain int `json:"chain"`
	// Device is how the inventory calls the device of the certificate.
	Device string `json:"device,omitempty"`
	// Prior is true when an earlier certificate answers a repeated request.
	Prior bool `json:"prior,omitempty"`
	// Refusal is set if there is no certificate.
	Refusal *BatchRefusal `json:"refusal,omitempty"`
}

// BatchRefusal says why an item got no certificate.
type BatchRefusal struct {
	Rule   string `json:"rule"`
	Detail string `json:"detail"`
	// Retry is true if the same item may succeed later.
	Retry bool `json:"retry,omitempty"`
}

// BatchIssued answers a Batch, item by item.
type BatchIssued struct {
	Results []BatchResult `json:"results"`
	// Chains are those from the issuing CA to, but without, the trust anchor; DER.
	Chains [][][]byte `json:"chains"`
}

// BatchCertificates has certificates of the batch issued. A repeated call issues nothing
// twice: an item whose key has a certificate in force for the same device gets that.
func (c *Client) BatchCertificates(ctx context.Context, id string, b Batch) (BatchIssued, error) {
	content, err := json.Marshal(b)
	if err != nil {
		return BatchIssued{}, fmt.Errorf("encoding the request: %w", err)
	}
	if len(content) > MaxBatch {
		return BatchIssued{}, fmt.Errorf("the request measures %d bytes; %d are allowed", len(content), MaxBatch)
	}
	answer, err := c.upload(ctx, batchPath(id)+"/certificates", nil, "application/json", bytes.NewReader(content))
	if err != nil {
		return BatchIssued{}, err
	}
	return decodeAnswer[BatchIssued](answer)
}

// BatchSignature is a detached CMS signature over a manifest.
type BatchSignature struct {
	Signature []byte `json:"signature"` // DER
}

// SignManifest has the manifest of a batch signed, every certificate of which must be on
// record as it stands there. Package issuer/batch says what a manifest is.
func (c *Client) SignManifest(ctx context.Context, id string, manifest []byte) ([]byte, error) {
	if len(manifest) > MaxManifest {
		return nil, fmt.Errorf("the manifest measures %d bytes; %d are allowed", len(manifest), MaxManifest)
	}
	answer, err := c.upload(ctx, batchPath(id)+"/manifest", nil, MediaNDJSON, bytes.NewReader(manifest))
	if err != nil {
		return nil, err
	}
	s, err := decodeAnswer[BatchSignature](answer)
	return s.Signature, err
}

func batchPath(id string) string { return "/v1/batches/" + url.PathEscape(id) }
