package awsreg

import (
	"encoding/json"
	"maps"
)

// The parameters of fleet templates beside AWS::IoT::Certificate::Id. The device
// sends SerialNumber, and may send it wrong: the hook's answer replaces it. The
// hook alone sets CertDate, YYYYMMDD.
const (
	serialParameter = "SerialNumber"
	dateParameter   = "CertDate"
)

// The thing attributes that every fleet template sets.
const (
	serialAttribute = "serial_number"
	dateAttribute   = "cert_issuance"
)

// FleetTemplate is the provisioning template of a fleet, JSON: the thing is
// named by the fleet's prefix and the device's serial number, its certificate is
// the one that the device asked for, and the fleet's policy is attached.
//
// A device that comes again, after its order was opened anew for it, meets a
// thing that is there: its attributes are merged, so that those which others
// have set stay; its type is replaced by the configured one; its groups are left,
// because people move things between groups.
// https://docs.aws.amazon.com/iot/latest/developerguide/provision-template.html
func FleetTemplate(t Target, f Fleet) string {
	thing := thingProperties(f)
	override := map[string]string{"AttributePayload": "MERGE"}
	if f.ThingType != "" {
		thing["ThingTypeName"] = f.ThingType
		override["ThingTypeName"] = "REPLACE"
	}
	if len(f.Groups) > 0 {
		thing["ThingGroups"] = f.Groups
		override["ThingGroups"] = "DO_NOTHING"
	}
	return fleetTemplate(f, thing, override)
}

// RotationTemplate is the template by which a device of a fleet gets its next
// certificate, JSON. It gives the thing the new date and attaches certificate
// and policy; it names neither type nor groups, so that a rotation changes
// nothing else about a device. The old certificate stays attached and in service
// until the new one has connected.
func RotationTemplate(t Target, f Fleet) string {
	return fleetTemplate(f, thingProperties(f), map[string]string{"AttributePayload": "MERGE"})
}

func thingProperties(f Fleet) map[string]any {
	attributes := make(map[string]any, len(f.Attributes)+2)
	for name, value := range f.Attributes {
		attributes[name] = value
	}
	maps.Copy(attributes, map[string]any{serialAttribute: ref(serialParameter), dateAttribute: ref(dateParameter)})
	return map[string]any{
		"ThingName":        map[string]any{"Fn::Join": []any{"", []any{f.ThingPrefix, ref(serialParameter)}}},
		"AttributePayload": attributes,
	}
}

func fleetTemplate(f Fleet, thing map[string]any, override map[string]string) string {
	return encode(provisioningTemplate{
		Parameters: map[string]parameter{
			serialParameter:             {"String"},
			dateParameter:               {"String"},
			certificateParameter + "Id": {"String"},
		},
		Resources: map[string]resourceBody{
			"thing": {Type: "AWS::IoT::Thing", Properties: thing, OverrideSettings: override},
			"certificate": {Type: "AWS::IoT::Certificate", Properties: map[string]any{
				"CertificateId": ref(certificateParameter + "Id"),
				"Status":        "Active",
			}},
			"policy": {Type: "AWS::IoT::Policy", Properties: map[string]any{"PolicyName": f.policy()}},
		},
	})
}

// encode is the compact JSON of a document that is made of strings, lists and
// maps only, which cannot fail to encode.
func encode(document any) string {
	body, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return string(body)
}
