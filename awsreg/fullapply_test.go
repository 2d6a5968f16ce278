package awsreg_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/internal/reconcile"
)

// Everything that a device meets is made before its CA is let in, and what goes
// out of service goes last.
func TestApplyEverything(t *testing.T) {
	w, target := newFullWorld(t)
	plan := must(w.registrar(first).Plan(t.Context(), target))(t)
	if calls := mutating(w.sim.Calls()); len(calls) != 0 {
		t.Fatalf("planning changed something: %v", calls)
	}
	done := must(w.registrar(first).Apply(t.Context(), target, nil))(t)
	if done.Hash() != plan.Hash() {
		t.Errorf("what was done is not what was planned:\n%+v\n%+v", plan, done)
	}
	order := []string{"table", "thing-type", "thing-group", "policy", "certificate-provider", "template", "topic-rule", "ca", "ca-sweep"}
	made := make(map[string]int)
	last := 0
	for _, c := range done.Changes {
		if c.Mutates() {
			made[c.Kind]++
		}
		at := slices.Index(order, c.Kind)
		if at < 0 || at < last && c.Mutates() {
			t.Errorf("%s %s comes too late", c.Kind, c.Subject)
		}
		if c.Mutates() {
			last = at
		}
		if c.Kind == "certificate-provider" && !strings.Contains(c.After, "takes over every CreateCertificateFromCsr of the account and region, by whomever") {
			t.Errorf("no warning: %+v", c)
		}
	}
	want := map[string]int{"table": 2, "thing-type": 2, "thing-group": 2, "policy": 5, "certificate-provider": 1, "template": 4, "topic-rule": 2, "ca": 3}
	if fmt.Sprint(made) != fmt.Sprint(want) {
		t.Errorf("made %v, want %v", made, want)
	}
	if done.Destructive() {
		t.Error("nothing was there to go out of service")
	}
	w.settled(target)
	before := len(w.sim.Calls())
	must(w.registrar(first).Apply(t.Context(), target, nil))(t)
	if calls := mutating(w.since(before)); len(calls) != 0 {
		t.Errorf("second run called %v", calls)
	}

	template := must(w.iot(first).DescribeProvisioningTemplate(t.Context(), &iot.DescribeProvisioningTemplateInput{TemplateName: aws.String("pumps")}))(t)
	if aws.ToString(template.TemplateBody) != awsreg.FleetTemplate(target, target.Fleets[0]) || !aws.ToBool(template.Enabled) ||
		template.Type != types.TemplateTypeFleetProvisioning || aws.ToString(template.PreProvisioningHook.TargetArn) != target.Fleets[0].Hook {
		t.Errorf("template %+v", template)
	}
}

// Whatever somebody changes is planned as one change, and changed back.
func TestDriftOfFleets(t *testing.T) {
	update := func(change func(*iot.UpdateProvisioningTemplateInput)) func(*world, *iot.Client) error {
		return func(w *world, c *iot.Client) error {
			in := &iot.UpdateProvisioningTemplateInput{TemplateName: aws.String("pumps")}
			change(in)
			_, err := c.UpdateProvisioningTemplate(w.t.Context(), in)
			return err
		}
	}
	version := func(name string, setDefault bool, n int) func(*world, *iot.Client) error {
		return func(w *world, c *iot.Client) error {
			target := everything("")
			for i := range n {
				target.Fleets[0].ThingPrefix = fmt.Sprint("other-", i)
				_, err := c.CreateProvisioningTemplateVersion(w.t.Context(), &iot.CreateProvisioningTemplateVersionInput{
					TemplateName: aws.String(name), TemplateBody: aws.String(awsreg.FleetTemplate(target, target.Fleets[0])), SetAsDefault: setDefault,
				})
				if err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, change := range map[string]func(*world, *iot.Client) error{
		"body":                  version("pumps", true, 1),
		"body at five versions": version("pumps", true, 4),
		"body of the rotation":  version("pumps-rotation", true, 1),
		"role": update(func(in *iot.UpdateProvisioningTemplateInput) {
			in.ProvisioningRoleArn = aws.String(roleARN("other-role"))
		}),
		"disabled":    update(func(in *iot.UpdateProvisioningTemplateInput) { in.Enabled = aws.Bool(false) }),
		"description": update(func(in *iot.UpdateProvisioningTemplateInput) { in.Description = aws.String("mine") }),
		"no hook":     update(func(in *iot.UpdateProvisioningTemplateInput) { in.RemovePreProvisioningHook = aws.Bool(true) }),
		"another hook": update(func(in *iot.UpdateProvisioningTemplateInput) {
			in.PreProvisioningHook = &types.ProvisioningHook{TargetArn: aws.String(lambdaARN("other"))}
		}),
		"template deleted": func(w *world, c *iot.Client) error {
			_, err := c.DeleteProvisioningTemplate(w.t.Context(), &iot.DeleteProvisioningTemplateInput{TemplateName: aws.String("pumps")})
			return err
		},
		"presence rule disabled": func(w *world, c *iot.Client) error {
			rule := awsreg.PresenceRule(everything(""))
			_, err := c.ReplaceTopicRule(w.t.Context(), &iot.ReplaceTopicRuleInput{RuleName: aws.String(rule.Name), TopicRulePayload: &types.TopicRulePayload{
				Sql: aws.String(rule.SQL), AwsIotSqlVersion: aws.String(rule.SQLVersion), RuleDisabled: aws.Bool(true),
				Actions: []types.Action{{Lambda: &types.LambdaAction{FunctionArn: aws.String(rule.Function)}}},
			}})
			return err
		},
		"presence rule deleted": func(w *world, c *iot.Client) error {
			_, err := c.DeleteTopicRule(w.t.Context(), &iot.DeleteTopicRuleInput{RuleName: aws.String("mintmark_presence")})
			return err
		},
		"claim policy":  otherPolicy("pumps-claim"),
		"device policy": otherPolicy("valve"),
		"provider of another function": func(w *world, c *iot.Client) error {
			_, err := c.UpdateCertificateProvider(w.t.Context(), &iot.UpdateCertificateProviderInput{CertificateProviderName: aws.String("mintmark"), LambdaFunctionArn: aws.String(lambdaARN("other"))})
			return err
		},
		"provider deleted": func(w *world, c *iot.Client) error {
			_, err := c.DeleteCertificateProvider(w.t.Context(), &iot.DeleteCertificateProviderInput{CertificateProviderName: aws.String("mintmark")})
			return err
		},
		"group deleted": func(w *world, c *iot.Client) error {
			_, err := c.DeleteThingGroup(w.t.Context(), &iot.DeleteThingGroupInput{ThingGroupName: aws.String("hall-2")})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, target := newFullWorld(t)
			must(w.registrar(first).Apply(t.Context(), target, nil))(t)
			if err := change(w, w.iot(first)); err != nil {
				t.Fatal(err)
			}
			plan := must(w.registrar(first).Plan(t.Context(), target))(t)
			if plan.Pending() != 1 {
				t.Errorf("%d changes planned: %+v", plan.Pending(), plan.Changes)
			}
			status := must(w.registrar(first).Status(t.Context(), target, false))(t)
			differ := 0
			for _, r := range status.Resources {
				if r.Differs != "" {
					differ++
					if r.There == strings.Contains(name, "deleted") {
						t.Errorf("status %+v", r)
					}
				}
			}
			if differ != 1 {
				t.Errorf("status: %d differ", differ)
			}
			w.apply(target)
		})
	}
}

func otherPolicy(name string) func(*world, *iot.Client) error {
	return func(w *world, c *iot.Client) error {
		_, err := c.CreatePolicyVersion(w.t.Context(), &iot.CreatePolicyVersionInput{PolicyName: aws.String(name), PolicyDocument: aws.String(openPolicy), SetAsDefault: true})
		return err
	}
}

// What is there and cannot be made what it should be is refused, with words, and
// then nothing is changed.
func TestRefusedByWhatIsThere(t *testing.T) {
	for name, test := range map[string]struct {
		before func(*world, *iot.Client) error
		want   string
	}{
		"template of another type": {func(w *world, c *iot.Client) error {
			_, err := c.CreateProvisioningTemplate(w.t.Context(), &iot.CreateProvisioningTemplateInput{
				TemplateName: aws.String("pumps"), Type: types.TemplateTypeJitp, ProvisioningRoleArn: aws.String(roleARN("mintmark-jitp")),
				TemplateBody: aws.String(must(awsreg.Template(w.issuers["auto"].Issuer, awsreg.JITP{Policy: "p"}))(w.t)),
			})
			return err
		}, "of type JITP, which AWS has no way to change"},
		"another provider": {func(w *world, c *iot.Client) error {
			_, err := c.CreateCertificateProvider(w.t.Context(), &iot.CreateCertificateProviderInput{
				CertificateProviderName: aws.String("theirs"), LambdaFunctionArn: aws.String(lambdaARN("theirs")),
				AccountDefaultForOperations: []types.CertificateProviderOperation{types.CertificateProviderOperationCreateCertificateFromCsr},
			})
			return err
		}, `certificate provider "theirs"`},
		"deprecated type": {func(w *world, c *iot.Client) error {
			if _, err := c.CreateThingType(w.t.Context(), &iot.CreateThingTypeInput{ThingTypeName: aws.String("pump")}); err != nil {
				return err
			}
			_, err := c.DeprecateThingType(w.t.Context(), &iot.DeprecateThingTypeInput{ThingTypeName: aws.String("pump")})
			return err
		}, "the thing type is deprecated"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, target := newFullWorld(t)
			if err := test.before(w, w.iot(first)); err != nil {
				t.Fatal(err)
			}
			before := len(w.sim.Calls())
			_, err := w.registrar(first).Apply(t.Context(), target, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "nothing was changed") {
				t.Errorf("want %q, got %v", test.want, err)
			}
			if calls := mutating(w.since(before)); len(calls) != 0 {
				t.Errorf("called %v", calls)
			}
			target.StackOwned = true // then only the provider is ours
			plan := must(w.registrar(first).Plan(t.Context(), target))(t)
			if refused := len(plan.Refused()); refused != 0 && name != "another provider" {
				t.Errorf("the stack's is refused: %+v", plan.Refused())
			}
		})
	}
}

// Status counts certificates when it is asked to, says where devices connect, and
// reports CAs of ours that have left the configuration, which it leaves alone.
func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.issuers["next"] = newAuthority(t, "line") // the same subject
	w.issuers["next"].Name = "next"
	w.issuers["theirs"] = newAuthority(t, "of somebody else")
	target := w.retiring("", "")
	target.CAs = append(target.CAs, awsreg.CA{Issuer: "auto", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseNone})
	w.apply(target)
	w.register("line", on, off, on)
	for _, name := range []string{"next", "theirs"} { // by somebody else's hand, without a tag
		_, err := w.iot(first).RegisterCACertificate(t.Context(), &iot.RegisterCACertificateInput{
			CaCertificate: aws.String(pemOf(w.issuers[name].Certificate)), CertificateMode: types.CertificateModeSniOnly,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	target.CAs = target.CAs[:1]

	before := len(w.sim.Calls())
	status := must(w.registrar(first).Status(t.Context(), target, false))(t)
	if status.CAs[0].Certificates != nil || slices.Contains(w.since(before), "ListCertificatesByCA") {
		t.Errorf("counted without being asked: %+v", status.CAs[0])
	}
	status = must(w.registrar(first).Status(t.Context(), target, true))(t)
	if n := status.CAs[0].Certificates; n["ACTIVE"] != 2 || n["INACTIVE"] != 1 || len(n) != 2 {
		t.Errorf("certificates %v", n)
	}
	if status.Endpoint != w.sim.BrokerAddr() {
		t.Errorf("endpoint %q", status.Endpoint)
	}
	if endpoint := must(w.registrar(first).DataEndpoint(t.Context(), target))(t); endpoint != w.sim.BrokerAddr() {
		t.Errorf("endpoint %q", endpoint)
	}
	var found []string
	for _, u := range status.Unconfigured {
		found = append(found, u.CertificateID+" "+u.Issuer+" "+u.State+" "+u.Mode)
	}
	if want := []string{w.id("auto") + " auto ACTIVE SNI_ONLY", w.id("next") + "  INACTIVE SNI_ONLY"}; !slices.Equal(found, want) {
		t.Errorf("not configured: %v, want %v", found, want)
	}
	if calls := mutating(w.since(before)); len(calls) != 0 {
		t.Errorf("called %v", calls)
	}
	for _, r := range status.Resources {
		if !r.There || r.Differs != "" {
			t.Errorf("resource %+v", r)
		}
	}
	if !status.Plan.Empty() {
		t.Errorf("plan %+v", status.Plan.Changes)
	}
}

// Ten CAs of one subject that are at AWS leave no room for one more, which the
// plan says before anything is changed; with one deleted there is.
func TestTenOfOneSubjectAtAWS(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		ca := newAuthority(t, "line")
		_, err := w.iot(first).RegisterCACertificate(t.Context(), &iot.RegisterCACertificateInput{
			CaCertificate: aws.String(pemOf(ca.Certificate)), CertificateMode: types.CertificateModeSniOnly,
		})
		if err != nil {
			t.Fatal(err)
		}
		w.issuers[fmt.Sprint(i)] = ca
	}
	before := len(w.sim.Calls())
	plan := must(w.registrar(first).Plan(t.Context(), w.target()))(t)
	if refused := plan.Refused(); len(refused) != 1 || refused[0].Kind != "ca" || !strings.Contains(refused[0].After, "ten with the same subject") {
		t.Errorf("refused %+v", refused)
	}
	if _, err := w.registrar(first).Apply(t.Context(), w.target(), nil); err == nil || len(mutating(w.since(before))) != 0 {
		t.Errorf("applied: %v, %v", err, mutating(w.since(before)))
	}
	if _, err := w.iot(first).DeleteCACertificate(t.Context(), &iot.DeleteCACertificateInput{CertificateId: aws.String(w.id("3"))}); err != nil {
		t.Fatal(err)
	}
	w.apply(w.target())
	if plan.Changes[0].Action == reconcile.Refuse {
		t.Errorf("the refusal is not at its CA: %+v", plan.Changes[0])
	}
}
