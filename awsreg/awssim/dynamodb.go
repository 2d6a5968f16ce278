package awssim

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// Limits of DynamoDB (DynamoDB developer guide, ServiceQuotas and API reference).
const (
	maxTables    = 256
	maxBatchPut  = 25
	maxBatchGet  = 100
	maxItemBytes = 400 << 10
	maxPageBytes = 1 << 20 // of Query and Scan
	maxTransact  = 100
	maxTransfer  = 4 << 20 // bytes of the items of a transaction
)

var tableName = pattern.New(`^[a-zA-Z0-9_.-]{3,255}$`)

// table is a DynamoDB table without indexes.
type table struct {
	name    string
	hash    string
	sort    string // empty without a sort key
	types   map[string]string
	billing string
	created time.Time
	items   map[string]item // by key

	records map[string]*record // the same items, by key
	sorted  []*record          // in key order, but for those that are gone and for fresh
	fresh   []*record
	left    bool // some records of sorted or fresh are gone
}

// item is a DynamoDB item: attribute name to attribute value, as decoded JSON.
type item map[string]any

// dynamoOperations are the operations by the last part of x-amz-target.
var dynamoOperations = map[string]func(*call) (any, error){
	"CreateTable":    createTable,
	"DescribeTable":  describeTable,
	"DeleteTable":    deleteTable,
	"ListTables":     listTables,
	"PutItem":        putItem,
	"GetItem":        getItem,
	"UpdateItem":     updateItem,
	"DeleteItem":     deleteItem,
	"BatchWriteItem": batchWriteItem,
	"BatchGetItem":   batchGetItem,

	"TransactWriteItems": transactWriteItems,
	"TransactGetItems":   transactGetItems,

	"Query": queryItems,
	"Scan":  scanItems,
}

func dynamoError(code, format string, args ...any) *apiError {
	return &apiError{code: code, status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

func validation(format string, args ...any) *apiError {
	return dynamoError("ValidationException", format, args...)
}

// serveDynamoDB dispatches one JSON 1.0 request. Names of operations are prefixed
// in Calls, because they say little on their own.
func (s *Sim) serveDynamoDB(w http.ResponseWriter, c *call) {
	name, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), "DynamoDB_20120810.")
	run := dynamoOperations[name]
	if !ok || run == nil {
		noOperation("the DynamoDB operation " + clip(name, 64)).writeJSON10(w)
		return
	}
	s.perform(w, c, "dynamodb:"+name, func() (any, error) { return run(c) }, func(v any, e *apiError) {
		if e != nil {
			e.writeJSON10(w)
			return
		}
		writeJSON(w, http.StatusOK, dynamoContent, v)
	})
}

// dynamoAuthError writes a failed authentication with DynamoDB's own codes and
// status (DynamoDB developer guide, Programming.Errors).
func dynamoAuthError(e *apiError, w http.ResponseWriter) {
	codes := map[string]string{
		"ExpiredTokenException":      "ExpiredTokenException",
		"IncompleteSignature":        "IncompleteSignatureException",
		"InvalidClientTokenId":       "UnrecognizedClientException",
		"MissingAuthenticationToken": "MissingAuthenticationTokenException",
		"SignatureDoesNotMatch":      "InvalidSignatureException",
	}
	out := *e
	if code, ok := codes[e.code]; ok {
		out.code, out.status = code, http.StatusBadRequest
	}
	out.writeJSON10(w)
}

// decodeDynamo is decode with DynamoDB's error for what the simulator does not
// have: an ignored member would make a write mean something else.
func (c *call) decodeDynamo(v any) error {
	if err := decodeStrict(c.body, v); err != nil {
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return validation("this AWS simulator does not have the member %s of this request", field)
		}
		return dynamoError("SerializationException", "%v", err)
	}
	return nil
}

type keySchema struct {
	AttributeName string
	KeyType       string
}

type attributeDefinition struct {
	AttributeName string
	AttributeType string
}

func createTable(c *call) (any, error) {
	var in struct {
		TableName             string
		AttributeDefinitions  []attributeDefinition
		KeySchema             []keySchema
		BillingMode           string
		ProvisionedThroughput *struct{ ReadCapacityUnits, WriteCapacityUnits int64 }
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	t := &table{name: in.TableName, types: map[string]string{}, billing: in.BillingMode, created: c.w.now(), items: map[string]item{}, records: map[string]*record{}}
	if !tableName.MatchString(t.name) {
		return nil, validation("TableName must have 3 to 255 letters, digits or _.-")
	}
	switch {
	case t.billing == "" || t.billing == "PROVISIONED":
		if in.ProvisionedThroughput == nil {
			return nil, validation("No provisioned throughput specified for the table")
		}
		t.billing = "PROVISIONED"
	case t.billing != "PAY_PER_REQUEST":
		return nil, validation("BillingMode must be PROVISIONED or PAY_PER_REQUEST")
	}
	for _, k := range in.KeySchema {
		switch {
		case k.KeyType == "HASH" && t.hash == "":
			t.hash = k.AttributeName
		case k.KeyType == "RANGE" && t.sort == "" && t.hash != "":
			t.sort = k.AttributeName
		default:
			return nil, validation("Invalid KeySchema: want one HASH key, then at most one RANGE key")
		}
	}
	if t.hash == "" || t.hash == t.sort {
		return nil, validation("Invalid KeySchema: no HASH key, or both keys are the same attribute")
	}
	for _, d := range in.AttributeDefinitions {
		if d.AttributeType != "S" && d.AttributeType != "N" && d.AttributeType != "B" {
			return nil, validation("AttributeType must be S, N or B, not %q", clip(d.AttributeType, 16))
		}
		t.types[d.AttributeName] = d.AttributeType
	}
	if n := len(in.KeySchema); len(t.types) != n || t.types[t.hash] == "" || t.sort != "" && t.types[t.sort] == "" {
		return nil, validation("Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	if _, ok := c.w.tables[t.name]; ok {
		return nil, dynamoError("ResourceInUseException", "Table already exists: %s", t.name)
	}
	if len(c.w.tables) >= maxTables {
		return nil, dynamoError("LimitExceededException", "the simulator holds at most %d tables", maxTables)
	}
	c.w.tables[t.name] = t
	return map[string]any{"TableDescription": c.w.describe(t)}, nil
}

func (w *world) describe(t *table) map[string]any {
	schema := []keySchema{{t.hash, "HASH"}}
	defs := []attributeDefinition{{t.hash, t.types[t.hash]}}
	if t.sort != "" {
		schema = append(schema, keySchema{t.sort, "RANGE"})
		defs = append(defs, attributeDefinition{t.sort, t.types[t.sort]})
	}
	return map[string]any{
		"TableName": t.name, "TableArn": w.arn("dynamodb", "table/"+t.name), "TableStatus": "ACTIVE",
		"KeySchema": schema, "AttributeDefinitions": defs, "ItemCount": len(t.items),
		"CreationDateTime": epoch(t.created), "BillingModeSummary": map[string]string{"BillingMode": t.billing},
	}
}

func (w *world) findTable(name string) (*table, error) {
	name = strings.TrimPrefix(name, w.arn("dynamodb", "table/"))
	if t, ok := w.tables[name]; ok {
		return t, nil
	}
	return nil, dynamoError("ResourceNotFoundException", "Requested resource not found: Table: %s not found", clip(name, 255))
}

// namedTable decodes a request that has only a table name.
func (c *call) namedTable() (*table, error) {
	var in struct{ TableName string }
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	return c.w.findTable(in.TableName)
}

func describeTable(c *call) (any, error) {
	t, err := c.namedTable()
	if err != nil {
		return nil, err
	}
	return map[string]any{"Table": c.w.describe(t)}, nil
}

func deleteTable(c *call) (any, error) {
	t, err := c.namedTable()
	if err != nil {
		return nil, err
	}
	delete(c.w.tables, t.name)
	d := c.w.describe(t)
	d["TableStatus"] = "DELETING"
	return map[string]any{"TableDescription": d}, nil
}

func listTables(c *call) (any, error) {
	var in struct{}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	return map[string]any{"TableNames": keysOf(c.w.tables)}, nil
}

// keyOf checks and encodes the primary key of an item or of a key.
func (t *table) keyOf(it item, exact bool) (string, error) {
	names := []string{t.hash}
	if t.sort != "" {
		names = append(names, t.sort)
	}
	if exact && len(it) != len(names) {
		return "", validation("The provided key element does not match the schema")
	}
	var b strings.Builder
	for _, n := range names {
		v, ok := it[n].(map[string]any)
		if !ok {
			return "", validation("One of the required keys was not given a value: %s", n)
		}
		if _, ok := v[t.types[n]]; !ok {
			return "", validation("Type mismatch for key %s: expected %s", n, t.types[n])
		}
		s, err := keyText(v)
		if err != nil {
			return "", err
		}
		if s == t.types[n]+":" {
			return "", validation("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", n)
		}
		fmt.Fprintf(&b, "%d %s ", len(s), s)
	}
	return b.String(), nil
}
