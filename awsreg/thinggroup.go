package awsreg

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/internal/reconcile"
)

// thingGroupResource is a static thing group: created at the top if absent, left
// where it is otherwise.
func thingGroupResource(api thingGroupAPI, name string) resource {
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindThingGroup, Subject: name, After: "there"}
		out, err := api.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: aws.String(name)})
		if code(err) == codeNotFound {
			change.Action = reconcile.Create
			return change, func(ctx context.Context) error {
				_, err := api.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String(name)})
				if code(err) == codeExists { // made by a call whose answer was lost
					return nil
				}
				return explain(fmt.Sprintf("creating thing group %q", name), err)
			}, nil
		}
		if err != nil {
			return change, nil, explain(fmt.Sprintf("reading thing group %q", name), err)
		}
		if aws.ToString(out.QueryString) != "" {
			// https://docs.aws.amazon.com/iot/latest/developerguide/dynamic-thing-groups.html
			change.Action = reconcile.Refuse
			change.After = "the group is a dynamic one, into which nothing can be put: name a static one"
			return change, nil, nil
		}
		change.Action, change.Before = reconcile.None, change.After
		return change, nil, nil
	}
	return resource{examine: examine}
}
