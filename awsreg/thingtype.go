package awsreg

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/internal/reconcile"
)

// thingTypeResource is a thing type: created if absent. What somebody has
// described in it is left alone.
func thingTypeResource(api thingTypeAPI, name string) resource {
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindThingType, Subject: name, After: "there"}
		out, err := api.DescribeThingType(ctx, &iot.DescribeThingTypeInput{ThingTypeName: aws.String(name)})
		if code(err) == codeNotFound {
			change.Action = reconcile.Create
			return change, func(ctx context.Context) error {
				_, err := api.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: aws.String(name)})
				if code(err) == codeExists { // made by a call whose answer was lost
					return nil
				}
				return explain(fmt.Sprintf("creating thing type %q", name), err)
			}, nil
		}
		if err != nil {
			return change, nil, explain(fmt.Sprintf("reading thing type %q", name), err)
		}
		if m := out.ThingTypeMetadata; m != nil && m.Deprecated {
			// https://docs.aws.amazon.com/iot/latest/developerguide/thing-types.html
			change.Action = reconcile.Refuse
			change.After = "the thing type is deprecated, and AWS gives it to no new thing: name another, or undo the deprecation"
			return change, nil, nil
		}
		change.Action, change.Before = reconcile.None, change.After
		return change, nil, nil
	}
	return resource{examine: examine}
}
