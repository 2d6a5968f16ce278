package awsreg

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// slowTable is a table that takes its time to be created, as AWS's do.
type slowTable struct {
	dynamoAPI
	takes time.Duration
	ready time.Time
}

func (s *slowTable) DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error) {
	if s.ready.IsZero() {
		return nil, &smithy.GenericAPIError{Code: codeNotFound}
	}
	status := types.TableStatusActive
	if time.Now().Before(s.ready) {
		status = types.TableStatusCreating
	}
	return &dynamodb.DescribeTableOutput{Table: &types.TableDescription{
		TableStatus:          status,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(tableKey), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(tableKey), AttributeType: types.ScalarAttributeTypeS}},
	}}, nil
}

func (s *slowTable) CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error) {
	s.ready = time.Now().Add(s.takes)
	return &dynamodb.CreateTableOutput{}, nil
}

func TestTableIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, err := tableResource(&slowTable{takes: 20 * time.Second}, "t").converge(t.Context(), true); err != nil {
			t.Error(err)
		}
	})
}
