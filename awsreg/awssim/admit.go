package awssim

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

// registeredTopic is where JITR announces a certificate (AWS IoT developer guide,
// auto-register-device-cert).
const registeredTopic = "$aws/events/certificates/registered/"

// registeredEvent is its payload. certificateRegistrationTimestamp is documented
// as a string and null in practice; sourceIp is not documented and there.
type registeredEvent struct {
	CertificateID     string  `json:"certificateId"`
	CACertificateID   string  `json:"caCertificateId"`
	Timestamp         int64   `json:"timestamp"` // milliseconds
	CertificateStatus string  `json:"certificateStatus"`
	AWSAccountID      string  `json:"awsAccountId"`
	RegistrationTime  *string `json:"certificateRegistrationTimestamp"`
	SourceIP          string  `json:"sourceIp"`
}

// errRefused closes a connection without a CONNACK, as AWS does.
var errRefused = errors.New("connection refused")

// admit decides on a CONNECT packet. On nil the connection is a session of its
// certificate; any error closes it.
func (w *world) admit(d *deviceConn, pk packets.Packet) error {
	if why := w.preauthenticate(d); why != "" {
		return w.refuse(d, why)
	}
	w.mu.Lock()
	cert, isNew, why := w.certificateOf(d)
	if cert == nil {
		w.mu.Unlock()
		return w.refuse(d, why)
	}
	if cert.status == statusPending {
		announce, caID, jitp := w.announcement(cert, d)
		w.mu.Unlock()
		if isNew {
			w.note("certificate.registered", "registered just in time", "certificateId", cert.id, "caCertificateId", caID, "sourceIp", d.remote)
		}
		if announce != nil {
			w.publish(registeredTopic+caID, announce, 0, 0)
		}
		if jitp {
			w.startJITP(cert.id, caID)
		}
		return w.refuse(d, "the certificate is PENDING_ACTIVATION")
	}
	defer w.mu.Unlock()
	clientID := pk.Connect.ClientIdentifier
	switch {
	case cert.status != statusActive:
		return w.refuse(d, "the certificate is "+cert.status)
	case clientID == "":
		// Policies name client ids, so a policy could not allow an empty one.
		return w.refuse(d, "the client id is empty")
	case !w.allowed(cert, clientID, "iot:Connect", "client/"+clientID):
		return w.refuse(d, "no policy allows iot:Connect for client/"+clip(clientID, 128))
	case pk.Connect.WillFlag && strings.HasPrefix(pk.Connect.WillTopic, "$") && !strings.HasPrefix(pk.Connect.WillTopic, basicIngest):
		// Or a claim could leave a forged answer to another one's request behind.
		return w.refuse(d, "the last will is for a reserved topic")
	case pk.Connect.WillFlag && !w.mayPublish(cert, clientID, pk.Connect.WillTopic, pk.Connect.WillRetain):
		return w.refuse(d, "no policy allows the last will's topic "+clip(pk.Connect.WillTopic, 128))
	}
	d.clientID, d.cert = clientID, cert
	if w.sessions[cert.id] == nil {
		w.sessions[cert.id] = map[*deviceConn]struct{}{}
	}
	w.sessions[cert.id][d] = struct{}{}
	w.note("connect.accepted", "", "certificateId", cert.id, "clientId", clientID, "sourceIp", d.remote)
	return nil
}

func (w *world) refuse(d *deviceConn, why string) error {
	w.note("connect.refused", why, "certificateId", d.id, "serverName", d.sni, "sourceIp", d.remote)
	return errRefused
}

// certificateOf returns the certificate of a connection and registers it just in
// time if its CA asks for that. The caller holds w.mu.
func (w *world) certificateOf(d *deviceConn) (cert *certificate, isNew bool, why string) {
	_, _, sni := w.sim.tls.endpoint(d.sni)
	w.expireFleet()
	if cert, ok := w.lookupCert(d.id); ok {
		if cert.mode == modeSNIOnly && !sni {
			return nil, false, "the certificate is SNI_ONLY and the device sent no SNI of an AWS endpoint"
		}
		return cert, false, ""
	}
	ca, why := w.issuerOf(d, sni)
	switch {
	case ca == nil:
		return nil, false, why
	case !ca.active:
		return nil, false, "the CA certificate " + ca.id + " is INACTIVE"
	case !ca.autoReg:
		return nil, false, "auto-registration of the CA certificate " + ca.id + " is disabled"
	}
	if err := checkKeyAndSignature("certificate", d.leaf); err != nil {
		return nil, false, err.Error()
	}
	if _, err := w.addCertificate(d.leaf, statusPending, ca.mode, ca.id); err != nil {
		return nil, false, err.Error()
	}
	return w.certs[d.id], true, ""
}

// issuerOf finds the registered CA that signed the certificate of a device. Sending
// the chain is optional, but then SNI must be sent; without SNI the CA must be in
// the chain, and a CA in mode SNI_ONLY is not found at all (AWS IoT developer
// guide, auto-register-device-cert and jit-provisioning). The caller holds w.mu.
func (w *world) issuerOf(d *deviceConn, sni bool) (*caCertificate, string) {
	for _, sent := range d.chain {
		ca, ok := w.cas[certificateID(sent)]
		if !ok {
			continue
		}
		if !signedBy(d.leaf, ca.cert) {
			// "Register the issuing CA, not any other CA in the hierarchy" (AWS
			// whitepaper on device manufacturing).
			continue
		}
		if ca.mode == modeSNIOnly && !sni {
			return nil, "the CA certificate is SNI_ONLY and the device sent no SNI of an AWS endpoint"
		}
		return ca, ""
	}
	if !sni {
		return nil, "no registered CA that signed the certificate is in the chain, and no SNI of an AWS endpoint was sent"
	}
	var best *caCertificate
	for _, ca := range sorted(w.cas, func(ca *caCertificate) int64 { return ca.seq }) {
		if bytes.Equal(ca.cert.RawSubject, d.leaf.RawIssuer) && signedBy(d.leaf, ca.cert) {
			if best == nil || !(best.active && best.autoReg) {
				best = ca
			}
		}
	}
	if best == nil {
		return nil, "no registered CA signed the certificate"
	}
	return best, ""
}

// announcement is the event for a certificate that waits for activation. It is
// published again on every CONNECT, so its readers must be idempotent. A pending
// certificate whose CA has a template is tried again as well. The caller holds
// w.mu.
func (w *world) announcement(cert *certificate, d *deviceConn) (payload []byte, caID string, jitp bool) {
	if cert.caID == "" {
		return nil, "", false
	}
	payload, err := json.Marshal(registeredEvent{
		CertificateID: cert.id, CACertificateID: cert.caID, Timestamp: w.now().UnixMilli(),
		CertificateStatus: statusPending, AWSAccountID: w.account.ID, SourceIP: d.remote,
	})
	if err != nil {
		return nil, cert.caID, false
	}
	if ca, ok := w.cas[cert.caID]; ok && ca.config != nil && !cert.jitp {
		cert.jitp, jitp = true, true
	}
	return payload, cert.caID, jitp
}

// allowed asks the policies of a certificate. resource is the part of the ARN after
// the account. The caller holds w.mu.
func (w *world) allowed(cert *certificate, clientID, action, resource string) bool {
	var docs []*policyDoc
	if cert.claim != nil {
		docs = append(docs, cert.claim.policy)
	}
	for _, name := range cert.policies {
		if p, ok := w.policies[name]; ok {
			docs = append(docs, p.defaultVersion().doc)
		}
	}
	return evaluate(docs, action, w.arn("iot", resource), w.variablesOf(cert, clientID))
}

// mayPublish asks for iot:Publish, and for iot:RetainPublish too if the message is
// to be retained (AWS IoT developer guide, iot-policy-actions). The caller holds
// w.mu.
func (w *world) mayPublish(cert *certificate, clientID, topic string, retain bool) bool {
	return w.allowed(cert, clientID, "iot:Publish", "topic/"+topic) &&
		(!retain || w.allowed(cert, clientID, "iot:RetainPublish", "topic/"+topic))
}
