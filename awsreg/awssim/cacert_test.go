package awssim

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

var ctx = context.Background()

func TestRegisterCACertificateRefusals(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	code := registrationCode(t, c)
	verify := func(a *authority, change ...func(*x509.Certificate)) *string {
		return aws.String(a.issue(t, pkix.Name{CommonName: code}, change...).pem)
	}
	ca := newCA(t, "Good CA")
	other := newCA(t, "Good CA") // same name, another key
	template := `{"Resources":{"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"ACTIVE"}}}}`
	role := aws.String("arn:aws:iam::111122223333:role/provisioning")

	tests := []struct {
		name string
		in   iot.RegisterCACertificateInput
		code string
		text string // part of the message
	}{
		{"default without verification certificate", iot.RegisterCACertificateInput{CaCertificate: &ca.pem}, "InvalidRequestException", "verificationCertificate"},
		{"SNI_ONLY with verification certificate", iot.RegisterCACertificateInput{CaCertificate: &ca.pem,
			VerificationCertificate: verify(ca), CertificateMode: types.CertificateModeSniOnly}, "InvalidRequestException", "must be empty"},
		{"unknown mode", iot.RegisterCACertificateInput{CaCertificate: &ca.pem, CertificateMode: "OTHER"}, "InvalidRequestException", "certificateMode"},
		{"not PEM", iot.RegisterCACertificateInput{CaCertificate: aws.String("hello"), VerificationCertificate: verify(ca)}, "CertificateValidationException", "PEM"},
		{"two certificates", iot.RegisterCACertificateInput{CaCertificate: aws.String(ca.pem + other.pem), VerificationCertificate: verify(ca)}, "CertificateValidationException", "more than one"},
		{"common name is not the code", iot.RegisterCACertificateInput{CaCertificate: &ca.pem,
			VerificationCertificate: aws.String(ca.issue(t, pkix.Name{CommonName: "mintmark"}).pem)}, "RegistrationCodeValidationException", ""},
		{"verification signed by another key of the same name", iot.RegisterCACertificateInput{CaCertificate: &ca.pem, VerificationCertificate: verify(other)}, "CertificateValidationException", "not signed by"},
		{"verification expired", iot.RegisterCACertificateInput{CaCertificate: &ca.pem, VerificationCertificate: verify(ca, func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Minute)
		})}, "CertificateValidationException", "expired"},
		{"verification not yet valid", iot.RegisterCACertificateInput{CaCertificate: &ca.pem, VerificationCertificate: verify(ca, func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Hour)
		})}, "CertificateValidationException", "not valid before"},
		{"template body too long", iot.RegisterCACertificateInput{CaCertificate: &ca.pem, VerificationCertificate: verify(ca),
			RegistrationConfig: &types.RegistrationConfig{TemplateBody: aws.String(template + strings.Repeat(" ", 10240)), RoleArn: role}}, "InvalidRequestException", "10240"},
		{"template without role", iot.RegisterCACertificateInput{CaCertificate: &ca.pem, VerificationCertificate: verify(ca),
			RegistrationConfig: &types.RegistrationConfig{TemplateBody: &template}}, "InvalidRequestException", "roleArn"},
		{"template that does not exist", iot.RegisterCACertificateInput{CaCertificate: &ca.pem, VerificationCertificate: verify(ca),
			RegistrationConfig: &types.RegistrationConfig{TemplateName: aws.String("nowhere"), RoleArn: role}}, "ResourceNotFoundException", "nowhere"},
		{"empty registration config", iot.RegisterCACertificateInput{CaCertificate: &ca.pem, VerificationCertificate: verify(ca),
			RegistrationConfig: &types.RegistrationConfig{}}, "InvalidRequestException", ""},
	}
	spoiled := []struct {
		name   string
		change func(*x509.Certificate)
		text   string
	}{
		{"CA:FALSE", func(c *x509.Certificate) { c.IsCA = false }, "does not have the basicConstraints extension as true"},
		{"no basicConstraints", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false }, "does not have the basicConstraints extension as true"},
		{"CA expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "expired"},
		{"CA not yet valid", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "not valid before"},
	}
	for _, sp := range spoiled {
		bad := newCA(t, "Bad CA", sp.change)
		tests = append(tests, struct {
			name string
			in   iot.RegisterCACertificateInput
			code string
			text string
		}{sp.name, iot.RegisterCACertificateInput{CaCertificate: &bad.pem, VerificationCertificate: verify(bad)}, "CertificateValidationException", sp.text})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.RegisterCACertificate(ctx, &tt.in)
			wantCode(t, err, tt.code)
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %q lacks %q", err, tt.text)
			}
		})
	}
	if out, _ := c.ListCACertificates(ctx, &iot.ListCACertificatesInput{}); len(out.Certificates) != 0 {
		t.Errorf("%d CAs are registered after refusals", len(out.Certificates))
	}
}

func TestKeyAndSignatureRules(t *testing.T) {
	now := time.Now()
	rsaCA := func(bits int) *x509.Certificate {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
		return createCert(t, tmpl, tmpl, key.Public(), key)
	}
	good := newCA(t, "good").cert
	sha1 := *good
	sha1.SignatureAlgorithm = x509.ECDSAWithSHA1
	pss := *good
	pss.SignatureAlgorithm = x509.SHA256WithRSAPSS
	curve := *good
	weak := *newKey(t)
	weak.Curve = elliptic.P224()
	curve.PublicKey = &weak.PublicKey
	tests := []struct {
		name string
		cert *x509.Certificate
		ok   bool
	}{
		{"P-256", good, true},
		{"RSA 2048", rsaCA(2048), true},
		{"RSA 1024", rsaCA(1024), false},
		{"SHA-1", &sha1, false},
		{"RSASSA-PSS", &pss, false},
		{"P-224", &curve, false},
	}
	for _, tt := range tests {
		if err := checkCA(tt.cert, now); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestRegisterCACertificateAgainAndElsewhere(t *testing.T) {
	s := startSim(t)
	c1, c2 := s.client(first, region), s.client(second, region)
	ca := newCA(t, "Shared CA")
	id := ca.mustRegister(t, c1)
	if id != certificateID(ca.cert) {
		t.Errorf("id %s is not the SHA-256 of the certificate", id)
	}

	_, err := ca.register(t, c1)
	var exists *types.ResourceAlreadyExistsException
	if !errors.As(err, &exists) || aws.ToString(exists.ResourceId) != id || aws.ToString(exists.ResourceArn) != "arn:aws:iot:eu-central-1:111122223333:cacert/"+id {
		t.Errorf("second registration: %v %+v", err, exists)
	}
	// One account per Region in DEFAULT mode, any number in SNI_ONLY mode.
	_, err = ca.register(t, c2)
	wantCode(t, err, "CertificateValidationException")
	_, err = c2.RegisterCACertificate(ctx, &iot.RegisterCACertificateInput{CaCertificate: &ca.pem, CertificateMode: types.CertificateModeSniOnly})
	wantCode(t, err, "")
	// Another Region is another world.
	if _, err := ca.register(t, s.client(second, "us-east-1")); err != nil {
		t.Errorf("another Region: %v", err)
	}
	// Deleting in the first account frees it.
	_, err = c1.DeleteCACertificate(ctx, &iot.DeleteCACertificateInput{CertificateId: &id})
	wantCode(t, err, "CertificateStateException")
	_, err = c1.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &id, NewStatus: types.CACertificateStatusInactive})
	wantCode(t, err, "")
	_, err = c1.DeleteCACertificate(ctx, &iot.DeleteCACertificateInput{CertificateId: &id})
	wantCode(t, err, "")
	_, err = c1.DescribeCACertificate(ctx, &iot.DescribeCACertificateInput{CertificateId: &id})
	wantCode(t, err, "ResourceNotFoundException")
	if _, err := c2.DeleteRegistrationCode(ctx, &iot.DeleteRegistrationCodeInput{}); err != nil {
		t.Error(err)
	}
	_, err = c2.DeleteRegistrationCode(ctx, &iot.DeleteRegistrationCodeInput{})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestSameSubjectLimitAndPaging(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	var ids []string
	for range 10 {
		ids = append(ids, newCA(t, "One Subject").mustRegister(t, c))
	}
	_, err := newCA(t, "One Subject").register(t, c)
	wantCode(t, err, "LimitExceededException")
	ids = append(ids, newCA(t, "Another Subject").mustRegister(t, c))

	var seen []string
	p := iot.NewListCACertificatesPaginator(c, &iot.ListCACertificatesInput{PageSize: aws.Int32(3), AscendingOrder: true})
	pages := 0
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, ca := range out.Certificates {
			seen = append(seen, *ca.CertificateId)
		}
	}
	if fmt.Sprint(seen) != fmt.Sprint(ids) || pages != 4 {
		t.Errorf("%d pages listed %v, want %v", pages, seen, ids)
	}
	_, err = c.ListCACertificates(ctx, &iot.ListCACertificatesInput{PageSize: aws.Int32(251)})
	wantCode(t, err, "InvalidRequestException")
	_, err = c.ListCACertificates(ctx, &iot.ListCACertificatesInput{Marker: aws.String("nonsense")})
	wantCode(t, err, "InvalidRequestException")
}

func TestUpdateCACertificate(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	id := newCA(t, "Updated CA").mustRegister(t, c, func(in *iot.RegisterCACertificateInput) {
		in.SetAsActive, in.AllowAutoRegistration = false, false
		in.Tags = []types.Tag{{Key: aws.String("factory"), Value: aws.String("north")}}
	})
	describe := func() *iot.DescribeCACertificateOutput {
		out, err := c.DescribeCACertificate(ctx, &iot.DescribeCACertificateInput{CertificateId: &id})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	d := describe().CertificateDescription
	if d.Status != "INACTIVE" || d.AutoRegistrationStatus != "DISABLE" || d.CertificateMode != "DEFAULT" || *d.OwnedBy != first.ID || d.Validity == nil {
		t.Errorf("a new CA is %+v", d)
	}
	_, err := c.CreateProvisioningTemplate(ctx, &iot.CreateProvisioningTemplateInput{
		TemplateName: aws.String("jitp"), Type: types.TemplateTypeJitp, Enabled: aws.Bool(true), TemplateBody: aws.String(jitpTemplate),
		ProvisioningRoleArn: aws.String("arn:aws:iam::111122223333:role/provisioning"),
	})
	wantCode(t, err, "")
	_, err = c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{
		CertificateId: &id, NewStatus: "ACTIVE", NewAutoRegistrationStatus: "ENABLE",
		RegistrationConfig: &types.RegistrationConfig{TemplateName: aws.String("jitp")},
	})
	wantCode(t, err, "")
	if out := describe(); out.CertificateDescription.Status != "ACTIVE" || out.CertificateDescription.AutoRegistrationStatus != "ENABLE" || *out.RegistrationConfig.TemplateName != "jitp" {
		t.Errorf("after the update: %+v", out)
	}
	list, err := c.ListCACertificates(ctx, &iot.ListCACertificatesInput{TemplateName: aws.String("jitp")})
	if err != nil || len(list.Certificates) != 1 {
		t.Errorf("listing by template: %v %v", list, err)
	}
	_, err = c.DeleteProvisioningTemplate(ctx, &iot.DeleteProvisioningTemplateInput{TemplateName: aws.String("jitp")})
	wantCode(t, err, "DeleteConflictException")
	_, err = c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &id, RemoveAutoRegistration: true})
	wantCode(t, err, "")
	if describe().RegistrationConfig != nil {
		t.Error("removeAutoRegistration kept the registration config")
	}
	arn := "arn:aws:iot:eu-central-1:111122223333:cacert/" + id
	_, err = c.TagResource(ctx, &iot.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{{Key: aws.String("by"), Value: aws.String("mintmark")}}})
	wantCode(t, err, "")
	tags, err := c.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: &arn})
	if err != nil || len(tags.Tags) != 2 {
		t.Errorf("tags: %+v %v", tags, err)
	}
	_, err = c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &id, NewStatus: "BROKEN"})
	wantCode(t, err, "InvalidRequestException")
}

func registrationCode(t *testing.T, c *iot.Client) string {
	t.Helper()
	out, err := c.GetRegistrationCode(ctx, &iot.GetRegistrationCodeInput{})
	if err != nil {
		t.Fatal(err)
	}
	return *out.RegistrationCode
}
