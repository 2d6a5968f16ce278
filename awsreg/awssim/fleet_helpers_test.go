package awssim

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/fxamacker/cbor/v2"
)

// buildFleet compiles testdata/fleet, a hook and certificate provider, once.
var buildFleet = sync.OnceValues(func() (string, error) {
	path := filepath.Join(functionDir, "fleet")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/fleet")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

const (
	fleetARN         = "arn:aws:lambda:eu-central-1:111122223333:function:fleet"
	provisioningRole = "arn:aws:iam::111122223333:role/provisioning"
)

// withFleetFunction gives the simulator the function of testdata/fleet.
func withFleetFunction(t *testing.T) func(*Config) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a function")
	}
	fn, err := buildFleet()
	if err != nil {
		t.Fatalf("building the function: %v", err)
	}
	return func(c *Config) { c.Functions = map[string]Function{"fleet": {Path: fn}} }
}

const fleetTemplateBody = `{
	"Parameters": {
		"SerialNumber": {"Type": "String"},
		"CertDate": {"Type": "String", "Default": "none"},
		"Site": {"Type": "String", "Default": "north"},
		"AWS::IoT::Certificate::Id": {"Type": "String"}
	},
	"Mappings": {"Sites": {"north": {"url": "https://north.example"}, "south": {"url": "https://south.example"}}},
	"Resources": {
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {
			"ThingName": {"Fn::Join": ["", ["unit-", {"Ref": "SerialNumber"}]]},
			"ThingTypeName": "press",
			"ThingGroups": ["line-1"],
			"AttributePayload": {"serial_number": {"Ref": "SerialNumber"}, "cert_issuance": {"Ref": "CertDate"}}},
			"OverrideSettings": {"AttributePayload": "MERGE", "ThingGroups": "DO_NOTHING", "ThingTypeName": "REPLACE"}},
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
			"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "device"}}
	},
	"DeviceConfiguration": {"url": {"Fn::FindInMap": ["Sites", {"Ref": "Site"}, "url"]}, "plain": "text"}
}`

const fleetClaimPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":[
		"arn:aws:iot:eu-central-1:111122223333:topic/$aws/certificates/create/*",
		"arn:aws:iot:eu-central-1:111122223333:topic/$aws/certificates/create-from-csr/*",
		"arn:aws:iot:eu-central-1:111122223333:topic/$aws/provisioning-templates/fleet/provision/*"]},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":[
		"arn:aws:iot:eu-central-1:111122223333:topicfilter/$aws/certificates/create/*",
		"arn:aws:iot:eu-central-1:111122223333:topicfilter/$aws/certificates/create-from-csr/*",
		"arn:aws:iot:eu-central-1:111122223333:topicfilter/$aws/provisioning-templates/fleet/provision/*"]}]}`

// makeFleet makes the policies, the thing type, the group and the template "fleet",
// with the function as hook if hook is set.
func makeFleet(t *testing.T, s *Sim, body string, hook bool) *iot.Client {
	t.Helper()
	c := s.client(first, region)
	for name, doc := range map[string]string{"device": connectPolicy, "claim": fleetClaimPolicy} {
		_, err := c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String(name), PolicyDocument: aws.String(doc)})
		wantCode(t, err, "")
	}
	_, err := c.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: aws.String("press")})
	wantCode(t, err, "")
	_, err = c.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("line-1")})
	wantCode(t, err, "")
	in := &iot.CreateProvisioningTemplateInput{TemplateName: aws.String("fleet"), TemplateBody: aws.String(body), Enabled: aws.Bool(true),
		ProvisioningRoleArn: aws.String(provisioningRole)}
	if hook {
		in.PreProvisioningHook = &types.ProvisioningHook{TargetArn: aws.String(fleetARN), PayloadVersion: aws.String("2020-04-01")}
	}
	_, err = c.CreateProvisioningTemplate(ctx, in)
	wantCode(t, err, "")
	return c
}

// makeClaim registers a claim certificate of an authority of ours.
func makeClaim(t *testing.T, c *iot.Client, name string, policy string) *pair {
	t.Helper()
	claim := newCA(t, "Claim CA "+name).issue(t, pkix.Name{CommonName: name})
	_, err := c.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: &claim.pem, Status: types.CertificateStatusActive})
	wantCode(t, err, "")
	arn := "arn:aws:iot:eu-central-1:111122223333:cert/" + certificateID(claim.cert)
	_, err = c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String(policy), Target: &arn})
	wantCode(t, err, "")
	return claim
}

func requestFor(t *testing.T, key crypto.Signer, cn string) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// asker is a device on its claim connection.
type asker struct {
	t       *testing.T
	conn    paho.Client
	answers chan paho.Message
	heard   map[string]bool
}

func newAsker(t *testing.T, conn paho.Client) *asker {
	return &asker{t: t, conn: conn, answers: make(chan paho.Message, 10), heard: map[string]bool{}}
}

// dialClaim connects with a claim certificate, with SNI, which one without a CA needs.
func dialClaim(t *testing.T, s *Sim, claim *pair, clientID string) *asker {
	t.Helper()
	conn, err := connect(t, s, claim, clientID, sni(first))
	if err != nil {
		t.Fatal(err)
	}
	return newAsker(t, conn)
}

// ask publishes a request and returns the answer and whether it was accepted.
func (a *asker) ask(topic string, request any) (map[string]any, bool) {
	a.t.Helper()
	encode, decode := json.Marshal, json.Unmarshal
	if strings.HasSuffix(topic, "/cbor") {
		encode, decode = cbor.Marshal, cbor.Unmarshal
	}
	payload, raw := request.([]byte)
	if !raw {
		var err error
		if payload, err = encode(request); err != nil {
			a.t.Fatal(err)
		}
	}
	for _, kind := range []string{"/accepted", "/rejected"} {
		if !a.heard[topic+kind] {
			if err := done(a.t, a.conn.Subscribe(topic+kind, 1, func(_ paho.Client, m paho.Message) { a.answers <- m })); err != nil {
				a.t.Fatal(err)
			}
			a.heard[topic+kind] = true
		}
	}
	if err := done(a.t, a.conn.Publish(topic, 1, false, payload)); err != nil {
		a.t.Fatal(err)
	}
	m := receive(a.t, a.answers)
	var out map[string]any
	if err := decode(m.Payload(), &out); err != nil {
		a.t.Fatalf("%s: %v: %q", m.Topic(), err, m.Payload())
	}
	kind, ok := strings.CutPrefix(m.Topic(), topic+"/")
	if !ok {
		a.t.Fatalf("an answer to %s came on %s", topic, m.Topic())
	}
	return out, kind == "accepted"
}

// mustAsk is ask for a request that must be accepted.
func (a *asker) mustAsk(topic string, request any) map[string]any {
	a.t.Helper()
	out, ok := a.ask(topic, request)
	if !ok {
		a.t.Fatalf("%s was rejected: %v", topic, out)
	}
	return out
}

// refused is ask for a request that must be rejected with a status and a code.
func (a *asker) refused(topic string, request any, status int, code string) {
	a.t.Helper()
	out, ok := a.ask(topic, request)
	var got float64
	switch v := out["statusCode"].(type) {
	case float64:
		got = v
	case uint64:
		got = float64(v)
	}
	if ok || int(got) != status || out["errorCode"] != code || out["errorMessage"] == "" {
		a.t.Errorf("%s: accepted %v, %v; want %d %s", topic, ok, out, status, code)
	}
}

const (
	fromCSR   = "$aws/certificates/create-from-csr/json"
	provision = "$aws/provisioning-templates/fleet/provision/json"
)

type obj = map[string]any

// certificateFor gets a certificate and returns its ownership token and its id.
func (a *asker) certificateFor(cn string) (token, id string) {
	a.t.Helper()
	out := a.mustAsk(fromCSR, obj{"certificateSigningRequest": requestFor(a.t, newKey(a.t), cn)})
	return out["certificateOwnershipToken"].(string), out["certificateId"].(string)
}

func statusAt(t *testing.T, c *iot.Client, id string) string {
	t.Helper()
	out, err := c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if err != nil {
		return err.Error()
	}
	return string(out.CertificateDescription.Status)
}
