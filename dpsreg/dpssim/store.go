package dpssim

import (
	"crypto/x509"
	"encoding/json"
	"sync"
	"time"

	"mintmark/dpsreg/dps"
)

// store is all that the simulated service knows. Whoever reads or writes it holds mu;
// what is handed out is copied.
type store struct {
	mu           sync.Mutex
	certificates map[string]*caCertificate // by name: ARM
	groups       map[string]*group         // by lower-case id
	enrollments  map[string]*enrollment    // by lower-case registration id
	registered   map[string]*registration  // by lower-case registration id
	hubs         map[string]*hub           // by host name
	etag         uint64                    // the last one that was given out
}

// caCertificate is a certificate uploaded through ARM.
type caCertificate struct {
	name             string
	certificate      *x509.Certificate
	verified         bool
	code             string // verification code; empty if none was asked for
	created, updated time.Time
	etag             string
}

// group is an enrollment group. Its slots hold certificates in full; Attestation of
// wire has Info only.
type group struct {
	wire               dps.Group
	primary, secondary *x509.Certificate // nil for CA references
}

// enrollment is an individual enrollment.
type enrollment struct {
	wire               dps.Enrollment
	primary, secondary *x509.Certificate
}

// registration is what became of a device.
type registration struct {
	state     dps.RegistrationState
	group     string // that it came in by; empty for an individual enrollment
	operation string // the last one's id
	polls     int    // that were answered "assigning"
	leaf      *x509.Certificate
	signer    *x509.Certificate // the certificate that its group stands on, nil for an individual enrollment
	payload   json.RawMessage   // that the device sent
}

// hub is the identity registry of one IoT hub.
type hub struct {
	devices map[string]*hubDevice // by device id, which is case-sensitive
}

// hubDevice is an identity with its twin.
type hubDevice struct {
	wire    map[string]any // as the registry shows it
	tags    map[string]any
	desired map[string]any
	etag    string
}
