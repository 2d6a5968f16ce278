package awsreg_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
)

const (
	region   = "eu-central-1"
	function = "mintmark-jitr"
)

var (
	first  = awssim.Account{ID: "111122223333", AccessKeyID: "AKIAFIRST00000000001", SecretAccessKey: "first-secret"}
	second = awssim.Account{ID: "444455556666", AccessKeyID: "AKIASECOND0000000002", SecretAccessKey: "second-secret"}
)

// world is a simulator, two issuing CAs and what a server would wire to awsreg.
type world struct {
	t       testing.TB
	sim     *awssim.Sim
	issuers map[string]*authority
	// beforeVerification runs before a verification certificate is issued.
	beforeVerification func()
	verifications      int
	callsPerSecond     float64
	books              *sqldb.Store // see ledger
	revoking           func(context.Context, []ledger.Serial) error
	now                func() time.Time // of registrars; time.Now if nil
	http               *recorder        // of all registrars
}

type authority struct {
	awsreg.Issuer
	key *ecdsa.PrivateKey
}

func newWorld(t testing.TB, change ...func(*awssim.Config)) *world {
	t.Helper()
	cfg := awssim.Config{Accounts: []awssim.Account{first, second}, Region: region}
	for _, f := range change {
		f(&cfg)
	}
	sim, err := awssim.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Errorf("closing the simulator: %v", err)
		}
	})
	return &world{t: t, sim: sim, callsPerSecond: 1000, http: newRecorder(), issuers: map[string]*authority{
		"line": newAuthority(t, "line"),
		"auto": newAuthority(t, "auto"),
	}}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	serial := make([]byte, 16)
	if _, err := rand.Read(serial); err != nil {
		t.Fatal(err)
	}
	serial[0] = serial[0]&0x3f | 0x40
	template.SerialNumber = new(big.Int).SetBytes(serial)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newAuthority(t testing.TB, name string, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "issuing CA " + name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	for _, f := range change {
		f(template)
	}
	key := newKey(t)
	return &authority{awsreg.Issuer{Name: name, Certificate: sign(t, template, nil, key.Public(), key), Subject: []string{"CommonName"}}, key}
}

// device issues a certificate and returns it with its key and its record.
func (a *authority) device(t testing.TB, name string) (*x509.Certificate, *ecdsa.PrivateKey, ledger.Certificate) {
	t.Helper()
	key := newKey(t)
	c := sign(t, &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.Certificate, key.Public(), a.key)
	return c, key, ledger.Certificate{
		Serial: ledger.Serial(fmt.Sprintf("%x", c.SerialNumber.Bytes())), Issuer: a.Name, Purpose: ledger.ForDevice,
		Device: name, NotBefore: c.NotBefore, NotAfter: c.NotAfter, State: ledger.Valid, DER: c.Raw,
	}
}

// verification does what the issuance cycle does for awsreg.
func (w *world) verification(_ context.Context, issuer, code string) ([]byte, error) {
	w.verifications++
	a := w.issuers[issuer]
	key := newKey(w.t)
	c := sign(w.t, &x509.Certificate{
		Subject:   pkix.Name{CommonName: code},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(5 * time.Minute),
	}, a.Certificate, key.Public(), a.key)
	if w.beforeVerification != nil {
		w.beforeVerification()
		w.beforeVerification = nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), nil
}

// registrar is a fresh process of the server.
func (w *world) registrar(a awssim.Account) *awsreg.Registrar {
	w.t.Helper()
	var records awsreg.Records // none until the test asks for a ledger
	if w.books != nil {
		records = w.books
	}
	r, err := awsreg.New(awsreg.Config{
		Records: records,
		Revoke:  w.revoke,
		Issuer: func(_ context.Context, name string) (awsreg.Issuer, error) {
			i, ok := w.issuers[name]
			if !ok {
				return awsreg.Issuer{}, fmt.Errorf("no issuer %q", name)
			}
			return i.Issuer, nil
		},
		Verification: w.verification,
		Server:       "factory-1",
		Now:          w.now,
		Credentials:  credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, ""),
		Deadline:     time.Minute,
		HTTPClient:   w.http,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// target has one CA for each way in.
func (w *world) target() awsreg.Target {
	return awsreg.Target{
		Name: "line-a", AccountID: first.ID, Region: region, Endpoint: w.sim.ControlURL(),
		QuotaScale: w.callsPerSecond,
		CAs: []awsreg.CA{
			{Issuer: "line", Mode: awsreg.ModeDefault, Use: awsreg.UseJITR},
			{Issuer: "auto", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseJITP, JITP: &awsreg.JITP{
				RoleARN: "arn:aws:iam::" + first.ID + ":role/mintmark-jitp", Policy: "mintmark-device",
			}},
		},
		JITR: &awsreg.JITR{Function: "arn:aws:lambda:" + region + ":" + first.ID + ":function:" + function},
	}
}

func (w *world) id(issuer string) string {
	return awsreg.CertificateID(w.issuers[issuer].Certificate.Raw)
}

// iot is an operator's own client.
func (w *world) iot(a awssim.Account) *iot.Client {
	return iot.New(iot.Options{
		Region: region, BaseEndpoint: aws.String(w.sim.ControlURL()), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, ""),
	})
}

func (w *world) dynamo() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: region, BaseEndpoint: aws.String(w.sim.ControlURL()),
		Credentials: credentials.NewStaticCredentialsProvider(first.AccessKeyID, first.SecretAccessKey, ""),
	})
}

// apply applies and checks that the target is then as it should be.
func (w *world) apply(t awsreg.Target) {
	w.t.Helper()
	r := w.registrar(first)
	if _, err := r.Apply(w.t.Context(), t, nil); err != nil {
		w.t.Fatal(err)
	}
	w.settled(t)
}

func (w *world) settled(t awsreg.Target) {
	w.t.Helper()
	plan, err := w.registrar(first).Plan(w.t.Context(), t)
	if err != nil {
		w.t.Fatal(err)
	}
	if !plan.Empty() {
		var b strings.Builder
		_ = plan.Render(&b)
		w.t.Fatalf("not settled:\n%s", b.String())
	}
}

// since returns the calls after the first n.
func (w *world) since(n int) []string { return w.sim.Calls()[n:] }

// mutating keeps the calls that change something.
func mutating(calls []string) []string {
	return slices.DeleteFunc(slices.Clone(calls), func(call string) bool {
		for _, prefix := range []string{"Get", "Describe", "List", "dynamodb:Get", "dynamodb:Describe", "dynamodb:List", "sts:"} {
			if strings.HasPrefix(call, prefix) {
				return true
			}
		}
		return false
	})
}

func (w *world) certificateStatus(id string) types.CertificateStatus {
	w.t.Helper()
	out, err := w.iot(first).DescribeCertificate(w.t.Context(), &iot.DescribeCertificateInput{CertificateId: aws.String(id)})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.CertificateDescription.Status
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
