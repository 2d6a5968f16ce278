package dpssim

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/dps"
)

// maxDeviceBody is what a device may send: "Message size 96 KB"
// (azure-subscription-service-limits).
const maxDeviceBody = 96 << 10

// deviceCall is what a device asks, over HTTPS or MQTT.
type deviceCall struct {
	scope, registrationID, apiVersion string
	// chain is what the device presented in TLS, its own certificate first.
	chain []*x509.Certificate
}

// deviceRequest is DeviceRegistration of the device API.
type deviceRequest struct {
	RegistrationID string          `json:"registrationId"`
	Payload        json.RawMessage `json:"payload"`
	TPM            json.RawMessage `json:"tpm"`
	CSR            json.RawMessage `json:"csr"`
}

// operationStatus is RegistrationOperationStatus.
type operationStatus struct {
	Operation string       `json:"operationId"`
	Status    string       `json:"status"`
	State     *deviceState `json:"registrationState,omitempty"`
}

// deviceState is DeviceRegistrationResult: the state as a device sees it.
type deviceState struct {
	X509 *registeredX509 `json:"x509,omitempty"`
	dps.RegistrationState
}

// registeredX509 is X509RegistrationResult.
type registeredX509 struct {
	Certificate *dps.Info `json:"certificateInfo,omitempty"`
	Group       string    `json:"enrollmentGroupId,omitempty"`
	Signer      *dps.Info `json:"signingCertificateInfo,omitempty"`
}

// parseDeviceRequest reads what a device sends to register.
func parseDeviceRequest(data []byte) (*deviceRequest, error) {
	if len(data) > maxDeviceBody {
		return nil, invalid("a device sends at most %d bytes", maxDeviceBody)
	}
	var r deviceRequest
	if err := decodeStrict(data, &r); err != nil {
		return nil, err
	}
	switch {
	case r.TPM != nil && !isNull(r.TPM):
		return nil, invalid("the simulator has no TPM attestation")
	case r.CSR != nil && !isNull(r.CSR):
		return nil, invalid("the simulator issues no certificates: csr is not built")
	}
	return &r, nil
}

// admit decides whether a device gets in, and says why not. The caller holds mu.
func (s *Sim) admit(c deviceCall) (attest.Verdict, error) {
	if c.scope != s.cfg.IDScope {
		// "The Device Provisioning Service instance ... does not exist": the status is
		// documented (how-to-troubleshoot-dps), number and text are not.
		s.note("device.refused", "the id scope is not that of this instance", "registrationId", c.registrationID, "idScope", c.scope)
		return attest.Verdict{}, notFound(codeNotFound, "there is no instance with id scope "+strconv.Quote(clip(c.scope, 64)))
	}
	v := attest.Judge(s.store.service(), attest.Presented{
		RegistrationID: c.registrationID, Chain: c.chain, Now: s.now(), APIVersion: c.apiVersion,
	})
	if v.Accepted {
		if v.Unknown != "" {
			s.note("device.unknown", v.Unknown, "registrationId", c.registrationID)
		}
		return v, nil
	}
	if v.Code == 0 {
		v.Code = codeUnauthorized
	}
	message := v.Why
	if v.Message == "" {
		message = "text unknown: " + message
	}
	s.note("device.refused", message, "registrationId", c.registrationID, "rule", v.Rule, "code", strconv.Itoa(v.Code),
		"text", v.Message, "unknown", v.Unknown, "certificates", strconv.Itoa(len(c.chain)))
	return v, &denial{status: v.Code / 1000, code: v.Code, message: v.Message, rule: v.Rule, why: v.Why}
}

// service is what a decision depends on. The caller holds mu while it is used.
func (s *store) service() attest.Service {
	var out attest.Service
	for _, c := range s.certificates {
		out.Verified = append(out.Verified, attest.CA{Name: c.name, Certificate: c.certificate, Verified: c.verified})
	}
	for _, g := range s.groups {
		if g.record.Attestation.Type == attestX509 {
			out.Groups = append(out.Groups, attest.Group{ID: g.record.GroupID, Anchors: s.anchors(g), Disabled: g.record.Status == dps.Disabled})
		}
	}
	out.Individual = func(id string) *attest.Individual {
		e := s.enrollments[strings.ToLower(id)]
		if e == nil {
			return nil
		}
		i := &attest.Individual{RegistrationID: e.record.RegistrationID, Disabled: e.record.Status == dps.Disabled}
		for _, c := range []*x509.Certificate{e.primary, e.secondary} {
			if c != nil {
				i.Certificates = append(i.Certificates, sha256.Sum256(c.Raw))
			}
		}
		return i
	}
	return out
}

// anchors are the certificates of a group, those of its CA references included.
func (s *store) anchors(g *enrollment) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range []*x509.Certificate{g.primary, g.secondary} {
		if c != nil {
			out = append(out, c)
		}
	}
	if x := g.record.Attestation.X509; x != nil && x.References != nil {
		for _, name := range []string{x.References.Primary, x.References.Secondary} {
			if c := s.certificateNamed(name); name != "" && c != nil {
				out = append(out, c.certificate)
			}
		}
	}
	return out
}

// register takes a device in: 202 and an operation to ask for. The registration is
// decided at once; what takes time at Azure is played by Config.Assigning.
func (s *Sim) register(c deviceCall, body []byte) (answer, error) {
	in, err := parseDeviceRequest(body)
	if err != nil {
		return answer{}, err
	}
	if in.RegistrationID != "" && !strings.EqualFold(in.RegistrationID, c.registrationID) {
		return answer{}, invalid("the body is about %q and the path about %q", clip(in.RegistrationID, 64), clip(c.registrationID, 64))
	}
	if !s.rates.registrations() {
		return s.tooMany(s.dpsError, codeTooMany), nil
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	v, err := s.admit(c)
	if err != nil {
		return answer{}, err
	}
	id := strings.ToLower(c.registrationID)
	old := s.store.registered[id]
	if old == nil && len(s.store.registered) >= maxRecords {
		return answer{}, invalid("the simulator holds at most %d registrations", maxRecords)
	}
	r := &registration{group: v.Group, operation: newOperation(), polls: s.cfg.Assigning, leaf: c.chain[0], payload: in.Payload}
	k, e := kindIndividual, s.store.enrollments[id]
	if v.Individual == "" {
		k, e = kindGroup, s.store.groups[strings.ToLower(v.Group)]
		r.signer = c.chain[v.Anchor]
	}
	now := s.now().UTC()
	r.state = dps.RegistrationState{RegistrationID: c.registrationID, Created: &now, Updated: &now, Etag: s.store.enrollmentEtag()}
	if old != nil {
		r.state.Created = old.state.Created
	}
	s.assign(k, e, r, old)
	s.store.registered[id] = r
	s.note("device.registered", r.state.Status, "registrationId", c.registrationID, "group", r.group, "hub", r.state.AssignedHub,
		"deviceId", r.state.DeviceID, "substatus", r.state.Substatus)
	return s.waiting(operationStatus{Operation: r.operation, Status: "assigning"}), nil
}

// newOperation makes an operation id in the form of those seen in the wild:
// "4.5a514dd79b3cfd8c.4c240f23-a3a7-4ed5-ae73-56680b9ced72".
func newOperation() string {
	var b [8]byte
	rand.Read(b[:])
	return "4." + hex.EncodeToString(b[:]) + "." + newGUID()
}

// waiting is 202 with when to ask again. It has to be exactly 202 for IoT Edge
// (Azure/iot-identity-service, identity/aziot-cloud-client-async/src/dps).
func (s *Sim) waiting(o operationStatus) answer {
	return answer{status: http.StatusAccepted, body: o}.with("Retry-After", strconv.Itoa(s.cfg.RetryAfter))
}

// poll answers how far an operation is.
func (s *Sim) poll(c deviceCall, operation string) (answer, error) {
	if !s.rates.polls(c.registrationID) {
		return s.tooMany(s.dpsError, codeTooMany), nil
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if _, err := s.admit(c); err != nil {
		return answer{}, err
	}
	r := s.store.registered[strings.ToLower(c.registrationID)]
	if r == nil || r.operation != operation || !r.leaf.Equal(c.chain[0]) {
		return answer{}, notFound(codeNoOperation, "Operation not found.")
	}
	if r.polls > 0 {
		r.polls--
		// IoT Edge wants the registration id here, too.
		return s.waiting(operationStatus{Operation: operation, Status: "assigning", State: &deviceState{
			RegistrationState: dps.RegistrationState{RegistrationID: r.state.RegistrationID, Status: "assigning"},
		}}), nil
	}
	return ok(operationStatus{Operation: operation, Status: r.state.Status, State: r.seen()}), nil
}

// lookup answers what became of a device.
func (s *Sim) lookup(c deviceCall) (answer, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if _, err := s.admit(c); err != nil {
		return answer{}, err
	}
	r := s.store.registered[strings.ToLower(c.registrationID)]
	if r == nil {
		return answer{}, notFound(codeNotFound, "Registration not found.")
	}
	return ok(r.seen()), nil
}

// seen is a registration as the device sees it.
func (r *registration) seen() *deviceState {
	out := &deviceState{RegistrationState: r.state, X509: &registeredX509{Certificate: infoOf(r.leaf), Group: r.group}}
	if r.signer != nil {
		out.X509.Signer = infoOf(r.signer)
	}
	return out
}
