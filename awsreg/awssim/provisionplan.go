package awssim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// provisionPlan is what one run of a provisioning template will change. It is
// worked out before anything is changed, so that a template with a mistake leaves
// nothing behind.
type provisionPlan struct {
	thing     string
	thingAs   string // the thing's logical name in the template
	typeName  string
	attrs     map[string]string
	groups    []string
	overrides map[string]string // OverrideSettings of the thing

	policies []plannedPolicy

	certAs         string
	certID         string // the three ways to name a certificate
	certPEM, caPEM string
	csr            string
	status         string
	onStatus       string // OverrideSettings of the certificate's Status

	config map[string]string // DeviceConfiguration
}

type plannedPolicy struct {
	as   string // logical name
	name string
	text string // empty when the policy exists
}

// plan evaluates a template. Resources are taken by their logical names, so that
// two runs do the same. The caller holds w.mu.
func (w *world) plan(env *templateEnv) (*provisionPlan, error) {
	p := &provisionPlan{attrs: map[string]string{}, config: map[string]string{}, status: statusActive}
	for _, name := range slices.Sorted(maps.Keys(env.doc.Resources)) {
		r := env.doc.Resources[name]
		var err error
		switch r.Type {
		case "AWS::IoT::Thing":
			err = w.planThing(env, name, r, p)
		case "AWS::IoT::Policy":
			err = w.planPolicy(env, name, r, p)
		case "AWS::IoT::Certificate":
			err = p.planCertificate(env, name, r)
		}
		if err != nil {
			return nil, located("resource "+clip(name, 64), err)
		}
	}
	for k, v := range env.doc.DeviceConfiguration {
		var err error
		if p.config[k], err = env.text(v); err != nil {
			return nil, located("DeviceConfiguration "+clip(k, 64), err)
		}
	}
	return p, nil
}

// located says where in a template an error is, unless AWS has words for it.
func located(where string, err error) error {
	var api *apiError
	if errors.As(err, &api) {
		return err
	}
	return invalid("%s: %v", where, err)
}

func (w *world) planThing(env *templateEnv, as string, r templateResource, p *provisionPlan) error {
	if p.thing != "" {
		return fmt.Errorf("a template provisions one thing")
	}
	for k, v := range r.Properties {
		var err error
		switch k {
		case "ThingName":
			p.thing, err = env.text(v)
		case "ThingTypeName":
			p.typeName, err = env.text(v)
		case "ThingGroups":
			p.groups, err = env.texts(v)
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
	p.thingAs, p.overrides = as, r.OverrideSettings
	if p.typeName != "" && !w.thingTypeExists(p.typeName) {
		return notFound("Thing type %s not found", clip(p.typeName, 128))
	}
	for _, g := range p.groups {
		if !w.thingGroupExists(g) {
			return notFound("Thing group %s not found", clip(g, 128))
		}
	}
	return checkThingAttributes(p.typeName, p.attrs)
}

// planPolicy handles both forms of a policy resource. An inline document without a
// name is named after its hash; how AWS names it is documented no better than that.
func (w *world) planPolicy(env *templateEnv, as string, r templateResource, p *provisionPlan) error {
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
		p.policies = append(p.policies, plannedPolicy{as: as, name: name})
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
	p.policies = append(p.policies, plannedPolicy{as, name, text})
	return nil
}

func (p *provisionPlan) planCertificate(env *templateEnv, as string, r templateResource) error {
	p.certAs, p.onStatus = as, r.OverrideSettings["Status"]
	for k, v := range r.Properties {
		var err error
		switch k {
		case "CertificateId":
			p.certID, err = env.text(v)
		case "CertificatePem":
			p.certPEM, err = env.text(v)
		case "CACertificatePem":
			p.caPEM, err = env.text(v)
		case "CertificateSigningRequest":
			p.csr, err = env.text(v)
		case "Status":
			var s string
			s, err = env.text(v)
			// Templates in the field write "Active" as often as "ACTIVE".
			if p.status = strings.ToUpper(s); p.status != statusActive && p.status != statusInactive {
				err = fmt.Errorf("the certificate Status %q is neither ACTIVE nor INACTIVE", clip(s, 32))
			}
		default:
			err = noOperation("the certificate property " + clip(k, 64))
		}
		if err != nil {
			return err
		}
	}
	ways := 0
	for _, s := range []string{p.certID, p.certPEM, p.csr} {
		if s != "" {
			ways++
		}
	}
	if ways != 1 || p.caPEM != "" && p.certPEM == "" {
		return fmt.Errorf("a certificate is given in one way: CertificateId, CertificatePem with or without CACertificatePem, or CertificateSigningRequest")
	}
	return nil
}

// wants refuses a plan for any certificate but the one being provisioned: JITP and
// fleet templates can only name it by its id.
func (p *provisionPlan) wants(id, parameter string) error {
	if p.certID != id {
		return invalid("resource %s: CertificateId must be {\"Ref\": %q}", clip(p.certAs, 64), parameter)
	}
	return nil
}
