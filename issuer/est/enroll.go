package est

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"log/slog"
	"net/http"

	"mintmark/internal/cms"
	"mintmark/issuer"
)

// simpleEnroll issues a certificate: RFC 7030, Section 4.2.1. A certificate of
// ours may come here too, with its own subject: that is how Azure IoT Edge
// renews.
func (h *Handler) simpleEnroll(x *exchange) (response, error) { return h.enroll(x) }

// simpleReenroll renews or re-keys a certificate: RFC 7030, Section 4.2.2.
func (h *Handler) simpleReenroll(x *exchange) (response, error) { return h.enroll(x) }

// enroll answers a request for the certificate of a key that the client has.
func (h *Handler) enroll(x *exchange) (response, error) {
	who, csr, err := h.admit(x)
	if err != nil {
		return response{}, err
	}
	answer, err := h.issue(x, x.asks(who, csr))
	if err != nil {
		return response{}, err
	}
	// RFC 7030, Section 4.2.3: only the certificate that was issued.
	der, err := cms.CertsOnly([]*x509.Certificate{answer.Certificate})
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, contentType: mediaTypeCertsOnly, der: der}, nil
}

// admit is what every request for a certificate passes before the issuer sees
// it: the label at which it may wait already, the limits, authentication, and
// the link between the request and the TLS connection. It returns the request in DER.
func (h *Handler) admit(x *exchange) (identity, []byte, error) {
	if err := h.waiting(x); err != nil {
		return identity{}, nil, err
	}
	if err := h.limitLabel(x, false); err != nil {
		return identity{}, nil, err
	}
	who, err := h.authenticate(x)
	if err != nil {
		return identity{}, nil, err
	}
	if err := h.limitIdentity(x, who); err != nil {
		return identity{}, nil, err
	}
	csr, err := x.request()
	if err != nil {
		return identity{}, nil, err
	}
	if err := x.checkProof(who, csr); err != nil {
		return identity{}, nil, err
	}
	return who, csr, nil
}

// waiting goes on under the label where the same request waits for an approval:
// all of its rules hold, whatever path the request comes by now. strongSwan
// drops the label after a 202, for one. What cannot be read is nobody's, and
// refused after authentication: some clients send an empty request first, to see the
// challenge.
func (h *Handler) waiting(x *exchange) error {
	// A key that the server makes is never asked for twice.
	if !h.queues || x.op == "serverkeygen" {
		return nil
	}
	csr, err := x.request()
	if err != nil {
		return nil
	}
	name, ok, err := h.authority.Queued(x.r.Context(), csr)
	if err != nil || !ok || name == x.label.Name {
		return err
	}
	l := h.labels[name]
	if l == nil {
		// The label is gone from the configuration, and its rules with it.
		x.note(slog.String("queued_at", name))
		return nil
	}
	x.note(slog.String("asked_at", x.label.Name))
	x.label = l
	return h.limitAddress(x)
}

// asks is what the issuer is asked for an authenticated request.
func (x *exchange) asks(who identity, csr []byte) issuer.Request {
	l := x.label
	r := issuer.Request{
		Profile:   l.Profile,
		Issuer:    l.Issuer,
		Label:     l.Name,
		CSR:       csr,
		Requester: who.requester,
		Authorize: l.Authorize,
		Operation: operationName(x),
		Device:    who.device,
		Gateway:   l.Gateway,
		Secret:    who.secret,
		Approval:  l.Approval,
		SecondKey: l.SecondKey,
		// RFC 7030, Section 4.2.1: a maker's certificate may have another name.
		ChangeNames: l.ChangeNames && who.requester.Kind == "maker",
		// A station asks for what it was not answered when it is back, be that days
		// later, and must not pay a second unit of the order.
		Again: who.order != "",
	}
	if x.op == "simplereenroll" {
		// Section 4.2.2: subject and alternative names stay.
		r.Renews, r.Represents = who.own, who.ra
		r.Gateway = ""
	}
	if x.renews(who) {
		if l.Renewal.Authorize != "" {
			r.Authorize = l.Renewal.Authorize
		}
		r.Approval, r.ChangeNames = l.Renewal.Approval, l.Renewal.ChangeNames
		r.Gateway = ""
		if r.Renews == nil {
			// IoT Edge does not repeat the alternative names, so the request is not
			// held against the certificate as simplereenroll's is; but it must not
			// add to them.
			r.Holds = who.own
		}
	}
	if r.Authorize == issuer.ByOrder {
		r.Order = who.order
	}
	if r.Authorize == issuer.ByWebhook {
		r.Webhook = l.Webhook
	}
	if x.op == "serverkeygen" && r.SecondKey == issuer.HoldSecondKey {
		r.SecondKey = issuer.RefuseSecondKey
	}
	return r
}

// issue asks the issuer for the certificate.
func (h *Handler) issue(x *exchange, r issuer.Request) (issuer.Answer, error) {
	answer, err := h.authority.Enroll(x.r.Context(), r)
	var refusal *issuer.Refusal
	switch {
	case errors.As(err, &refusal):
		x.note(slog.String("subject", refusal.Subject))
		if refusal.Kind == issuer.Pending && r.Generated != nil {
			err = errPendingKey
		}
		return issuer.Answer{}, err
	case err != nil:
		return issuer.Answer{}, err
	}
	x.note(slog.String("subject", answer.Certificate.Subject.String()), slog.String("serial", string(answer.Serial)), slog.Bool("prior", answer.Prior))
	return answer, nil
}

// errPendingKey refuses serverkeygen where a person would have to approve: the
// key would be gone by then.
var errPendingKey = fail(http.StatusForbidden, ruleKeygenApproval, "a key that the server makes cannot wait for an approval: use simpleenroll")

// renews reports whether the rules of renewals hold, and not those of
// enrollments: for a certificate of the label's own profile, wherever it is sent,
// and for a registration authority that renews in a device's place.
func (x *exchange) renews(who identity) bool {
	if who.ra {
		return x.op == "simplereenroll"
	}
	return who.own != nil && who.profile == x.label.Profile && !x.asksGateway()
}

// asksGateway reports whether the request is one for a gateway's CA
// certificate, as the issuer does, which the certificate of a device may enroll for and cannot renew.
func (x *exchange) asksGateway() bool {
	if x.label.Gateway == "" || x.op == "simplereenroll" {
		return false
	}
	der, err := x.request()
	if err != nil {
		return false // and so is the request
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return false
	}
	for _, extension := range csr.Extensions {
		if !extension.Id.Equal(oidBasicConstraints) {
			continue
		}
		var constraints struct {
			IsCA       bool `asn1:"optional"`
			MaxPathLen int  `asn1:"optional,default:-1"`
		}
		if rest, err := asn1.Unmarshal(extension.Value, &constraints); err != nil || len(rest) > 0 || constraints.IsCA {
			return true
		}
	}
	return false
}

var oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
