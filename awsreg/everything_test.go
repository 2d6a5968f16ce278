package awsreg_test

import (
	"testing"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
)

func lambdaARN(name string) string {
	return "arn:aws:lambda:" + region + ":" + first.ID + ":function:" + name
}

func roleARN(name string) string { return "arn:aws:iam::" + first.ID + ":role/" + name }

// everything is a target with everything in it: a CA for each use, two that go
// out of service, fleets, rotation and a certificate provider.
func everything(endpoint string) awsreg.Target {
	return awsreg.Target{
		Name: "line-a", AccountID: first.ID, Region: region, Endpoint: endpoint, QuotaScale: 1000,
		CAs: []awsreg.CA{
			{Issuer: "line", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR},
			{Issuer: "auto", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseJITP, JITP: &awsreg.JITP{
				RoleARN: roleARN("mintmark-jitp"), Policy: "mintmark-device",
			}},
			{Issuer: "press", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseRegister, Register: &awsreg.Register{
				Policy: "mintmark-device", ThingType: "press", Groups: []string{"hall-2"},
			}},
			{Issuer: "lone", Mode: awsreg.ModeNone, Use: awsreg.UseRegister, Register: &awsreg.Register{Policy: "mintmark-device"}},
			{Issuer: "old", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR, State: awsreg.StateDeleted, Sweep: awsreg.SweepRevoke},
			{Issuer: "older", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseNone, State: awsreg.StateInactive, Sweep: awsreg.SweepDeactivate},
		},
		JITR: &awsreg.JITR{Function: lambdaARN("mintmark-jitr")},
		Fleets: []awsreg.Fleet{
			{
				Template: "pumps", RoleARN: roleARN("mintmark-fleet"), Hook: lambdaARN("mintmark-provision"), RotationHook: lambdaARN("mintmark-rotate"),
				ThingPrefix: "pump-", ThingType: "pump", Groups: []string{"hall-1", "hall-2"}, Attributes: map[string]string{"line": "7"},
			},
			{
				Template: "valves", RoleARN: roleARN("mintmark-fleet"), Hook: lambdaARN("mintmark-provision"), RotationHook: lambdaARN("mintmark-rotate"),
				RotationTemplate: "valves-next", Policy: "valve", ClaimPolicy: "valve-claim", AWSKeys: true,
			},
		},
		Rotation: &awsreg.Rotation{Presence: lambdaARN("mintmark-presence")},
		Provider: &awsreg.Provider{Function: lambdaARN("mintmark-provider")},
	}
}

// ancients are the issuing CAs of everything, the same for every world of a test
// that compares worlds.
func ancients(t *testing.T) map[string]*authority {
	t.Helper()
	issuers := make(map[string]*authority)
	for _, name := range []string{"line", "auto", "press", "lone", "old", "older"} {
		issuers[name] = newAuthority(t, name)
	}
	return issuers
}

// newFullWorld is a world with the issuers of everything.
func newFullWorld(t *testing.T, change ...func(*awssim.Config)) (*world, awsreg.Target) {
	t.Helper()
	w := newWorld(t, change...)
	w.issuers = ancients(t)
	return w, everything(w.sim.ControlURL())
}
