// Package dpssim is a stand-in for the Azure Device Provisioning Service on this
// machine: certificates of the resource manager, the data plane, the device API over
// HTTPS and MQTT, Entra tokens and the identity registry of linked hubs. It refuses
// what Azure is documented to refuse; docs/azure-simulator.md has each rule with its
// source, and what is unknown.
//
// Everything but MQTT is on one listener. As at Azure, the TLS server name and the Host
// header say which service is meant:
//
//	login.microsoftonline.com                    tokens
//	management.azure.com                         resource manager
//	NAME.azure-devices-provisioning.net          data plane, and devices
//	global.azure-devices-provisioning.net        devices
//	HUB.azure-devices.net                        identity registry, twins
//
// Clients keep Azure's names and are told to connect elsewhere: curl --connect-to,
// connect in mintmark's configuration, an agent with host and port in Node.
package dpssim

import (
	"context"
	"errors"
)

// Sim is a running simulator. Its methods may be called concurrently.
type Sim struct {
	cfg   Config
	store store
}

// Start opens both listeners and returns once they accept connections. The simulator
// runs until ctx is cancelled or Close is called.
func Start(ctx context.Context, cfg Config) (*Sim, error) { return nil, errors.New("not built yet") }

// Addr is the host and port of HTTPS.
func (s *Sim) Addr() string { return "" }

// MQTTAddr is the host and port of MQTT.
func (s *Sim) MQTTAddr() string { return "" }

// RootPEM is the trust anchor of the simulator's server certificates.
func (s *Sim) RootPEM() []byte { return nil }

// Config is the configuration with everything that was made at start.
func (s *Sim) Config() Config { return s.cfg }

// Close ends every connection and frees the ports.
func (s *Sim) Close() error { return nil }

// Calls lists the operations that were called, in order: "certificates.createOrUpdate",
// "enrollmentGroups.put", "enrollments.bulk", "devices.register" and so on.
func (s *Sim) Calls() []string { return nil }

// Fault makes calls fail.
type Fault struct {
	// Operation is a name as in Calls, or empty for every one; Skip lets so many through
	// first, and Times ends it after so many (0 for never).
	Operation string `json:"operation"`
	Skip      int    `json:"skip"`
	Times     int    `json:"times"`
	// Status and Code are the answer; Status 0 cuts the connection instead.
	Status     int    `json:"status"`
	Code       int    `json:"code"`
	Message    string `json:"message"`
	RetryAfter int    `json:"retryAfter"` // seconds; 0 for no header
	// AfterEffect does what was asked before it fails.
	AfterEffect bool `json:"afterEffect"`
}

// Inject adds a fault.
func (s *Sim) Inject(f Fault) {}

// ParseFault reads a fault from JSON; unknown fields are refused.
func ParseFault(data []byte) (Fault, error) { return Fault{}, errors.New("not built yet") }

// State is everything that the service knows, as canonical JSON without etags and times:
// to compare two runs.
func (s *Sim) State() []byte { return nil }
