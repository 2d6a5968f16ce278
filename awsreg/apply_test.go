package awsreg_test

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/internal/reconcile"
)

func TestApplyFromNothing(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	r := w.registrar(first)

	plan := must(r.Plan(t.Context(), target))(t)
	if calls := mutating(w.sim.Calls()); len(calls) != 0 {
		t.Fatalf("planning changed something: %v", calls)
	}
	if plan.Pending() != 5 { // table, policy, rule, two CAs
		t.Errorf("%d changes planned: %+v", plan.Pending(), plan.Changes)
	}

	var seen []reconcile.Change
	done := must(r.Apply(t.Context(), target, func(c reconcile.Change) { seen = append(seen, c) }))(t)
	if done.Hash() != plan.Hash() {
		t.Errorf("what was done is not what was planned:\n%+v\n%+v", plan, done)
	}
	if !slices.Equal(seen, done.Changes) {
		t.Errorf("progress showed %+v", seen)
	}
	if w.verifications != 1 { // SNI_ONLY takes no proof
		t.Errorf("%d verification certificates", w.verifications)
	}

	status := must(r.Status(t.Context(), target, false))(t)
	for _, ca := range status.CAs {
		if !ca.Registered || ca.State != "ACTIVE" || ca.AutoRegistration != "ENABLE" {
			t.Errorf("CA %s: %+v", ca.Issuer, ca)
		}
	}
	if !status.Plan.Empty() || status.Manifest == nil || status.Manifest.Fresh {
		t.Errorf("status: %+v", status)
	}

	// Again: nothing is done, and no call is made that could do anything.
	before := len(w.sim.Calls())
	again := must(w.registrar(first).Apply(t.Context(), target, nil))(t)
	if !again.Empty() {
		t.Errorf("second run: %+v", again.Changes)
	}
	if calls := mutating(w.since(before)); len(calls) != 0 {
		t.Errorf("second run called %v", calls)
	}
	if w.verifications != 1 {
		t.Errorf("%d verification certificates", w.verifications)
	}
}

// TestCutOff interrupts an Apply at each of its calls in turn, before and after
// the call took effect: the process dies and another one continues, or the answer
// is lost and the same one does.
func TestCutOff(t *testing.T) {
	probe := newWorld(t)
	must(probe.registrar(first).Apply(t.Context(), probe.target(), nil))(t)
	calls := make(map[string]int)
	for _, call := range probe.sim.Calls() {
		calls[call]++
	}
	for call, n := range calls {
		for nth := 1; nth <= n; nth++ {
			for _, effect := range []bool{false, true} {
				t.Run(fmt.Sprintf("death/%s/%d/%t", call, nth, effect), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.sim.Inject(awssim.Fault{Operation: call, Nth: nth, Code: "AccessDeniedException", Status: 403, AfterEffect: effect})
					if _, err := w.registrar(first).Apply(t.Context(), w.target(), nil); err == nil {
						t.Fatal("the fault was not noticed")
					}
					w.apply(w.target())
					w.onePolicyVersion()
				})
				t.Run(fmt.Sprintf("cut/%s/%d/%t", call, nth, effect), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.sim.Inject(awssim.Fault{Operation: call, Nth: nth, AfterEffect: effect})
					w.apply(w.target())
					w.onePolicyVersion()
				})
			}
		}
	}
}

func (w *world) onePolicyVersion() {
	w.t.Helper()
	out := must(w.iot(first).ListPolicyVersions(w.t.Context(), &iot.ListPolicyVersionsInput{PolicyName: aws.String("mintmark-device")}))(w.t)
	if len(out.PolicyVersions) != 1 {
		w.t.Errorf("%d policy versions", len(out.PolicyVersions))
	}
}

func TestThrottled(t *testing.T) {
	for _, code := range []string{"ThrottlingException", "ConflictingResourceUpdateException", "ServiceUnavailableException", "InternalFailureException"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, operation := range []string{
				"GetRegistrationCode", "RegisterCACertificate", "DescribeCACertificate", "CreatePolicy", "CreateTopicRule", "dynamodb:CreateTable",
			} {
				w.sim.Inject(awssim.Fault{Operation: operation, Nth: 1, Code: code, Status: 400})
			}
			w.apply(w.target())
		})
	}
}

func TestWrongAccount(t *testing.T) {
	w := newWorld(t)
	_, err := w.registrar(second).Apply(t.Context(), w.target(), nil)
	if err == nil || !strings.Contains(err.Error(), second.ID) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("want a refusal that names the account, got %v", err)
	}
	if calls := w.sim.Calls(); len(calls) != 1 || !strings.Contains(calls[0], "GetCallerIdentity") {
		t.Errorf("calls made: %v", calls)
	}
}

func TestDrift(t *testing.T) {
	tests := []struct {
		name   string
		change func(*world, *iot.Client) error
	}{
		{"CA inactive", func(w *world, c *iot.Client) error {
			_, err := c.UpdateCACertificate(w.t.Context(), &iot.UpdateCACertificateInput{CertificateId: aws.String(w.id("line")), NewStatus: types.CACertificateStatusInactive})
			return err
		}},
		{"auto-registration off", func(w *world, c *iot.Client) error {
			_, err := c.UpdateCACertificate(w.t.Context(), &iot.UpdateCACertificateInput{CertificateId: aws.String(w.id("auto")), NewAutoRegistrationStatus: types.AutoRegistrationStatusDisable})
			return err
		}},
		{"template on the CA for JITR", func(w *world, c *iot.Client) error {
			_, err := c.UpdateCACertificate(w.t.Context(), &iot.UpdateCACertificateInput{CertificateId: aws.String(w.id("line")), RegistrationConfig: w.otherTemplate()})
			return err
		}},
		{"another template", func(w *world, c *iot.Client) error {
			_, err := c.UpdateCACertificate(w.t.Context(), &iot.UpdateCACertificateInput{CertificateId: aws.String(w.id("auto")), RegistrationConfig: w.otherTemplate()})
			return err
		}},
		{"no template", func(w *world, c *iot.Client) error {
			_, err := c.UpdateCACertificate(w.t.Context(), &iot.UpdateCACertificateInput{CertificateId: aws.String(w.id("auto")), RemoveAutoRegistration: true})
			return err
		}},
		{"another role", func(w *world, c *iot.Client) error {
			config := w.otherTemplate()
			config.TemplateBody = aws.String(must(awsreg.Template(w.issuers["auto"].Issuer, *w.target().CAs[1].JITP))(w.t))
			config.RoleArn = aws.String("arn:aws:iam::" + first.ID + ":role/other")
			_, err := c.UpdateCACertificate(w.t.Context(), &iot.UpdateCACertificateInput{CertificateId: aws.String(w.id("auto")), RegistrationConfig: config})
			return err
		}},
		{"another policy version", func(w *world, c *iot.Client) error {
			_, err := c.CreatePolicyVersion(w.t.Context(), &iot.CreatePolicyVersionInput{PolicyName: aws.String("mintmark-device"), PolicyDocument: aws.String(openPolicy), SetAsDefault: true})
			return err
		}},
		{"five policy versions", func(w *world, c *iot.Client) error {
			for range 4 {
				if _, err := c.CreatePolicyVersion(w.t.Context(), &iot.CreatePolicyVersionInput{PolicyName: aws.String("mintmark-device"), PolicyDocument: aws.String(openPolicy), SetAsDefault: true}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"rule disabled", func(w *world, c *iot.Client) error {
			return w.replaceRule(c, func(p *types.TopicRulePayload) { p.RuleDisabled = aws.Bool(true) })
		}},
		{"rule with another statement", func(w *world, c *iot.Client) error {
			return w.replaceRule(c, func(p *types.TopicRulePayload) { p.Sql = aws.String("SELECT * FROM 'other'") })
		}},
		{"rule with another function", func(w *world, c *iot.Client) error {
			return w.replaceRule(c, func(p *types.TopicRulePayload) {
				p.Actions = []types.Action{{Lambda: &types.LambdaAction{FunctionArn: aws.String(*p.Actions[0].Lambda.FunctionArn + "2")}}}
			})
		}},
		{"rule deleted", func(w *world, c *iot.Client) error {
			_, err := c.DeleteTopicRule(w.t.Context(), &iot.DeleteTopicRuleInput{RuleName: aws.String(w.rule())})
			return err
		}},
		{"CA deleted", func(w *world, c *iot.Client) error {
			if _, err := c.UpdateCACertificate(w.t.Context(), &iot.UpdateCACertificateInput{CertificateId: aws.String(w.id("line")), NewStatus: types.CACertificateStatusInactive}); err != nil {
				return err
			}
			_, err := c.DeleteCACertificate(w.t.Context(), &iot.DeleteCACertificateInput{CertificateId: aws.String(w.id("line"))})
			return err
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply(w.target())
			if err := test.change(w, w.iot(first)); err != nil {
				t.Fatal(err)
			}
			plan := must(w.registrar(first).Plan(t.Context(), w.target()))(t)
			if plan.Pending() != 1 {
				t.Errorf("%d changes planned: %+v", plan.Pending(), plan.Changes)
			}
			w.apply(w.target())
		})
	}
}

const openPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`

func (w *world) otherTemplate() *types.RegistrationConfig {
	return &types.RegistrationConfig{
		RoleArn:      aws.String("arn:aws:iam::" + first.ID + ":role/mintmark-jitp"),
		TemplateBody: aws.String(`{"Parameters":{"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"ACTIVE"}}}}`),
	}
}

func (w *world) rule() string { return "mintmark_jitr_" + w.id("line")[:16] }

func (w *world) replaceRule(c *iot.Client, change func(*types.TopicRulePayload)) error {
	out := must(c.GetTopicRule(w.t.Context(), &iot.GetTopicRuleInput{RuleName: aws.String(w.rule())}))(w.t)
	payload := &types.TopicRulePayload{
		Sql: out.Rule.Sql, AwsIotSqlVersion: out.Rule.AwsIotSqlVersion, Description: out.Rule.Description,
		Actions: out.Rule.Actions, RuleDisabled: out.Rule.RuleDisabled,
	}
	change(payload)
	_, err := c.ReplaceTopicRule(w.t.Context(), &iot.ReplaceTopicRuleInput{RuleName: aws.String(w.rule()), TopicRulePayload: payload})
	return err
}

// A registration's mode cannot be changed; everything else of the target is left
// alone until somebody decides.
func TestModeDrift(t *testing.T) {
	w := newWorld(t)
	w.apply(w.target())
	target := w.target()
	target.CAs[0].Mode = awsreg.ModeSNIOnly
	target.CAs[1].JITP.Policy = "mintmark-jitp"
	target.JITR.PolicyDocument = openPolicy
	before := len(w.sim.Calls())
	_, err := w.registrar(first).Apply(t.Context(), target, nil)
	if err == nil || !strings.Contains(err.Error(), "registered in DEFAULT mode, and AWS has no way to change that") {
		t.Errorf("want an explanation, got %v", err)
	}
	if calls := mutating(w.since(before)); len(calls) != 0 {
		t.Errorf("called %v", calls)
	}
}

func TestUseNone(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	target.JITR = nil
	target.CAs = []awsreg.CA{{Issuer: "line", Mode: awsreg.ModeDefault, Use: awsreg.UseNone}}
	w.apply(target)
	status := must(w.registrar(first).Status(t.Context(), target, false))(t)
	if ca := status.CAs[0]; ca.State != "ACTIVE" || ca.AutoRegistration != "DISABLE" || status.Manifest != nil {
		t.Errorf("status %+v", status)
	}
}

// The registration code is deleted between reading it and using it.
func TestRegistrationCodeDeleted(t *testing.T) {
	w := newWorld(t)
	w.beforeVerification = func() {
		if _, err := w.iot(first).DeleteRegistrationCode(t.Context(), &iot.DeleteRegistrationCodeInput{}); err != nil {
			t.Error(err)
		}
	}
	w.apply(w.target())
	if w.verifications != 2 {
		t.Errorf("%d verification certificates", w.verifications)
	}
}

func TestDefaultInAnotherAccount(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	target.CAs = target.CAs[:1]
	w.apply(target)
	other := target
	other.Name, other.AccountID = "line-b", second.ID
	other.JITR = &awsreg.JITR{Function: strings.Replace(target.JITR.Function, first.ID, second.ID, 1)}
	_, err := w.registrar(second).Apply(t.Context(), other, nil)
	if err == nil || !strings.Contains(err.Error(), "SNI_ONLY") {
		t.Errorf("want advice to use SNI_ONLY, got %v", err)
	}
	if err := awsreg.ValidateTargets([]awsreg.Target{target, other}); err == nil {
		t.Error("the configuration alone shows it")
	}
	twin := target
	twin.Name, twin.CAs = "line-c", nil
	if err := awsreg.ValidateTargets([]awsreg.Target{target, twin}); err == nil {
		t.Error("two targets in one account and region")
	}
	other.CAs = []awsreg.CA{{Issuer: "line", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseJITR}}
	if err := awsreg.ValidateTargets([]awsreg.Target{target, other}); err != nil {
		t.Error(err)
	}
	must(w.registrar(second).Apply(t.Context(), other, nil))(t)
}

func TestTenOfOneSubject(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	target.JITR, target.CAs = nil, nil
	for i := range 11 {
		name := fmt.Sprint("generation ", i)
		w.issuers[name] = newAuthority(t, "same subject")
		w.issuers[name].Name = name
		target.CAs = append(target.CAs, awsreg.CA{Issuer: name, Mode: awsreg.ModeSNIOnly, Use: awsreg.UseNone})
	}
	_, err := w.registrar(first).Apply(t.Context(), target, nil)
	if err == nil || !strings.Contains(err.Error(), "ten with the same subject") {
		t.Errorf("want an explanation, got %v", err)
	}
	if calls := mutating(w.sim.Calls()); len(calls) != 0 {
		t.Errorf("called %v", calls)
	}
}

// What AWS is known to refuse is not tried.
func TestPreflightStopsApply(t *testing.T) {
	w := newWorld(t)
	w.issuers["line"] = newAuthority(t, "line", func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature
		c.NotAfter = time.Now().Add(-time.Minute)
	})
	_, err := w.registrar(first).Apply(t.Context(), w.target(), nil)
	if err == nil || !strings.Contains(err.Error(), "does not have the basicConstraints extension as true") || !strings.Contains(err.Error(), "it expired at") {
		t.Errorf("want AWS's words, got %v", err)
	}
	if calls := mutating(w.sim.Calls()); len(calls) != 0 {
		t.Errorf("called %v", calls)
	}
}

// AWS answers UnauthorizedException for a rule that does not exist; for one that
// does, it means what it says.
func TestUnauthorizedRule(t *testing.T) {
	w := newWorld(t)
	for range 2 { // the plan reads it, and Apply does
		w.sim.Inject(awssim.Fault{Operation: "GetTopicRule", Code: "UnauthorizedException", Status: 401})
	}
	w.apply(w.target())
	w.sim.Inject(awssim.Fault{Operation: "GetTopicRule", Code: "UnauthorizedException", Status: 401})
	if _, err := w.registrar(first).Plan(t.Context(), w.target()); err == nil || !strings.Contains(err.Error(), "iam-policy") {
		t.Errorf("want advice on permissions, got %v", err)
	}
}
