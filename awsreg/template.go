package awsreg

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

const certificateParameter = "AWS::IoT::Certificate::"

// provisioningTemplate is a provisioning template, as far as mintmark needs it.
type provisioningTemplate struct {
	Parameters map[string]parameter
	Resources  map[string]resourceBody
}

type parameter struct{ Type string }

type resourceBody struct {
	Type       string
	Properties map[string]any
	// OverrideSettings says what becomes of a thing that is there already.
	OverrideSettings map[string]string `json:",omitempty"`
}

// Template generates the provisioning template of a CA.
//
// AWS fails the provisioning of a device whose subject lacks any parameter that
// the template declares, used or not. So the template declares exactly what it
// uses, and that is refused unless the issuer's profiles always put it into the
// subject. No intrinsic function but Ref is used: AWS documents the others for
// fleet templates only.
func Template(issuer Issuer, j JITP) (string, error) {
	name := j.thingName()
	if !slices.Contains(issuer.Subject, name) {
		return "", fmt.Errorf("the thing is to be named by %s, which not every certificate of issuer %q has in its subject; AWS would fail with \"Cannot resolve reference value: {Ref=%s%s}\"",
			name, issuer.Name, certificateParameter, name)
	}
	t := provisioningTemplate{
		Parameters: map[string]parameter{
			certificateParameter + name: {"String"},
			certificateParameter + "Id": {"String"},
		},
		Resources: map[string]resourceBody{
			"thing": {Type: "AWS::IoT::Thing", Properties: map[string]any{
				"ThingName": ref(certificateParameter + name),
			}},
			"certificate": {Type: "AWS::IoT::Certificate", Properties: map[string]any{
				"CertificateId": ref(certificateParameter + "Id"),
				"Status":        "ACTIVE",
			}},
			"policy": {Type: "AWS::IoT::Policy", Properties: map[string]any{
				"PolicyName": j.Policy,
			}},
		},
	}
	return encode(t), nil
}

func ref(name string) map[string]any { return map[string]any{"Ref": name} }

// sameJSON compares documents as values: AWS keeps what it was given, but others
// reformat what they edit.
func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return a == b
	}
	return reflect.DeepEqual(x, y)
}
