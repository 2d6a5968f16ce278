package awssim

import "errors"

// Bounds of a parameter of RegisterThing (API reference).
const (
	maxParameterName  = 2048
	maxParameterValue = 4096
)

// registered is what RegisterThing has done.
type registered struct {
	CertificatePem string            `json:"certificatePem"`
	ResourceARNs   map[string]string `json:"resourceArns"` // by logical name in the template

	ended []*deviceConn // connections of a certificate that was deactivated
}

func registerThing(c *call) (any, error) {
	var in struct {
		TemplateBody string            `json:"templateBody"`
		Parameters   map[string]string `json:"parameters"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	out, err := c.w.registerThing(in.TemplateBody, in.Parameters)
	if err != nil {
		return nil, err
	}
	c.then(func() { c.w.disconnect(out.ended, "the certificate was deactivated by RegisterThing") })
	return out, nil
}

// registerThing provisions by a template that the caller brings along. There is no
// hook. Errors are those that the operation models. The caller holds w.mu.
func (w *world) registerThing(body string, params map[string]string) (*registered, error) {
	doc, err := parseTemplate(body)
	if err != nil {
		return nil, err
	}
	if err := checkParameters(params); err != nil {
		return nil, err
	}
	out, err := w.registerBy(&templateEnv{doc: doc, params: params})
	var api *apiError
	if errors.As(err, &api) {
		switch api.code {
		case "InvalidRequestException", "ResourceRegistrationFailureException", "InternalFailureException", "SimulatorNotImplemented":
		default:
			err = iotError("ResourceRegistrationFailureException", "%s: %s", api.code, api.message)
		}
	}
	return out, err
}

func (w *world) registerBy(env *templateEnv) (*registered, error) {
	p, err := w.plan(env)
	if err != nil {
		return nil, err
	}
	cert, err := w.certificateFor(p)
	if err != nil {
		return nil, err
	}
	if err := w.carryOut(p, cert); err != nil {
		return nil, err
	}
	out := &registered{CertificatePem: pemOf(cert.cert), ResourceARNs: map[string]string{p.certAs: w.certARN(cert.id)}}
	if cert.status != statusActive {
		out.ended = w.sessionsOf(cert.id)
	}
	if p.thing != "" {
		out.ResourceARNs[p.thingAs] = w.thingARN(p.thing)
	}
	for _, pol := range p.policies {
		out.ResourceARNs[pol.as] = w.policyARN(pol.name)
	}
	return out, nil
}

// certificateFor finds, registers or issues the certificate of a plan. The caller
// holds w.mu.
func (w *world) certificateFor(p *provisionPlan) (*certificate, error) {
	switch {
	case p.csr != "":
		csr, err := parseRequest(p.csr)
		if err != nil {
			return nil, err
		}
		cert, err := w.issueFor(csr)
		if err != nil {
			return nil, err
		}
		if _, err := w.addCertificate(cert, p.status, modeDefault, ""); err != nil {
			return nil, err
		}
		return w.certs[certificateID(cert)], nil
	case p.certID != "":
		cert, err := w.findCert(p.certID)
		if err != nil {
			return nil, err
		}
		return cert, p.checkStatus(cert)
	}
	parsed, err := parseCertificate("CertificatePem", p.certPEM)
	if err != nil {
		return nil, err
	}
	if cert, ok := w.certs[certificateID(parsed)]; ok {
		return cert, p.checkStatus(cert)
	}
	cert, status, err := w.newCertificate(p.certPEM, p.status)
	if err != nil {
		return nil, err
	}
	ca, err := w.signerOf(cert, p.caPEM)
	if err != nil {
		return nil, err
	}
	if !ca.active {
		return nil, iotError("CertificateStateException", "The CA certificate %s is INACTIVE", ca.id)
	}
	if _, err := w.addCertificate(cert, status, ca.mode, ca.id); err != nil {
		return nil, err
	}
	return w.certs[certificateID(cert)], nil
}

// checkStatus applies the OverrideSettings of a certificate that already exists.
func (p *provisionPlan) checkStatus(cert *certificate) error {
	switch {
	case cert.status == statusRevoked:
		return iotError("CertificateStateException", "The certificate %s is REVOKED, which is final", cert.id)
	case cert.status == p.status:
		return nil
	case p.onStatus == "FAIL":
		return iotError("ResourceRegistrationFailureException", "ResourceConflictsException: certificate %s already exists with another Status, and OverrideSettings say FAIL", cert.id)
	case p.onStatus == "DO_NOTHING":
		p.status = cert.status
	}
	return nil
}

func checkParameters(params map[string]string) error {
	for k, v := range params {
		if k == "" || len(k) > maxParameterName || len(v) > maxParameterValue {
			return invalid("parameter %q: names have 1 to %d characters, values at most %d", clip(k, 64), maxParameterName, maxParameterValue)
		}
	}
	return nil
}
