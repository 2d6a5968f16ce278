package render_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"mintmark/awsreg"
	"mintmark/awsreg/render"
	"mintmark/deploy"
)

const (
	account = "arn:aws:lambda:eu-central-1:123456789012:function:"
	role    = "arn:aws:iam::123456789012:role/"
)

// everything is a target that uses all there is.
func everything() render.Input {
	return render.Input{
		Target: awsreg.Target{
			Name: "line_a", AccountID: "123456789012", Region: "eu-central-1",
			CAs: []awsreg.CA{
				{Issuer: "jitr", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR},
				{Issuer: "jitp", Mode: awsreg.ModeDefault, Use: awsreg.UseJITP, JITP: &awsreg.JITP{RoleARN: role + "path/jitp", Policy: "provisioned"}},
				{Issuer: "reg", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseRegister, Register: &awsreg.Register{Policy: "registered", ThingType: "press", Groups: []string{"hall-1"}}},
			},
			JITR: &awsreg.JITR{Function: account + "my-jitr"},
			Fleets: []awsreg.Fleet{
				{Template: "press", RoleARN: role + "press", Hook: account + "press-hook", RotationHook: account + "press-rotate", ThingPrefix: "press-", ThingType: "press", Groups: []string{"hall-1", "hall-2"}},
				{Template: "pump", RoleARN: role + "pump", Hook: account + "pump-hook", RotationHook: account + "pump-rotate"},
			},
			Rotation: &awsreg.Rotation{Presence: account + "seen", Topic: "alerts/<thing>"},
			Provider: &awsreg.Provider{Function: account + "signs"},
		},
		CAs:      []string{strings.Repeat("ab", 32)},
		Provider: render.Provider{URL: "https://ca.example:8443", Label: "cloud", CA: "-----BEGIN CERTIFICATE-----\n", Secret: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:ra"},
		Callback: &render.Callback{Domain: "devices", Function: account + "asks", OCSP: "http://ocsp.example", Anchors: "-----BEGIN CERTIFICATE-----\n"},
		Ingest:   &render.Ingest{Bucket: "messages.example", Rule: "test_rule", Topic: "test-rule"},
		Code:     render.Code{Bucket: "code.example"},
	}
}

func files(t *testing.T, in render.Input) map[string]string {
	t.Helper()
	list, err := render.Files(in)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, f := range list {
		if _, twice := out[f.Name]; twice {
			t.Errorf("%s is there twice", f.Name)
		}
		out[f.Name] = string(f.Content)
	}
	return out
}

// template is what is compared of a CloudFormation template.
type template struct {
	Parameters map[string]struct {
		Default any `yaml:"Default"`
	} `yaml:"Parameters"`
	Resources map[string]struct {
		Type string `yaml:"Type"`
	} `yaml:"Resources"`
}

func parse(t *testing.T, name, text string) template {
	t.Helper()
	var out template
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// TestParameters: every parameter that is given exists, every one that has no
// default is given, and the names are those of the target.
func TestParameters(t *testing.T) {
	got := files(t, everything())
	given := make(map[string]map[string]string)
	for name, text := range got {
		stack, ok := strings.CutSuffix(name, ".parameters.json")
		if !ok {
			continue
		}
		var p struct{ Parameters map[string]string }
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		given[stack] = p.Parameters
	}
	for stack, file := range map[string]string{
		"mintmark-line-a-jitr": "jitr.yaml", "mintmark-line-a-jitp-jitp": "jitp.yaml", "mintmark-line-a-fleet-press": "fleet.yaml", "mintmark-line-a-fleet-pump": "fleet.yaml",
		"mintmark-line-a-rotation": "rotation.yaml", "mintmark-line-a-provider": "provider.yaml", "mintmark-line-a-connect": "connect.yaml",
		"mintmark-line-a-ingest": "ingest.yaml",
	} {
		tpl := parse(t, file, got[file])
		if len(given[stack]) == 0 {
			t.Errorf("%s has no parameters", stack)
		}
		for name := range given[stack] {
			if _, ok := tpl.Parameters[name]; !ok {
				t.Errorf("%s: %s has no parameter %s", stack, file, name)
			}
		}
		for name, p := range tpl.Parameters {
			if _, ok := given[stack][name]; !ok && p.Default == nil {
				t.Errorf("%s: the parameter %s of %s is not given", stack, name, file)
			}
		}
		if !strings.Contains(got["deploy.sh"], "--stack-name "+stack+" --template-file "+file) {
			t.Errorf("deploy.sh does not deploy %s", stack)
		}
	}
	for _, want := range []struct{ stack, parameter, value string }{
		{"mintmark-line-a-jitr", "FunctionName", "my-jitr"},
		{"mintmark-line-a-jitr", "Table", "mintmark-devices"},
		{"mintmark-line-a-jitp-jitp", "RoleName", "jitp"},
		{"mintmark-line-a-fleet-press", "ProvisionFunctionName", "press-hook"},
		{"mintmark-line-a-fleet-press", "RotateFunctionName", "press-rotate"},
		{"mintmark-line-a-fleet-press", "RotationTemplate", "press-rotation"},
		{"mintmark-line-a-fleet-press", "DevicePolicy", "press-device"},
		{"mintmark-line-a-fleet-press", "ProvisioningRoleName", "press"},
		{"mintmark-line-a-rotation", "AlertTopics", "alerts/*"},
		{"mintmark-line-a-rotation", "PresenceFunctionName", "seen"},
		{"mintmark-line-a-provider", "ProviderName", "mintmark"},
		{"mintmark-line-a-connect", "Domain", "devices"},
	} {
		if got := given[want.stack][want.parameter]; got != want.value {
			t.Errorf("%s: %s is %q, want %q", want.stack, want.parameter, got, want.value)
		}
	}
}

// TestScript: the shell takes it, and it does nothing in another account.
func TestScript(t *testing.T) {
	in := everything()
	in.Target.StackOwned = true
	dir := t.TempDir()
	list, err := render.Files(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := render.Write(filepath.Join(dir, "stack"), list); err != nil {
		t.Fatal(err)
	}
	if err := render.Write(filepath.Join(dir, "stack"), list); err != nil {
		t.Errorf("writing the same again: %v", err)
	}
	// An aws command that tells what it was asked for.
	calls := filepath.Join(dir, "calls")
	fake := "#!/bin/sh\necho \"$@\" >>" + calls + "\n[ \"$1\" = sts ] && echo ${ACCOUNT}\nexit 0\n"
	if err := os.WriteFile(filepath.Join(dir, "aws"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(dir, "bin", "bundle.zip")
	if err := os.WriteFile(bundle, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(account, bundle string) (string, error) {
		os.Remove(calls)
		cmd := exec.Command("stack/deploy.sh")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "ACCOUNT="+account, "BUNDLE="+bundle)
		out, err := cmd.CombinedOutput()
		told, _ := os.ReadFile(calls)
		return string(told) + string(out), err
	}
	out, err := run("123456789012", "bin/bundle.zip")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run("123456789012", bundle); err != nil || !strings.Contains(out, "s3 cp "+bundle) {
		t.Errorf("the bundle by its whole name: %v\n%s", err, out)
	}
	if out, err := run("123456789012", ""); err != nil || strings.Contains(out, "s3 cp") {
		t.Errorf("without a bundle: %v\n%s", err, out)
	}
	if out, err := run("123456789012", "elsewhere.zip"); err == nil || strings.Contains(out, "cloudformation") || !strings.Contains(out, "there is no bundle") {
		t.Errorf("with a bundle that is not there: %v\n%s", err, out)
	}
	last := 0
	for _, step := range []string{"s3 cp " + bundle + " s3://code.example/mintmark-lambda.zip", "line-a-jitr ", "line-a-fleet-press", "line-a-rotation", "line-a-iot"} {
		at := strings.Index(out, step)
		if at < last {
			t.Errorf("%q comes too early or not at all in\n%s", step, out)
		}
		last = at
	}
	if out, err := run("999999999999", ""); err == nil || strings.Contains(out, "cloudformation") {
		t.Errorf("it deployed into another account: %v\n%s", err, out)
	}
}

// TestRefusals: what cannot be rendered is said.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*render.Input)
		want   string
	}{
		"no bucket":      {func(in *render.Input) { in.Code.Bucket = "" }, "--bucket"},
		"shared hook":    {func(in *render.Input) { in.Target.Fleets[1].Hook = in.Target.Fleets[0].Hook }, "press-hook"},
		"shared role":    {func(in *render.Input) { in.Target.Fleets[1].RoleARN = in.Target.Fleets[0].RoleARN }, `role "press"`},
		"no EST URL":     {func(in *render.Input) { in.Provider.URL = "http://ca.example" }, "certificate_provider.url"},
		"no EST label":   {func(in *render.Input) { in.Provider.Label = "" }, "certificate_provider.label"},
		"no secret":      {func(in *render.Input) { in.Provider.Secret = "ra" }, "certificate_provider.secret"},
		"callback":       {func(in *render.Input) { in.Callback.Function = "asks" }, "asks"},
		"alias":          {func(in *render.Input) { in.Target.JITR.Function += ":live" }, "alias"},
		"no domain":      {func(in *render.Input) { in.Callback.Domain = "" }, "connect_callback.domain"},
		"no anchor":      {func(in *render.Input) { in.Callback.Anchors = "" }, "trust anchor"},
		"bucket":         {func(in *render.Input) { in.Ingest.Bucket = "B" }, "ingest.bucket"},
		"rule":           {func(in *render.Input) { in.Ingest.Rule = "a-b" }, "ingest.rule"},
		"topic":          {func(in *render.Input) { in.Ingest.Topic = "a/b" }, "ingest.topic"},
		"invalid target": {func(in *render.Input) { in.Target.AccountID = "1" }, "account id"},
	} {
		t.Run(name, func(t *testing.T) {
			in := everything()
			c.change(&in)
			if _, err := render.Files(in); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to name %q", err, c.want)
			}
		})
	}
}

// TestTemplatesParse: every template of package deploy is YAML, and none gives a
// function more time than AWS IoT waits where it waits.
func TestTemplatesParse(t *testing.T) {
	entries, err := deploy.AWS.ReadDir("aws")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := deploy.AWS.ReadFile("aws/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for id, r := range parse(t, e.Name(), string(text)).Resources {
			if r.Type == "" {
				t.Errorf("%s: %s has no type", e.Name(), id)
			}
		}
	}
}
