package lint_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"mintmark/awsreg"
	"mintmark/awsreg/lint"
)

// target is one with everything that has a document.
func target() awsreg.Target {
	return awsreg.Target{
		Name: "line-a", AccountID: "111122223333", Region: "eu-central-1",
		Fleets: []awsreg.Fleet{{
			Template: "press", RoleARN: "arn:aws:iam::111122223333:role/provisioning",
			Hook:         "arn:aws:lambda:eu-central-1:111122223333:function:provision",
			RotationHook: "arn:aws:lambda:eu-central-1:111122223333:function:rotate",
			ThingPrefix:  "press-", ThingType: "press", Groups: []string{"hall-7"}, Attributes: map[string]string{"hall": "7"},
		}},
		Rotation: &awsreg.Rotation{Presence: "arn:aws:lambda:eu-central-1:111122223333:function:presence"},
	}
}

// TestOwnDocuments: what mintmark generates and ships is clean.
func TestOwnDocuments(t *testing.T) {
	stacks, err := filepath.Glob("../../deploy/aws/*.yaml")
	if err != nil || len(stacks) == 0 {
		t.Fatalf("no stacks: %v", err)
	}
	for _, name := range stacks {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		clean(t, lint.Options{}, lint.File{Name: filepath.Base(name), Data: data})
	}
	clean(t, lint.Options{Role: lint.Device}, lint.File{Name: "device.json", Data: []byte(awsreg.DevicePolicy(target()))})
	jitp, err := awsreg.Template(awsreg.Issuer{Name: "devices", Subject: []string{"CommonName"}}, awsreg.JITP{Policy: "press"})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, lint.Options{Subject: []string{"CommonName"}}, lint.File{Name: "jitp.json", Data: []byte(jitp)})
}

func clean(t *testing.T, o lint.Options, files ...lint.File) {
	t.Helper()
	found, err := lint.CheckAll(files, o)
	if err != nil {
		t.Error(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// TestPolicySize: AWS counts without white space, and so does the linter.
func TestPolicySize(t *testing.T) {
	var doc any
	if err := json.Unmarshal([]byte(awsreg.DevicePolicy(target())), &doc); err != nil {
		t.Fatal(err)
	}
	spaced, err := json.MarshalIndent(doc, "", "                                        ")
	if err != nil {
		t.Fatal(err)
	}
	if len(spaced) <= 2048 || bytes.Count(spaced, []byte(" ")) < 1000 {
		t.Fatal("is too short to show anything")
	}
	clean(t, lint.Options{}, lint.File{Name: "policy.json", Data: spaced})
}

// TestOwnFleetDocuments: the documents of fleet provisioning by claim are clean.
func TestOwnFleetDocuments(t *testing.T) {
	for _, target := range []awsreg.Target{target(), withoutRotation()} {
		fleet := target.Fleets[0]
		clean(t, lint.Options{Role: lint.Device}, lint.File{Name: "device.json", Data: []byte(awsreg.FleetPolicy(target, fleet))})
		clean(t, lint.Options{}, lint.File{Name: "device.json", Data: []byte(awsreg.FleetPolicy(target, fleet))})
		clean(t, lint.Options{Role: lint.Claim}, lint.File{Name: "claim.json", Data: []byte(awsreg.ClaimPolicy(target, fleet))})
		clean(t, lint.Options{}, lint.File{Name: "template.json", Data: []byte(awsreg.FleetTemplate(target, fleet))})
		if target.Rotation != nil {
			clean(t, lint.Options{}, lint.File{Name: "rotation.json", Data: []byte(awsreg.RotationTemplate(target, fleet))})
		}
	}
}

func withoutRotation() awsreg.Target {
	t := target()
	t.Rotation, t.Fleets[0].RotationHook = nil, ""
	return t
}

// TestOwnIAMPolicy: the policy that the server needs has actions that exist.
func TestOwnIAMPolicy(t *testing.T) {
	policy, err := awsreg.IAMPolicy(target())
	if err != nil {
		t.Fatal(err)
	}
	clean(t, lint.Options{}, lint.File{Name: "iam.json", Data: []byte(policy)})
	clean(t, lint.Options{Role: lint.IAM}, lint.File{Name: "iam.json", Data: []byte(policy)})
}
