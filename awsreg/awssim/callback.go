package awssim

import (
	"crypto/tls"
	"encoding/json"
	"time"
)

// callbackTimeout bounds the call of a client-certificate callback. That the
// function has five seconds is documented for hooks and certificate providers; for
// this call no limit is.
const callbackTimeout = 5 * time.Second

// callbackEvent is what the function gets (AWS IoT developer guide,
// customize-client-auth). What principalId holds is not said; here it is the id of
// the certificate, which is the principal of a connection elsewhere.
type callbackEvent struct {
	ConnectionMetadata struct {
		ID string `json:"id"`
	} `json:"connectionMetadata"`
	PrincipalID string   `json:"principalId"`
	ServerName  string   `json:"serverName"`
	Chain       []string `json:"clientCertificateChain"` // PEM, the device's certificate first
}

// preauthenticate asks the callback of the domain configuration that a device
// connects to. It returns why the connection is refused, or nothing. It comes first
// on a CONNECT, before a certificate is registered just in time: where AWS calls the
// function among its other checks is not documented. The caller does not hold w.mu.
func (w *world) preauthenticate(d *deviceConn) string {
	w.mu.Lock()
	config := w.domainFor(d.sni)
	if config == nil || !config.enabled {
		w.mu.Unlock()
		return "the domain configuration of this server name is DISABLED or gone"
	}
	callback := config.callback
	w.mu.Unlock()
	if callback == "" {
		return ""
	}
	if _, _, sni := w.sim.tls.endpoint(d.sni); !sni {
		// "Clients must provide the SNI extension" where certificates are validated so.
		return "the domain configuration has a client certificate callback and the device sent no SNI of an AWS endpoint"
	}
	event := callbackEvent{PrincipalID: d.id, ServerName: d.sni, Chain: []string{pemOf(d.leaf)}}
	event.ConnectionMetadata.ID = randomID()
	for _, c := range d.chain {
		event.Chain = append(event.Chain, pemOf(c))
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return "the client certificate callback cannot be called: " + err.Error()
	}
	answer, err := w.call(callback, payload, callbackTimeout)
	if err != nil {
		return "the client certificate callback failed: " + err.Error()
	}
	var out struct {
		IsAuthenticated bool `json:"isAuthenticated"`
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return "the client certificate callback answered no isAuthenticated: " + err.Error()
	}
	if !out.IsAuthenticated {
		return "the client certificate callback answered that the device is not authenticated"
	}
	return ""
}

// securityPolicies are the TLS versions of AWS's security policies (AWS IoT
// developer guide, transport-security). Those for TLS 1.0 are left out. Their
// cipher suites are not told apart.
var securityPolicies = map[string]struct{ min, max uint16 }{
	"IoTSecurityPolicy_TLS13_1_3_2022_10": {tls.VersionTLS13, tls.VersionTLS13},
	standardSecurity:                      {tls.VersionTLS12, tls.VersionTLS13},
	"IoTSecurityPolicy_TLS12_1_2_2022_10": {tls.VersionTLS12, tls.VersionTLS12},
}

// versionsFor are the TLS versions that the endpoint of a server name takes.
func (s *Sim) versionsFor(sni string) (low, high uint16) {
	p := securityPolicies[standardSecurity]
	if account, region, ok := s.tls.endpoint(sni); ok {
		s.mu.Lock()
		w := s.worlds[account+"/"+region]
		s.mu.Unlock()
		if w != nil {
			w.mu.Lock()
			if d := w.domainFor(sni); d != nil {
				p = securityPolicies[d.security]
			}
			w.mu.Unlock()
		}
	}
	return p.min, p.max
}
