package awssim

import (
	"bytes"
	"net/http"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// startFleet answers a request of the device provisioning MQTT API in the
// background, so that the message is acknowledged before its answer is there. A
// connection has one request under way; its next one waits, and with it the
// connection.
func (w *world) startFleet(cl *mqtt.Client, d *deviceConn, r fleetRequest, payload []byte) {
	payload = bytes.Clone(payload)
	d.asking.Lock()
	// The connection's own goroutine is counted in wg, so that wg is not at rest.
	w.sim.wg.Go(func() {
		defer d.asking.Unlock()
		w.serveFleet(cl, d, r, payload)
	})
}

// serveFleet performs one request and sends the answer.
func (w *world) serveFleet(cl *mqtt.Client, d *deviceConn, r fleetRequest, payload []byte) {
	out := w.undergo(r.op, func() (any, error) { return w.answerFleet(d, r, payload) })
	if out.cut {
		d.Conn.Close()
		return
	}
	w.reply(cl, d, r, out.answer, out.failed)
}

func (w *world) answerFleet(d *deviceConn, r fleetRequest, payload []byte) (any, error) {
	if err := w.mayProvision(d); err != nil {
		return nil, err
	}
	switch r.op {
	case mqttCreateKeys:
		return w.createKeysFor(d, r, payload)
	case mqttCreateFromCSR:
		return w.createFromCSRFor(d, r, payload)
	default:
		return w.provisionFor(d, r, payload)
	}
}

// mayProvision refuses a connection whose certificate is no longer good. The topic
// itself was allowed by its policies when the message came.
func (w *world) mayProvision(d *deviceConn) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expireFleet()
	if cert, ok := w.lookupCert(d.id); !ok || cert.status != statusActive {
		return denyFleet("the certificate of the connection is no longer active, or its five minutes as a provisioning claim are over")
	}
	return nil
}

// denyFleet is the refusal that the guide calls ACCESS_DENIED (pre-provisioning-hook).
// The status is that of the FreeRTOS library for fleet provisioning; the spelling of
// errorCode on the wire is not documented.
func denyFleet(why string) error {
	return &apiError{code: "ACCESS_DENIED", status: http.StatusForbidden, message: why}
}

func (w *world) createKeysFor(d *deviceConn, r fleetRequest, payload []byte) (any, error) {
	if err := decodeEmpty(r.format, payload); err != nil {
		return nil, invalid("%v", err)
	}
	keys, pub, err := newKeyPair()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	cert, err := w.issueKeys(pub, amazonExpiry)
	if err != nil {
		return nil, err
	}
	if _, err := w.addCertificate(cert, statusPending, modeDefault, ""); err != nil {
		return nil, err
	}
	id := certificateID(cert)
	return &createdAnswer{id, pemOf(cert), keys.PrivateKey, w.own(id, d.id).token}, nil
}

// createFromCSRFor issues under the simulated Amazon CA, or has the certificate
// provider issue if there is one.
func (w *world) createFromCSRFor(d *deviceConn, r fleetRequest, payload []byte) (any, error) {
	var in fromCSRRequest
	if err := decodeFleet(r.format, payload, &in); err != nil {
		return nil, invalid("%v", err)
	}
	csr, err := parseRequest(in.CSR)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	issue := func() (string, string, error) {
		if w.fleet.provider == nil {
			cert, err := w.issueFor(csr)
			if err != nil {
				return "", "", err
			}
			_, err = w.addCertificate(cert, statusPending, modeDefault, "")
			return certificateID(cert), pemOf(cert), err
		}
		provider := *w.fleet.provider
		w.mu.Unlock()
		cert, err := w.askProvider(provider, csr, in.CSR, d.id, d.clientID)
		w.mu.Lock()
		if err != nil {
			return "", "", err
		}
		_, err = w.addCertificate(cert, statusPending, modeDefault, "")
		return certificateID(cert), pemOf(cert), err
	}
	id, text, err := issue()
	if err != nil {
		return nil, err
	}
	return &createdAnswer{CertificateID: id, CertificatePem: text, Token: w.own(id, d.id).token}, nil
}

// rejectionOf makes the answer for an error. Codes lose the word Exception, because
// the one that is known, InvalidCertificateOwnershipToken, has none. Too many
// requests are 429, as the FreeRTOS library for fleet provisioning has it, and not the
// 400 of the control plane.
func rejectionOf(e *apiError) *rejectedAnswer {
	out := &rejectedAnswer{e.status, strings.TrimSuffix(e.code, "Exception"), clip(e.message, 1024)}
	if e.code == throttling().code {
		out.StatusCode = http.StatusTooManyRequests
	}
	return out
}
