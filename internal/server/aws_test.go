package server

import (
	"context"
	"crypto/x509/pkix"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
	"mintmark/issuer"
)

// TestTargetComesLater adds an AWS target to a CA that has issued and revoked
// before: what was issued must be in the manifest after the first apply, and
// what was revoked must be revoked at AWS, too.
func TestTargetComesLater(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEEXAMPLE00")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-rehearsal-account-00000000")
	sim, err := awssim.Start(t.Context(), awssim.Config{
		Accounts: []awssim.Account{{ID: "123456789012", AccessKeyID: "AKIAEXAMPLEEXAMPLE00", SecretAccessKey: "secret-of-the-rehearsal-account-00000000"}},
		Region:   "eu-central-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()

	dir := newState(t)
	s := openLocal(t, dir, io.Discard)
	zero := 0
	enroll := func(authority, device string) issuer.Answer {
		answer, err := s.ra.Enroll(t.Context(), issuer.Request{
			Authorize: issuer.Trusted, Profile: "device", Issuer: authority, Requester: ledger.Requester{Kind: "password", Name: "line"},
			CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: device}),
		})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for _, name := range []string{"jitr", "jitp"} {
		if _, err := s.ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
			Spec: ca.Spec{Name: name, Subject: pkix.Name{CommonName: name}, Validity: 5 * 365 * 24 * time.Hour, PathLen: &zero}, Key: ca.P256, Issuer: "root",
		}, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	early, revoked := enroll("jitr", "early-1"), enroll("jitp", "revoked-1")
	if _, err := s.ra.Revoke(t.Context(), ledger.Selector{Device: "revoked-1"}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	editConfig(t, dir, "labels:\n", `aws:
  targets:
    - name: late
      account_id: "123456789012"
      region: eu-central-1
      endpoint: `+sim.ControlURL()+`
      cas:
        - {issuer: jitr, mode: DEFAULT, use: jitr}
        - {issuer: jitp, mode: DEFAULT, use: jitp, jitp: {profile: provisioned, role_arn: "arn:aws:iam::123456789012:role/mintmark-jitp", policy: mintmark-device}}
      jitr: {function: "arn:aws:lambda:eu-central-1:123456789012:function:f", policy: mintmark-device}
labels:
`)
	editConfig(t, dir, "profiles:\n", "profiles:\n  provisioned: {preset: aws-jitp}\n")
	s = openLocal(t, dir, io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.aws.run(ctx)
	}()
	defer func() {
		cancel()
		<-ended
		s.Close()
	}()
	if _, err := s.aws.Apply(t.Context(), "late", reconcile.Agreed{}, nil); err != nil {
		t.Fatal(err)
	}

	provider := credentials.NewStaticCredentialsProvider("AKIAEXAMPLEEXAMPLE00", "secret-of-the-rehearsal-account-00000000", "")
	table := dynamodb.New(dynamodb.Options{Region: "eu-central-1", BaseEndpoint: aws.String(sim.ControlURL()), Credentials: provider})
	things := iot.New(iot.Options{Region: "eu-central-1", BaseEndpoint: aws.String(sim.ControlURL()), Credentials: provider})
	has := func(pk string) bool {
		out, err := table.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("mintmark-devices"), ConsistentRead: aws.Bool(true),
			Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: pk}}})
		return err == nil && len(out.Item) > 0
	}
	id := awsreg.CertificateID(revoked.Certificate.Raw)
	for deadline := time.Now().Add(time.Minute); ; {
		out, err := things.DescribeCertificate(t.Context(), &iot.DescribeCertificateInput{CertificateId: &id})
		known := err == nil && out.CertificateDescription.Status == iottypes.CertificateStatusRevoked
		if has("head") && known {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after apply: head %v, the revoked certificate is known as revoked: %v", has("head"), known)
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
	if !has(awsreg.CertificateID(early.Certificate.Raw)) && !has("cert#"+awsreg.CertificateID(early.Certificate.Raw)) {
		t.Error("the manifest is declared current and lacks a certificate that was issued before the target")
	}
}
