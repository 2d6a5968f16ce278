package est

import (
	"bytes"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"sync"

	"mintmark/internal/cms"
	"mintmark/internal/ledger"
)

// caCerts distributes the trust anchor and the intermediate certificates. RFC
// 7030, Section 4.1.2: clients need not authenticate.
func (h *Handler) caCerts(x *exchange) (response, error) {
	device, err := h.canary(x)
	if err != nil {
		return response{}, err
	}
	list := h.given(x.label, device)
	if len(list) == 0 {
		f := fail(http.StatusServiceUnavailable, ruleAnchors, "this label's issuing CA has no certificate yet")
		f.err = errors.New("no trust anchors")
		return response{}, f
	}
	encode := cms.CertsOnly
	if x.label.CACerts == CACertsPath {
		// For IoT Edge, which appends the answer as it stands to the certificate that
		// it presents.
		slices.Reverse(list)
		encode = cms.CertsOnlyInOrder
	}
	der, err := x.label.anchors.encode(list, encode)
	if err != nil {
		return response{}, err
	}
	x.given = list
	// RFC 7030, Section 4.1.3.
	return response{status: http.StatusOK, contentType: mediaTypeCACerts, der: der}, nil
}

// canary returns the device that asks, where the answer depends on it: while a share of
// the devices is served by a new CA. It is empty for a client that does not authenticate,
// which is in no such share.
func (h *Handler) canary(x *exchange) (device string, err error) {
	if h.paths == nil || x.client == nil {
		return "", nil
	}
	r, running := h.paths.RotationOf(x.label.Issuer)
	if !running || r.Issue != ledger.IssueCanary || r.Canary.Percent == 0 {
		return "", nil
	}
	record, err := h.authority.Holder(x.r.Context(), x.client)
	switch {
	case err == nil && record.Purpose == ledger.ForDevice:
		return record.Device, nil
	case err == nil || notOurs(err):
		return "", nil // whoever it is may have the anchors
	}
	return "", err
}

// maxAnswers is how many answers of cacerts a label keeps: those of a canary and of the
// others, and as many from before a change.
const maxAnswers = 4

// anchorCache keeps answers of cacerts until their certificates change.
type anchorCache struct {
	mu      sync.Mutex
	answers []anchorAnswer // the newest first
}

type anchorAnswer struct {
	from []*x509.Certificate
	der  []byte
}

func (c *anchorCache) encode(list []*x509.Certificate, encode func([]*x509.Certificate) ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, answer := range c.answers {
		if slices.EqualFunc(answer.from, list, func(a, b *x509.Certificate) bool { return a == b || bytes.Equal(a.Raw, b.Raw) }) {
			return answer.der, nil
		}
	}
	der, err := encode(list)
	if err != nil {
		return nil, err
	}
	c.answers = slices.Insert(c.answers, 0, anchorAnswer{list, der})
	c.answers = c.answers[:min(len(c.answers), maxAnswers)]
	return der, nil
}
