package est

import (
	"bytes"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"sync"

	"mintmark/internal/cms"
)

// caCerts distributes the trust anchor and the intermediate certificates. RFC
// 7030, Section 4.1.2: clients need not authenticate.
func (h *Handler) caCerts(x *exchange) (response, error) {
	list := slices.Clone(h.authority.Anchors(x.label.Issuer)) // root first
	if len(list) == 0 {
		f := fail(http.StatusServiceUnavailable, ruleAnchors, "this label's issuing CA has no certificate yet")
		f.err = errors.New("no trust anchors")
		return response{}, f
	}
	encode := cms.CertsOnly
	switch x.label.CACerts {
	case CACertsActive:
	case CACertsPath:
		// For IoT Edge, which appends the answer as it stands to the certificate that
		// it presents.
		slices.Reverse(list)
		encode = cms.CertsOnlyInOrder
	default:
		// RFC 7030, Section 4.1.3: OldWithOld, OldWithNew and NewWithOld.
		// Among them is the root that is there already; CertsOnly writes it once.
		list = append(list, h.authority.Bridges(x.label.Issuer)...)
	}
	der, err := x.label.anchors.encode(list, encode)
	if err != nil {
		return response{}, err
	}
	// RFC 7030, Section 4.1.3.
	return response{status: http.StatusOK, contentType: mediaTypeCACerts, der: der}, nil
}

// anchorCache keeps the answer of cacerts until its certificates change.
type anchorCache struct {
	mu   sync.Mutex
	from []*x509.Certificate
	der  []byte
}

func (c *anchorCache) encode(list []*x509.Certificate, encode func([]*x509.Certificate) ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.EqualFunc(c.from, list, func(a, b *x509.Certificate) bool { return a == b || bytes.Equal(a.Raw, b.Raw) }) {
		der, err := encode(list)
		if err != nil {
			return nil, err
		}
		c.from, c.der = list, der
	}
	return c.der, nil
}
