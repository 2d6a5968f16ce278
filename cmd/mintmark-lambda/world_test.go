package main

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"mintmark/awsreg/awssim"
	"mintmark/awsreg/hook"
)

const region = "eu-central-1"

var account = awssim.Account{ID: "111122223333", AccessKeyID: "AKIA00000000000000AA", SecretAccessKey: "very-secret-access-key"}

// world is an AWS that a function sees, with both tables and a fresh head.
type world struct {
	t       testing.TB
	sim     *awssim.Sim
	dynamo  *dynamodb.Client
	iot     *iot.Client
	secrets *secretsmanager.Client
}

func newWorld(t testing.TB, change ...func(*awssim.Config)) *world {
	t.Helper()
	conf := awssim.Config{Accounts: []awssim.Account{account}, Region: region}
	for _, f := range change {
		f(&conf)
	}
	sim, err := awssim.Start(context.Background(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	cfg := aws.Config{
		Region: region, BaseEndpoint: aws.String(sim.ControlURL()),
		Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""),
	}
	w := &world{t: t, sim: sim, dynamo: dynamodb.NewFromConfig(cfg), iot: iot.NewFromConfig(cfg), secrets: secretsmanager.NewFromConfig(cfg)}
	for _, name := range []string{"devices", "rotation"} {
		_, err := w.dynamo.CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: "S"}},
			KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: "HASH"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.put(hook.Head{PushedAt: time.Now(), Server: "a", MaxAge: time.Hour, Period: 360 * day, Grace: 14 * day}.Item())
	return w
}

const day = 24 * time.Hour

// env is the environment of a function here, with more.
func (w *world) env(more ...string) []string {
	return append([]string{"AWS_ENDPOINT_URL=" + w.sim.ControlURL(), "MINTMARK_TABLE=devices"}, more...)
}

func (w *world) put(items ...hook.Item) { w.putIn("devices", items...) }

func (w *world) putIn(table string, items ...hook.Item) {
	w.t.Helper()
	for _, item := range items {
		if _, err := w.dynamo.PutItem(context.Background(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: item}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) remove(pk string) {
	w.t.Helper()
	if _, err := w.dynamo.DeleteItem(context.Background(), &dynamodb.DeleteItemInput{TableName: aws.String("devices"), Key: hook.Key(pk)}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) rotating(thing string) hook.Rotating {
	w.t.Helper()
	out, err := w.dynamo.GetItem(context.Background(), &dynamodb.GetItemInput{TableName: aws.String("rotation"), Key: hook.Key(thing), ConsistentRead: aws.Bool(true)})
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := hook.DecodeRotating(out.Item)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// certificate has AWS issue a certificate that is in service.
func (w *world) certificate() (id, pem string) {
	w.t.Helper()
	out, err := w.iot.CreateKeysAndCertificate(context.Background(), &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.CertificateId, *out.CertificatePem
}

func (w *world) status(id string) iottypes.CertificateStatus {
	w.t.Helper()
	out, err := w.iot.DescribeCertificate(context.Background(), &iot.DescribeCertificateInput{CertificateId: aws.String(id)})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.CertificateDescription.Status
}
