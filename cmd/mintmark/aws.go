package main

import (
	"context"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newAWS(a *app) *cobra.Command {
	c := a.group("aws", "Keep AWS IoT Core in step with the CA",
		`Aws compares the AWS accounts and regions of mintmark.yaml with what they
should be, and brings them there.`,
		"  mintmark aws plan --dir ./factory\n  mintmark aws apply --target line-a --dir ./factory")
	c.AddCommand(newAWSPlan(a), newAWSRender(a), newAWSApply(a), newAWSStatus(a), newAWSPolicy(a), newAWSPublish(a),
		newAWSClaim(a), newAWSProvision(a), newAWSDrift(a), newAWSBulk(a), newAWSDoctor(a))
	return c
}

// awsIoT is AWS IoT Core, for the commands that every cloud has.
var awsIoT = cloud[admin.AWSPlace]{
	name: "AWS", kind: "AWS target", columns: []string{"ACCOUNT", "REGION"},
	places: (*admin.Client).AWSPlaces, plan: (*admin.Client).AWSPlan, apply: (*admin.Client).AWSApply,
	outcome: func(p admin.AWSPlace) outcome {
		return outcome{Target: p.Target, AccountID: p.AccountID, Region: p.Region, where: []string{p.AccountID, p.Region}}
	},
}

// awsPlaces are the targets to work on: the one that was named, or all.
func awsPlaces(ctx context.Context, client *admin.Client, name string) ([]admin.AWSPlace, error) {
	return awsIoT.choose(ctx, client, name)
}

// awsTarget is the one target that is meant: the named one, or the only one.
func awsTarget(ctx context.Context, client *admin.Client, name string) (string, error) {
	return awsIoT.chooseOne(ctx, client, name)
}
