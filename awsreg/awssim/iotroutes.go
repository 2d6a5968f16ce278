package awssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// iotOperation is one operation of the IoT control plane.
type iotOperation struct {
	name, method, path string
	run                func(*call) (any, error)
}

// iotOperations are all operations of the IoT control plane.
var iotOperations = slices.Concat(registryOperations, fleetOperations, groupOperations, domainOperations)

// registryOperations are those on CAs, certificates, policies, things, rules and
// templates. Methods and paths were compared with
// serializers.go of aws-sdk-go-v2/service/iot v1.75.0.
var registryOperations = []iotOperation{
	{"GetRegistrationCode", "GET", "/registrationcode", getRegistrationCode},
	{"DeleteRegistrationCode", "DELETE", "/registrationcode", deleteRegistrationCode},
	{"RegisterCACertificate", "POST", "/cacertificate", registerCACertificate},
	{"ListCACertificates", "GET", "/cacertificates", listCACertificates},
	{"DescribeCACertificate", "GET", "/cacertificate/{certificateId}", describeCACertificate},
	{"UpdateCACertificate", "PUT", "/cacertificate/{certificateId}", updateCACertificate},
	{"DeleteCACertificate", "DELETE", "/cacertificate/{certificateId}", deleteCACertificate},

	{"RegisterCertificate", "POST", "/certificate/register", registerCertificate},
	{"RegisterCertificateWithoutCA", "POST", "/certificate/register-no-ca", registerCertificateWithoutCA},
	{"ListCertificates", "GET", "/certificates", listCertificates},
	{"ListCertificatesByCA", "GET", "/certificates-by-ca/{caCertificateId}", listCertificatesByCA},
	{"DescribeCertificate", "GET", "/certificates/{certificateId}", describeCertificate},
	{"UpdateCertificate", "PUT", "/certificates/{certificateId}", updateCertificate},
	{"DeleteCertificate", "DELETE", "/certificates/{certificateId}", deleteCertificate},

	{"CreatePolicy", "POST", "/policies/{policyName}", createPolicy},
	{"GetPolicy", "GET", "/policies/{policyName}", getPolicy},
	{"DeletePolicy", "DELETE", "/policies/{policyName}", deletePolicy},
	{"ListPolicies", "GET", "/policies", listPolicies},
	{"CreatePolicyVersion", "POST", "/policies/{policyName}/version", createPolicyVersion},
	{"ListPolicyVersions", "GET", "/policies/{policyName}/version", listPolicyVersions},
	{"GetPolicyVersion", "GET", "/policies/{policyName}/version/{policyVersionId}", getPolicyVersion},
	{"SetDefaultPolicyVersion", "PATCH", "/policies/{policyName}/version/{policyVersionId}", setDefaultPolicyVersion},
	{"DeletePolicyVersion", "DELETE", "/policies/{policyName}/version/{policyVersionId}", deletePolicyVersion},
	{"AttachPolicy", "PUT", "/target-policies/{policyName}", attachPolicy},
	{"DetachPolicy", "POST", "/target-policies/{policyName}", detachPolicy},
	{"AttachPrincipalPolicy", "PUT", "/principal-policies/{policyName}", attachPrincipalPolicy},
	{"DetachPrincipalPolicy", "DELETE", "/principal-policies/{policyName}", detachPrincipalPolicy},
	{"ListAttachedPolicies", "POST", "/attached-policies/{target}", listAttachedPolicies},
	{"ListTargetsForPolicy", "POST", "/policy-targets/{policyName}", listTargetsForPolicy},

	{"CreateThing", "POST", "/things/{thingName}", createThing},
	{"DescribeThing", "GET", "/things/{thingName}", describeThing},
	{"UpdateThing", "PATCH", "/things/{thingName}", updateThing},
	{"DeleteThing", "DELETE", "/things/{thingName}", deleteThing},
	{"ListThings", "GET", "/things", listThings},
	{"AttachThingPrincipal", "PUT", "/things/{thingName}/principals", attachThingPrincipal},
	{"DetachThingPrincipal", "DELETE", "/things/{thingName}/principals", detachThingPrincipal},
	{"ListThingPrincipals", "GET", "/things/{thingName}/principals", listThingPrincipals},
	{"ListPrincipalThings", "GET", "/principals/things", listPrincipalThings},

	{"CreateTopicRule", "POST", "/rules/{ruleName}", createTopicRule},
	{"GetTopicRule", "GET", "/rules/{ruleName}", getTopicRule},
	{"ReplaceTopicRule", "PATCH", "/rules/{ruleName}", replaceTopicRule},
	{"DeleteTopicRule", "DELETE", "/rules/{ruleName}", deleteTopicRule},
	{"ListTopicRules", "GET", "/rules", listTopicRules},

	{"CreateProvisioningTemplate", "POST", "/provisioning-templates", createTemplate},
	{"ListProvisioningTemplates", "GET", "/provisioning-templates", listTemplates},
	{"DescribeProvisioningTemplate", "GET", "/provisioning-templates/{templateName}", describeTemplate},
	{"UpdateProvisioningTemplate", "PATCH", "/provisioning-templates/{templateName}", updateTemplate},
	{"DeleteProvisioningTemplate", "DELETE", "/provisioning-templates/{templateName}", deleteTemplate},
	{"CreateProvisioningTemplateVersion", "POST", "/provisioning-templates/{templateName}/versions", createTemplateVersion},
	{"ListProvisioningTemplateVersions", "GET", "/provisioning-templates/{templateName}/versions", listTemplateVersions},
	{"DescribeProvisioningTemplateVersion", "GET", "/provisioning-templates/{templateName}/versions/{versionId}", describeTemplateVersion},
	{"DeleteProvisioningTemplateVersion", "DELETE", "/provisioning-templates/{templateName}/versions/{versionId}", deleteTemplateVersion},

	{"DescribeEndpoint", "GET", "/endpoint", describeEndpoint},
	{"TagResource", "POST", "/tags", tagResource},
	{"UntagResource", "POST", "/untag", untagResource},
	{"ListTagsForResource", "GET", "/tags", listTagsForResource},
}

// serveIoT dispatches one REST-JSON request.
func (s *Sim) serveIoT(w http.ResponseWriter, c *call) {
	raw, _, _ := strings.Cut(c.r.RequestURI, "?")
	for _, op := range iotOperations {
		params, ok := matchPath(op.path, raw)
		if !ok || op.method != c.r.Method {
			continue
		}
		c.path = params
		s.perform(w, c, op.name, func() (any, error) {
			c.w.expireFleet()
			return op.run(c)
		}, func(v any, e *apiError) {
			if e != nil {
				e.writeRESTJSON(w)
				return
			}
			if v == nil {
				v = struct{}{}
			}
			writeJSON(w, http.StatusOK, "application/json", v)
		})
		return
	}
	noOperation(fmt.Sprintf("the IoT operation %s %s", c.r.Method, raw)).writeRESTJSON(w)
}

// matchPath matches an escaped request path with a pattern. Parameters are one
// segment each; an ARN in one has its slashes escaped.
func matchPath(pattern, raw string) (map[string]string, bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(raw, "/")
	if len(want) != len(have) {
		return nil, false
	}
	params := map[string]string{}
	for i, p := range want {
		v, err := url.PathUnescape(have[i])
		if err != nil {
			return nil, false
		}
		if name, ok := strings.CutPrefix(p, "{"); ok {
			if v == "" {
				return nil, false
			}
			params[strings.TrimSuffix(name, "}")] = v
		} else if p != v {
			return nil, false
		}
	}
	return params, true
}

// decode reads the JSON body into v. AWS ignores members that it does not know;
// the simulator refuses them, because ignoring one would hide that the real
// service acts on it.
func (c *call) decode(v any) error {
	body := bytes.TrimSpace(c.body)
	if len(body) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return noOperation("the member " + field + " of this request")
		}
		return invalid("Error parsing JSON: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return invalid("Error parsing JSON: data after the request document")
	}
	return nil
}

// flag reads a boolean query parameter.
func (c *call) flag(name string) (bool, error) {
	switch v := c.query.Get(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, invalid("%s must be true or false, not %q", name, v)
	}
}
