package awssim

import (
	"crypto/x509/pkix"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

const jitpTemplate = `{
	"Parameters": {
		"AWS::IoT::Certificate::CommonName": {"Type": "String"},
		"AWS::IoT::Certificate::Country": {"Type": "String"},
		"AWS::IoT::Certificate::Id": {"Type": "String"}
	},
	"Resources": {
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {
			"ThingName": {"Fn::Join": ["-", ["unit", {"Ref": "AWS::IoT::Certificate::CommonName"}]]},
			"AttributePayload": {"country": {"Ref": "AWS::IoT::Certificate::Country"}}}},
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
			"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": {
			"Version": "2012-10-17", "Statement": [
				{"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:eu-central-1:111122223333:client/${iot:Connection.Thing.ThingName}"},
				{"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:eu-central-1:111122223333:topic/data/${iot:Connection.Thing.ThingName}"}]}}}
	}
}`

func TestJustInTimeProvisioning(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "JITP CA")
	ca.mustRegister(t, c, func(in *iot.RegisterCACertificateInput) {
		in.RegistrationConfig = &types.RegistrationConfig{
			TemplateBody: aws.String(jitpTemplate), RoleArn: aws.String("arn:aws:iam::111122223333:role/provisioning"),
		}
	})

	// Every declared parameter must be in the subject.
	poor := ca.issue(t, pkix.Name{CommonName: "no-country"})
	if _, err := connect(t, s, poor, "x", sni(first)); err == nil {
		t.Fatal("a certificate that was just registered could connect")
	}
	wait(t, "JITP to fail", func() bool { return len(eventsOf(t, s, "jitp.failed")) > 0 })
	e := eventsOf(t, s, "jitp.failed")[0]
	if want := "Cannot resolve reference value: {Ref=AWS::IoT::Certificate::Country}"; e.Message != want || e.Details["errorCode"] != "InvalidRequestException" {
		t.Errorf("event %+v, want %q", e, want)
	}
	if out, _ := c.ListThings(ctx, &iot.ListThingsInput{}); len(out.Things) != 0 {
		t.Errorf("the failed run left things: %+v", out.Things)
	}

	// Declared is enough, used or not.
	caID := certificateID(ca.cert)
	unused := strings.Replace(jitpTemplate, `"Parameters": {`, `"Parameters": {"AWS::IoT::Certificate::StateName": {"Type": "String", "Default": "x"},`, 1)
	config := func(body string) {
		_, err := c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &caID, RegistrationConfig: &types.RegistrationConfig{
			TemplateBody: &body, RoleArn: aws.String("arn:aws:iam::111122223333:role/provisioning")}})
		wantCode(t, err, "")
	}
	config(unused)
	if _, err := connect(t, s, ca.issue(t, pkix.Name{CommonName: "16", Country: []string{"KR"}}), "unit-16", sni(first)); err == nil {
		t.Fatal("a certificate that was just registered could connect")
	}
	wait(t, "JITP to fail again", func() bool { return len(eventsOf(t, s, "jitp.failed")) > 1 })
	if e := eventsOf(t, s, "jitp.failed")[1]; !strings.Contains(e.Message, "{Ref=AWS::IoT::Certificate::StateName}") {
		t.Errorf("event %+v", e)
	}
	config(jitpTemplate)

	rich := ca.issue(t, pkix.Name{CommonName: "17", Country: []string{"KR"}})
	id := certificateID(rich.cert)
	if _, err := connect(t, s, rich, "unit-17", sni(first)); err == nil {
		t.Fatal("a certificate that was just registered could connect")
	}
	wait(t, "JITP to succeed", func() bool { return len(eventsOf(t, s, "jitp.succeeded")) > 0 })
	d, err := c.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("unit-17")})
	if err != nil || d.Attributes["country"] != "KR" {
		t.Errorf("thing: %+v %v", d, err)
	}
	cert, err := c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if err != nil || cert.CertificateDescription.Status != "ACTIVE" {
		t.Errorf("certificate: %+v %v", cert, err)
	}
	if _, err := connect(t, s, rich, "unit-18", sni(first)); err == nil {
		t.Error("another client id than the thing's name could connect")
	}
	dev, err := connect(t, s, rich, "unit-17", sni(first))
	if err != nil {
		t.Fatalf("connecting after JITP: %v", err)
	}
	dev.Disconnect(0)
}

func TestProvisioningTemplates(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	name := aws.String("fleet")
	create := func(change func(*iot.CreateProvisioningTemplateInput)) error {
		in := &iot.CreateProvisioningTemplateInput{TemplateName: name, TemplateBody: aws.String(jitpTemplate),
			ProvisioningRoleArn: aws.String("arn:aws:iam::111122223333:role/provisioning")}
		change(in)
		_, err := c.CreateProvisioningTemplate(ctx, in)
		return err
	}
	hook := &types.ProvisioningHook{TargetArn: aws.String("arn:aws:lambda:eu-central-1:111122223333:function:hook"), PayloadVersion: aws.String("2020-04-01")}
	wantCode(t, create(func(in *iot.CreateProvisioningTemplateInput) { in.Type, in.PreProvisioningHook = "JITP", hook }), "InvalidRequestException")
	wantCode(t, create(func(in *iot.CreateProvisioningTemplateInput) { in.TemplateName = aws.String(strings.Repeat("x", 37)) }), "InvalidRequestException")
	wantCode(t, create(func(in *iot.CreateProvisioningTemplateInput) { in.PreProvisioningHook = hook }), "")
	wantCode(t, create(func(*iot.CreateProvisioningTemplateInput) {}), "ResourceAlreadyExistsException")
	for i := range 5 {
		want := ""
		if i == 4 {
			want = "VersionsLimitExceededException"
		}
		_, err := c.CreateProvisioningTemplateVersion(ctx, &iot.CreateProvisioningTemplateVersionInput{TemplateName: name, TemplateBody: aws.String(jitpTemplate), SetAsDefault: i == 0})
		wantCode(t, err, want)
	}
	_, err := c.UpdateProvisioningTemplate(ctx, &iot.UpdateProvisioningTemplateInput{TemplateName: name, Enabled: aws.Bool(true), RemovePreProvisioningHook: aws.Bool(true), DefaultVersionId: aws.Int32(3)})
	wantCode(t, err, "")
	d, err := c.DescribeProvisioningTemplate(ctx, &iot.DescribeProvisioningTemplateInput{TemplateName: name})
	if err != nil || *d.DefaultVersionId != 3 || d.PreProvisioningHook != nil || !aws.ToBool(d.Enabled) || d.Type != "FLEET_PROVISIONING" {
		t.Errorf("template: %+v %v", d, err)
	}
	_, err = c.DeleteProvisioningTemplateVersion(ctx, &iot.DeleteProvisioningTemplateVersionInput{TemplateName: name, VersionId: aws.Int32(3)})
	wantCode(t, err, "DeleteConflictException")
	_, err = c.DeleteProvisioningTemplateVersion(ctx, &iot.DeleteProvisioningTemplateVersionInput{TemplateName: name, VersionId: aws.Int32(2)})
	wantCode(t, err, "")
	v, err := c.ListProvisioningTemplateVersions(ctx, &iot.ListProvisioningTemplateVersionsInput{TemplateName: name, MaxResults: aws.Int32(3)})
	if err != nil || len(v.Versions) != 3 || v.NextToken == nil {
		t.Errorf("versions: %+v %v", v, err)
	}
	// Only a JITP template can provision for a CA.
	_, err = newCA(t, "Template CA").register(t, c, func(in *iot.RegisterCACertificateInput) {
		in.RegistrationConfig = &types.RegistrationConfig{TemplateName: name}
	})
	wantCode(t, err, "InvalidRequestException")
	list, err := c.ListProvisioningTemplates(ctx, &iot.ListProvisioningTemplatesInput{})
	if err != nil || len(list.Templates) != 1 {
		t.Errorf("templates: %+v %v", list, err)
	}
	_, err = c.DeleteProvisioningTemplate(ctx, &iot.DeleteProvisioningTemplateInput{TemplateName: name})
	wantCode(t, err, "")
}

func TestTemplateFunctions(t *testing.T) {
	env := &templateEnv{
		doc: &templateDoc{
			Parameters: map[string]templateParameter{"Serial": {Type: "String"}, "Empty": {Type: "String"}},
			Mappings:   map[string]map[string]map[string]any{"Site": {"north": {"code": "N1"}}},
		},
		params: map[string]string{"Serial": "a-b-c"},
	}
	tests := []struct{ in, want, err string }{
		{`"plain"`, "plain", ""},
		{`{"Ref":"Serial"}`, "a-b-c", ""},
		{`{"Ref":"Empty"}`, "", "{Ref=Empty}"},
		{`{"Ref":"Other"}`, "", "{Ref=Other}"},
		{`{"Fn::Join":["",["x-",{"Ref":"Serial"}]]}`, "x-a-b-c", ""},
		{`{"Fn::Select":["1",{"Fn::Split":["-",{"Ref":"Serial"}]}]}`, "b", ""},
		{`{"Fn::Select":[1,{"Fn::Split":["-",{"Ref":"Serial"}]}]}`, "b", ""},
		{`{"Fn::Select":[0,["x","y"]]}`, "x", ""},
		{`{"Fn::Select":[1.0,["x","y"]]}`, "y", ""},
		{`{"Fn::Select":[1.5,["x","y"]]}`, "", "cannot evaluate"},
		{`{"Fn::Select":[-1,["x","y"]]}`, "", "Fn::Select"},
		{`{"Fn::Select":[2,["x","y"]]}`, "", "Fn::Select"},
		{`{"Fn::Select":[1e30,["x","y"]]}`, "", "Fn::Select"},
		{`{"Fn::Select":["1.0",["x","y"]]}`, "", "Fn::Select"},
		{`{"Fn::Select":[true,["x","y"]]}`, "", "cannot evaluate"},
		{`{"Fn::Join":[0,["x","y"]]}`, "", "cannot evaluate"},
		{`{"Fn::Select":["7",{"Fn::Split":["-",{"Ref":"Serial"}]}]}`, "", "Fn::Select"},
		{`{"Fn::FindInMap":["Site","north","code"]}`, "N1", ""},
		{`{"Fn::FindInMap":["Site","south","code"]}`, "", "Fn::FindInMap"},
		{`{"Fn::Sub":"id-${Serial}"}`, "id-a-b-c", ""},
		{`{"Fn::Sub":["id-${X}",{"X":"1"}]}`, "id-1", ""},
		{`{"Fn::Sub":"id-${Other}"}`, "", "{Ref=Other}"},
		{`{"Fn::GetAtt":["a","b"]}`, "", "Fn::GetAtt"},
		{`["a","b"]`, "", "want a string"},
		{`7`, "", "cannot evaluate"},
	}
	for _, tt := range tests {
		var v any
		if err := json.Unmarshal([]byte(tt.in), &v); err != nil {
			t.Fatal(err)
		}
		got, err := env.text(v)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s = %q, %v; want %q, %q", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestTemplateRefusals(t *testing.T) {
	cert := `"c":{"Type":"AWS::IoT::Certificate","Properties":{}}`
	for name, body := range map[string]string{
		"not JSON":            `{`,
		"no resources":        `{"Parameters":{}}`,
		"no certificate":      `{"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{}}}}`,
		"unknown resource":    `{"Resources":{` + cert + `,"x":{"Type":"AWS::IoT::Shadow"}}}`,
		"parameter type":      `{"Parameters":{"p":{"Type":"Number"}},"Resources":{` + cert + `}}`,
		"unknown member":      `{"Outputs":{},"Resources":{` + cert + `}}`,
		"override setting":    `{"Resources":{"c":{"Type":"AWS::IoT::Certificate","OverrideSettings":{"Status":"MAYBE"}}}}`,
		"text after document": `{"Resources":{` + cert + `}} x`,
		"override of policy":  `{"Resources":{` + cert + `,"p":{"Type":"AWS::IoT::Policy","OverrideSettings":{"PolicyName":"REPLACE"}}}}`,
		"merging a status":    `{"Resources":{"c":{"Type":"AWS::IoT::Certificate","OverrideSettings":{"Status":"MERGE"}}}}`,
		"nested config":       `{"Resources":{` + cert + `},"DeviceConfiguration":{"a":{"b":{"c":"d"}}}}`,
		"number in config":    `{"Resources":{` + cert + `},"DeviceConfiguration":{"a":1}}`,
		"too long":            `{"Resources":{` + cert + `}}` + strings.Repeat(" ", maxTemplate),
	} {
		if _, err := parseTemplate(body); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := parseTemplate(jitpTemplate); err != nil {
		t.Error(err)
	}
}

// TestTemplateBounds: a template within 10 KiB cannot make the simulator compute for
// hours or fill its memory.
func TestTemplateBounds(t *testing.T) {
	long := strings.Repeat("v", maxParameterValue)
	deep := `"${x}"`
	for range maxDepth + 5 {
		deep = `{"Fn::Sub":["${x}",{"x":` + deep + `}]}`
	}
	wide := `{"Fn::Sub":"` + strings.Repeat("${p}", 2000) + `"}`
	nested := `{"Fn::Sub":["` + strings.Repeat("${a}", 700) + `",{"a":{"Fn::Sub":["` + strings.Repeat("${b}", 700) + `",{"b":{"Fn::Sub":"` + strings.Repeat("${p}", 700) + `"}}]}}]}`
	for name, text := range map[string]string{"deep": deep, "wide": wide, "nested": nested} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		env := &templateEnv{doc: &templateDoc{Parameters: map[string]templateParameter{"p": {Type: "String"}}}, params: map[string]string{"p": long}}
		out, err := env.text(v)
		if err == nil || out != "" {
			t.Errorf("%s: %d characters, %v", name, len(out), err)
		}
	}
}

// TestParameterDefaults: a default stands in for what is not given, but not in JITP.
func TestParameterDefaults(t *testing.T) {
	def := "north"
	env := &templateEnv{doc: &templateDoc{Parameters: map[string]templateParameter{"Site": {Type: "String", Default: &def}}}}
	if s, err := env.text(map[string]any{"Ref": "Site"}); s != "north" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
	env.params = map[string]string{"Site": "south"}
	if s, err := env.text(map[string]any{"Ref": "Site"}); s != "south" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
	if list, err := env.texts(map[string]any{"Fn::Split": []any{"u", map[string]any{"Ref": "Site"}}}); err != nil || len(list) != 2 || list[0] != "so" {
		t.Errorf("%q, %v", list, err)
	}
	if _, err := env.texts("text"); err == nil {
		t.Error("a string is no list")
	}
}

// FuzzTemplate parses and evaluates, as RegisterThing does with a stranger's text.
func FuzzTemplate(f *testing.F) {
	f.Add(jitpTemplate, "a")
	f.Add(fleetTemplateBody, "south")
	f.Add(bulkTemplate, "x,y")
	f.Add(`{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Fn::Sub":["${x}",{"x":{"Ref":"y"}}]}}}}}`, "")
	f.Add(`{"Parameters":{"p":{"Type":"String"}},"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Fn::Select":["0",{"Fn::Split":[",",{"Ref":"p"}]}]}}}},"DeviceConfiguration":{"k":{"Ref":"p"}}}`, "a,b")
	w := &world{policies: map[string]*policy{}, group: newGroupState()}
	f.Fuzz(func(t *testing.T, body, value string) {
		doc, err := parseTemplate(body)
		if err != nil {
			if doc != nil {
				t.Error("a template together with an error")
			}
			return
		}
		params := map[string]string{jitpCertificateID: "id"}
		for name := range doc.Parameters {
			if _, ok := params[name]; !ok {
				params[name] = value
			}
		}
		env := &templateEnv{doc: doc, params: params}
		p, err := w.plan(env)
		if (p == nil) == (err == nil) {
			t.Errorf("plan %v, error %v", p, err)
		}
		if env.output > maxOutput+len(body)+len(value)*maxTemplate {
			t.Errorf("%d characters were computed", env.output)
		}
	})
}
