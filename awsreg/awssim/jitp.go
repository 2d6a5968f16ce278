package awssim

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
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
	plan, err := w.planProvision(env, cert)
	if err != nil {
		return "", err
	}
	return plan.thing, w.applyProvision(plan, cert)
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

// provisionPlan is what a run will change.
type provisionPlan struct {
	thing    string
	attrs    map[string]string
	override map[string]string
	policies map[string]string // name -> document, empty when the policy exists
	status   string
}

func (w *world) planProvision(env *templateEnv, cert *certificate) (*provisionPlan, error) {
	p := &provisionPlan{attrs: map[string]string{}, policies: map[string]string{}, status: statusActive}
	for name, r := range env.doc.Resources {
		var err error
		switch r.Type {
		case "AWS::IoT::Thing":
			err = p.planThing(env, r)
		case "AWS::IoT::Policy":
			err = w.planPolicy(env, r, p)
		case "AWS::IoT::Certificate":
			err = p.planCertificate(env, r, cert)
		}
		if err != nil {
			var api *apiError
			if errors.As(err, &api) {
				return nil, err
			}
			return nil, fmt.Errorf("resource %s: %w", name, err)
		}
	}
	return p, nil
}

func (p *provisionPlan) planThing(env *templateEnv, r templateResource) error {
	if p.thing != "" {
		return fmt.Errorf("a template provisions one thing")
	}
	for k, v := range r.Properties {
		var err error
		switch k {
		case "ThingName":
			p.thing, err = env.text(v)
		case "AttributePayload":
			m, ok := v.(map[string]any)
			if !ok {
				return fmt.Errorf("AttributePayload must be an object")
			}
			for name, node := range m {
				if p.attrs[name], err = env.text(node); err != nil {
					return err
				}
			}
		default:
			err = noOperation("the thing property " + clip(k, 64))
		}
		if err != nil {
			return err
		}
	}
	if !thingName.MatchString(p.thing) {
		return fmt.Errorf("%q is not a thing name", clip(p.thing, 160))
	}
	p.override = r.OverrideSettings
	return checkAttributes(p.attrs)
}

// planPolicy handles both forms of a policy resource. An inline document is named
// after its hash; how AWS names it is documented no better than that.
func (w *world) planPolicy(env *templateEnv, r templateResource, p *provisionPlan) error {
	name, text := "", ""
	for k, v := range r.Properties {
		var err error
		switch k {
		case "PolicyName":
			name, err = env.text(v)
		case "PolicyDocument":
			if s, ok := v.(string); ok {
				text = s
				break
			}
			var b []byte
			b, err = json.Marshal(v)
			text = string(b)
		default:
			err = noOperation("the policy property " + clip(k, 64))
		}
		if err != nil {
			return err
		}
	}
	if text == "" {
		if _, err := w.findPolicy(name); err != nil {
			return err
		}
		p.policies[name] = ""
		return nil
	}
	if _, err := parsePolicy(text); err != nil {
		return err
	}
	if name == "" {
		sum := sha256.Sum256([]byte(text))
		name = hex.EncodeToString(sum[:])
	}
	if _, ok := w.policies[name]; ok {
		text = ""
	}
	p.policies[name] = text
	return nil
}

func (p *provisionPlan) planCertificate(env *templateEnv, r templateResource, cert *certificate) error {
	id := ""
	for k, v := range r.Properties {
		var err error
		switch k {
		case "CertificateId":
			id, err = env.text(v)
		case "Status":
			var s string
			s, err = env.text(v)
			// Templates in the field write "Active" as often as "ACTIVE".
			if p.status = strings.ToUpper(s); p.status != statusActive && p.status != statusInactive {
				err = fmt.Errorf("the certificate Status %q is neither ACTIVE nor INACTIVE", clip(s, 32))
			}
		case "ThingPrincipalType":
			err = noOperation("the certificate property ThingPrincipalType")
		default:
			err = noOperation("the certificate property " + clip(k, 64))
		}
		if err != nil {
			return err
		}
	}
	if id != cert.id {
		return fmt.Errorf("CertificateId must be {\"Ref\": %q} for JITP", jitpCertificateID)
	}
	return nil
}

func (w *world) applyProvision(p *provisionPlan, cert *certificate) error {
	var th *thing
	if p.thing != "" {
		old, exists := w.things[p.thing]
		if exists && !maps.Equal(old.attributes, p.attrs) && len(p.attrs) > 0 {
			next := maps.Clone(old.attributes)
			switch p.override["AttributePayload"] {
			case "FAIL":
				return invalid("Thing %s already exists and OverrideSettings for AttributePayload is FAIL", p.thing)
			case "REPLACE":
				next = p.attrs
			case "MERGE":
				maps.Copy(next, p.attrs)
			}
			if err := checkAttributes(next); err != nil {
				return err
			}
			old.attributes = next
			old.version++
		}
		if th = old; !exists {
			var err error
			if th, err = w.addThing(p.thing, p.attrs); err != nil {
				return err
			}
		}
	}
	for name, text := range p.policies {
		if text != "" {
			if _, err := w.addPolicy(name, text); err != nil {
				return err
			}
		}
		if err := w.attach(name, w.certARN(cert.id)); err != nil {
			return err
		}
	}
	if th != nil {
		if err := w.attachThing(th, cert, false); err != nil {
			return err
		}
	}
	w.setStatus(cert, p.status)
	return nil
}
