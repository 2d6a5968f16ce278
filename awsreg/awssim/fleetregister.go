package awssim

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// hookTimeout is how long a pre-provisioning hook may take, hookPayload the version
// of its event (AWS IoT developer guide, pre-provisioning-hook).
const (
	hookTimeout = 5 * time.Second
	hookPayload = "2020-04-01"
)

// hookEvent is what a pre-provisioning hook is given.
type hookEvent struct {
	ClaimCertificateID string            `json:"claimCertificateId"`
	CertificateID      string            `json:"certificateId"`
	CertificatePem     string            `json:"certificatePem"`
	TemplateARN        string            `json:"templateArn"`
	ClientID           string            `json:"clientId"`
	Parameters         map[string]string `json:"parameters"`
}

// provisionFor is RegisterThing over MQTT: the template's hook decides, then the
// template runs for the certificate of the ownership token.
func (w *world) provisionFor(d *deviceConn, r fleetRequest, payload []byte) (any, error) {
	var in registerRequest
	if err := decodeFleet(r.format, payload, &in); err != nil {
		return nil, invalid("%v", err)
	}
	if err := checkParameters(in.Parameters); err != nil {
		return nil, err
	}
	if in.Parameters == nil {
		in.Parameters = map[string]string{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t, err := w.fleetTemplateOf(r.template)
	if err != nil {
		return nil, err
	}
	own, cert, err := w.owned(in.Token, d.id)
	if err != nil {
		return nil, err
	}
	own.busy = true
	defer func() { own.busy = false }()
	overrides := map[string]string{}
	if t.hook != nil {
		event := hookEvent{d.id, cert.id, pemOf(cert.cert), w.templateARN(t.name), d.clientID, in.Parameters}
		function := t.hook.TargetARN
		w.mu.Unlock()
		overrides, err = w.askHook(function, event)
		w.mu.Lock()
		if err != nil {
			return nil, err
		}
		// Meanwhile everything may have changed.
		w.expireFleet()
		if t, err = w.fleetTemplateOf(r.template); err != nil {
			return nil, err
		}
		if w.certs[cert.id] != cert || cert.status != statusPending || w.fleet.tokens[in.Token] != own {
			return nil, denyFleet("the certificate or its ownership token expired while the hook ran")
		}
	}
	params := maps.Clone(in.Parameters)
	maps.Copy(params, overrides)
	params[jitpCertificateID] = cert.id // neither device nor hook can name another
	p, err := w.plan(&templateEnv{doc: t.defaultVersion().doc, params: params})
	if err != nil {
		return nil, err
	}
	if err := p.wants(cert.id, jitpCertificateID); err != nil {
		return nil, err
	}
	if err := w.carryOut(p, cert); err != nil {
		return nil, err
	}
	delete(w.fleet.tokens, own.token)
	w.note("provisioning.registered", "", "certificateId", cert.id, "thingName", p.thing, "template", t.name,
		"claimCertificateId", d.id, "clientId", d.clientID, "status", cert.status)
	return &registeredAnswer{p.config, p.thing}, nil
}

// fleetTemplateOf finds a template that devices may ask for. The caller holds w.mu.
func (w *world) fleetTemplateOf(name string) (*template, error) {
	t, err := w.findTemplate(name)
	switch {
	case err != nil:
		return nil, err
	case t.kind != fleetTemplate:
		return nil, invalid("The provisioning template %s is not of type %s", name, fleetTemplate)
	case !t.enabled:
		return nil, invalid("The provisioning template %s is not enabled", name)
	}
	return t, nil
}

// askHook calls a pre-provisioning hook and returns the parameters that it overrides.
// Everything but {"allowProvisioning": true} in time is a denial. w.mu must not be
// held.
func (w *world) askHook(function string, e hookEvent) (map[string]string, error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	deny := func(why string) error {
		w.note("provisioning.denied", why, "function", function, "certificateId", e.CertificateID, "claimCertificateId", e.ClaimCertificateID, "clientId", e.ClientID)
		return denyFleet("The pre-provisioning hook did not allow this device")
	}
	reply, err := w.call(function, payload, hookTimeout)
	if err != nil {
		return nil, deny(err.Error())
	}
	overrides, err := parseHookAnswer(reply)
	if err != nil {
		return nil, deny(err.Error())
	}
	return overrides, nil
}

// parseHookAnswer reads what a pre-provisioning hook returns. The guide writes the
// value of allowProvisioning once as true and once as "true"; only the boolean is
// taken. Further members are ignored.
func parseHookAnswer(reply []byte) (map[string]string, error) {
	// A map, because encoding/json takes AllowProvisioning for the same name.
	var out map[string]json.RawMessage
	if err := json.Unmarshal(reply, &out); err != nil {
		return nil, fmt.Errorf("the hook's answer is not a JSON object: %s", clip(err.Error(), 200))
	}
	if string(out["allowProvisioning"]) != "true" {
		return nil, fmt.Errorf("the hook did not answer allowProvisioning true")
	}
	var overrides map[string]string
	if raw, ok := out["parameterOverrides"]; ok {
		if err := json.Unmarshal(raw, &overrides); err != nil {
			return nil, fmt.Errorf("the hook's parameterOverrides are not a map of strings: %s", clip(err.Error(), 200))
		}
	}
	if err := checkParameters(overrides); err != nil {
		return nil, fmt.Errorf("the hook's parameterOverrides: %w", err)
	}
	return overrides, nil
}
