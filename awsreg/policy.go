package awsreg

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/reconcile"
)

// policyVersions is how many versions of a policy AWS keeps.
// https://docs.aws.amazon.com/general/latest/gr/iot-core.html
const policyVersions = 5

type policyDocument struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string]any `json:",omitempty"`
}

// DevicePolicy is the IoT policy that devices get unless the configuration has
// another: connect as the thing that the certificate is attached to, and publish
// and subscribe below devices/<thing>/. Nothing else.
// https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html
func DevicePolicy(t Target) string { return newDevicePolicy(t).document() }

// policyResource is an IoT policy: created if absent, given a new default version
// if its document differs.
func policyResource(api policyAPI, name, document string) resource {
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindPolicy, Subject: name, After: digest(document)}
		out, err := api.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: aws.String(name)})
		if code(err) == codeNotFound {
			change.Action = reconcile.Create
			return change, func(ctx context.Context) error {
				_, err := api.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String(name), PolicyDocument: aws.String(document)})
				if code(err) == codeExists { // made by a call whose answer was lost
					return nil
				}
				return explain(fmt.Sprintf("creating IoT policy %q", name), err)
			}, nil
		}
		if err != nil {
			return change, nil, explain(fmt.Sprintf("reading IoT policy %q", name), err)
		}
		have := aws.ToString(out.PolicyDocument)
		if sameJSON(have, document) {
			change.Action, change.After = reconcile.None, digest(have)
			return change, nil, nil
		}
		change.Action, change.Before = reconcile.Update, digest(have)
		return change, func(ctx context.Context) error { return newPolicyVersion(ctx, api, name, document) }, nil
	}
	return resource{examine: examine}
}

// newPolicyVersion makes the document the policy's default version. At five
// versions the oldest that is not in force goes first.
func newPolicyVersion(ctx context.Context, api policyAPI, name, document string) error {
	doing := fmt.Sprintf("adding a version to IoT policy %q", name)
	out, err := api.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: aws.String(name)})
	if err != nil {
		return explain(doing, err)
	}
	if len(out.PolicyVersions) >= policyVersions {
		idle := slices.DeleteFunc(out.PolicyVersions, func(v types.PolicyVersion) bool { return v.IsDefaultVersion })
		if len(idle) == 0 {
			return fmt.Errorf("%s: AWS lists %d versions and none that could be deleted", doing, len(out.PolicyVersions))
		}
		oldest := slices.MinFunc(idle, olderVersion)
		_, err := api.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: aws.String(name), PolicyVersionId: oldest.VersionId})
		if err != nil && code(err) != codeNotFound {
			return explain(fmt.Sprintf("deleting version %s of IoT policy %q", aws.ToString(oldest.VersionId), name), err)
		}
	}
	_, err = api.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: aws.String(name), PolicyDocument: aws.String(document), SetAsDefault: true})
	return explain(doing, err)
}

// olderVersion orders versions by their numbers, which only rise; creation dates
// are too coarse.
func olderVersion(a, b types.PolicyVersion) int {
	x, errA := strconv.Atoi(aws.ToString(a.VersionId))
	y, errB := strconv.Atoi(aws.ToString(b.VersionId))
	if errA != nil || errB != nil {
		return aws.ToTime(a.CreateDate).Compare(aws.ToTime(b.CreateDate))
	}
	return cmp.Compare(x, y)
}

// digest names a document that is too long to print by its SHA-256, over its
// canonical JSON so that its formatting does not matter.
func digest(document string) string {
	var v any
	if err := json.Unmarshal([]byte(document), &v); err == nil {
		if canonical, err := json.Marshal(v); err == nil {
			return fmt.Sprintf("sha256:%x", sha256.Sum256(canonical))
		}
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(document)))
}
