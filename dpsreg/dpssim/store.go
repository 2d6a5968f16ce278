package dpssim

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"mintmark/dpsreg/dps"
)

// store is all that the simulated service knows. Whoever reads or writes it holds mu;
// what is handed out is copied.
type store struct {
	mu           sync.Mutex
	certificates map[string]*caCertificate // by lower-case name: ARM; see certificateNamed
	groups       map[string]*enrollment    // by lower-case id
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

// enrollment is an enrollment group or an individual enrollment. Its slots hold
// certificates in full; the attestation of record has Info only.
type enrollment struct {
	record             record
	primary, secondary *x509.Certificate // nil for CA references
}

// registration is what became of a device.
type registration struct {
	state     dps.RegistrationState
	group     string // that it came in by; empty for an individual enrollment
	operation string // the last one's id
	polls     int    // that are still answered "assigning"
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

// open makes an empty store with these hubs.
func (s *store) open(hubs []string) {
	s.certificates = map[string]*caCertificate{}
	s.groups = map[string]*enrollment{}
	s.enrollments = map[string]*enrollment{}
	s.registered = map[string]*registration{}
	s.hubs = map[string]*hub{}
	for _, name := range hubs {
		s.hubs[name] = &hub{devices: map[string]*hubDevice{}}
	}
}

// nextEtag returns an etag that was never given out before, as Azure's look
// ("AAAAAAExpNs="), without quotes. The caller holds mu.
func (s *store) nextEtag() string {
	s.etag++
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, s.etag))
}

// certificateNamed finds an uploaded certificate; names of resources are compared without
// regard to case (ARM RPC, addressing of resources). nil if there is none. The caller holds mu.
func (s *store) certificateNamed(name string) *caCertificate {
	return s.certificates[strings.ToLower(name)]
}
