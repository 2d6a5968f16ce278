package awssim

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Connect decides on a CONNECT packet as the broker does, without a connection: for fleets
// that are too large for one each. The chain is what a device sends in TLS, its own certificate
// first. What a first connection sets off, it does. Nil if the device gets a session, which ends
// at once; may be called concurrently.
func (s *Sim) Connect(serverName, clientID string, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the device sent no certificate")
	}
	d := &deviceConn{leaf: chain[0], chain: chain[1:], id: certificateID(chain[0]), sni: serverName, remote: "127.0.0.1"}
	if now := s.cfg.Now(); now.Before(d.leaf.NotBefore) || now.After(d.leaf.NotAfter) {
		return errExpired
	}
	w, why := s.route(d)
	if w == nil {
		return errors.New(why)
	}
	if err := w.admit(d, packets.Packet{Connect: packets.ConnectParams{ClientIdentifier: clientID}}); err != nil {
		return fmt.Errorf("%w: %s", err, w.standing(d))
	}
	w.endSession(d)
	return nil
}

// EndpointName is the server name that devices of an account dial in a region.
func EndpointName(account, region string) string { return endpointName(account, region) }

// standing is what the world has of a refused device, for texts.
func (w *world) standing(d *deviceConn) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cert, ok := w.lookupCert(d.id); ok {
		return "the certificate is " + cert.status
	}
	_, _, sni := w.sim.tls.endpoint(d.sni)
	ca, why := w.issuerOf(d, sni)
	switch {
	case ca == nil:
		return why
	case !ca.active:
		return "the CA certificate " + ca.id + " is INACTIVE"
	case !ca.autoReg:
		return "auto-registration of the CA certificate " + ca.id + " is disabled"
	}
	return "the certificate is not registered"
}
