package awssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// keyed makes a table whose only key is the string pk.
func keyed(t *testing.T, c *dynamodb.Client, name string) *string {
	t.Helper()
	_, err := c.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: "HASH"}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: "S"}},
	})
	wantCode(t, err, "")
	return &name
}

func TestUpdateExpressions(t *testing.T) {
	var old item
	if err := json.Unmarshal([]byte(`{"pk":{"S":"k"},"n":{"N":"5"},"s":{"S":"text"},"ss":{"SS":["a","b"]},"f":{"N":"0.5"},"big":{"N":"1e40"}}`), &old); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := json.Unmarshal([]byte(`{":one":{"N":"1"},":z":{"N":"0"},":t":{"S":"x"},":b":{"SS":["b","c"]},":all":{"SS":["a","b"]}}`), &values); err != nil {
		t.Fatal(err)
	}
	run := func(text string) (item, error) {
		p, err := newPlaceholders(map[string]string{"#n": "n"}, values)
		if err != nil {
			t.Fatal(err)
		}
		u, err := p.update(text)
		if err != nil {
			return nil, err
		}
		return u.run(old)
	}
	for _, tt := range []struct{ text, attr, want string }{
		{"SET s = :t", "s", `{"S":"x"}`},
		{"SET s = n", "s", `{"N":"5"}`},
		{"SET #n = #n + :one", "n", `{"N":"6"}`},
		{"SET n = n - :one", "n", `{"N":"4"}`},
		{"SET f = f + :one", "f", `{"N":"1.5"}`},
		{"SET f = f - :one", "f", `{"N":"-0.5"}`},
		{"SET big = big + big", "big", `{"N":"2E40"}`},
		{"SET c = if_not_exists(c, :z) + :one", "c", `{"N":"1"}`},
		{"SET n = if_not_exists(n, :z) + :one", "n", `{"N":"6"}`},
		{"set n = n + :one, c = n", "c", `{"N":"5"}`}, // operands are those before the update
		{"REMOVE s, missing", "s", `null`},
		{"ADD n :one, c :one", "n", `{"N":"6"}`},
		{"ADD c :one", "c", `{"N":"1"}`},
		{"ADD ss :b", "ss", `{"SS":["a","b","c"]}`},
		{"DELETE ss :b", "ss", `{"SS":["a"]}`},
		{"DELETE ss :all", "ss", `null`},
		{"SET s = :t REMOVE f ADD n :one", "n", `{"N":"6"}`},
	} {
		got, err := run(tt.text)
		if err != nil || describeAll(got[tt.attr]) != tt.want {
			t.Errorf("%s: %s is %s, want %s (%v)", tt.text, tt.attr, describeAll(got[tt.attr]), tt.want, err)
		}
	}
	for _, text := range []string{
		"n = :one", "SET", "SET n", "SET n = ", "SET n = :none", "SET n = missing", "SET n = s + :one", "SET n = n + missing",
		"SET n = :one, n = :z", "SET n = :one SET s = :t", "SET n = :one REMOVE n", "SET n = big + :one", "SET n = n * :one",
		"SET n = list_append(n, :one)", "SET n = if_not_exists(n, :one", "SET n = :one,", "SET a.b = :one", "SET state = :one", "REMOVE", "REMOVE ss[0]",
		"ADD n", "ADD n :t", "ADD s :one", "ADD ss :one", "ADD n n", "DELETE n :one", "DELETE s :b", "SET #x = :one",
	} {
		if got, err := run(text); err == nil {
			t.Errorf("%s: accepted: %v", text, got)
		}
	}
}

func TestConditionExpressions(t *testing.T) {
	var it item
	if err := json.Unmarshal([]byte(`{"pk":{"S":"order#7"},"n":{"N":"5"},"ss":{"SS":["a","b"]},"l":{"L":[{"N":"1"}]}}`), &it); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := json.Unmarshal([]byte(`{":o":{"S":"order#"},":a":{"S":"a"},":z":{"S":"z"},":one":{"N":"1.0"},":five":{"N":"5"},":nine":{"N":"9"},":type":{"S":"SS"}}`), &values); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"begins_with(pk, :o)": true, "begins_with(pk, :z)": false, "begins_with(n, :o)": false, "begins_with(missing, :o)": false,
		"contains(pk, :a)": false, "contains(ss, :a)": true, "contains(ss, :z)": false, "contains(l, :one)": true, "contains(ss, :one)": false,
		"attribute_type(ss, :type)": true, "attribute_type(pk, :type)": false,
		"n BETWEEN :one AND :nine": true, "n BETWEEN :nine AND :one": false, "n IN (:one, :five)": true, "n IN (:one)": false,
		"NOT n = :five OR n > :one AND n <= :five": true, "missing <> :one": true, "missing < :one": false,
	} {
		p, err := newPlaceholders(nil, values)
		if err != nil {
			t.Fatal(err)
		}
		cond, err := p.condition("ConditionExpression", text)
		if err != nil || cond(it) != want {
			t.Errorf("%s: want %v (%v)", text, want, err)
		}
	}
	p, err := newPlaceholders(nil, values)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"n BETWEEN :one", "n BETWEEN :one OR :five", "n IN ()", "n IN :one", "n IN (:one", "begins_with(n, :one)", "begins_with(pk)",
		"contains(pk, n)", "attribute_type(n, :o)", "attribute_exists(n, :one)", ":one(n)", "size(n) > :one", strings.Repeat("(", 1000) + "n = :one"} {
		if _, err := p.condition("ConditionExpression", text); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
}

func TestUpdateItemReturns(t *testing.T) {
	s := startSim(t)
	c := s.tables(first)
	name := keyed(t, c, "manifest")
	update := func(returns types.ReturnValue) row {
		t.Helper()
		out, err := c.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: name, Key: row{"pk": str("used#1")}, ReturnValues: returns,
			UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: row{":one": num(1)}})
		wantCode(t, err, "")
		return out.Attributes
	}
	n := func(r row) string {
		v, ok := r["n"].(*types.AttributeValueMemberN)
		if !ok {
			return ""
		}
		return v.Value
	}
	if got := update("ALL_NEW"); n(got) != "1" || len(got) != 2 {
		t.Errorf("ALL_NEW: %v", got)
	}
	if got := update("UPDATED_NEW"); n(got) != "2" || len(got) != 1 {
		t.Errorf("UPDATED_NEW: %v", got)
	}
	if got := update("UPDATED_OLD"); n(got) != "2" || len(got) != 1 {
		t.Errorf("UPDATED_OLD: %v", got)
	}
	if got := update("ALL_OLD"); n(got) != "3" || len(got) != 2 {
		t.Errorf("ALL_OLD: %v", got)
	}
	if got := update(""); got != nil {
		t.Errorf("no return values: %v", got)
	}
	_, err := c.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: row{"pk": str("x")}, ReturnValues: "ALL_NEW"})
	wantCode(t, err, "ValidationException")
	_, err = c.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: name, Key: row{"pk": str("x")}, ReturnValues: "SOME"})
	wantCode(t, err, "ValidationException")
}

func TestTransactions(t *testing.T) {
	s := startSim(t)
	c := s.tables(first)
	name := keyed(t, c, "manifest")
	put := func(pk string, cond string) types.TransactWriteItem {
		p := &types.Put{TableName: name, Item: row{"pk": str(pk)}}
		if cond != "" {
			p.ConditionExpression, p.ReturnValuesOnConditionCheckFailure = &cond, "ALL_OLD"
		}
		return types.TransactWriteItem{Put: p}
	}
	write := func(token string, items ...types.TransactWriteItem) error {
		in := &dynamodb.TransactWriteItemsInput{TransactItems: items}
		if token != "" {
			in.ClientRequestToken = &token
		}
		_, err := c.TransactWriteItems(ctx, in)
		return err
	}
	has := func(pk string) bool {
		out, err := c.GetItem(ctx, &dynamodb.GetItemInput{TableName: name, Key: row{"pk": str(pk)}})
		wantCode(t, err, "")
		return out.Item != nil
	}
	wantCode(t, write("", put("taken#1", "attribute_not_exists(pk)"), types.TransactWriteItem{Update: &types.Update{TableName: name, Key: row{"pk": str("used#1")},
		UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: row{":one": num(1)}}}), "")
	// One condition fails: nothing happens, and every action has its reason.
	err := write("", put("fresh", ""), put("taken#1", "attribute_not_exists(pk)"), types.TransactWriteItem{Delete: &types.Delete{TableName: name, Key: row{"pk": str("used#1")}}})
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) || len(cancelled.CancellationReasons) != 3 {
		t.Fatalf("want a cancellation with three reasons, got %v", err)
	}
	for i, code := range []string{"None", "ConditionalCheckFailed", "None"} {
		if got := aws.ToString(cancelled.CancellationReasons[i].Code); got != code {
			t.Errorf("reason %d is %s, want %s", i, got, code)
		}
	}
	if len(cancelled.CancellationReasons[1].Item) == 0 || len(cancelled.CancellationReasons[0].Item) != 0 {
		t.Error("the reason does not show the item that was in the way, or shows another")
	}
	if has("fresh") || !has("used#1") {
		t.Error("a part of a cancelled transaction happened")
	}
	check := func(cond string) types.TransactWriteItem {
		return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: name, Key: row{"pk": str("used#1")},
			ConditionExpression: &cond, ExpressionAttributeValues: row{":q": num(1)}}}
	}
	wantCode(t, write("", check("n < :q"), put("fresh", "")), "TransactionCanceledException")
	wantCode(t, write("", check("n <= :q"), put("fresh", "")), "")
	wantCode(t, write("", types.TransactWriteItem{Delete: &types.Delete{TableName: name, Key: row{"pk": str("fresh")}}}), "")
	if has("fresh") {
		t.Error("the delete of a transaction did nothing")
	}
	// A type that does not fit shows only when the item is known.
	wantCode(t, write("", types.TransactWriteItem{Update: &types.Update{TableName: name, Key: row{"pk": str("used#1")},
		UpdateExpression: aws.String("SET m = pk + :one"), ExpressionAttributeValues: row{":one": num(1)}}}), "TransactionCanceledException")

	// The token makes a repetition harmless, and only a repetition.
	once := put("token", "attribute_not_exists(pk)")
	wantCode(t, write("t1", once), "")
	wantCode(t, write("t1", once), "")
	wantCode(t, write("t2", once), "TransactionCanceledException")
	wantCode(t, write("t1", put("other", "")), "IdempotentParameterMismatchException")

	var many []types.TransactWriteItem
	for i := range maxTransact {
		many = append(many, put(fmt.Sprint("many", i), ""))
	}
	wantCode(t, write("", many...), "")
	wantCode(t, write("", append(many, put("one too many", ""))...), "ValidationException")
	wantCode(t, write("", put("twice", ""), put("twice", "")), "ValidationException")
	wantCode(t, write("", put("x", "nonsense")), "ValidationException")
	wantCode(t, write("", types.TransactWriteItem{Put: put("x", "").Put, Delete: &types.Delete{TableName: name, Key: row{"pk": str("y")}}}), "ValidationException")
	wantCode(t, write("", types.TransactWriteItem{}), "ValidationException")
	wantCode(t, write(strings.Repeat("t", 37), put("x", "")), "ValidationException")
	if has("x") || has("twice") {
		t.Error("a refused transaction had an effect")
	}
	large := func(pk string) types.TransactWriteItem {
		return types.TransactWriteItem{Put: &types.Put{TableName: name, Item: row{"pk": str(pk), "v": str(strings.Repeat("x", 399<<10))}}}
	}
	var heavy []types.TransactWriteItem
	for i := range 11 {
		heavy = append(heavy, large(fmt.Sprint("heavy", i)))
	}
	wantCode(t, write("", heavy...), "ValidationException")
	wantCode(t, write("", heavy[:10]...), "")

	got, err := c.TransactGetItems(ctx, &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
		{Get: &types.Get{TableName: name, Key: row{"pk": str("token")}}}, {Get: &types.Get{TableName: name, Key: row{"pk": str("nowhere")}}}}})
	if err != nil || len(got.Responses) != 2 || got.Responses[0].Item == nil || got.Responses[1].Item != nil {
		t.Errorf("transact get: %+v %v", got, err)
	}
}

func TestScanPages(t *testing.T) {
	s := startSim(t)
	c := s.tables(first)
	name := keyed(t, c, "manifest")
	pad := strings.Repeat("x", 300<<10)
	for i := range 12 {
		_, err := c.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: row{"pk": str(fmt.Sprintf("order#%02d", i)), "n": num(i), "pad": str(pad)}})
		wantCode(t, err, "")
	}
	scan := func(in dynamodb.ScanInput) (keys []string, pages int) {
		t.Helper()
		in.TableName = name
		for {
			out, err := c.Scan(ctx, &in)
			wantCode(t, err, "")
			pages++
			for _, it := range out.Items {
				keys = append(keys, it["pk"].(*types.AttributeValueMemberS).Value)
			}
			if out.LastEvaluatedKey == nil {
				return keys, pages
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
			// A page is not disturbed by what comes and goes.
			if pages == 1 {
				_, err := c.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: name, Key: out.LastEvaluatedKey})
				wantCode(t, err, "")
			}
		}
	}
	keys, pages := scan(dynamodb.ScanInput{})
	if len(keys) != 12 || pages != 3 || keys[0] != "order#00" || keys[11] != "order#11" {
		t.Errorf("%d pages of 1 MB with %v", pages, keys)
	}
	keys, pages = scan(dynamodb.ScanInput{Limit: aws.Int32(3), ProjectionExpression: aws.String("pk"),
		FilterExpression: aws.String("begins_with(pk, :o) AND n < :m"), ExpressionAttributeValues: row{":o": str("order#"), ":m": num(4)}})
	if len(keys) != 3 || pages != 4 { // order#03 went with the first scan
		t.Errorf("%d pages with %v", pages, keys)
	}
	out, err := c.Scan(ctx, &dynamodb.ScanInput{TableName: name, ProjectionExpression: aws.String("pk, #n"), ExpressionAttributeNames: map[string]string{"#n": "n"}, Limit: aws.Int32(1)})
	if err != nil || len(out.Items) != 1 || len(out.Items[0]) != 2 {
		t.Errorf("projection: %+v %v", out, err)
	}
	count, err := c.Scan(ctx, &dynamodb.ScanInput{TableName: name, Select: "COUNT", Limit: aws.Int32(2)})
	if err != nil || count.Count != 2 || len(count.Items) != 0 {
		t.Errorf("count: %+v %v", count, err)
	}
	for _, in := range []dynamodb.ScanInput{
		{Limit: aws.Int32(0)}, {FilterExpression: aws.String("n <")}, {ProjectionExpression: aws.String("pk,")}, {ProjectionExpression: aws.String("pk, pk")},
		{ExclusiveStartKey: row{"n": num(1)}}, {IndexName: aws.String("i")}, {Select: "ALL_PROJECTED_ATTRIBUTES"}, {Segment: aws.Int32(0), TotalSegments: aws.Int32(2)},
	} {
		in.TableName = name
		_, err := c.Scan(ctx, &in)
		wantCode(t, err, "ValidationException")
	}
}
