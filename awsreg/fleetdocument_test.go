package awsreg_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"mintmark/awsreg"
)

func sameDocument(t *testing.T, got, want string) {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(got), &x); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &y); err != nil {
		t.Fatal(err)
	}
	a, _ := json.MarshalIndent(x, "", " ")
	b, _ := json.MarshalIndent(y, "", " ")
	if string(a) != string(b) {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

func TestFleetTemplates(t *testing.T) {
	target := everything("http://127.0.0.1:1")
	const parameters = `"Parameters": {"SerialNumber": {"Type": "String"}, "CertDate": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}}`
	const certificate = `"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}}`
	const attributes = `"serial_number": {"Ref": "SerialNumber"}, "cert_issuance": {"Ref": "CertDate"}`
	sameDocument(t, awsreg.FleetTemplate(target, target.Fleets[0]), `{`+parameters+`, "Resources": {
		"thing": {"Type": "AWS::IoT::Thing",
			"Properties": {"ThingName": {"Fn::Join": ["", ["pump-", {"Ref": "SerialNumber"}]]}, "ThingTypeName": "pump", "ThingGroups": ["hall-1", "hall-2"],
				"AttributePayload": {"line": "7", `+attributes+`}},
			"OverrideSettings": {"AttributePayload": "MERGE", "ThingTypeName": "REPLACE", "ThingGroups": "DO_NOTHING"}},
		`+certificate+`,
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "pumps-device"}}}}`)
	sameDocument(t, awsreg.RotationTemplate(target, target.Fleets[0]), `{`+parameters+`, "Resources": {
		"thing": {"Type": "AWS::IoT::Thing",
			"Properties": {"ThingName": {"Fn::Join": ["", ["pump-", {"Ref": "SerialNumber"}]]}, "AttributePayload": {"line": "7", `+attributes+`}},
			"OverrideSettings": {"AttributePayload": "MERGE"}},
		`+certificate+`,
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "pumps-device"}}}}`)
	sameDocument(t, awsreg.FleetTemplate(target, target.Fleets[1]), `{`+parameters+`, "Resources": {
		"thing": {"Type": "AWS::IoT::Thing",
			"Properties": {"ThingName": {"Fn::Join": ["", ["", {"Ref": "SerialNumber"}]]}, "AttributePayload": {`+attributes+`}},
			"OverrideSettings": {"AttributePayload": "MERGE"}},
		`+certificate+`,
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "valve"}}}}`)

	names := func(list []awsreg.ProvisioningTemplate) (names []string) {
		for _, p := range list {
			names = append(names, p.Name+" "+p.Hook)
		}
		return names
	}
	if got := names(awsreg.Templates(target, target.Fleets[1])); !slices.Equal(got, []string{"valves " + target.Fleets[1].Hook, "valves-next " + target.Fleets[1].RotationHook}) {
		t.Errorf("templates %v", got)
	}
	target.Rotation = nil
	if got := awsreg.Templates(target, target.Fleets[1]); len(got) != 1 {
		t.Errorf("without rotation: %v", names(got))
	}
}

type iotStatement struct {
	Effect           string
	Action, Resource []string
	Condition        map[string]map[string][]string
}

func statements(t *testing.T, document string) []iotStatement {
	t.Helper()
	var doc struct {
		Version   string
		Statement []iotStatement
	}
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Version != "2012-10-17" {
		t.Errorf("version %q", doc.Version)
	}
	return doc.Statement
}

// granted lists what a policy allows, as "action resource" without the ARNs'
// beginnings.
func granted(t *testing.T, document string) []string {
	t.Helper()
	all := make(map[string]bool)
	for _, s := range statements(t, document) {
		if s.Effect != "Allow" {
			t.Errorf("effect %q", s.Effect)
		}
		for _, action := range s.Action {
			for _, resource := range s.Resource {
				short, ok := strings.CutPrefix(resource, "arn:aws:iot:"+region+":"+first.ID+":")
				if !ok {
					t.Errorf("resource %s", resource)
				}
				all[strings.TrimPrefix(action, "iot:")+" "+short] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func TestFleetPolicy(t *testing.T) {
	target := everything("http://127.0.0.1:1")
	const thing = "${iot:Connection.Thing.ThingName}"
	alone := []string{
		"Connect client/" + thing,
		"Publish topic/devices/" + thing + "/*",
		"Receive topic/devices/" + thing + "/*",
		"Subscribe topicfilter/devices/" + thing + "/*",
	}
	rotating := append(slices.Clone(alone),
		"Publish topic/$aws/certificates/create-from-csr/*",
		"Receive topic/$aws/certificates/create-from-csr/*",
		"Subscribe topicfilter/$aws/certificates/create-from-csr/*",
		"Publish topic/$aws/provisioning-templates/pumps-rotation/provision/*",
		"Receive topic/$aws/provisioning-templates/pumps-rotation/provision/*",
		"Subscribe topicfilter/$aws/provisioning-templates/pumps-rotation/provision/*",
		// A device hears where it is told to rotate; it cannot tell others.
		"Receive topic/cmd/"+thing+"/alerts",
		"Subscribe topicfilter/cmd/"+thing+"/alerts",
	)
	slices.Sort(rotating)
	if got := granted(t, awsreg.FleetPolicy(target, target.Fleets[0])); !slices.Equal(got, rotating) {
		t.Errorf("with rotation:\n%s", strings.Join(got, "\n"))
	}
	for _, s := range statements(t, awsreg.FleetPolicy(target, target.Fleets[0])) {
		if slices.Contains(s.Action, "iot:Connect") != slices.Equal(s.Condition["Bool"]["iot:Connection.Thing.IsAttached"], []string{"true"}) {
			t.Errorf("the thing of a client id must be the certificate's, and only that is asked: %+v", s)
		}
	}
	target.Rotation = nil
	if got := granted(t, awsreg.FleetPolicy(target, target.Fleets[0])); !slices.Equal(got, alone) {
		t.Errorf("without rotation:\n%s", strings.Join(got, "\n"))
	}
}

func TestClaimPolicy(t *testing.T) {
	target := everything("http://127.0.0.1:1")
	want := func(topics ...string) []string {
		list := []string{"Connect client/*"}
		for _, topic := range topics {
			list = append(list, "Publish topic/"+topic, "Receive topic/"+topic, "Subscribe topicfilter/"+topic)
		}
		slices.Sort(list)
		return list
	}
	if got := granted(t, awsreg.ClaimPolicy(target, target.Fleets[0])); !slices.Equal(got, want("$aws/certificates/create-from-csr/*", "$aws/provisioning-templates/pumps/provision/*")) {
		t.Errorf("claim:\n%s", strings.Join(got, "\n"))
	}
	if got := granted(t, awsreg.ClaimPolicy(target, target.Fleets[1])); !slices.Equal(got, want("$aws/certificates/create/*", "$aws/certificates/create-from-csr/*", "$aws/provisioning-templates/valves/provision/*")) {
		t.Errorf("claim with keys of AWS's:\n%s", strings.Join(got, "\n"))
	}
}

// The longest names that are allowed fit into what AWS takes.
func TestPoliciesFit(t *testing.T) {
	target := everything("http://127.0.0.1:1")
	target.Region = "us-gov-northwest-12"
	f := target.Fleets[1]
	f.Template, f.RotationTemplate = strings.Repeat("t", 36), strings.Repeat("r", 36)
	target.Rotation.Topic = strings.Repeat("a", 63) + "/<thing>/" + strings.Repeat("b", 63)
	for name, document := range map[string]string{"device": awsreg.FleetPolicy(target, f), "claim": awsreg.ClaimPolicy(target, f), "alone": awsreg.DevicePolicy(target)} {
		if len(document) > 2048 {
			t.Errorf("the %s policy has %d characters; AWS takes 2048", name, len(document))
		}
	}
}

func TestTopicRules(t *testing.T) {
	target := everything("http://127.0.0.1:1")
	p := awsreg.PresenceRule(target)
	if p.Name != "mintmark_presence" || p.SQL != "SELECT * FROM '$aws/events/presence/connected/+'" || p.Function != target.Rotation.Presence || p.SQLVersion != "2016-03-23" {
		t.Errorf("presence rule %+v", p)
	}
	id := strings.Repeat("0123456789abcdef", 4)
	j := awsreg.JITRRule(target, id)
	if j.Name != "mintmark_jitr_0123456789abcdef" || j.SQL != "SELECT * FROM '$aws/events/certificates/registered/"+id+"'" || j.Function != target.JITR.Function {
		t.Errorf("activation rule %+v", j)
	}
}
