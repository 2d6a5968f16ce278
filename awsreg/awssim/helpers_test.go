package awssim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/smithy-go"
)

const region = "eu-central-1"

var (
	first  = Account{ID: "111122223333", AccessKeyID: "AKIAFIRST00000000001", SecretAccessKey: "first-secret"}
	second = Account{ID: "444455556666", AccessKeyID: "AKIASECOND0000000002", SecretAccessKey: "second-secret"}
)

// startSim starts a simulator with two accounts for one test.
func startSim(t *testing.T, change ...func(*Config)) *Sim {
	t.Helper()
	cfg := Config{Accounts: []Account{first, second}, Region: region}
	for _, f := range change {
		f(&cfg)
	}
	s, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the simulator: %v", err)
		}
	})
	return s
}

// client is the real SDK, without retries so that faults show. token is the
// session token of temporary credentials.
func (s *Sim) client(a Account, region string, token ...string) *iot.Client {
	return iot.New(iot.Options{
		Region: region, BaseEndpoint: aws.String(s.ControlURL()),
		Credentials: credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, strings.Join(token, "")),
		Retryer:     aws.NopRetryer{},
	})
}

// awsCLI runs the real command line client and returns its output.
func awsCLI(t *testing.T, s *Sim, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(pkitest.AWS(t), append([]string{"--endpoint-url", s.ControlURL(), "--region", region, "--output", "text"}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1",
		"AWS_ACCESS_KEY_ID=" + first.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + first.SecretAccessKey,
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return strings.TrimSpace(stdout.String()), errors.New(strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// mustCLI is awsCLI for a command that must succeed.
func mustCLI(t *testing.T, s *Sim, args ...string) string {
	t.Helper()
	out, err := awsCLI(t, s, args...)
	if err != nil {
		t.Fatalf("aws %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// openssl runs openssl in dir.
func openssl(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(pkitest.Tool(t, "openssl"), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// tool finds a program or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	return pkitest.Tool(t, name)
}

// wait polls until cond holds.
func wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// eventsOf reads the debug endpoint, as a person would.
func eventsOf(t *testing.T, s *Sim, kind string) []event {
	t.Helper()
	resp, err := http.Get(s.ControlURL() + "/_sim/events?kind=" + kind)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out []event
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// wantCode checks the error code of an SDK call; "" wants success.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	switch {
	case code == "" && err != nil:
		t.Fatalf("unexpected error: %v", err)
	case code != "" && !errors.As(err, &api):
		t.Fatalf("want error %s, got %v", code, err)
	case code != "" && api.ErrorCode() != code:
		t.Fatalf("want error %s, got %v", code, err)
	}
}

// authority is a CA for tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

// pair is a certificate with its key, in memory and in files.
type pair struct {
	cert     *x509.Certificate
	key      crypto.Signer
	pem      string
	certFile string
	keyFile  string
}

var serials int64

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newCA makes a self-signed CA; change may spoil its template.
func newCA(t *testing.T, cn string, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	for _, f := range change {
		f(tmpl)
	}
	cert := createCert(t, tmpl, tmpl, key.Public(), key)
	return &authority{cert, key, pemOf(cert)}
}

func createCert(t *testing.T, tmpl, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	if tmpl.SerialNumber == nil {
		serials++
		tmpl.SerialNumber = big.NewInt(serials)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue signs a certificate; change may spoil its template.
func (a *authority) issue(t *testing.T, subject pkix.Name, change ...func(*x509.Certificate)) *pair {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(tmpl)
	}
	cert := createCert(t, tmpl, a.cert, key.Public(), a.key)
	return &pair{cert: cert, key: key, pem: pemOf(cert)}
}

// files writes certificate, chain and key for clients that read files.
func (p *pair) files(t *testing.T, chain ...*authority) *pair {
	t.Helper()
	dir := t.TempDir()
	text := p.pem
	for _, a := range chain {
		text += a.pem
	}
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.certFile = writeFile(t, dir, "cert.pem", text)
	p.keyFile = writeFile(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return p
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// register registers a CA in DEFAULT mode: code, verification certificate, call.
func (a *authority) register(t *testing.T, c *iot.Client, change ...func(*iot.RegisterCACertificateInput)) (string, error) {
	t.Helper()
	ctx := context.Background()
	code, err := c.GetRegistrationCode(ctx, &iot.GetRegistrationCodeInput{})
	if err != nil {
		t.Fatal(err)
	}
	in := &iot.RegisterCACertificateInput{
		CaCertificate: aws.String(a.pem), SetAsActive: true, AllowAutoRegistration: true,
		VerificationCertificate: aws.String(a.issue(t, pkix.Name{CommonName: *code.RegistrationCode}).pem),
	}
	for _, f := range change {
		f(in)
	}
	out, err := c.RegisterCACertificate(ctx, in)
	if err != nil {
		return "", err
	}
	return *out.CertificateId, nil
}

// mustRegister is register for a CA that must be accepted.
func (a *authority) mustRegister(t *testing.T, c *iot.Client, change ...func(*iot.RegisterCACertificateInput)) string {
	t.Helper()
	id, err := a.register(t, c, change...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
