package dpssim

import (
	"crypto/x509"
	"errors"
)

// Admit decides whether a device may register, as for a request of the device API, without a
// connection, and registers nothing: for fleets that are too large for one each. The chain is
// what a device sends in TLS, its own certificate first. Nil if it may; may be called concurrently.
func (s *Sim) Admit(registrationID, apiVersion string, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the device sent no certificate")
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	_, err := s.admit(deviceCall{scope: s.cfg.IDScope, registrationID: registrationID, apiVersion: apiVersion, chain: chain})
	return err
}
