package claim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/awssim"
)

const account = "111122223333"

const template = `{
	"Parameters": {"SerialNumber": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
	"Resources": {
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Fn::Join": ["", ["unit-", {"Ref": "SerialNumber"}]]}}},
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "claim"}}
	},
	"DeviceConfiguration": {"url": "https://example.com"}
}`

// The policy of claims and, for rotation, of devices; TEMPLATE is what they may ask for.
const policy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["arn:aws:iot:eu-central-1:111122223333:topic/$aws/certificates/create-from-csr/*",
		"arn:aws:iot:eu-central-1:111122223333:topic/$aws/provisioning-templates/fleet*/provision/*"]},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":["arn:aws:iot:eu-central-1:111122223333:topicfilter/$aws/certificates/create-from-csr/*",
		"arn:aws:iot:eu-central-1:111122223333:topicfilter/$aws/provisioning-templates/fleet*/provision/*"]}]}`

// cloud is a simulator with a fleet template, and a claim certificate for it.
type cloud struct {
	sim   *awssim.Sim
	iot   *iot.Client
	claim tls.Certificate
	name  string // server name
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	a := awssim.Account{ID: account, AccessKeyID: "AKIAFIRST00000000001", SecretAccessKey: "secret"}
	sim, err := awssim.Start(t.Context(), awssim.Config{Accounts: []awssim.Account{a}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cloud{sim: sim, iot: iot.New(iot.Options{Region: "eu-central-1", BaseEndpoint: aws.String(sim.ControlURL()),
		Credentials: credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, ""), Retryer: aws.NopRetryer{}})}
	resp, err := http.Get(sim.ControlURL() + "/_sim/endpoints")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var endpoints []struct{ ServerName string }
	if err := json.NewDecoder(resp.Body).Decode(&endpoints); err != nil || len(endpoints) == 0 {
		t.Fatalf("endpoints: %v %v", endpoints, err)
	}
	c.name = endpoints[0].ServerName
	ctx := context.Background()
	_, err = c.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("claim"), PolicyDocument: aws.String(policy)})
	must(t, err)
	_, err = c.iot.CreateProvisioningTemplate(ctx, &iot.CreateProvisioningTemplateInput{TemplateName: aws.String("fleet"), TemplateBody: aws.String(template),
		ProvisioningRoleArn: aws.String("arn:aws:iam::111122223333:role/provisioning"), Enabled: aws.Bool(true)})
	must(t, err)
	key := newKey(t)
	cert := selfSigned(t, key, "claim-1", time.Now().Add(time.Hour))
	c.claim = tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
	out, err := c.iot.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{Status: types.CertificateStatusActive,
		CertificatePem: aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})))})
	must(t, err)
	_, err = c.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("claim"), Target: out.CertificateArn})
	must(t, err)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func selfSigned(t *testing.T, key crypto.Signer, cn string, until time.Time) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: serial(t), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

func request(t *testing.T, key crypto.Signer, cn string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, key)
	must(t, err)
	return der
}

// config is a device that gives up soon, and writes what it logs into a buffer.
func (c *cloud) config(t *testing.T, key crypto.Signer, serialNumber string) (Config, *bytes.Buffer) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.sim.RootPEM())
	var log bytes.Buffer
	return Config{
		Endpoint: c.sim.BrokerAddr(), ServerName: c.name, Roots: roots, Certificate: c.claim, ClientID: "station-" + serialNumber,
		Template: "fleet", CSR: request(t, key, serialNumber), Parameters: map[string]string{"SerialNumber": serialNumber},
		Backoff: time.Millisecond, Attempts: 3, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}, &log
}

func (c *cloud) status(t *testing.T, id string) string {
	t.Helper()
	out, err := c.iot.DescribeCertificate(context.Background(), &iot.DescribeCertificateInput{CertificateId: &id})
	must(t, err)
	return string(out.CertificateDescription.Status)
}

// TestProvision: a claim becomes a device, and the device its own successor.
func TestProvision(t *testing.T) {
	c := newCloud(t)
	key := newKey(t)
	cfg, log := c.config(t, key, "4711")
	got, err := Provision(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got.ThingName != "unit-4711" || got.DeviceConfiguration["url"] != "https://example.com" || !key.PublicKey.Equal(got.Certificate.PublicKey) {
		t.Errorf("result: %+v", got)
	}
	if st := c.status(t, got.CertificateID); st != "ACTIVE" {
		t.Errorf("the certificate is %s", st)
	}
	if s := log.String(); strings.Contains(s, "PRIVATE") || !strings.Contains(s, "unit-4711") {
		t.Errorf("log: %s", s)
	}
	block, _ := pem.Decode(got.PEM)
	if block == nil || !bytes.Equal(block.Bytes, got.Certificate.Raw) {
		t.Error("the PEM text is not the certificate")
	}
	// Rotation: the same, under the certificate that the device has.
	next := newKey(t)
	cfg, _ = c.config(t, next, "4711")
	cfg.Certificate = tls.Certificate{Certificate: [][]byte{got.Certificate.Raw}, PrivateKey: key}
	cfg.ClientID = got.ThingName
	again, err := Provision(t.Context(), cfg)
	if err != nil || again.CertificateID == got.CertificateID || again.ThingName != got.ThingName {
		t.Errorf("rotation: %+v %v", again, err)
	}
}

// TestRejections: what AWS refuses comes back as its own words, at once.
func TestRejections(t *testing.T) {
	c := newCloud(t)
	cfg, _ := c.config(t, newKey(t), "not a name")
	var refused *Rejection
	if got, err := Provision(t.Context(), cfg); !errors.As(err, &refused) || refused.StatusCode != 400 || refused.Operation != "RegisterThing" ||
		refused.Code != "InvalidRequest" || refused.Temporary() || got.Certificate != nil {
		t.Errorf("a name that is none: %+v %v", got, err)
	}
	cfg, _ = c.config(t, newKey(t), "1")
	cfg.Template = "fleet-2"
	if _, err := Provision(t.Context(), cfg); !errors.As(err, &refused) || refused.StatusCode != 404 {
		t.Errorf("a template that is not there: %v", err)
	}
	if n := count(c.sim.Calls(), "mqtt:RegisterThing"); n != 2 {
		t.Errorf("%d requests for two refusals", n)
	}
	// What the policy does not allow, the broker refuses.
	cfg.Template = "another"
	if _, err := Provision(t.Context(), cfg); err == nil || errors.As(err, new(*Rejection)) || !strings.Contains(err.Error(), "the policy of the certificate does not allow it") {
		t.Errorf("a template that the policy does not allow: %v", err)
	}
}

func count(list []string, s string) int {
	n := 0
	for _, x := range list {
		if x == s {
			n++
		}
	}
	return n
}

// TestRetries: throttling, outages and broken connections, before and after the effect.
func TestRetries(t *testing.T) {
	c := newCloud(t)
	for _, f := range []awssim.Fault{
		{Operation: "mqtt:CreateCertificateFromCsr", Code: "ThrottlingException"},
		{Operation: "mqtt:CreateCertificateFromCsr", Code: "InternalFailureException", Status: 500},
		{Operation: "mqtt:CreateCertificateFromCsr"},
		{Operation: "mqtt:CreateCertificateFromCsr", AfterEffect: true},
		{Operation: "mqtt:RegisterThing", Code: "ServiceUnavailableException", Status: 503},
		{Operation: "mqtt:RegisterThing"},
	} {
		c.sim.Inject(f)
		cfg, log := c.config(t, newKey(t), "4711")
		got, err := Provision(t.Context(), cfg)
		if err != nil || got.ThingName != "unit-4711" {
			t.Errorf("%+v: %+v %v", f, got, err)
		}
		if n := strings.Count(log.String(), "attempt failed"); n != 1 {
			t.Errorf("%+v: %d attempts failed:\n%s", f, n, log)
		}
	}
	// The answer of RegisterThing is lost: the token is used, the certificate is good.
	c.sim.Inject(awssim.Fault{Operation: "mqtt:RegisterThing", AfterEffect: true})
	key := newKey(t)
	cfg, _ := c.config(t, key, "4712")
	got, err := Provision(t.Context(), cfg)
	if !errors.Is(err, ErrAnswerLost) || got.Certificate == nil || !key.PublicKey.Equal(got.Certificate.PublicKey) {
		t.Fatalf("%+v %v", got, err)
	}
	if st := c.status(t, got.CertificateID); st != "ACTIVE" {
		t.Errorf("the certificate is %s", st)
	}
	// Attempts are bounded.
	c.sim.Inject(awssim.Fault{Operation: "mqtt:CreateCertificateFromCsr", Code: "ThrottlingException", Every: 1})
	before := count(c.sim.Calls(), "mqtt:CreateCertificateFromCsr")
	var refused *Rejection
	if _, err := Provision(t.Context(), cfg); !errors.As(err, &refused) || refused.StatusCode != 429 || !strings.Contains(err.Error(), "giving up after 3") {
		t.Errorf("throttled for good: %v", err)
	}
	if n := count(c.sim.Calls(), "mqtt:CreateCertificateFromCsr") - before; n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// TestFirstConnect: a claim that AWS does not know yet is tried again, one that is
// expired or a server that cannot be trusted is not.
func TestFirstConnect(t *testing.T) {
	c := newCloud(t)
	list, err := c.iot.ListCertificates(t.Context(), &iot.ListCertificatesInput{})
	must(t, err)
	set := func(status types.CertificateStatus) {
		_, err := c.iot.UpdateCertificate(context.Background(), &iot.UpdateCertificateInput{CertificateId: list.Certificates[0].CertificateId, NewStatus: status})
		must(t, err)
	}
	set(types.CertificateStatusInactive)
	cfg, log := c.config(t, newKey(t), "1")
	cfg.Attempts = 5
	var mu sync.Mutex
	dials := 0
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if dials++; dials == 3 {
			set(types.CertificateStatusActive)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	if got, err := Provision(t.Context(), cfg); err != nil || got.ThingName != "unit-1" {
		t.Errorf("%+v %v\n%s", got, err, log)
	}
	if dials != 3 {
		t.Errorf("%d connections, want 3", dials)
	}
	once := func(change func(*Config)) error {
		cfg, _ := c.config(t, newKey(t), "1")
		dials := 0
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		change(&cfg)
		_, err := Provision(t.Context(), cfg)
		if err == nil || dials != 1 {
			t.Errorf("%d connections: %v", dials, err)
		}
		return err
	}
	once(func(cfg *Config) {
		key := newKey(t)
		cfg.Certificate = tls.Certificate{Certificate: [][]byte{selfSigned(t, key, "old", time.Now().Add(-time.Minute)).Raw}, PrivateKey: key}
	})
	var unknown x509.UnknownAuthorityError
	if err := once(func(cfg *Config) { cfg.Roots = x509.NewCertPool() }); !errors.As(err, &unknown) {
		t.Errorf("another root: %v", err)
	}
	var name x509.HostnameError
	if err := once(func(cfg *Config) { cfg.ServerName = "elsewhere.example" }); !errors.As(err, &name) {
		t.Errorf("another name: %v", err)
	}
	// The context ends the waiting.
	ctx, cancel := context.WithCancel(t.Context())
	cfg, _ = c.config(t, newKey(t), "1")
	cfg.Backoff = time.Hour
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
		cancel()
		return nil, errors.New("no route")
	}
	if _, err := Provision(ctx, cfg); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "no route") {
		t.Errorf("cancelled: %v", err)
	}
}

// TestALPN: port 443 asks for the protocol, others do not; the simulator stands behind
// both.
func TestALPN(t *testing.T) {
	c := newCloud(t)
	cfg, _ := c.config(t, newKey(t), "1")
	cfg.Endpoint = "endpoint.example:443"
	cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, c.sim.BrokerAddr())
	}
	if _, err := Provision(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	// A web server on port 443 is not taken for AWS IoT.
	key := newKey(t)
	cert := selfSigned(t, key, "web", time.Now().Add(time.Hour))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}})
	must(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
	}
	if _, err := Provision(t.Context(), cfg); err == nil {
		t.Error("a web server was accepted")
	}
}

// TestConfig: what AWS would refuse is not even sent.
func TestConfig(t *testing.T) {
	key := newKey(t)
	good := Config{Endpoint: "localhost:8883", Certificate: tls.Certificate{Certificate: [][]byte{{1}}, PrivateKey: key}, ClientID: "x", Template: "t", CSR: request(t, key, "x")}
	if _, _, err := good.check(); err != nil {
		t.Fatal(err)
	}
	spoilt := bytes.Clone(good.CSR)
	spoilt[len(spoilt)-1] ^= 1
	long, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: strings.Split(strings.Repeat("name.example ", 300), " ")[:300]}, key)
	must(t, err)
	for name, change := range map[string]func(*Config){
		"endpoint":       func(c *Config) { c.Endpoint = "localhost" },
		"no claim":       func(c *Config) { c.Certificate = tls.Certificate{} },
		"client id":      func(c *Config) { c.ClientID = strings.Repeat("x", 129) },
		"template":       func(c *Config) { c.Template = "a/b" },
		"no request":     func(c *Config) { c.CSR = nil },
		"bad signature":  func(c *Config) { c.CSR = spoilt },
		"long request":   func(c *Config) { c.CSR = long },
		"parameter name": func(c *Config) { c.Parameters = map[string]string{"": "x"} },
		"parameter":      func(c *Config) { c.Parameters = map[string]string{"x": strings.Repeat("x", maxValue+1)} },
		"attempts":       func(c *Config) { c.Attempts = maxAttempts + 1 },
		"backoff":        func(c *Config) { c.Backoff = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := Provision(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "configuring") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
