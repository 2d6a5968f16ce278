package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/awssim"
	"mintmark/internal/awshttp"
)

const (
	tableName    = "devices"
	rotationName = "rotation"
	period       = 360 * 24 * time.Hour
	grace        = 14 * 24 * time.Hour
)

var here = Place{Account: "111122223333", Region: "eu-central-1"}

// idOf makes certificate ids: sixty-four digits that tell tests what they are.
func idOf(n int) string { return fmt.Sprintf("%064x", n) }

// world is the simulator's DynamoDB with both tables, through the real SDK, and a
// registry of certificates.
type world struct {
	t      testing.TB
	sim    *awssim.Sim
	dynamo *dynamodb.Client
	certs  *certificates
	log    *lockedLog
	now    time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	account := awssim.Account{ID: here.Account, AccessKeyID: "AKIA00000000000000AA", SecretAccessKey: "secret"}
	sim, err := awssim.Start(context.Background(), awssim.Config{Accounts: []awssim.Account{account}, Region: here.Region})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	w := &world{t: t, sim: sim, certs: &certificates{status: map[string]types.CertificateStatus{}}, log: &lockedLog{}, now: now}
	w.dynamo = dynamodb.New(dynamodb.Options{
		Region: here.Region, BaseEndpoint: aws.String(sim.ControlURL()),
		Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""),
		Retryer:     aws.NopRetryer{}, // so that faults show
		HTTPClient:  awshttp.Wrap(nil),
	})
	for _, name := range []string{tableName, rotationName} {
		_, err := w.dynamo.CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: aws.String(name), BillingMode: dynamotypes.BillingModePayPerRequest,
			AttributeDefinitions: []dynamotypes.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: "S"}},
			KeySchema:            []dynamotypes.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: "HASH"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.put(Head{PushedAt: now.Add(-time.Minute), Server: "a", MaxAge: 48 * time.Hour, Period: period, Grace: grace}.Item())
	return w
}

func (w *world) clock() time.Time       { return w.now }
func (w *world) table() Table           { return Table{Client: w.dynamo, Name: tableName} }
func (w *world) rotation() Table        { return Table{Client: w.dynamo, Name: rotationName} }
func (w *world) put(items ...Item)      { w.putIn(tableName, items...) }
func (w *world) putRotating(d Rotating) { w.putIn(rotationName, d.Item()) }

func (w *world) putIn(table string, items ...Item) {
	w.t.Helper()
	for _, item := range items {
		if _, err := w.dynamo.PutItem(context.Background(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: item}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) remove(table, pk string) {
	w.t.Helper()
	if _, err := w.dynamo.DeleteItem(context.Background(), &dynamodb.DeleteItemInput{TableName: aws.String(table), Key: Key(pk)}); err != nil {
		w.t.Fatal(err)
	}
}

// item is what a table holds under a key, written down; empty for nothing.
func (w *world) item(table, pk string) string {
	w.t.Helper()
	item, err := Table{Client: w.dynamo, Name: table}.get(context.Background(), pk)
	if err != nil {
		w.t.Fatal(err)
	}
	if item == nil {
		return ""
	}
	text := ""
	for _, name := range sortedKeys(item) {
		switch v := item[name].(type) {
		case *dynamotypes.AttributeValueMemberS:
			text += name + "=" + v.Value + " "
		case *dynamotypes.AttributeValueMemberN:
			text += name + "=" + v.Value + " "
		}
	}
	return strings.TrimSpace(text)
}

func (w *world) used(order string) int {
	w.t.Helper()
	n, err := w.table().used(context.Background(), order)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) device(thing string) Rotating {
	w.t.Helper()
	d, err := w.rotation().rotating(context.Background(), thing)
	if err != nil {
		w.t.Fatalf("thing %s: %v", thing, err)
	}
	return d
}

// certificates is AWS IoT Core as far as the status of certificates goes. Calls
// can be made to fail, before or after their effect.
type certificates struct {
	mu      sync.Mutex
	status  map[string]types.CertificateStatus
	calls   int
	failAt  int // number of the call that fails, from 1; 0 for none
	persist bool
	updated []string
}

func (c *certificates) set(id string, status types.CertificateStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status[id] = status
}

func (c *certificates) is(id string) types.CertificateStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status[id]
}

func (c *certificates) cut() bool {
	c.calls++
	return c.calls == c.failAt
}

func (c *certificates) DescribeCertificate(_ context.Context, in *iot.DescribeCertificateInput, _ ...func(*iot.Options)) (*iot.DescribeCertificateOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut() {
		return nil, errCut
	}
	status, ok := c.status[*in.CertificateId]
	if !ok {
		return nil, &types.ResourceNotFoundException{Message: aws.String("gone")}
	}
	return &iot.DescribeCertificateOutput{CertificateDescription: &types.CertificateDescription{Status: status}}, nil
}

func (c *certificates) UpdateCertificate(_ context.Context, in *iot.UpdateCertificateInput, _ ...func(*iot.Options)) (*iot.UpdateCertificateOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fails := c.cut()
	if fails && !c.persist {
		return nil, errCut
	}
	status, ok := c.status[*in.CertificateId]
	switch {
	case !ok:
		return nil, &types.ResourceNotFoundException{Message: aws.String("gone")}
	case status == revoked:
		return nil, &types.CertificateStateException{Message: aws.String("revoked")}
	}
	c.status[*in.CertificateId] = in.NewStatus
	c.updated = append(c.updated, fmt.Sprintf("%s %s", *in.CertificateId, in.NewStatus))
	if fails {
		return nil, errCut
	}
	return &iot.UpdateCertificateOutput{}, nil
}

// lockedLog is a log that goroutines may write.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lockedLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// reasonOf is the reason of a refusal; empty for any other error or none.
func reasonOf(err error) Reason {
	var refused *Refusal
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

func sortedKeys(item Item) []string {
	var keys []string
	for k := range item {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// beforeUpdate lets something happen right before an update.
type beforeUpdate struct {
	Dynamo
	happen func()
}

func (b beforeUpdate) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	b.happen()
	return b.Dynamo.UpdateItem(ctx, in, opts...)
}

// meanwhile lets something happen right before a transaction.
type meanwhile struct {
	Dynamo
	happen func()
}

func (m meanwhile) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, opts ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	m.happen()
	return m.Dynamo.TransactWriteItems(ctx, in, opts...)
}
