package awssim

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	paho "github.com/eclipse/paho.mqtt.golang"
)

// TestFleetProvisioning goes the whole way in both formats: a certificate for a CSR
// and for a key of AWS, the template with hook, and the connection as the device.
func TestFleetProvisioning(t *testing.T) {
	s := startSim(t, withFleetFunction(t))
	c := makeFleet(t, s, fleetTemplateBody, true)
	claim := makeClaim(t, c, "batch-1", "claim")

	// With a CSR, in JSON.
	a := dialClaim(t, s, claim, "station")
	key := newKey(t)
	made := a.mustAsk(fromCSR, obj{"certificateSigningRequest": requestFor(t, key, "4711")})
	if len(made) != 3 {
		t.Errorf("the answer has other members than AWS's: %v", made)
	}
	id := made["certificateId"].(string)
	if st := statusAt(t, c, id); st != "PENDING_ACTIVATION" {
		t.Errorf("a new certificate is %s", st)
	}
	done := a.mustAsk(provision, obj{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": obj{"SerialNumber": "4711", "Site": "south"}})
	config, _ := done["deviceConfiguration"].(obj)
	if done["thingName"] != "unit-4711" || len(done) != 2 || config["url"] != "https://south.example" || config["plain"] != "text" {
		t.Errorf("answer: %v", done)
	}
	th, err := c.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("unit-4711")})
	if err != nil || th.Attributes["serial_number"] != "4711" || th.Attributes["cert_issuance"] != "20260102" || aws.ToString(th.ThingTypeName) != "press" {
		t.Errorf("thing: %+v %v", th, err)
	}
	in, err := c.ListThingsInThingGroup(ctx, &iot.ListThingsInThingGroupInput{ThingGroupName: aws.String("line-1")})
	if err != nil || len(in.Things) != 1 {
		t.Errorf("group: %+v %v", in, err)
	}
	if st := statusAt(t, c, id); st != "ACTIVE" {
		t.Errorf("the certificate is %s", st)
	}
	block, _ := pem.Decode([]byte(made["certificatePem"].(string)))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !cert.NotAfter.Equal(amazonExpiry) || cert.Subject.CommonName != "4711" || !key.PublicKey.Equal(cert.PublicKey) {
		t.Fatalf("certificate: %v %v", cert, err)
	}
	if _, err := connect(t, s, &pair{cert: cert, key: key}, "unit-4711"); err != nil {
		t.Errorf("connecting as the device: %v", err)
	}

	// With a key of AWS, in CBOR.
	made = a.mustAsk("$aws/certificates/create/cbor", []byte(nil))
	token := made["certificateOwnershipToken"].(string)
	pair, err := tls.X509KeyPair([]byte(made["certificatePem"].(string)), []byte(made["privateKey"].(string)))
	if err != nil || len(made) != 4 {
		t.Fatalf("key pair: %v, %d members", err, len(made))
	}
	done = a.mustAsk("$aws/provisioning-templates/fleet/provision/cbor", obj{"certificateOwnershipToken": token, "parameters": obj{"SerialNumber": "4712"}})
	if done["thingName"] != "unit-4712" {
		t.Errorf("answer: %v", done)
	}
	leaf, _ := x509.ParseCertificate(pair.Certificate[0])
	if leaf.Subject.CommonName != "AWS IoT Certificate" {
		t.Errorf("subject %s", leaf.Subject)
	}
	// The SDKs of AWS send an empty object.
	a.mustAsk("$aws/certificates/create/json", obj{})

	// Nothing secret in the events.
	for _, e := range eventsOf(t, s, "") {
		for _, v := range e.Details {
			if strings.Contains(v, "PRIVATE KEY") || strings.Contains(v, token) {
				t.Errorf("event %s holds a secret", e.Kind)
			}
		}
	}
	calls := strings.Join(s.Calls(), " ")
	for _, op := range []string{mqttCreateFromCSR, mqttRegisterThing, mqttCreateKeys} {
		if !strings.Contains(calls, op) {
			t.Errorf("the calls %s lack %s", calls, op)
		}
	}
}

// TestProvisioningHook: everything but a clear and timely yes is a no, and leaves
// nothing behind.
func TestProvisioningHook(t *testing.T) {
	s := startSim(t, withFleetFunction(t))
	c := makeFleet(t, s, fleetTemplateBody, true)
	a := dialClaim(t, s, makeClaim(t, c, "batch-1", "claim"), "station")
	token, id := a.certificateFor("d")
	for name, params := range map[string]obj{
		"deny":            {"mode": "deny"},
		"error":           {"mode": "error"},
		"exit":            {"mode": "exit"},
		"hang":            {"mode": "hang"},
		"nothing":         {"mode": "raw", "raw": "null"},
		"empty":           {"mode": "raw", "raw": "{}"},
		"a list":          {"mode": "raw", "raw": "[true]"},
		"a string":        {"mode": "raw", "raw": `{"allowProvisioning":"true"}`},
		"another case":    {"mode": "raw", "raw": `{"AllowProvisioning":true}`},
		"bad overrides":   {"mode": "raw", "raw": `{"allowProvisioning":true,"parameterOverrides":{"SerialNumber":7}}`},
		"large overrides": {"mode": "raw", "raw": `{"allowProvisioning":true,"parameterOverrides":{"SerialNumber":"` + strings.Repeat("x", 4000) + `", "": "x"}}`},
	} {
		params["SerialNumber"] = "1"
		out, ok := a.ask(provision, obj{"certificateOwnershipToken": token, "parameters": params})
		if ok || out["statusCode"] != 403.0 || out["errorCode"] != "ACCESS_DENIED" {
			t.Errorf("%s: accepted %v, %v", name, ok, out)
		}
	}
	if things, _ := c.ListThings(ctx, &iot.ListThingsInput{}); len(things.Things) != 0 || statusAt(t, c, id) != "PENDING_ACTIVATION" {
		t.Errorf("a denied device left %+v", things.Things)
	}
	if n := len(eventsOf(t, s, "provisioning.denied")); n != 11 {
		t.Errorf("%d denials in the events", n)
	}
	// A warm function that has denied, allows the next one; and the token is still good.
	a.mustAsk(provision, obj{"certificateOwnershipToken": token, "parameters": obj{"SerialNumber": "1"}})
	if st := statusAt(t, c, id); st != "ACTIVE" {
		t.Errorf("the certificate is %s", st)
	}
}

// TestProvisioningRejections: requests that AWS refuses, in each format.
func TestProvisioningRejections(t *testing.T) {
	s := startSim(t)
	c := makeFleet(t, s, fleetTemplateBody, false)
	a := dialClaim(t, s, makeClaim(t, c, "batch-1", "claim"), "station")
	ask := func(params any) obj { return obj{"certificateOwnershipToken": "x", "parameters": params} }
	request := requestFor(t, newKey(t), "d")
	a.refused(fromCSR, []byte("not JSON"), 400, "InvalidRequest")
	a.refused(fromCSR, obj{}, 400, "InvalidRequest")
	a.refused(fromCSR, obj{"certificateSigningRequest": "not PEM"}, 400, "InvalidRequest")
	a.refused(fromCSR, obj{"certificateSigningRequest": request + request}, 400, "InvalidRequest")
	a.refused(fromCSR, obj{"certificateSigningRequest": request, "more": 1}, 400, "InvalidRequest")
	a.refused(fromCSR, obj{"certificateSigningRequest": strings.Replace(request, "M", "N", 1)}, 400, "InvalidRequest")
	a.refused("$aws/certificates/create-from-csr/cbor", []byte{0xff}, 400, "InvalidRequest")
	a.refused("$aws/certificates/create/json", []byte(`{"certificateSigningRequest":""}`), 400, "InvalidRequest")
	a.refused("$aws/certificates/create/cbor", []byte{0x01}, 400, "InvalidRequest")
	a.refused(provision, obj{"parameters": obj{}}, 400, "InvalidCertificateOwnershipToken")
	a.refused(provision, ask(obj{}), 400, "InvalidCertificateOwnershipToken")
	a.refused(provision, ask(obj{"n": 1}), 400, "InvalidRequest")
	a.refused(provision, ask(obj{"": "x"}), 400, "InvalidRequest")
	a.refused(provision, ask(obj{"n": strings.Repeat("x", 4097)}), 400, "InvalidRequest")
	token, id := a.certificateFor("d")
	a.refused(provision, obj{"certificateOwnershipToken": token}, 400, "InvalidRequest") // no SerialNumber
	a.refused(provision, obj{"certificateOwnershipToken": token, "parameters": obj{"SerialNumber": "not a name"}}, 400, "InvalidRequest")
	a.refused(provision, obj{"certificateOwnershipToken": token, "parameters": obj{"SerialNumber": "1", "Site": "west"}}, 400, "InvalidRequest")
	enable := func(on bool) {
		_, err := c.UpdateProvisioningTemplate(ctx, &iot.UpdateProvisioningTemplateInput{TemplateName: aws.String("fleet"), Enabled: &on})
		wantCode(t, err, "")
	}
	good := obj{"certificateOwnershipToken": token, "parameters": obj{"SerialNumber": "1"}}
	enable(false)
	a.refused(provision, good, 400, "InvalidRequest")
	enable(true)
	if st := statusAt(t, c, id); st != "PENDING_ACTIVATION" {
		t.Fatalf("a refused request made the certificate %s", st)
	}
	// A device cannot name the certificate.
	good["parameters"] = obj{"SerialNumber": "1", "AWS::IoT::Certificate::Id": strings.Repeat("0", 64)}
	a.mustAsk(provision, good)
	a.refused(provision, good, 400, "InvalidCertificateOwnershipToken") // used
	if st := statusAt(t, c, id); st != "ACTIVE" {
		t.Errorf("the certificate is %s", st)
	}
	// Without the template it is not found, and a JITP template is none for devices.
	_, err := c.DeleteProvisioningTemplate(ctx, &iot.DeleteProvisioningTemplateInput{TemplateName: aws.String("fleet")})
	wantCode(t, err, "")
	a.refused(provision, good, 404, "ResourceNotFound")
	_, err = c.CreateProvisioningTemplate(ctx, &iot.CreateProvisioningTemplateInput{TemplateName: aws.String("fleet"), Type: "JITP",
		TemplateBody: aws.String(jitpTemplate), ProvisioningRoleArn: aws.String(provisioningRole), Enabled: aws.Bool(true)})
	wantCode(t, err, "")
	a.refused(provision, good, 400, "InvalidRequest")
}

// TestOwnershipTokens: a token is good for who asked, for an hour, and the certificate
// goes with it.
func TestOwnershipTokens(t *testing.T) {
	var skew atomic.Int64
	s := startSim(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) } })
	c := makeFleet(t, s, fleetTemplateBody, false)
	a := dialClaim(t, s, makeClaim(t, c, "batch-1", "claim"), "a")
	b := dialClaim(t, s, makeClaim(t, c, "batch-2", "claim"), "b")
	// The registry, not the API: a signature would be as old as the clock is ahead.
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	status := func(id string) string {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.expireFleet()
		if cert, ok := w.certs[id]; ok {
			return cert.status
		}
		return "gone"
	}
	token, id := a.certificateFor("d")
	request := func(token string) obj {
		return obj{"certificateOwnershipToken": token, "parameters": obj{"SerialNumber": "1"}}
	}
	b.refused(provision, request(token), 400, "InvalidCertificateOwnershipToken")
	skew.Store(int64(ownershipLife - time.Minute))
	kept, keptID := a.certificateFor("e")
	if st := status(id); st != "PENDING_ACTIVATION" {
		t.Errorf("before its hour is over the certificate is %s", st)
	}
	skew.Store(int64(ownershipLife + time.Second))
	if st := status(id); st != "gone" {
		t.Errorf("an hour later the unused certificate is %s", st)
	}
	a.refused(provision, request(token), 400, "InvalidCertificateOwnershipToken")
	// Attached to something, or activated, it stays.
	w.mu.Lock()
	err = w.attach("device", w.certARN(keptID))
	w.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	skew.Store(int64(2 * ownershipLife))
	if st := status(keptID); st != "PENDING_ACTIVATION" {
		t.Errorf("a certificate with a policy is %s", st)
	}
	a.refused(provision, request(kept), 400, "InvalidCertificateOwnershipToken")
	if n := len(eventsOf(t, s, "certificate.deleted")); n != 1 {
		t.Errorf("%d certificates were deleted", n)
	}
}

// TestProvisioningIsPrivate: answers reach the connection that asked, and only what
// the policies allow can be asked.
func TestProvisioningIsPrivate(t *testing.T) {
	s := startSim(t)
	c := makeFleet(t, s, fleetTemplateBody, false)
	claim := makeClaim(t, c, "batch-1", "claim")
	a := dialClaim(t, s, claim, "a")
	spy := dialClaim(t, s, claim, "spy")
	for _, filter := range []string{"$aws/certificates/create/json/+", "$aws/certificates/create/#", "$share/g/$aws/certificates/create/json/accepted"} {
		if err := done(t, spy.conn.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { spy.answers <- m })); err != nil {
			t.Fatal(err)
		}
	}
	a.mustAsk("$aws/certificates/create/json", obj{})
	// The spy's own next answer is the first message that it gets.
	out := spy.mustAsk(fromCSR, obj{"certificateSigningRequest": requestFor(t, newKey(t), "spy")})
	if out["privateKey"] != nil || len(spy.answers) != 0 {
		t.Errorf("another client got the answer: %v", out)
	}
	// Not subscribed: the certificate is made, nobody hears of it.
	mute := dialClaim(t, s, claim, "mute")
	if err := done(t, mute.conn.Publish(fromCSR, 1, false, `{}`)); err != nil {
		t.Fatal(err)
	}
	wait(t, "an answer that nobody hears", func() bool { return len(eventsOf(t, s, "provisioning.unheard")) == 1 })
	// Another template, and an ordinary device: the broker hangs up.
	for topic, p := range map[string]*pair{
		"$aws/provisioning-templates/other/provision/json": claim,
		"$aws/certificates/create/xml":                     claim,
		"$aws/certificates/create-from-csr/json":           makeClaim(t, c, "device", "device"),
	} {
		n := len(eventsOf(t, s, "publish.denied"))
		conn, err := connect(t, s, p, "x", sni(first))
		if err != nil {
			t.Fatal(err)
		}
		conn.Publish(topic, 0, false, `{}`)
		wait(t, "a refusal of "+topic, func() bool { return len(eventsOf(t, s, "publish.denied")) == n+1 })
		wait(t, "the end of the connection", func() bool { return !conn.IsConnectionOpen() })
	}
	// A last will cannot pretend to be an answer.
	if _, err := connect(t, s, claim, "forger", sni(first), func(_ *tls.Config, o *paho.ClientOptions) {
		o.SetWill("$aws/certificates/create/json/accepted", "{}", 0, false)
	}); err == nil {
		t.Error("a last will for a reserved topic was accepted")
	}
	// A claim that is switched off provisions no more.
	_, err := c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: aws.String(certificateID(claim.cert)), NewStatus: "INACTIVE"})
	wantCode(t, err, "")
	wait(t, "the end of the claim's connections", func() bool { return !a.conn.IsConnectionOpen() })
	if _, err := connect(t, s, claim, "a", sni(first)); err == nil {
		t.Error("an inactive claim could connect")
	}
}

// TestProvisioningClaim: the temporary claim of a trusted user, good for five minutes
// and one template.
func TestProvisioningClaim(t *testing.T) {
	var skew atomic.Int64
	s := startSim(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) } })
	c := makeFleet(t, s, fleetTemplateBody, false)
	_, err := c.CreateProvisioningClaim(ctx, &iot.CreateProvisioningClaimInput{TemplateName: aws.String("nowhere")})
	wantCode(t, err, "ResourceNotFoundException")
	out, err := c.CreateProvisioningClaim(ctx, &iot.CreateProvisioningClaimInput{TemplateName: aws.String("fleet")})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(*out.Expiration); left > claimLife || left < claimLife-time.Minute {
		t.Errorf("the claim expires in %s", left)
	}
	kp, err := tls.X509KeyPair([]byte(*out.CertificatePem), []byte(*out.KeyPair.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(kp.Certificate[0])
	claim := &pair{cert: leaf, key: kp.PrivateKey.(crypto.Signer)}
	if list, _ := c.ListCertificates(ctx, &iot.ListCertificatesInput{}); len(list.Certificates) != 0 {
		t.Errorf("a claim is in the list of certificates: %+v", list.Certificates)
	}
	conn, err := connect(t, s, claim, "phone")
	if err != nil {
		t.Fatal(err)
	}
	a := newAsker(t, conn)
	token, _ := a.certificateFor("d")
	request := obj{"certificateOwnershipToken": token, "parameters": obj{"SerialNumber": "1"}}
	// Its five minutes are over, also for a connection that is open.
	skew.Store(int64(claimLife + time.Second))
	a.refused(provision, request, 403, "ACCESS_DENIED")
	if _, err := connect(t, s, claim, "late"); err == nil {
		t.Error("an expired claim could connect")
	}
	skew.Store(0)
	other, err := c.CreateProvisioningClaim(ctx, &iot.CreateProvisioningClaimInput{TemplateName: aws.String("fleet")})
	if err != nil || *other.CertificateId == *out.CertificateId {
		t.Errorf("the next claim: %+v %v", other, err)
	}
}

// TestProvisioningFaults: quota and faults reach devices as well.
func TestProvisioningFaults(t *testing.T) {
	s := startSim(t)
	c := makeFleet(t, s, fleetTemplateBody, false)
	a := dialClaim(t, s, makeClaim(t, c, "batch-1", "claim"), "station")
	s.Inject(Fault{Operation: mqttCreateFromCSR, Code: "ThrottlingException"})
	request := obj{"certificateSigningRequest": requestFor(t, newKey(t), "d")}
	a.refused(fromCSR, request, 429, "Throttling")
	s.Inject(Fault{Operation: mqttCreateFromCSR, Code: "InternalFailureException", Status: 500})
	a.refused(fromCSR, request, 500, "InternalFailure")
	if list, _ := c.ListCertificates(ctx, &iot.ListCertificatesInput{}); len(list.Certificates) != 1 {
		t.Errorf("a request that met a fault had an effect: %+v", list.Certificates)
	}
	s.Inject(Fault{Operation: mqttCreateFromCSR, AfterEffect: true})
	payload, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	a.conn.Publish(fromCSR, 0, false, payload)
	wait(t, "the end of the connection", func() bool { return !a.conn.IsConnectionOpen() })
	if list, _ := c.ListCertificates(ctx, &iot.ListCertificatesInput{}); len(list.Certificates) != 2 {
		t.Errorf("the request whose answer was lost had no effect: %+v", list.Certificates)
	}
}
