package awssim

import (
	"encoding/asn1"
	"errors"
)

// jitpParameters are what JITP reads out of the subject (AWS IoT developer guide,
// jit-provisioning). AWS::IoT::Certificate::Id is added to them.
var jitpParameters = map[string]asn1.ObjectIdentifier{
	"AWS::IoT::Certificate::Country":                    {2, 5, 4, 6},
	"AWS::IoT::Certificate::Organization":               {2, 5, 4, 10},
	"AWS::IoT::Certificate::OrganizationalUnit":         {2, 5, 4, 11},
	"AWS::IoT::Certificate::DistinguishedNameQualifier": {2, 5, 4, 46},
	"AWS::IoT::Certificate::StateName":                  {2, 5, 4, 8},
	"AWS::IoT::Certificate::CommonName":                 {2, 5, 4, 3},
	"AWS::IoT::Certificate::SerialNumber":               {2, 5, 4, 5},
}

const jitpCertificateID = "AWS::IoT::Certificate::Id"

// startJITP runs the provisioning template of a CA for a pending certificate, in
// the background as AWS does. The caller does not hold w.mu.
func (w *world) startJITP(certID, caID string) {
	w.sim.mu.Lock()
	defer w.sim.mu.Unlock()
	if w.sim.closed {
		return
	}
	w.sim.wg.Go(func() { w.runJITP(certID, caID) })
}

func (w *world) runJITP(certID, caID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	cert, ok := w.certs[certID]
	if !ok {
		return
	}
	defer func() { cert.jitp = false }()
	ca, ok := w.cas[caID]
	if !ok || ca.config == nil || cert.status != statusPending {
		return
	}
	thingName, err := w.provision(cert, ca.config)
	if err != nil {
		var api *apiError
		code := "InvalidRequestException"
		if errors.As(err, &api) {
			code, err = api.code, errors.New(api.message)
		}
		w.note("jitp.failed", err.Error(), "eventName", "RegisterThing", "errorCode", code, "certificateId", certID, "caCertificateId", caID)
		return
	}
	w.note("jitp.succeeded", "", "eventName", "RegisterThing", "certificateId", certID, "thingName", thingName, "status", cert.status)
}

// provision performs the steps of JITP in AWS's order: thing, policy, attach
// both, activate (AWS IoT developer guide, jit-provisioning). The caller holds
// w.mu. What can be worked out beforehand is, so that a template with a mistake
// leaves nothing behind.
func (w *world) provision(cert *certificate, rc *registrationConfig) (string, error) {
	doc, err := w.templateOf(rc)
	if err != nil {
		return "", err
	}
	env := &templateEnv{doc: doc, params: map[string]string{jitpCertificateID: cert.id}}
	for name, oid := range jitpParameters {
		if v, ok := firstValue(cert.cert.Subject, oid); ok {
			env.params[name] = v
		}
	}
	// "The certificate must contain values for all of the parameters in the template
	// body" - declared is enough, used or not. A Default does not help.
	for name := range doc.Parameters {
		if _, ok := env.params[name]; !ok {
			return "", unresolved(name)
		}
	}
	plan, err := w.plan(env)
	if err != nil {
		return "", err
	}
	if err := plan.wants(cert.id, jitpCertificateID); err != nil {
		return "", err
	}
	return plan.thing, w.carryOut(plan, cert)
}

func (w *world) templateOf(rc *registrationConfig) (*templateDoc, error) {
	if rc.TemplateName == "" {
		return parseTemplate(rc.TemplateBody)
	}
	t, err := w.findTemplate(rc.TemplateName)
	if err != nil {
		return nil, err
	}
	if !t.enabled {
		return nil, invalid("The provisioning template %s is not enabled", t.name)
	}
	return t.defaultVersion().doc, nil
}
