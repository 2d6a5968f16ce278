package awssim

import (
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// bulkTemplate is a template that its caller brings along; CERT stands for the
// properties of the certificate, OVER for the OverrideSettings of the thing.
const bulkTemplate = `{
	"Parameters": {"Name": {"Type": "String"}, "Cert": {"Type": "String"}, "CA": {"Type": "String", "Default": ""}, "Groups": {"Type": "String", "Default": "line-1"},
		"Color": {"Type": "String", "Default": "red"}, "Kind": {"Type": "String", "Default": "press"}},
	"Resources": {
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}, "ThingTypeName": {"Ref": "Kind"},
			"ThingGroups": {"Fn::Split": [",", {"Ref": "Groups"}]}, "AttributePayload": {"color": {"Ref": "Color"}}}, "OverrideSettings": {OVER}},
		"cert": {"Type": "AWS::IoT::Certificate", "Properties": {CERT}},
		"pol": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "device"}}
	}
}`

func bulk(certificate, overrides string) *string {
	return aws.String(strings.NewReplacer("CERT", certificate, "OVER", overrides).Replace(bulkTemplate))
}

// TestRegisterThing: the three ways to name a certificate, and what the operation
// answers.
func TestRegisterThing(t *testing.T) {
	s := startSim(t)
	c := makeFleet(t, s, fleetTemplateBody, false)
	register := func(body *string, params map[string]string) (*iot.RegisterThingOutput, error) {
		return c.RegisterThing(ctx, &iot.RegisterThingInput{TemplateBody: body, Parameters: params})
	}
	// A certification request: AWS issues.
	out, err := register(bulk(`"CertificateSigningRequest":{"Ref":"Cert"}`, ""), map[string]string{"Name": "a", "Cert": requestFor(t, newKey(t), "a")})
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode([]byte(*out.CertificatePem)); block == nil {
		t.Error("no certificate in the answer")
	}
	id := strings.TrimPrefix(out.ResourceArns["cert"], "arn:aws:iot:eu-central-1:111122223333:cert/")
	if statusAt(t, c, id) != "ACTIVE" || out.ResourceArns["thing"] != "arn:aws:iot:eu-central-1:111122223333:thing/a" ||
		out.ResourceArns["pol"] != "arn:aws:iot:eu-central-1:111122223333:policy/device" || len(out.ResourceArns) != 3 {
		t.Errorf("resources: %v", out.ResourceArns)
	}
	// A certificate that is registered.
	_, err = register(bulk(`"CertificateId":{"Ref":"Cert"},"Status":"INACTIVE"`, ""), map[string]string{"Name": "b", "Cert": id})
	wantCode(t, err, "")
	if st := statusAt(t, c, id); st != "INACTIVE" {
		t.Errorf("status %s", st)
	}
	// A certificate of a registered CA, and of one that is not.
	ca := newCA(t, "Bulk CA")
	dev := ca.issue(t, pkix.Name{CommonName: "c"})
	body := bulk(`"CertificatePem":{"Ref":"Cert"},"CACertificatePem":{"Ref":"CA"}`, "")
	params := map[string]string{"Name": "c", "Cert": dev.pem, "CA": ca.pem}
	_, err = register(body, params)
	wantCode(t, err, "ResourceRegistrationFailureException")
	ca.mustRegister(t, c)
	_, err = register(body, params)
	wantCode(t, err, "")
	_, err = register(body, params) // again
	wantCode(t, err, "")
	if st := statusAt(t, c, certificateID(dev.cert)); st != "ACTIVE" {
		t.Errorf("status %s", st)
	}
	th, err := c.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: aws.String("c")})
	if err != nil || len(th.Principals) != 1 {
		t.Errorf("principals: %+v %v", th, err)
	}
	for name, tt := range map[string]struct {
		body   *string
		params map[string]string
		code   string
	}{
		"no template":          {aws.String("x"), nil, "InvalidRequestException"},
		"no certificate named": {bulk("", ""), map[string]string{"Name": "d", "Cert": "x"}, "InvalidRequestException"},
		"two ways":             {bulk(`"CertificateId":"x","CertificatePem":"y"`, ""), map[string]string{"Name": "d", "Cert": "x"}, "InvalidRequestException"},
		"missing parameter":    {body, map[string]string{"Name": "d"}, "InvalidRequestException"},
		"long parameter":       {body, map[string]string{"Name": strings.Repeat("x", 4097)}, "InvalidRequestException"},
		"no such certificate":  {bulk(`"CertificateId":"x"`, ""), map[string]string{"Name": "d"}, "ResourceRegistrationFailureException"},
		"no such type":         {body, map[string]string{"Name": "d", "Cert": dev.pem, "CA": ca.pem, "Kind": "drill"}, "ResourceRegistrationFailureException"},
		"no such group":        {body, map[string]string{"Name": "d", "Cert": dev.pem, "CA": ca.pem, "Groups": "line-1,line-9"}, "ResourceRegistrationFailureException"},
		"bad request":          {bulk(`"CertificateSigningRequest":"x"`, ""), map[string]string{"Name": "d"}, "InvalidRequestException"},
		"status":               {bulk(`"CertificateId":"x","Status":"REVOKED"`, ""), map[string]string{"Name": "d"}, "InvalidRequestException"},
		"billing group":        {aws.String(strings.Replace(*body, `"ThingTypeName"`, `"BillingGroup":"b","ThingTypeName"`, 1)), params, "SimulatorNotImplemented"},
	} {
		_, err := register(tt.body, tt.params)
		t.Run(name, func(t *testing.T) { wantCode(t, err, tt.code) })
	}
	if _, err := c.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("d")}); err == nil {
		t.Error("a refused request left a thing")
	}
}

// TestOverrideSettings: what happens to a thing that already exists.
func TestOverrideSettings(t *testing.T) {
	for _, tt := range []struct {
		overrides, code       string
		color, size, kind, in string
	}{
		{``, "", "blue", "xl", "drill", "line-2"},
		{`"AttributePayload":"DO_NOTHING","ThingTypeName":"DO_NOTHING","ThingGroups":"DO_NOTHING"`, "", "blue", "xl", "drill", "line-2"},
		{`"AttributePayload":"MERGE","ThingGroups":"MERGE"`, "", "red", "xl", "drill", "line-1 line-2"},
		{`"AttributePayload":"REPLACE","ThingTypeName":"REPLACE","ThingGroups":"REPLACE"`, "", "red", "", "press", "line-1"},
		{`"AttributePayload":"FAIL"`, "ResourceRegistrationFailureException", "blue", "xl", "drill", "line-2"},
		{`"ThingTypeName":"FAIL"`, "ResourceRegistrationFailureException", "blue", "xl", "drill", "line-2"},
		{`"ThingGroups":"FAIL"`, "ResourceRegistrationFailureException", "blue", "xl", "drill", "line-2"},
		{`"ThingTypeName":"MERGE"`, "InvalidRequestException", "blue", "xl", "drill", "line-2"},
		{`"ThingName":"REPLACE"`, "InvalidRequestException", "blue", "xl", "drill", "line-2"},
	} {
		t.Run(tt.overrides, func(t *testing.T) {
			s := startSim(t)
			c := makeFleet(t, s, fleetTemplateBody, false)
			_, err := c.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: aws.String("drill")})
			wantCode(t, err, "")
			_, err = c.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("line-2")})
			wantCode(t, err, "")
			_, err = c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("x"), ThingTypeName: aws.String("drill"),
				AttributePayload: &types.AttributePayload{Attributes: map[string]string{"color": "blue", "size": "xl"}}})
			wantCode(t, err, "")
			_, err = c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String("x"), ThingGroupName: aws.String("line-2")})
			wantCode(t, err, "")
			_, err = c.RegisterThing(ctx, &iot.RegisterThingInput{TemplateBody: bulk(`"CertificateSigningRequest":{"Ref":"Cert"}`, tt.overrides),
				Parameters: map[string]string{"Name": "x", "Cert": requestFor(t, newKey(t), "x")}})
			wantCode(t, err, tt.code)
			th, err := c.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("x")})
			if err != nil || th.Attributes["color"] != tt.color || th.Attributes["size"] != tt.size || *th.ThingTypeName != tt.kind {
				t.Errorf("thing: %+v %v", th, err)
			}
			in, err := c.ListThingGroupsForThing(ctx, &iot.ListThingGroupsForThingInput{ThingName: aws.String("x")})
			names := []string{}
			for _, g := range in.ThingGroups {
				names = append(names, *g.GroupName)
			}
			if got := strings.Join(names, " "); err != nil || got != tt.in {
				t.Errorf("groups %q, want %q: %v", got, tt.in, err)
			}
		})
	}
}

// TestKeysAndCertificate: what AWS issues over the control plane.
func TestKeysAndCertificate(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	out, err := c.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	if statusAt(t, c, *out.CertificateId) != "ACTIVE" || !strings.Contains(*out.KeyPair.PrivateKey, "RSA PRIVATE KEY") || !strings.Contains(*out.KeyPair.PublicKey, "PUBLIC KEY") {
		t.Errorf("certificate: %+v", out)
	}
	d, err := c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: out.CertificateId})
	if err != nil || !d.CertificateDescription.Validity.NotAfter.Equal(amazonExpiry) || d.CertificateDescription.CertificateMode != "DEFAULT" {
		t.Errorf("certificate: %+v %v", d, err)
	}
	csr := requestFor(t, newKey(t), "dev")
	req, err := c.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr})
	if err != nil || statusAt(t, c, *req.CertificateId) != "INACTIVE" {
		t.Errorf("certificate: %+v %v", req, err)
	}
	for _, bad := range []string{"x", csr + csr, strings.Repeat("x", maxCSR+1), strings.Replace(csr, "REQUEST", "", 2)} {
		_, err := c.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &bad})
		wantCode(t, err, "InvalidRequestException")
	}
}
