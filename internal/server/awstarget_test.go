package server

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/awsreg"
	"mintmark/internal/config"
)

// everything is a target with one of everything.
const everything = `aws:
  targets:
    - name: line
      account_id: "123456789012"
      region: eu-central-1
      stack: true
      quota_scale: 2
      cas:
        - {issuer: issuing, mode: DEFAULT, use: jitr, state: inactive, sweep: deactivate}
        - {issuer: told, mode: NONE, use: register, register: {policy: told-device, policy_file: policy.json, thing_type: pump, groups: [hall]}}
      jitr: {function: "arn:aws:lambda:eu-central-1:123456789012:function:f", policy: p}
      manifest: {table: devices, max_age: 2d}
      fleets:
        - template: pumps
          role_arn: arn:aws:iam::123456789012:role/provisioning
          hook: arn:aws:lambda:eu-central-1:123456789012:function:hook
          policy_file: policy.json
          thing_prefix: pump-
          thing_type: pump
          attributes: {site: augsburg}
          aws_keys: true
          rotation_hook: arn:aws:lambda:eu-central-1:123456789012:function:rotate
      rotation: {period: 1h, presence: "arn:aws:lambda:eu-central-1:123456789012:function:presence"}
      certificate_provider: {function: "arn:aws:lambda:eu-central-1:123456789012:function:provider"}
labels:
`

const aPolicy = `{"Version":"2012-10-17","Statement":[]}`

func TestTargets(t *testing.T) {
	dir := newState(t)
	if err := os.WriteFile(filepath.Join(dir, "policy.json"), []byte(aPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	editConfig(t, dir, "labels:\n", everything)
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := awsTargetsIn(c)
	if err != nil {
		t.Fatal(err)
	}
	target := list[0]
	switch told, fleet := target.CAs[1], target.Fleets[0]; {
	case !target.StackOwned || target.QuotaScale != 2 || target.Manifest.Table != "devices":
		t.Errorf("target %+v", target)
	case target.CAs[0].State != awsreg.StateInactive || target.CAs[0].Sweep != awsreg.SweepDeactivate:
		t.Errorf("CA %+v", target.CAs[0])
	case told.Mode != awsreg.ModeNone || told.Register == nil || told.Register.PolicyDocument != aPolicy || told.Register.ThingType != "pump":
		t.Errorf("CA %+v", told)
	case fleet.PolicyDocument != aPolicy || fleet.ThingPrefix != "pump-" || fleet.Attributes["site"] != "augsburg" || !fleet.AWSKeys || fleet.RotationHook == "":
		t.Errorf("fleet %+v", fleet)
	case target.Rotation == nil || target.Rotation.Period.Hours() != 1 || target.Provider == nil || target.JITR == nil:
		t.Errorf("target %+v", target)
	}
	risky := strings.Join(awsRisks(c), "\n")
	for _, words := range []string{"has AWS make private keys", "answers every CreateCertificateFromCsr of account 123456789012", "told to rotate after 1h"} {
		if !strings.Contains(risky, words) {
			t.Errorf("the risks do not say %q:\n%s", words, risky)
		}
	}

	// A policy file that is not there is named, before any server starts.
	if err := os.Remove(filepath.Join(dir, "policy.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := awsTargetsIn(c); err == nil || !strings.Contains(err.Error(), "aws.targets[0].cas[1].register.policy_file") {
		t.Errorf("a policy file that is not there: %v", err)
	}
	if _, err := CheckConfig(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "policy_file") {
		t.Errorf("config check: %v", err)
	}
}

func TestThingOf(t *testing.T) {
	target := awsreg.Target{Name: "line", Provider: &awsreg.Provider{},
		CAs: []awsreg.CA{
			{Issuer: "jitr", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR},
			{Issuer: "jitp", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseJITP},
			{Issuer: "told", Mode: awsreg.ModeNone, Use: awsreg.UseRegister},
		},
		Fleets: []awsreg.Fleet{{Template: "pumps", ThingPrefix: "pump-"}},
	}
	for _, test := range []struct{ device, label, issuer, thing, mode string }{
		{"SN-1", "", "jitr", "SN-1", "DEFAULT"},
		{"SN 1", "", "jitr", awsreg.ThingName("SN 1"), "DEFAULT"},
		{"SN-1", "", "jitp", "SN-1", "SNI_ONLY"},
		{"SN-1", "", "told", "SN-1", "SNI_ONLY"},
		{"SN-1", "aws:line/pumps", "elsewhere", "pump-SN-1", ""},
		{"SN-1", "aws:line/pumps", "jitr", "SN-1", "DEFAULT"},
		{"SN-1", "aws:other/pumps", "elsewhere", "", ""},
		{"SN-1", "", "elsewhere", "", ""},
	} {
		thing, mode, ok := thingOf(target, test.device, test.label, test.issuer)
		if thing != test.thing || mode != test.mode || ok != (test.thing != "") {
			t.Errorf("%+v: thing %q, mode %q, %v", test, thing, mode, ok)
		}
	}
}

// TestDoctor: what we generate is clean, what somebody else wrote is read, and
// nothing is said twice.
func TestDoctor(t *testing.T) {
	ready := strings.NewReplacer("state: inactive, sweep: deactivate", "state: active", "issuer: told, mode: NONE", "issuer: root, mode: NONE", "aws_keys: true", "aws_keys: false").Replace(everything)
	for _, test := range []struct {
		name, policy  string
		change        []string // of the configuration
		subject, rule string   // of the findings that there must be, comma-separated
		words         string
	}{
		{"wide", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:PublishRetain","Resource":"*"}]}`, nil,
			`IoT policy "pumps-device"`, "policy-action,policy-resource", "iot:RetainPublish"},
		{"no policy at all", `[1, 2]`, nil, `IoT policy "pumps-device"`, "policy-syntax", ""},
		{"too long", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:eu-central-1:123456789012:client/` + strings.Repeat("x", 2048) + `"}]}`, nil,
			`IoT policy "pumps-device"`, "policy-size", "2048"},
		{"one function for claims and rotations", clean, []string{"function:rotate", "function:hook"}, `fleet "pumps"`, "rotation-hook", "different handlers"},
		{"two documents of one name", clean, []string{"policy: p}", "policy: pumps-device}"}, "IoT policies", "policy-conflict", "pumps-device"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := newState(t)
			if err := os.WriteFile(filepath.Join(dir, "policy.json"), []byte(test.policy), 0o600); err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer(test.change...).Replace(ready)
			if len(test.change) > 0 && text == ready {
				t.Fatal("the configuration has nothing to change")
			}
			editConfig(t, dir, "labels:\n", text)
			s := openLocal(t, dir, io.Discard)
			defer s.Close()
			found, err := s.aws.Doctor(t.Context(), "line")
			if err != nil {
				t.Fatal(err)
			}
			rules, words, said := make(map[string]bool), "", make(map[awsreg.Finding]bool)
			for _, f := range found {
				if said[f] {
					t.Errorf("twice: %v", f)
				}
				said[f] = true
				switch {
				case f.Subject == test.subject && f.Rule == "policy-resource":
					t.Errorf("without its line: %v", f) // awsreg's, which the linter repeats
				case f.Subject == test.subject, strings.HasPrefix(f.Subject, test.subject+", line "):
					rules[f.Rule], words = true, words+f.String()
				case strings.HasPrefix(f.Subject, `IoT policy "pumps-claim"`), strings.HasPrefix(f.Subject, "template "):
					t.Errorf("what we generate has a finding: %v", f)
				}
			}
			for _, rule := range strings.Split(test.rule, ",") {
				if !rules[rule] {
					t.Errorf("no finding by %s on %s: %v", rule, test.subject, found)
				}
			}
			if !strings.Contains(words, test.words) {
				t.Errorf("%q is not in %q", test.words, words)
			}
		})
	}
}

// clean is a device policy without findings.
const clean = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:eu-central-1:123456789012:client/${iot:Connection.Thing.ThingName}"}]}`
