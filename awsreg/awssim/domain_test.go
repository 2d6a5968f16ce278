package awssim

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	paho "github.com/eclipse/paho.mqtt.golang"
)

// scripted is a Lambda function in shell: it keeps the last event and answers what
// the test says, or nothing at all.
type scripted struct {
	t    *testing.T
	dir  string
	path string
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	tool(t, "curl")
	f := &scripted{t: t, dir: t.TempDir()}
	f.path = writeFile(t, f.dir, "bootstrap", `#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
cd "$(dirname "$0")"
while :; do
	out=$(curl -sS -D - "$api/next") || exit 1
	id=$(printf '%s\n' "$out" | tr -d '\r' | sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: //p')
	printf '%s\n' "$out" | tail -n 1 >event
	[ -f silent ] && exit 1
	curl -sS -o /dev/null -d @answer "$api/$id/response"
done
`)
	if err := os.Chmod(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *scripted) answer(text string) { writeFile(f.t, f.dir, "answer", text) }

func (f *scripted) event() callbackEvent {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "event"))
	if err != nil {
		f.t.Fatal(err)
	}
	var e callbackEvent
	if err := decodeStrict(text, &e); err != nil {
		f.t.Fatalf("the function got %s: %v", text, err)
	}
	return e
}

func serverName(name string) option {
	return func(c *tls.Config, _ *paho.ClientOptions) { c.ServerName = name }
}

// callbackDevice registers a device that may do everything.
func callbackDevice(t *testing.T, s *Sim) (*authority, *pair) {
	t.Helper()
	c := s.client(first, region)
	ca := newCA(t, "Callback CA")
	ca.mustRegister(t, c)
	dev := ca.issue(t, pkix.Name{CommonName: "device"})
	out, err := c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: &dev.pem, Status: "ACTIVE"})
	wantCode(t, err, "")
	_, err = c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("all"), PolicyDocument: aws.String(allowAll)})
	wantCode(t, err, "")
	_, err = c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("all"), Target: out.CertificateArn})
	wantCode(t, err, "")
	return ca, dev
}

func TestClientCertificateCallback(t *testing.T) {
	f := newScripted(t)
	f.answer(`{"isAuthenticated": true}`)
	s := startSim(t, func(c *Config) { c.Functions = map[string]Function{"connect": {Path: f.path}} })
	c := s.client(first, region)
	ca, dev := callbackDevice(t, s)
	set := func(name, arn string) {
		t.Helper()
		_, err := c.UpdateDomainConfiguration(ctx, &iot.UpdateDomainConfigurationInput{DomainConfigurationName: &name,
			ClientCertificateConfig: &types.ClientCertificateConfig{ClientCertificateCallbackArn: &arn}})
		wantCode(t, err, "")
	}
	arn := "arn:aws:lambda:" + region + ":" + first.ID + ":function:connect"
	set(standardDomain, arn)
	got, err := c.DescribeDomainConfiguration(ctx, &iot.DescribeDomainConfigurationInput{DomainConfigurationName: aws.String(standardDomain)})
	if err != nil || *got.ClientCertificateConfig.ClientCertificateCallbackArn != arn || *got.DomainName != endpointName(first.ID, region) || got.DomainType != types.DomainTypeAwsManaged {
		t.Fatalf("described as %+v: %v", got, err)
	}
	if _, err := connect(t, s, dev, "one", sni(first), withChain(ca)); err != nil {
		t.Errorf("an authenticated device is refused: %v", err)
	}
	e := f.event()
	if e.PrincipalID != certificateID(dev.cert) || e.ServerName != endpointName(first.ID, region) || e.ConnectionMetadata.ID == "" ||
		len(e.Chain) != 2 || e.Chain[0] != dev.pem || e.Chain[1] != ca.pem {
		t.Errorf("the function got %+v", e)
	}
	refused := func(what, why string, opts ...option) {
		t.Helper()
		before := len(eventsOf(t, s, "connect.refused"))
		if _, err := connect(t, s, dev, "two", opts...); err == nil {
			t.Errorf("%s: the device is let in", what)
			return
		}
		events := eventsOf(t, s, "connect.refused")
		if len(events) <= before || !strings.Contains(events[len(events)-1].Message, why) {
			t.Errorf("%s: refused with %+v, want %q", what, events, why)
		}
	}
	for answer, why := range map[string]string{
		`{"isAuthenticated": false}`: "not authenticated", `{}`: "not authenticated", `null`: "not authenticated",
		`{"isAuthenticated": "true"}`: "no isAuthenticated", `[true]`: "no isAuthenticated",
	} {
		f.answer(answer)
		refused(answer, why, sni(first))
	}
	f.answer(`{"isAuthenticated": true}`)
	refused("no SNI", "no SNI")
	writeFile(t, f.dir, "silent", "")
	refused("a function that ends", "callback failed", sni(first))
	if err := os.Remove(filepath.Join(f.dir, "silent")); err != nil {
		t.Fatal(err)
	}
	set(standardDomain, "arn:aws:lambda:"+region+":"+first.ID+":function:nowhere")
	refused("a function that is not there", "callback failed", sni(first))
	set(standardDomain, "")
	if _, err := connect(t, s, dev, "three"); err != nil {
		t.Errorf("without callback: %v", err)
	}

	// A device that is refused is not registered just in time either.
	set(standardDomain, arn)
	f.answer(`{"isAuthenticated": false}`)
	stranger := ca.issue(t, pkix.Name{CommonName: "stranger"})
	if _, err := connect(t, s, stranger, "stranger", sni(first), withChain(ca)); err == nil {
		t.Error("a pending device is let in")
	}
	id := certificateID(stranger.cert)
	_, err = c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestDomainConfigurations(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	_, dev := callbackDevice(t, s)
	create := func(name string, change ...func(*iot.CreateDomainConfigurationInput)) error {
		in := &iot.CreateDomainConfigurationInput{DomainConfigurationName: &name}
		for _, f := range change {
			f(in)
		}
		_, err := c.CreateDomainConfiguration(ctx, in)
		return err
	}
	policy := func(name string) func(*iot.CreateDomainConfigurationInput) {
		return func(in *iot.CreateDomainConfigurationInput) { in.TlsConfig = &types.TlsConfig{SecurityPolicy: &name} }
	}
	wantCode(t, create("plant", policy("IoTSecurityPolicy_TLS13_1_3_2022_10"), func(in *iot.CreateDomainConfigurationInput) {
		in.AuthenticationType, in.ApplicationProtocol = types.AuthenticationTypeAwsX509, types.ApplicationProtocolSecureMqtt
		in.Tags = []types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}}
	}), "")
	wantCode(t, create("plant"), "ResourceAlreadyExistsException")
	wantCode(t, create(standardDomain), "ResourceAlreadyExistsException")
	d, err := c.DescribeDomainConfiguration(ctx, &iot.DescribeDomainConfigurationInput{DomainConfigurationName: aws.String("plant")})
	if err != nil || d.DomainConfigurationStatus != "ENABLED" || d.AuthenticationType != "AWS_X509" {
		t.Fatalf("described as %+v: %v", d, err)
	}
	tags, err := c.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: d.DomainConfigurationArn})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("tags: %+v %v", tags, err)
	}
	// The endpoint of its own has a server certificate and its own TLS versions.
	if _, err := connect(t, s, dev, "one", serverName(*d.DomainName)); err != nil {
		t.Errorf("connecting to %s: %v", *d.DomainName, err)
	}
	if _, body := debugCall(t, s, "GET", "/_sim/endpoints", ""); !strings.Contains(body, *d.DomainName) || !strings.Contains(body, endpointName(second.ID, region)) {
		t.Errorf("endpoints: %s", body)
	}
	old := func(c *tls.Config, _ *paho.ClientOptions) { c.MaxVersion = tls.VersionTLS12 }
	if _, err := connect(t, s, dev, "two", serverName(*d.DomainName), old); err == nil {
		t.Error("a policy of TLS 1.3 lets TLS 1.2 in")
	}
	if _, err := connect(t, s, dev, "three", sni(first), old); err != nil {
		t.Errorf("the standard endpoint refuses TLS 1.2: %v", err)
	}
	update := func(change func(*iot.UpdateDomainConfigurationInput)) error {
		in := &iot.UpdateDomainConfigurationInput{DomainConfigurationName: aws.String("plant")}
		change(in)
		_, err := c.UpdateDomainConfiguration(ctx, in)
		return err
	}
	remove := func(name string) error {
		_, err := c.DeleteDomainConfiguration(ctx, &iot.DeleteDomainConfigurationInput{DomainConfigurationName: &name})
		return err
	}
	wantCode(t, remove("plant"), "InvalidRequestException") // still enabled
	wantCode(t, update(func(in *iot.UpdateDomainConfigurationInput) { in.DomainConfigurationStatus = "DISABLED" }), "")
	if _, err := connect(t, s, dev, "four", serverName(*d.DomainName)); err == nil {
		t.Error("a disabled endpoint lets a device in")
	}
	wantCode(t, update(func(in *iot.UpdateDomainConfigurationInput) { in.DomainConfigurationStatus = "BROKEN" }), "InvalidRequestException")
	list, err := c.ListDomainConfigurations(ctx, &iot.ListDomainConfigurationsInput{PageSize: aws.Int32(1)})
	if err != nil || len(list.DomainConfigurations) != 1 || list.NextMarker == nil || *list.DomainConfigurations[0].DomainConfigurationName != standardDomain {
		t.Errorf("listed %+v: %v", list, err)
	}
	wantCode(t, remove("plant"), "")
	wantCode(t, remove("plant"), "ResourceNotFoundException")
	wantCode(t, remove(standardDomain), "InvalidRequestException")
	_, err = c.UpdateDomainConfiguration(ctx, &iot.UpdateDomainConfigurationInput{DomainConfigurationName: aws.String(standardDomain), DomainConfigurationStatus: "DISABLED"})
	wantCode(t, err, "InvalidRequestException")

	for what, tt := range map[string]struct {
		code   string
		change func(*iot.CreateDomainConfigurationInput)
	}{
		"domain name":  {"SimulatorNotImplemented", func(in *iot.CreateDomainConfigurationInput) { in.DomainName = aws.String("iot.example.com") }},
		"certificates": {"SimulatorNotImplemented", func(in *iot.CreateDomainConfigurationInput) { in.ServerCertificateArns = []string{"arn"} }},
		"authorizer": {"SimulatorNotImplemented", func(in *iot.CreateDomainConfigurationInput) {
			in.AuthorizerConfig = &types.AuthorizerConfig{AllowAuthorizerOverride: aws.Bool(true)}
		}},
		"custom authentication": {"SimulatorNotImplemented", func(in *iot.CreateDomainConfigurationInput) {
			in.AuthenticationType = types.AuthenticationTypeCustomAuth
		}},
		"web sockets": {"SimulatorNotImplemented", func(in *iot.CreateDomainConfigurationInput) {
			in.ApplicationProtocol = types.ApplicationProtocolMqttWss
		}},
		"jobs":             {"SimulatorNotImplemented", func(in *iot.CreateDomainConfigurationInput) { in.ServiceType = types.ServiceTypeJobs }},
		"unknown protocol": {"InvalidRequestException", func(in *iot.CreateDomainConfigurationInput) { in.ApplicationProtocol = "COAP" }},
		"unknown type":     {"InvalidRequestException", func(in *iot.CreateDomainConfigurationInput) { in.AuthenticationType = "NONE" }},
		"unknown policy":   {"InvalidRequestException", policy("IoTSecurityPolicy_SSL3")},
		"callback elsewhere": {"InvalidRequestException", func(in *iot.CreateDomainConfigurationInput) {
			in.ClientCertificateConfig = &types.ClientCertificateConfig{ClientCertificateCallbackArn: aws.String("arn:aws:lambda:us-east-1:" + first.ID + ":function:f")}
		}},
	} {
		t.Run(what, func(t *testing.T) { wantCode(t, create("refused", tt.change), tt.code) })
	}
	wantCode(t, create("a b"), "InvalidRequestException")
	for i := range maxDomains {
		wantCode(t, create("d"+string(rune('0'+i))), "")
	}
	wantCode(t, create("full"), "LimitExceededException")
}

func TestDomainByCommandLine(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the command line client")
	}
	s := startSim(t)
	if out := mustCLI(t, s, "iot", "describe-domain-configuration", "--domain-configuration-name", standardDomain, "--query", "domainName"); out != endpointName(first.ID, region) {
		t.Errorf("describe: %s", out)
	}
}

func FuzzBulkParameters(f *testing.F) {
	f.Add([]byte(`{"SerialNumber":"1"}`))
	f.Add([]byte(`{"SerialNumber":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, line []byte) {
		params, err := bulkParameters(line)
		if err != nil {
			if params != nil {
				t.Error("a result together with an error")
			}
			return
		}
		again, err := json.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := bulkParameters(again); err != nil || len(back) != len(params) {
			t.Errorf("%s reads as %v: %v", again, back, err)
		}
	})
}
