package awssim

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

func TestRegisterCertificate(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca, twin, stranger := newCA(t, "Twin"), newCA(t, "Twin"), newCA(t, "Stranger")
	ca.mustRegister(t, c)
	dev := ca.issue(t, pkix.Name{CommonName: "d1"})
	reg := func(p *pair, change ...func(*iot.RegisterCertificateInput)) error {
		in := &iot.RegisterCertificateInput{CertificatePem: &p.pem}
		for _, f := range change {
			f(in)
		}
		_, err := c.RegisterCertificate(ctx, in)
		return err
	}
	status := func(st types.CertificateStatus) func(*iot.RegisterCertificateInput) {
		return func(in *iot.RegisterCertificateInput) { in.Status = st }
	}
	wantCode(t, reg(dev, status("PENDING_ACTIVATION")), "CertificateStateException")
	wantCode(t, reg(dev, status("NEW")), "InvalidRequestException")
	wantCode(t, reg(stranger.issue(t, pkix.Name{CommonName: "d"})), "CertificateValidationException")
	wantCode(t, reg(ca.issue(t, pkix.Name{CommonName: "d"}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), "CertificateValidationException")
	wantCode(t, reg(dev, status("ACTIVE")), "")
	wantCode(t, reg(dev), "ResourceAlreadyExistsException")

	// Two CAs of one subject: the caller has to say which.
	twinID := twin.mustRegister(t, c)
	dev2 := twin.issue(t, pkix.Name{CommonName: "d2"})
	wantCode(t, reg(dev2), "CertificateConflictException")
	wantCode(t, reg(dev2, func(in *iot.RegisterCertificateInput) { in.CaCertificatePem = &ca.pem }), "CertificateValidationException")
	wantCode(t, reg(dev2, func(in *iot.RegisterCertificateInput) { in.CaCertificatePem = &stranger.pem }), "CertificateValidationException")
	wantCode(t, reg(dev2, func(in *iot.RegisterCertificateInput) { in.CaCertificatePem = &twin.pem }), "")

	// An INACTIVE CA takes nothing new; what it has keeps its status.
	_, err := c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &twinID, NewStatus: "INACTIVE"})
	wantCode(t, err, "")
	wantCode(t, reg(twin.issue(t, pkix.Name{CommonName: "d3"}), func(in *iot.RegisterCertificateInput) { in.CaCertificatePem = &twin.pem }), "CertificateStateException")
	out, err := c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: aws.String(certificateID(dev2.cert))})
	if err != nil || out.CertificateDescription.Status != "INACTIVE" || *out.CertificateDescription.CaCertificateId != twinID {
		t.Errorf("describe: %+v %v", out, err)
	}

	// Without a CA the mode is SNI_ONLY.
	wo, err := c.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: aws.String(stranger.issue(t, pkix.Name{CommonName: "d4"}).pem), Status: "ACTIVE"})
	wantCode(t, err, "")
	out, err = c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: wo.CertificateId})
	if err != nil || out.CertificateDescription.CertificateMode != "SNI_ONLY" || out.CertificateDescription.CaCertificateId != nil {
		t.Errorf("describe: %+v %v", out, err)
	}
	// RegisterCertificate announces nothing.
	if n := len(eventsOf(t, s, "certificate.registered")); n != 0 {
		t.Errorf("%d registration events", n)
	}
	byCA, err := c.ListCertificatesByCA(ctx, &iot.ListCertificatesByCAInput{CaCertificateId: &twinID})
	if err != nil || len(byCA.Certificates) != 1 {
		t.Errorf("by CA: %+v %v", byCA, err)
	}
	all, err := c.ListCertificates(ctx, &iot.ListCertificatesInput{PageSize: aws.Int32(2)})
	if err != nil || len(all.Certificates) != 2 || all.NextMarker == nil {
		t.Errorf("list: %+v %v", all, err)
	}
}

func TestCertificateLifecycle(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Lifecycle")
	ca.mustRegister(t, c)
	_, id, arn := activeDevice(t, c, ca, "dev")
	update := func(st types.CertificateStatus) error {
		_, err := c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: st})
		return err
	}
	del := func(force bool) error {
		_, err := c.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: &id, ForceDelete: force})
		return err
	}
	for _, st := range []types.CertificateStatus{"PENDING_ACTIVATION", "PENDING_TRANSFER", "REGISTER_INACTIVE", "OTHER"} {
		wantCode(t, update(st), "InvalidRequestException")
	}
	_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("dev")})
	wantCode(t, err, "")
	_, err = c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("dev"), Principal: &arn})
	wantCode(t, err, "")
	wantCode(t, del(true), "CertificateStateException") // ACTIVE
	wantCode(t, update("INACTIVE"), "")
	wantCode(t, del(true), "DeleteConflictException") // a thing is attached, force or not
	_, err = c.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: aws.String("dev")})
	wantCode(t, err, "InvalidRequestException")
	_, err = c.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: aws.String("dev"), Principal: &arn})
	wantCode(t, err, "")
	wantCode(t, del(false), "DeleteConflictException") // a policy is attached
	_, err = c.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: aws.String("hello")})
	wantCode(t, err, "DeleteConflictException")
	wantCode(t, update("REVOKED"), "")
	wantCode(t, update("REVOKED"), "")
	wantCode(t, update("ACTIVE"), "CertificateStateException") // final
	wantCode(t, del(true), "")
	_, err = c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: aws.String("hello")})
	wantCode(t, err, "")
	for range 2 { // deleting a thing that is not there succeeds
		_, err = c.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: aws.String("dev")})
		wantCode(t, err, "")
	}
}

func TestPolicyAttachment(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Policies")
	ca.mustRegister(t, c)
	_, _, arn := activeDevice(t, c, ca, "dev")
	for i := range 10 {
		name := aws.String(fmt.Sprintf("p%d", i))
		_, err := c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(connectPolicy)})
		wantCode(t, err, "")
		want := ""
		if i == 9 { // the device already has one
			want = "LimitExceededException"
		}
		_, err = c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: name, Target: &arn})
		wantCode(t, err, want)
	}
	_, err := c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("p0"), Target: &arn})
	wantCode(t, err, "") // again is fine
	_, err = c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("nowhere"), Target: &arn})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("p0"), Target: aws.String(arn + "00")})
	wantCode(t, err, "ResourceNotFoundException")
	out, err := c.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: &arn, PageSize: aws.Int32(4)})
	if err != nil || len(out.Policies) != 4 || out.NextMarker == nil {
		t.Errorf("attached: %+v %v", out, err)
	}
	_, err = c.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: aws.String("p0"), Target: &arn})
	wantCode(t, err, "")
	// The older form of the same.
	//lint:ignore SA1019 scripts in the field still call it
	_, err = c.AttachPrincipalPolicy(ctx, &iot.AttachPrincipalPolicyInput{PolicyName: aws.String("p0"), Principal: &arn})
	wantCode(t, err, "")
	//lint:ignore SA1019 scripts in the field still call it
	_, err = c.DetachPrincipalPolicy(ctx, &iot.DetachPrincipalPolicyInput{PolicyName: aws.String("p0"), Principal: &arn})
	wantCode(t, err, "")
	targets, err := c.ListTargetsForPolicy(ctx, &iot.ListTargetsForPolicyInput{PolicyName: aws.String("p1")})
	if err != nil || len(targets.Targets) != 1 || targets.Targets[0] != arn {
		t.Errorf("targets: %+v %v", targets, err)
	}
	for i := range 5 {
		want := ""
		if i == 4 {
			want = "VersionsLimitExceededException"
		}
		_, err := c.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: aws.String("p1"), PolicyDocument: aws.String(connectPolicy), SetAsDefault: true})
		wantCode(t, err, want)
	}
	_, err = c.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: aws.String("p1"), PolicyVersionId: aws.String("5")})
	wantCode(t, err, "DeleteConflictException")
	_, err = c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("p1"), PolicyDocument: aws.String(connectPolicy)})
	wantCode(t, err, "ResourceAlreadyExistsException")
}

func TestThings(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Things")
	ca.mustRegister(t, c)
	_, _, arn := activeDevice(t, c, ca, "dev")
	create := func(name string, attrs map[string]string) error {
		_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: &name, AttributePayload: &types.AttributePayload{Attributes: attrs}})
		return err
	}
	wantCode(t, create("a", map[string]string{"line": "7"}), "")
	wantCode(t, create("a", map[string]string{"line": "7"}), "")
	wantCode(t, create("a", map[string]string{"line": "8"}), "ResourceAlreadyExistsException")
	wantCode(t, create("b c", nil), "InvalidRequestException")
	wantCode(t, create("b", map[string]string{"1": "", "2": "", "3": "", "4": ""}), "InvalidRequestException")
	wantCode(t, create("b", nil), "")
	attach := func(thing string, kind types.ThingPrincipalType) error {
		_, err := c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: &arn, ThingPrincipalType: kind})
		return err
	}
	wantCode(t, attach("a", types.ThingPrincipalTypeExclusiveThing), "")
	wantCode(t, attach("b", ""), "InvalidRequestException")
	wantCode(t, attach("nowhere", ""), "ResourceNotFoundException")
	things, err := c.ListPrincipalThings(ctx, &iot.ListPrincipalThingsInput{Principal: &arn})
	if err != nil || fmt.Sprint(things.Things) != "[a]" {
		t.Errorf("things: %+v %v", things, err)
	}
	principals, err := c.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: aws.String("a")})
	if err != nil || len(principals.Principals) != 1 || principals.Principals[0] != arn {
		t.Errorf("principals: %+v %v", principals, err)
	}
	list, err := c.ListThings(ctx, &iot.ListThingsInput{AttributeName: aws.String("line"), AttributeValue: aws.String("7")})
	if err != nil || len(list.Things) != 1 {
		t.Errorf("things of line 7: %+v %v", list, err)
	}
	_, err = c.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: aws.String("a"), AttributePayload: &types.AttributePayload{
		Attributes: map[string]string{"line": "", "site": "north"}, Merge: true}})
	wantCode(t, err, "")
	d, err := c.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("a")})
	if err != nil || fmt.Sprint(d.Attributes) != "map[site:north]" || d.Version != 2 {
		t.Errorf("thing: %+v %v", d, err)
	}
	_, err = c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("t"), BillingGroupName: aws.String("b")})
	wantCode(t, err, "SimulatorNotImplemented")
}

// activeDevice registers an ACTIVE certificate with the policy "hello".
func activeDevice(t *testing.T, c *iot.Client, ca *authority, cn string) (dev *pair, id, arn string) {
	t.Helper()
	c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("hello"), PolicyDocument: aws.String(connectPolicy)})
	dev = ca.issue(t, pkix.Name{CommonName: cn})
	out, err := c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: &dev.pem, CaCertificatePem: &ca.pem, Status: "ACTIVE"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("hello"), Target: out.CertificateArn}); err != nil {
		t.Fatal(err)
	}
	return dev, *out.CertificateId, *out.CertificateArn
}
