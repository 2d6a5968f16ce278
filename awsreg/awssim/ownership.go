package awssim

import (
	"crypto/rand"
	"encoding/base64"
	"time"
)

// ownershipLife is how long a certificate ownership token is good (AWS IoT developer
// guide, fleet-provision-api).
const ownershipLife = time.Hour

// ownership is a certificate ownership token: who may provision with a certificate
// that was made over MQTT. That a token is good only for the certificate with which
// it was asked for, and only for one successful RegisterThing, is the simulator's
// choice; the guide says how long it lives and no more.
type ownership struct {
	token     string
	certID    string // of the new certificate
	principal string // certificate id of the connection that asked
	expires   time.Time
	busy      bool // a RegisterThing with it is under way
}

// own makes the token for a new certificate. The caller holds w.mu.
func (w *world) own(certID, principal string) *ownership {
	var b [96]byte
	rand.Read(b[:])
	o := &ownership{
		token: base64.RawURLEncoding.EncodeToString(b[:]), certID: certID, principal: principal,
		expires: w.now().Add(ownershipLife),
	}
	w.fleet.tokens[o.token] = o
	w.fleet.pending = append(w.fleet.pending, o)
	return o
}

// owned finds the token of a request and the certificate it is for. The status and
// code are AWS's, seen in aws-iot-device-sdk-js-v2 issue 69. The caller holds w.mu.
func (w *world) owned(token, principal string) (*ownership, *certificate, error) {
	refuse := func(why string) error {
		return &apiError{code: "InvalidCertificateOwnershipToken", status: 400, message: why}
	}
	if token == "" {
		return nil, nil, refuse("Certificate ownership token cannot be empty.")
	}
	o, ok := w.fleet.tokens[token]
	if !ok || o.principal != principal {
		return nil, nil, refuse("The certificate ownership token is not valid: it is unknown, expired, used, or another principal's.")
	}
	if o.busy {
		return nil, nil, refuse("The certificate ownership token is being used by another request.")
	}
	cert, ok := w.certs[o.certID]
	if !ok || cert.status != statusPending {
		return nil, nil, refuse("The certificate of the ownership token is gone or no longer PENDING_ACTIVATION.")
	}
	return o, cert, nil
}

// expireFleet ends what has run out: ownership tokens, with each certificate that
// "has not been activated and has not been attached to a policy or a thing" (AWS IoT
// developer guide, fleet-provision-api), and provisioning claims. It runs before
// every operation, so nothing is seen after its time. The caller holds w.mu.
func (w *world) expireFleet() {
	now := w.now()
	f := &w.fleet
	for len(f.pending) > 0 && !now.Before(f.pending[0].expires) {
		o := f.pending[0]
		f.pending = f.pending[1:]
		delete(f.tokens, o.token)
		cert, ok := w.certs[o.certID]
		if ok && cert.status == statusPending && len(cert.policies) == 0 && len(w.thingsOf(cert.id)) == 0 {
			delete(w.certs, cert.id)
			w.note("certificate.deleted", "its ownership token expired unused", "certificateId", cert.id)
		}
	}
	for len(f.claimQueue) > 0 && !now.Before(f.claimQueue[0].expires) {
		delete(f.claims, f.claimQueue[0].cert.id)
		f.claimQueue = f.claimQueue[1:]
	}
}
