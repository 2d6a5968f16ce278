package server

import (
	"context"
	"crypto/x509/pkix"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/prometheus/client_golang/prometheus"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
	"mintmark/issuer"
)

const (
	accessKey = "AKIAEXAMPLEEXAMPLE00"
	secretKey = "secret-of-the-rehearsal-account-00000000"
)

// rehearsal is a server with a target "line" at a simulator, whose CA "told" has
// mintmark register each device certificate. Its deliveries run.
func rehearsal(t *testing.T) (*Server, *iot.Client) {
	t.Helper()
	return rehearsalWith(t, "policy: told-device", "")
}

// rehearsalWith has its own way to register, more lines in the target's configuration,
// and what is done to the server before its deliveries run.
func rehearsalWith(t *testing.T, register, more string, prepare ...func(*Server)) (*Server, *iot.Client) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	sim, err := awssim.Start(t.Context(), awssim.Config{
		Accounts: []awssim.Account{{ID: "123456789012", AccessKeyID: accessKey, SecretAccessKey: secretKey}},
		Region:   "eu-central-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	dir := newState(t)
	editConfig(t, dir, "labels:\n", `aws:
  targets:
    - name: line
      account_id: "123456789012"
      region: eu-central-1
      endpoint: `+sim.ControlURL()+`
      cas:
        - {issuer: told, mode: SNI_ONLY, use: register, register: {`+register+`}}
`+more+`labels:
`)
	s := openLocal(t, dir, io.Discard)
	zero := 0
	if _, err := s.ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
		Spec: ca.Spec{Name: "told", Subject: pkix.Name{CommonName: "told"}, Validity: 5 * 365 * 24 * time.Hour, PathLen: &zero}, Key: ca.P256, Issuer: "root",
	}, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.aws.Apply(t.Context(), "line", reconcile.Agreed{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, f := range prepare {
		f(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.aws.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		s.Close()
	})
	return s, iot.New(iot.Options{Region: "eu-central-1", BaseEndpoint: aws.String(sim.ControlURL()),
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")})
}

// enrollTold issues a device certificate and waits until AWS takes it.
func enrollTold(t *testing.T, s *Server, things *iot.Client, device string) issuer.Answer {
	t.Helper()
	answer, err := s.ra.Enroll(t.Context(), issuer.Request{
		Authorize: issuer.Trusted, Profile: "device", Issuer: "told", Requester: ledger.Requester{Kind: "password", Name: "line"},
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: device}),
	})
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, things, answer, iottypes.CertificateStatusActive)
	return answer
}

func awaitStatus(t *testing.T, things *iot.Client, answer issuer.Answer, want iottypes.CertificateStatus) {
	t.Helper()
	id := awsreg.CertificateID(answer.Certificate.Raw)
	eventually(t, "AWS has certificate "+id+" "+string(want), func() bool {
		out, err := things.DescribeCertificate(t.Context(), &iot.DescribeCertificateInput{CertificateId: &id})
		return err == nil && out.CertificateDescription.Status == want
	})
}

func setStatus(t *testing.T, things *iot.Client, answer issuer.Answer, to iottypes.CertificateStatus) {
	t.Helper()
	if _, err := things.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{
		CertificateId: aws.String(awsreg.CertificateID(answer.Certificate.Raw)), NewStatus: to,
	}); err != nil {
		t.Fatal(err)
	}
}

func stateOf(t *testing.T, s *Server, answer issuer.Answer) ledger.Certificate {
	t.Helper()
	c, err := s.ledger.Certificate(t.Context(), answer.Serial)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAdopt: what somebody revokes at AWS is reported, and revoked here only when
// asked for, in the name that asks, and all of it or, above the limit, nothing.
func TestAdopt(t *testing.T) {
	s, things := rehearsal(t)
	one, two := enrollTold(t, s, things, "one"), enrollTold(t, s, things, "two")
	setStatus(t, things, one, iottypes.CertificateStatusRevoked)
	setStatus(t, things, two, iottypes.CertificateStatusRevoked)

	drift, err := s.aws.Reconcile(t.Context(), "line", false, 10, "olga")
	if err != nil {
		t.Fatal(err)
	}
	if len(drift.Left) != 2 || len(drift.Adopted) != 0 || stateOf(t, s, one).State != ledger.Valid {
		t.Errorf("without adopting: %+v", drift)
	}
	drift, err = s.aws.Reconcile(t.Context(), "line", true, 1, "olga")
	if err != nil {
		t.Fatal(err)
	}
	if len(drift.Adopted) != 0 || len(drift.Left) != 2 || !strings.Contains(drift.Left[0].Text, "access.revoke_limit") {
		t.Errorf("above the limit: %+v", drift)
	}
	if stateOf(t, s, one).State != ledger.Valid || stateOf(t, s, two).State != ledger.Valid {
		t.Error("above the limit, some were revoked all the same")
	}
	drift, err = s.aws.Reconcile(t.Context(), "line", true, 2, "aws/line")
	if err != nil {
		t.Fatal(err)
	}
	if len(drift.Adopted) != 2 || len(drift.Left) != 0 {
		t.Errorf("adopting: %+v", drift)
	}
	for _, answer := range []issuer.Answer{one, two} {
		if c := stateOf(t, s, answer); c.State != ledger.Revoked || c.RevokedBy != "aws/line" {
			t.Errorf("%s is %s by %q", c.Device, c.State, c.RevokedBy)
		}
	}
}

// TestAdoptRefused: only a comparison revokes, and only what devices have.
func TestAdoptRefused(t *testing.T) {
	s, things := rehearsal(t)
	answer := enrollTold(t, s, things, "one")
	if err := s.aws.adopt(t.Context(), []ledger.Serial{answer.Serial}); err == nil {
		t.Error("revoked for nobody")
	}
	authority, err := s.ra.Authority("told")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), adoptionKey{}, &adoption{left: 10, actor: "aws/line"})
	if err := s.aws.adopt(ctx, []ledger.Serial{answer.Serial, issuer.SerialOf(authority.Certificate().SerialNumber)}); err == nil || !strings.Contains(err.Error(), "no cloud decides") {
		t.Errorf("adopting the revocation of a CA: %v", err)
	}
	if err := s.aws.adopt(ctx, []ledger.Serial{"0123"}); err == nil {
		t.Error("adopted what is not in the ledger")
	}
	if c := stateOf(t, s, answer); c.State != ledger.Valid {
		t.Errorf("the device's certificate is %s", c.State)
	}
}

// TestDrift: what AWS has otherwise is put right and kept, for commands after a
// restart and for the metrics.
func TestDrift(t *testing.T) {
	s, things := rehearsal(t)
	answer := enrollTold(t, s, things, "one")
	if _, ok, err := s.aws.Drift("line"); ok || err != nil {
		t.Errorf("a comparison before the first: %v, %v", ok, err)
	}
	if text := scrape(t, s); !strings.Contains(text, `kind="unknown",target="line" 0`) || !strings.Contains(text, `aws_drift_timestamp_seconds target="line" 0`) {
		t.Errorf("metrics before the first comparison:\n%s", text)
	}
	if _, err := s.ra.Revoke(t.Context(), ledger.Selector{Device: "one"}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, things, answer, iottypes.CertificateStatusRevoked)
	other := enrollTold(t, s, things, "other")
	setStatus(t, things, other, iottypes.CertificateStatusInactive)
	drift, err := s.aws.Reconcile(t.Context(), "line", false, 10, "olga")
	if err != nil {
		t.Fatal(err)
	}
	if drift.Checked < 2 || len(drift.Left) != 1 || drift.At.IsZero() {
		t.Errorf("drift %+v", drift)
	}
	kept, ok, err := newFound(s.config.Dir, "aws", awsTally).last("line")
	if err != nil || !ok || kept.Checked != drift.Checked || len(kept.Left) != 1 || kept.Left[0].Device != "other" {
		t.Errorf("kept %+v, %v, %v", kept, ok, err)
	}
	if text := scrape(t, s); !strings.Contains(text, `kind="left",target="line" 1`) || strings.Contains(text, `timestamp_seconds target="line" 0`) {
		t.Errorf("metrics after the comparison:\n%s", text)
	}
	if _, _, err := s.aws.Drift("no-such"); err == nil {
		t.Error("a comparison of a target that is not there")
	}
}

// scrape writes the drift metrics, a line each.
func scrape(t *testing.T, s *Server) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(newAWSCollector(s.aws))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, family := range families {
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			b.WriteString(family.GetName() + " " + strings.Join(labels, ",") + " " + number(m.GetGauge().GetValue()) + "\n")
		}
	}
	return b.String()
}

func number(v float64) string {
	if v == 0 {
		return "0"
	}
	if v == 1 {
		return "1"
	}
	return "many"
}

// TestDriftFile: a file that is cut off is an error that names it, and never a
// comparison that found nothing.
func TestDriftFile(t *testing.T) {
	dir := t.TempDir()
	d := newFound(dir, "aws", awsTally)
	if err := d.keep("line", awsreg.Drift{Target: "line", At: time.Unix(1, 0), Checked: 5}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.file("line"), []byte(`{"Target":"li`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := d.last("line"); ok || err == nil || !strings.Contains(err.Error(), d.file("line")) {
		t.Errorf("a file that was cut off: %v, %v", ok, err)
	}
}
