package awssim

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

func TestPolicyEvaluation(t *testing.T) {
	const (
		arn  = "arn:aws:iot:eu-central-1:111122223333:"
		head = `{"Version":"2012-10-17","Statement":[`
	)
	values := map[string]string{
		"iot:ClientId":                         "dev-1",
		"iot:Connection.Thing.ThingName":       "dev-1",
		"iot:Connection.Thing.IsAttached":      "true",
		"iot:Certificate.Subject.CommonName":   "dev-1",
		"iot:Certificate.Subject.Organization": "wild*",
		"iot:Certificate.Issuer.CommonName":    "Line CA",
		"iot:Certificate.SerialNumber":         "0a1b",
	}
	vars := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	allow := func(action, resource, more string) string {
		return `{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"` + more + `}`
	}
	deny := func(action, resource string) string {
		return `{"Effect":"Deny","Action":"` + action + `","Resource":"` + resource + `"}`
	}
	tests := []struct {
		name, statements, action, resource string
		want                               bool
	}{
		{"nothing allows", allow("iot:Publish", arn+"topic/a", ""), "iot:Connect", "client/dev-1", false},
		{"exact", allow("iot:Connect", arn+"client/dev-1", ""), "iot:Connect", "client/dev-1", true},
		{"action in another case", allow("IOT:connect", arn+"client/dev-1", ""), "iot:Connect", "client/dev-1", true},
		{"action wildcard", allow("iot:*", "*", ""), "iot:Receive", "topic/a", true},
		{"star", allow("iot:Publish", arn+"topic/data/*", ""), "iot:Publish", "topic/data/a/b", true},
		{"star is not an MQTT level", allow("iot:Publish", arn+"topic/data/*", ""), "iot:Publish", "topic/other", false},
		{"question mark", allow("iot:Publish", arn+"topic/?", ""), "iot:Publish", "topic/ab", false},
		{"plus is literal", allow("iot:Subscribe", arn+"topicfilter/+/x", ""), "iot:Subscribe", "topicfilter/a/x", false},
		{"hash is literal", allow("iot:Subscribe", arn+"topicfilter/a/#", ""), "iot:Subscribe", "topicfilter/a/#", true},
		{"topic is not topicfilter", allow("iot:Subscribe", arn+"topic/a", ""), "iot:Subscribe", "topicfilter/a", false},
		{"another account", allow("iot:Connect", "arn:aws:iot:eu-central-1:444455556666:client/dev-1", ""), "iot:Connect", "client/dev-1", false},
		{"client id", allow("iot:Connect", arn+"client/${iot:ClientId}", ""), "iot:Connect", "client/dev-1", true},
		{"client id of another", allow("iot:Connect", arn+"client/${iot:ClientId}", ""), "iot:Connect", "client/dev-2", false},
		{"thing name", allow("iot:Publish", arn+"topic/${iot:Connection.Thing.ThingName}/up", ""), "iot:Publish", "topic/dev-1/up", true},
		{"common name", allow("iot:Publish", arn+"topic/${iot:Certificate.Subject.CommonName}", ""), "iot:Publish", "topic/dev-1", true},
		{"issuer", allow("iot:Publish", arn+"topic/${iot:Certificate.Issuer.CommonName}", ""), "iot:Publish", "topic/Line CA", true},
		{"serial number", allow("iot:Publish", arn+"topic/${iot:Certificate.SerialNumber}", ""), "iot:Publish", "topic/0a1b", true},
		{"variable without a value", allow("iot:Publish", arn+"topic/${iot:Certificate.Subject.Country}", ""), "iot:Publish", "topic/${iot:Certificate.Subject.Country}", false},
		{"wildcard in a value", allow("iot:Publish", arn+"topic/${iot:Certificate.Subject.Organization}", ""), "iot:Publish", "topic/wildcat", false},
		{"deny wins", allow("iot:Publish", "*", "") + "," + deny("iot:Publish", arn+"topic/secret"), "iot:Publish", "topic/secret", false},
		{"deny elsewhere", allow("iot:Publish", "*", "") + "," + deny("iot:Publish", arn+"topic/secret"), "iot:Publish", "topic/open", true},
		{"condition holds", allow("iot:Connect", "*", `,"Condition":{"Bool":{"iot:Connection.Thing.IsAttached":["true"]}}`), "iot:Connect", "client/x", true},
		{"condition on a missing key", allow("iot:Connect", "*", `,"Condition":{"StringEquals":{"iot:Certificate.Subject.Country":"KR"}}`), "iot:Connect", "client/x", false},
		{"one of several values", allow("iot:Connect", "*", `,"Condition":{"StringLike":{"iot:Certificate.Issuer.CommonName":["X","Line *"]}}`), "iot:Connect", "client/x", true},
		{"all keys must hold", allow("iot:Connect", "*", `,"Condition":{"StringEquals":{"iot:ClientId":"dev-1","iot:Certificate.SerialNumber":"ff"}}`), "iot:Connect", "client/x", false},
		{"value with a variable", allow("iot:Connect", "*", `,"Condition":{"StringEquals":{"iot:ClientId":"${iot:Certificate.Subject.CommonName}"}}`), "iot:Connect", "client/x", true},
	}
	for _, tt := range tests {
		doc, err := parsePolicy(head + tt.statements + `]}`)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := evaluate([]*policyDoc{doc}, tt.action, arn+tt.resource, vars); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPolicyRefusals(t *testing.T) {
	statement := func(s string) string { return `{"Version":"2012-10-17","Statement":[` + s + `]}` }
	good := `"Effect":"Allow","Action":"iot:Connect","Resource":"*"`
	tests := []struct{ name, text, want string }{
		{"empty", " ", "empty"},
		{"not JSON", "{", "malformed"},
		{"no version", `{"Statement":[{` + good + `}]}`, "2012-10-17"},
		{"no statement", `{"Version":"2012-10-17","Statement":[]}`, "no Statement"},
		{"effect", statement(`{"Effect":"Maybe","Action":"iot:Connect","Resource":"*"}`), "Effect"},
		{"PublishRetain is no action", statement(`{"Effect":"Allow","Action":"iot:PublishRetain","Resource":"*"}`), "iot:PublishRetain"},
		{"action of another service", statement(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`), "s3:GetObject"},
		{"no resource", statement(`{"Effect":"Allow","Action":"iot:Connect"}`), "Resource"},
		{"resource is no ARN", statement(`{"Effect":"Allow","Action":"iot:Connect","Resource":"client/x"}`), "ARN"},
		{"NotAction", statement(`{"Effect":"Allow","NotAction":"iot:Connect","Resource":"*"}`), "NotAction"},
		{"NotResource", statement(`{"Effect":"Allow","Action":"iot:Connect","NotResource":"*"}`), "NotResource"},
		{"principal", statement(`{` + good + `,"Principal":"*"}`), "Principal"},
		{"condition operator", statement(`{` + good + `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`), "IpAddress"},
		{"condition key", statement(`{` + good + `,"Condition":{"StringEquals":{"iot:Domain":"x"}}}`), "iot:Domain"},
		{"variable", statement(`{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:x:1:client/${aws:username}"}`), "aws:username"},
		{"member", statement(`{` + good + `,"Efect":"Deny"}`), "Efect"},
		{"too long", statement(`{` + good + `,"Sid":"` + strings.Repeat("x", 2048) + `"}`), "2048"},
	}
	for _, tt := range tests {
		if _, err := parsePolicy(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	// White space does not count.
	if _, err := parsePolicy(statement(`{`+good+`}`) + strings.Repeat(" ", 4096)); err != nil {
		t.Error(err)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(connectPolicy, "iot:Connect", "arn:aws:iot:eu-central-1:111122223333:client/x")
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:*","Resource":"arn:*${iot:ClientId}?","Condition":{"StringLike":{"iot:ClientId":"a*b*c"}}}}`, "iot:Publish", "arn:aabbcc")
	f.Fuzz(func(t *testing.T, text, action, resource string) {
		doc, err := parsePolicy(text)
		if err != nil {
			if doc != nil {
				t.Error("a policy together with an error")
			}
			return
		}
		vars := func(string) (string, bool) { return "value", true }
		allowed := evaluate([]*policyDoc{doc}, action, resource, vars)
		everything := &policyDoc{statements: []statement{{deny: true, actions: []string{"*"}, resources: []string{"*"}}}}
		if allowed && evaluate([]*policyDoc{doc, everything}, action, resource, vars) {
			t.Error("a Deny of everything did not win")
		}
	})
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if glob(pattern, s) && !glob(pattern+"*", s+"tail") {
			t.Errorf("%q matches %q, but %q not %q", pattern, s, pattern+"*", s+"tail")
		}
		if !strings.ContainsAny(pattern, "*?") && glob(pattern, s) != (pattern == s) {
			t.Errorf("%q and %q", pattern, s)
		}
	})
}

// TestVariablesOfDevice resolves the variables of a registered certificate.
func TestVariablesOfDevice(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Line CA")
	ca.mustRegister(t, c)
	dev := ca.issue(t, pkix.Name{CommonName: "unit-1", Country: []string{"KR"}, Organization: []string{"North", "South"}, SerialNumber: "SN7"},
		func(x *x509.Certificate) { x.SerialNumber = big.NewInt(0x0a1b) })
	reg, err := c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: &dev.pem, Status: "ACTIVE"})
	wantCode(t, err, "")
	attach := func(thing string, kind types.ThingPrincipalType) {
		t.Helper()
		_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: &thing, AttributePayload: &types.AttributePayload{Attributes: map[string]string{"line": "7"}}})
		wantCode(t, err, "")
		_, err = c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: reg.CertificateArn, ThingPrincipalType: kind})
		wantCode(t, err, "")
	}
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	check := func(clientID string, want map[string]string) {
		t.Helper()
		w.mu.Lock()
		defer w.mu.Unlock()
		vars := w.variablesOf(w.certs[*reg.CertificateId], clientID)
		for name, value := range want {
			if got, ok := vars(name); got != value || ok != (value != "") {
				t.Errorf("client %s: %s = %q, want %q", clientID, name, got, value)
			}
		}
	}
	check("unit-1", map[string]string{
		"iot:ClientId": "unit-1", "iot:CertificateId": *reg.CertificateId, "iot:Certificate.SerialNumber": "a1b",
		"iot:Certificate.Subject.CommonName": "unit-1", "iot:Certificate.Subject.Country": "KR",
		"iot:Certificate.Subject.Organization": "North", "iot:Certificate.Subject.SerialNumber": "SN7",
		"iot:Certificate.Subject.State": "", "iot:Certificate.Issuer.CommonName": "Line CA",
		"iot:Connection.Thing.ThingName": "", "iot:Connection.Thing.IsAttached": "false", "iot:Connection.Thing.Attributes[line]": "",
	})
	attach("unit-1", "")
	attach("unit-2", "")
	check("unit-1", map[string]string{"iot:Connection.Thing.ThingName": "unit-1", "iot:Connection.Thing.IsAttached": "true", "iot:Connection.Thing.Attributes[line]": "7"})
	check("unit-2", map[string]string{"iot:Connection.Thing.ThingName": "unit-2"})
	check("unit-3", map[string]string{"iot:Connection.Thing.ThingName": "", "iot:Connection.Thing.IsAttached": "false"})
	for _, th := range []string{"unit-1", "unit-2"} {
		_, err := c.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &th, Principal: reg.CertificateArn})
		wantCode(t, err, "")
	}
	attach("unit-1", types.ThingPrincipalTypeExclusiveThing)
	check("any-client", map[string]string{"iot:Connection.Thing.ThingName": "unit-1"})
}

func TestPolicyVersions(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	name := aws.String("p")
	closed := strings.Replace(connectPolicy, "Allow", "Deny", 1)
	_, err := c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(connectPolicy)})
	wantCode(t, err, "")
	_, err = c.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: name, PolicyDocument: &closed})
	wantCode(t, err, "")
	current := func() string {
		out, err := c.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: name})
		if err != nil {
			t.Fatal(err)
		}
		return *out.PolicyDocument
	}
	if current() != connectPolicy {
		t.Error("a version became the default unasked")
	}
	_, err = c.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: name})
	wantCode(t, err, "DeleteConflictException")
	_, err = c.SetDefaultPolicyVersion(ctx, &iot.SetDefaultPolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("2")})
	wantCode(t, err, "")
	if current() != closed {
		t.Error("the default did not change")
	}
	v, err := c.GetPolicyVersion(ctx, &iot.GetPolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("1")})
	if err != nil || v.IsDefaultVersion || *v.PolicyDocument != connectPolicy {
		t.Errorf("version 1: %+v %v", v, err)
	}
	_, err = c.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("1")})
	wantCode(t, err, "")
	list, err := c.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: name})
	if err != nil || len(list.PolicyVersions) != 1 || *list.PolicyVersions[0].VersionId != "2" {
		t.Errorf("versions: %+v %v", list, err)
	}
	all, err := c.ListPolicies(ctx, &iot.ListPoliciesInput{})
	if err != nil || len(all.Policies) != 1 {
		t.Errorf("policies: %+v %v", all, err)
	}
}
