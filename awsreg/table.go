package awsreg

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mintmark/internal/reconcile"
)

const tableKey = "pk"

// tableResource is a DynamoDB table of the functions, the manifest or what
// rotates: created if absent, paid per request, and waited for. A table of another shape is refused and never
// replaced.
func tableResource(api dynamoAPI, name string) resource {
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindTable, Subject: name, After: "key pk (string), paid per request"}
		out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(name)})
		if code(err) == codeNotFound {
			change.Action = reconcile.Create
			return change, func(ctx context.Context) error { return createTable(ctx, api, name) }, nil
		}
		if err != nil {
			return change, nil, explain(fmt.Sprintf("describing table %q", name), err)
		}
		if out.Table == nil {
			return change, nil, fmt.Errorf("describing table %q: AWS answered without a description", name)
		}
		if !manifestKey(out.Table) {
			change.Action = reconcile.Refuse
			change.After = "the table is there with another key than the string pk; it is not mintmark's: name another table"
			return change, nil, nil
		}
		change.Action = reconcile.None
		change.Before = change.After
		switch out.Table.TableStatus {
		case types.TableStatusActive, types.TableStatusUpdating:
			return change, nil, nil
		case types.TableStatusCreating: // by a run that was cut off, or by the last call
			return change, func(context.Context) error {
				return fmt.Errorf("table %q is being created: %w", name, errNotYet)
			}, nil
		}
		change.Action = reconcile.Refuse
		change.After = fmt.Sprintf("the table's status is %s", out.Table.TableStatus)
		return change, nil, nil
	}
	return resource{examine: examine}
}

func createTable(ctx context.Context, api dynamoAPI, name string) error {
	_, err := api.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:            aws.String(name),
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(tableKey), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(tableKey), KeyType: types.KeyTypeHash}},
	})
	if code(err) == codeInUse { // it exists: made by a call whose answer was lost
		return nil
	}
	return explain(fmt.Sprintf("creating table %q", name), err)
}

func manifestKey(t *types.TableDescription) bool {
	if len(t.KeySchema) != 1 || aws.ToString(t.KeySchema[0].AttributeName) != tableKey || t.KeySchema[0].KeyType != types.KeyTypeHash {
		return false
	}
	for _, a := range t.AttributeDefinitions {
		if aws.ToString(a.AttributeName) == tableKey {
			return a.AttributeType == types.ScalarAttributeTypeS
		}
	}
	return false
}
