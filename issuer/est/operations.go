package est

import (
	"bytes"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"

	"mintmark/internal/cms"
	"mintmark/issuer"
)

// caCerts distributes the trust anchor and the intermediate certificates. RFC
// 7030, Section 4.1.2: clients need not authenticate.
func (h *Handler) caCerts(x *exchange) (response, error) {
	der, err := x.label.anchors.encode(h.authority.Anchors(x.label.Issuer))
	if err != nil {
		return response{}, err
	}
	// RFC 7030, Section 4.1.3.
	return response{status: http.StatusOK, contentType: mediaTypeCACerts, der: der}, nil
}

// simpleEnroll issues a certificate: RFC 7030, Section 4.2.1.
func (h *Handler) simpleEnroll(x *exchange) (response, error) {
	who, err := h.authenticate(x, true)
	if err != nil {
		return response{}, err
	}
	// A certificate of ours may come here too, with its own subject: that is
	// how Azure IoT Edge renews. It does not repeat the alternative names, so
	// the request is not held against the certificate as simplereenroll's is,
	// but it must not add to them.
	return h.enroll(x, who, nil)
}

// simpleReenroll renews or re-keys a certificate: RFC 7030, Section 4.2.2.
func (h *Handler) simpleReenroll(x *exchange) (response, error) {
	// Section 3.3.2: the certificate being renewed authenticates. A password
	// cannot stand for it, so none is asked for or looked at.
	who, err := h.authenticate(x, false)
	if err != nil {
		return response{}, err
	}
	if who.own == nil {
		// Section 3.3.2: the trust in makers is kept apart from the trust in
		// our own certificates.
		return response{}, fail(http.StatusForbidden, ruleMakerRenewal, "a maker's certificate enrolls and cannot renew: use simpleenroll, or the certificate that was enrolled")
	}
	return h.enroll(x, who, who.own)
}

// enroll asks the issuer for a certificate.
func (h *Handler) enroll(x *exchange, who identity, renews *x509.Certificate) (response, error) {
	csr, err := readRequest(x.w, x.r)
	if err != nil {
		return response{}, err
	}
	var holds *x509.Certificate
	if renews == nil && who.profile == x.label.Profile {
		holds = who.own
	}
	answer, err := h.authority.Enroll(x.r.Context(), issuer.Request{
		Profile:   x.label.Profile,
		Issuer:    x.label.Issuer,
		Label:     x.label.Name,
		CSR:       csr,
		Requester: who.requester,
		Authorize: x.label.Authorize,
		Order:     who.order,
		Operation: operationName(x),
		Device:    who.device,
		Renews:    renews,
		Holds:     holds,
	})
	if err != nil {
		var refusal *issuer.Refusal
		if errors.As(err, &refusal) {
			x.note(slog.String("subject", refusal.Subject))
		}
		return response{}, err
	}
	x.note(slog.String("subject", answer.Certificate.Subject.String()), slog.String("serial", string(answer.Serial)), slog.Bool("prior", answer.Prior))
	// RFC 7030, Section 4.2.3: only the certificate that was issued.
	der, err := cms.CertsOnly([]*x509.Certificate{answer.Certificate})
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, contentType: mediaTypeCertsOnly, der: der}, nil
}

// csrAttrs has nothing to announce. RFC 7030, Section 4.5.2: 204 says so; an
// empty sequence would too, but libest hangs on it.
func csrAttrs(*exchange) (response, error) {
	return response{status: http.StatusNoContent}, nil
}

func notImplemented(x *exchange) (response, error) {
	return response{}, fail(http.StatusNotImplemented, ruleOperation, "this server does not offer %s", x.op)
}

// anchorCache keeps the answer of cacerts until the anchors change.
type anchorCache struct {
	mu   sync.Mutex
	from []*x509.Certificate
	der  []byte
}

func (c *anchorCache) encode(anchors []*x509.Certificate) ([]byte, error) {
	if len(anchors) == 0 {
		f := fail(http.StatusServiceUnavailable, ruleAnchors, "this label's issuing CA has no certificate yet")
		f.err = errors.New("no trust anchors")
		return nil, f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.EqualFunc(c.from, anchors, func(a, b *x509.Certificate) bool { return a == b || bytes.Equal(a.Raw, b.Raw) }) {
		der, err := cms.CertsOnly(anchors)
		if err != nil {
			return nil, err
		}
		c.from, c.der = slices.Clone(anchors), der
	}
	return c.der, nil
}
