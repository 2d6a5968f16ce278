package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	paho "github.com/eclipse/paho.mqtt.golang"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/awsreg/claim"
	"mintmark/awsreg/hook"
)

// The functions behind a broker, called by it: a device with a claim gets its
// certificate from our CA, by certificate provider and EST server, is admitted by the
// hook, and connects through the client-certificate callback, until it is held.
func TestFunctionsBehindTheBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs a server")
	}
	bootstrap, err := buildLambda()
	if err != nil {
		t.Fatal(err)
	}
	ca := startFactory(t)
	function := func(handler string, env ...string) awssim.Function {
		return awssim.Function{Path: bootstrap, Env: append([]string{"_HANDLER=" + handler, "MINTMARK_TABLE=devices"}, env...)}
	}
	w := newWorld(t, func(c *awssim.Config) {
		c.Localhost = true
		c.Functions = map[string]awssim.Function{
			"provision": function("provision"), "connect": function("connect"),
			"provider": function("certificate-provider", "MINTMARK_EST_URL=https://"+ca.address, "MINTMARK_EST_LABEL=aws", "MINTMARK_EST_CA="+ca.root, "MINTMARK_SECRET=ra"),
		}
	})
	b := newBroker(t, w, ca)

	// The provider's certificate: our CA's, for the key that stayed here.
	result, device := b.provision("SN-001")
	if err := result.Certificate.CheckSignatureFrom(b.issuing); err != nil {
		t.Errorf("the certificate is of %s: %v", result.Certificate.Issuer, err)
	}
	if result.ThingName != "press_SN-001" || !device.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(result.Certificate.PublicKey) {
		t.Errorf("%+v", result)
	}
	// One that no order is for gets none.
	if _, err := claim.Provision(t.Context(), b.config("SN-999", newKey(t))); err == nil {
		t.Error("SN-999 was provisioned")
	}

	// The callback lets the device in, until it is held.
	if err := b.connect(device); err != nil {
		t.Fatalf("the device cannot connect: %v\n%s", err, b.events(""))
	}
	if refused := b.events("connect.refused"); refused != "[]" {
		t.Fatalf("refused before anything was held: %s", refused)
	}
	w.put(hook.HeldItem("press_SN-001", "SN-001"))
	if err := b.connect(device); err == nil {
		t.Error("a held device connects")
	}
	if !strings.Contains(b.events("connect.refused"), "callback answered that the device is not authenticated") {
		t.Errorf("it was not the callback that refused it: %s", b.events("connect.refused"))
	}
	w.remove(hook.HeldKey("press_SN-001"))
	if err := b.connect(device); err != nil {
		t.Errorf("released, the device cannot connect: %v", err)
	}
}

// broker is the account of such a device.
type broker struct {
	*world
	issuing *x509.Certificate // our CA
	roots   *x509.CertPool    // of the broker
	claim   tls.Certificate
}

func newBroker(t *testing.T, w *world, ca *factory) *broker {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	arn := func(name string) string { return "arn:aws:lambda:" + region + ":" + account.ID + ":function:" + name }
	fleet := awsreg.Fleet{
		Template: "fleet", RoleARN: "arn:aws:iam::" + account.ID + ":role/provisioning", Hook: arn("provision"), ThingPrefix: "press_",
		Policy: "press", ClaimPolicy: "press-claim",
	}
	target := awsreg.Target{Name: "line-a", AccountID: account.ID, Region: region, Fleets: []awsreg.Fleet{fleet}}
	_, err := w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("ra"), SecretString: aws.String(ca.ra)})
	ok(err)
	for name, document := range map[string]string{"press": awsreg.FleetPolicy(target, fleet), "press-claim": awsreg.ClaimPolicy(target, fleet)} {
		_, err = w.iot.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: aws.String(name), PolicyDocument: aws.String(document)})
		ok(err)
	}
	_, err = w.iot.CreateProvisioningTemplate(t.Context(), &iot.CreateProvisioningTemplateInput{
		TemplateName: aws.String("fleet"), TemplateBody: aws.String(awsreg.FleetTemplate(target, fleet)), Enabled: aws.Bool(true),
		ProvisioningRoleArn: aws.String(fleet.RoleARN),
		PreProvisioningHook: &types.ProvisioningHook{TargetArn: aws.String(fleet.Hook), PayloadVersion: aws.String("2020-04-01")},
	})
	ok(err)
	_, err = w.iot.CreateCertificateProvider(t.Context(), &iot.CreateCertificateProviderInput{
		CertificateProviderName: aws.String("ours"), LambdaFunctionArn: aws.String(arn("provider")),
		AccountDefaultForOperations: []types.CertificateProviderOperation{types.CertificateProviderOperationCreateCertificateFromCsr},
	})
	ok(err)
	_, err = w.iot.UpdateDomainConfiguration(t.Context(), &iot.UpdateDomainConfigurationInput{
		DomainConfigurationName: aws.String("iot:Data-ATS"),
		ClientCertificateConfig: &types.ClientCertificateConfig{ClientCertificateCallbackArn: aws.String(arn("connect"))},
	})
	ok(err)

	authority := makeCA(t)
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "claim"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(day),
	}, authority.cert, key.Public(), authority.key)
	ok(err)
	registered, err := w.iot.RegisterCertificateWithoutCA(t.Context(), &iot.RegisterCertificateWithoutCAInput{
		CertificatePem: aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))), Status: types.CertificateStatusActive,
	})
	ok(err)
	_, err = w.iot.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: aws.String("press-claim"), Target: registered.CertificateArn})
	ok(err)
	w.fleet()
	w.put(hook.Claim{CertificateID: fmt.Sprintf("%x", sha256.Sum256(der)), Order: "WO-1"}.Item())

	ra, err := tls.X509KeyPair([]byte(ca.ra), []byte(ca.ra)) // of the same CA
	ok(err)
	if len(ra.Certificate) < 2 {
		t.Fatal("the chain of the registration authority has no CA")
	}
	issuing, err := x509.ParseCertificate(ra.Certificate[1])
	ok(err)
	b := &broker{world: w, issuing: issuing, roots: x509.NewCertPool(), claim: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
	b.roots.AppendCertsFromPEM(w.sim.RootPEM())
	return b
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// config is how a device asks with the claim.
func (b *broker) config(device string, key *ecdsa.PrivateKey) claim.Config {
	b.t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: device}}, key)
	if err != nil {
		b.t.Fatal(err)
	}
	return claim.Config{
		Endpoint: b.sim.BrokerAddr(), ServerName: "localhost", Roots: b.roots, Certificate: b.claim, ClientID: "claim-" + device,
		Template: "fleet", CSR: csr, Parameters: map[string]string{hook.SerialNumber: device}, Attempts: 1,
	}
}

func (b *broker) provision(device string) (claim.Result, tls.Certificate) {
	b.t.Helper()
	key := newKey(b.t)
	result, err := claim.Provision(b.t.Context(), b.config(device, key))
	if err != nil {
		b.t.Fatalf("%v\n%s", err, b.events(""))
	}
	return result, tls.Certificate{Certificate: [][]byte{result.Certificate.Raw}, PrivateKey: key}
}

// connect makes one connection as the device and ends it.
func (b *broker) connect(device tls.Certificate) error {
	b.t.Helper()
	client := paho.NewClient(paho.NewClientOptions().AddBroker("ssl://" + b.sim.BrokerAddr()).SetClientID("press_SN-001").SetProtocolVersion(4).
		SetTLSConfig(&tls.Config{RootCAs: b.roots, ServerName: "localhost", Certificates: []tls.Certificate{device}}).
		SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(time.Minute))
	defer client.Disconnect(0)
	token := client.Connect()
	if !token.WaitTimeout(2 * time.Minute) {
		b.t.Fatal("no answer to CONNECT")
	}
	return token.Error()
}

// events is what the simulator tells of what happened, all or of one kind.
func (b *broker) events(kind string) string {
	b.t.Helper()
	response, err := http.Get(b.sim.ControlURL() + "/_sim/events?kind=" + kind)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}
