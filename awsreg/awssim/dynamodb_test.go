package awssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mintmark/internal/awshttp"
)

func (s *Sim) tables(a Account) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: region, BaseEndpoint: aws.String(s.ControlURL()), Retryer: aws.NopRetryer{}, HTTPClient: awshttp.Wrap(nil),
		Credentials: credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, ""),
	})
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func num(n int) types.AttributeValue    { return &types.AttributeValueMemberN{Value: fmt.Sprint(n)} }

type row = map[string]types.AttributeValue

func TestDynamoDB(t *testing.T) {
	s := startSim(t)
	c := s.tables(first)
	name := aws.String("devices")
	_, err := c.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: name, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("order"), KeyType: "HASH"}, {AttributeName: aws.String("n"), KeyType: "RANGE"}},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("order"), AttributeType: "S"}, {AttributeName: aws.String("n"), AttributeType: "N"}},
	})
	wantCode(t, err, "")
	put := func(n int, cond string, values row) error {
		in := &dynamodb.PutItemInput{TableName: name, Item: row{"order": str("A"), "n": num(n), "used": num(n)}, ExpressionAttributeValues: values}
		if cond != "" {
			in.ConditionExpression = &cond
		}
		_, err := c.PutItem(ctx, in)
		return err
	}
	// Once-only use by a conditional write.
	wantCode(t, put(1, "attribute_not_exists(n)", nil), "")
	wantCode(t, put(1, "attribute_not_exists(n)", nil), "ConditionalCheckFailedException")
	wantCode(t, put(1, "used < :m", row{":m": num(5)}), "")
	wantCode(t, put(1, "used < :m", row{":m": num(1)}), "ConditionalCheckFailedException")
	wantCode(t, put(1, "attribute_not_exists(n) OR used = :m", row{":m": num(1)}), "")
	wantCode(t, put(1, "used = :m AND missing = :m", row{":m": num(1)}), "ConditionalCheckFailedException")
	// What is not understood is refused, never ignored.
	wantCode(t, put(1, "size(used) < :m", row{":m": num(1)}), "ValidationException")
	wantCode(t, put(1, "begins_with(used, :m)", row{":m": num(1)}), "ValidationException")
	wantCode(t, put(1, "a.b = :m", row{":m": num(1)}), "ValidationException")
	wantCode(t, put(1, "status = :m", row{":m": num(1)}), "ValidationException") // reserved
	wantCode(t, put(1, "used = :x", row{":m": num(1)}), "ValidationException")
	wantCode(t, put(1, "attribute_exists(n)", row{":m": num(1)}), "ValidationException") // unused value
	_, err = c.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: row{"order": str("A")}})
	wantCode(t, err, "ValidationException")
	_, err = c.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("nowhere"), Item: row{"order": str("A")}})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = s.tables(second).DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: name})
	wantCode(t, err, "ResourceNotFoundException")

	// A failed condition can show the item.
	_, err = c.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: row{"order": str("A"), "n": num(1)},
		ConditionExpression: aws.String("attribute_not_exists(n)"), ReturnValuesOnConditionCheckFailure: "ALL_OLD"})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) || len(failed.Item) != 3 {
		t.Errorf("condition failure: %v", err)
	}

	key := row{"order": str("A"), "n": num(1)}
	_, err = c.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: name, Key: key, UpdateExpression: aws.String("SET #s = :d, used = :u"),
		ConditionExpression: aws.String("attribute_not_exists(#s)"), ExpressionAttributeNames: map[string]string{"#s": "state"},
		ExpressionAttributeValues: row{":d": str("done"), ":u": num(9)}})
	wantCode(t, err, "")
	_, err = c.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: name, Key: key, UpdateExpression: aws.String("SET n = :u"), ExpressionAttributeValues: row{":u": num(1)}})
	wantCode(t, err, "ValidationException")
	got, err := c.GetItem(ctx, &dynamodb.GetItemInput{TableName: name, Key: row{"order": str("A"), "n": &types.AttributeValueMemberN{Value: "1.0"}}, ConsistentRead: aws.Bool(true)})
	if err != nil || got.Item["used"].(*types.AttributeValueMemberN).Value != "9" {
		t.Errorf("item: %+v %v", got, err)
	}

	batch := func(n int) error {
		var reqs []types.WriteRequest
		for i := range n {
			reqs = append(reqs, types.WriteRequest{PutRequest: &types.PutRequest{Item: row{"order": str("B"), "n": num(i)}}})
		}
		_, err := c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"devices": reqs}})
		return err
	}
	wantCode(t, batch(25), "")
	wantCode(t, batch(26), "ValidationException")
	many, err := c.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"devices": {Keys: []row{
		{"order": str("B"), "n": num(3)}, {"order": str("B"), "n": num(99)}}}}})
	if err != nil || len(many.Responses["devices"]) != 1 {
		t.Errorf("batch get: %+v %v", many, err)
	}

	query := func(cond string, limit int32, start row) (*dynamodb.QueryOutput, error) {
		in := &dynamodb.QueryInput{TableName: name, KeyConditionExpression: &cond, ExclusiveStartKey: start,
			ExpressionAttributeNames: map[string]string{"#o": "order"}, ExpressionAttributeValues: row{":o": str("B"), ":n": num(10)}}
		if limit > 0 {
			in.Limit = &limit
		}
		return c.Query(ctx, in)
	}
	q, err := query("#o = :o AND n >= :n", 10, nil)
	if err != nil || q.Count != 10 || q.LastEvaluatedKey == nil || q.Items[0]["n"].(*types.AttributeValueMemberN).Value != "10" {
		t.Fatalf("query: %+v %v", q, err)
	}
	q, err = query("#o = :o AND n >= :n", 10, q.LastEvaluatedKey)
	if err != nil || q.Count != 5 || q.LastEvaluatedKey != nil {
		t.Errorf("second page: %+v %v", q, err)
	}
	_, err = query("n = :n AND #o <> :o", 0, nil)
	wantCode(t, err, "ValidationException")
	scan, err := c.Scan(ctx, &dynamodb.ScanInput{TableName: name, FilterExpression: aws.String("attribute_exists(used)")})
	if err != nil || scan.Count != 1 || scan.ScannedCount != 26 {
		t.Errorf("scan: %+v %v", scan, err)
	}
	del, err := c.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: name, Key: key, ReturnValues: "ALL_OLD"})
	if err != nil || len(del.Attributes) == 0 {
		t.Errorf("delete: %+v %v", del, err)
	}
	_, err = c.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: key, Expected: map[string]types.ExpectedAttributeValue{}})
	wantCode(t, err, "ValidationException") // the old form of a condition
	_, err = c.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{TableName: name, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("x"), Enabled: aws.Bool(true)}})
	wantCode(t, err, "SimulatorNotImplemented")
}

func TestAttributeValues(t *testing.T) {
	parse := func(text string) any {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, text := range []string{
		`{"S":""}`, `{"N":"-1.5e3"}`, `{"B":"AAE="}`, `{"BOOL":false}`, `{"NULL":true}`, `{"SS":["a","b"]}`, `{"NS":["1"]}`, `{"BS":["AA=="]}`,
		`{"L":[{"S":"x"},{"M":{"y":{"N":"1"}}}]}`, `{"M":{}}`,
	} {
		if err := checkValue(parse(text), 0); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		`"x"`, `{}`, `{"S":"x","N":"1"}`, `{"S":1}`, `{"N":"x"}`, `{"N":""}`, `{"N":"1e9999"}`, `{"B":"?"}`, `{"NULL":false}`, `{"BOOL":"true"}`,
		`{"SS":[]}`, `{"SS":["a","a"]}`, `{"NS":["x"]}`, `{"L":{}}`, `{"L":["x"]}`, `{"M":[]}`, `{"X":"y"}`,
	} {
		if err := checkValue(parse(text), 0); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{`{"N":"1"}`, `{"N":"1.00"}`, true}, {`{"S":"1"}`, `{"N":"1"}`, false}, {`{"SS":["a","b"]}`, `{"SS":["b","a"]}`, true},
		{`{"L":[{"S":"a"}]}`, `{"L":[{"S":"a"}]}`, true}, {`{"B":"AA=="}`, `{"B":"AA=="}`, true}, {`{"BOOL":true}`, `{"BOOL":false}`, false},
	} {
		if got := equal(parse(tt.a), parse(tt.b)); got != tt.want {
			t.Errorf("%s = %s is %v", tt.a, tt.b, got)
		}
	}
}

func TestDynamoDBByCommandLine(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the command line client")
	}
	s := startSim(t)
	mustCLI(t, s, "dynamodb", "create-table", "--table-name", "allow", "--billing-mode", "PAY_PER_REQUEST",
		"--attribute-definitions", "AttributeName=serial,AttributeType=S", "--key-schema", "AttributeName=serial,KeyType=HASH")
	put := []string{"dynamodb", "put-item", "--table-name", "allow", "--item", `{"serial":{"S":"0a"},"n":{"N":"1"}}`, "--condition-expression", "attribute_not_exists(serial)"}
	mustCLI(t, s, put...)
	if _, err := awsCLI(t, s, put...); err == nil || !strings.Contains(err.Error(), "ConditionalCheckFailedException") {
		t.Errorf("second put: %v", err)
	}
	if out := mustCLI(t, s, "dynamodb", "get-item", "--table-name", "allow", "--key", `{"serial":{"S":"0a"}}`, "--query", "Item.n.N"); out != "1" {
		t.Errorf("get-item: %s", out)
	}
	if out := mustCLI(t, s, "dynamodb", "describe-table", "--table-name", "allow", "--query", "Table.TableStatus"); out != "ACTIVE" {
		t.Errorf("describe-table: %s", out)
	}
	if _, err := awsCLI(t, s, "iot", "list-jobs"); err == nil || !strings.Contains(err.Error(), "this AWS simulator does not have") {
		t.Errorf("an operation that is not there: %v", err)
	}
}

func FuzzDynamoExpression(f *testing.F) {
	for _, seed := range []string{
		"attribute_not_exists(a) OR (#b < :c AND NOT d = :c)", "a BETWEEN :c AND :c", "a IN (:c, #b)", "begins_with(a, :s)", "contains(a, :c)",
		"SET a = :c, #b = if_not_exists(a, :c) + :c REMOVE d ADD e :c", "ADD a :n DELETE f :n", "a, #b",
	} {
		f.Add(seed)
	}
	stored := item{"a": map[string]any{"S": "x"}, "d": map[string]any{"N": "1e99"}, "f": map[string]any{"NS": []any{"1"}}}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := newPlaceholders(map[string]string{"#b": "b"}, map[string]any{
			":c": map[string]any{"N": "1"}, ":s": map[string]any{"S": "x"}, ":n": map[string]any{"NS": []any{"1"}}})
		if err != nil {
			t.Fatal(err)
		}
		if cond, err := p.condition("ConditionExpression", text); err == nil {
			cond(nil)
			cond(stored)
		}
		if project, err := p.projection(text); err == nil {
			project(stored)
		}
		before := describeAll(stored)
		if u, err := p.update(text); err == nil {
			if out, err := u.run(stored); err == nil {
				if err := checkItem(out); err != nil {
					t.Errorf("%q makes an item that is none: %v", text, err)
				}
			} else if out != nil {
				t.Error("a result together with an error")
			}
		}
		if describeAll(stored) != before {
			t.Error("an expression changed the item that it was evaluated on")
		}
	})
}
