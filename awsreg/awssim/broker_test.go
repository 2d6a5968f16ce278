package awssim

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	paho "github.com/eclipse/paho.mqtt.golang"
)

// option changes how a test device connects.
type option func(*tls.Config, *paho.ClientOptions)

func sni(a Account) option {
	return func(c *tls.Config, _ *paho.ClientOptions) { c.ServerName = endpointName(a.ID, region) }
}

func withChain(chain ...*authority) option {
	return func(c *tls.Config, _ *paho.ClientOptions) {
		for _, a := range chain {
			c.Certificates[0].Certificate = append(c.Certificates[0].Certificate, a.cert.Raw)
		}
	}
}

// connect connects a device with the Paho client. The server's certificate is
// verified.
func connect(t *testing.T, s *Sim, p *pair, clientID string, opts ...option) (paho.Client, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.RootPEM())
	conf := &tls.Config{
		RootCAs: roots, ServerName: "localhost", NextProtos: []string{"x-amzn-mqtt-ca"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key}},
	}
	o := paho.NewClientOptions().AddBroker("ssl://" + s.BrokerAddr()).SetClientID(clientID).SetTLSConfig(conf).
		SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(30 * time.Second).SetProtocolVersion(4)
	for _, f := range opts {
		f(conf, o)
	}
	c := paho.NewClient(o)
	if tok := c.Connect(); !tok.WaitTimeout(30 * time.Second) {
		return nil, errors.New("no answer to CONNECT")
	} else if tok.Error() != nil {
		return nil, tok.Error()
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c, nil
}

// receive waits for a value with a deadline, so that a failure is not a hang.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatal("gave up waiting for a channel")
		panic("not reached")
	}
}

func done(t *testing.T, tok paho.Token) error {
	t.Helper()
	if !tok.WaitTimeout(30 * time.Second) {
		return errors.New("timed out")
	}
	return tok.Error()
}

func TestCertificateStatesAtTheBroker(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Broker CA")
	caID := ca.mustRegister(t, c)
	dev, id, arn := activeDevice(t, c, ca, "dev")
	lost := make(chan struct{}, 1)
	session, err := connect(t, s, dev, "dev", func(_ *tls.Config, o *paho.ClientOptions) {
		o.SetConnectionLostHandler(func(paho.Client, error) { lost <- struct{}{} })
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := done(t, session.Publish("data/x", 1, false, "{}")); err != nil {
		t.Fatal(err)
	}
	set := func(st types.CertificateStatus) {
		_, err := c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: st})
		wantCode(t, err, "")
	}
	// A live session ends with its certificate.
	set("INACTIVE")
	receive(t, lost)
	if _, err := connect(t, s, dev, "dev"); err == nil {
		t.Error("an INACTIVE certificate connected")
	}
	set("ACTIVE")
	// An INACTIVE CA does not stop devices that are registered, but registers none.
	_, err = c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &caID, NewStatus: "INACTIVE"})
	wantCode(t, err, "")
	if _, err := connect(t, s, dev, "dev"); err != nil {
		t.Errorf("a registered device of an INACTIVE CA: %v", err)
	}
	fresh := ca.issue(t, pkix.Name{CommonName: "fresh"})
	if _, err := connect(t, s, fresh, "fresh", withChain(ca)); err == nil {
		t.Error("an INACTIVE CA registered a device")
	}
	if out, _ := c.ListCertificates(ctx, &iot.ListCertificatesInput{}); len(out.Certificates) != 1 {
		t.Errorf("%d certificates, want 1", len(out.Certificates))
	}
	// ACTIVE without a policy is closed too.
	_, err = c.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: aws.String("hello"), Target: &arn})
	wantCode(t, err, "")
	if _, err := connect(t, s, dev, "dev"); err == nil {
		t.Error("a certificate without a policy connected")
	}
	set("REVOKED")
	if _, err := connect(t, s, dev, "dev"); err == nil {
		t.Error("a REVOKED certificate connected")
	}
}

func TestRegistrationJustInTime(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "JITR CA")
	caID := ca.mustRegister(t, c, func(in *iot.RegisterCACertificateInput) { in.AllowAutoRegistration = false })
	watcher, _, _ := activeDevice(t, c, ca, "watcher")
	_, err := c.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: aws.String("hello"), SetAsDefault: true, PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`)})
	wantCode(t, err, "")
	w, err := connect(t, s, watcher, "watcher")
	if err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int32
	if err := done(t, w.Subscribe("$aws/events/certificates/registered/#", 1, func(paho.Client, paho.Message) { seen.Add(1) })); err != nil {
		t.Fatal(err)
	}

	dev := ca.issue(t, pkix.Name{CommonName: "dev"})
	try := func(opts ...option) {
		t.Helper()
		if _, err := connect(t, s, dev, "dev", opts...); err == nil {
			t.Fatal("a certificate that is not active connected")
		}
	}
	count := func() int {
		out, err := c.ListCertificatesByCA(ctx, &iot.ListCertificatesByCAInput{CaCertificateId: &caID})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Certificates)
	}
	try(withChain(ca))
	if count() != 1 {
		t.Error("registered although auto-registration is disabled")
	}
	_, err = c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &caID, NewAutoRegistrationStatus: "ENABLE"})
	wantCode(t, err, "")
	try() // neither chain nor SNI
	if count() != 1 {
		t.Error("registered without chain and SNI")
	}
	try(sni(first)) // SNI alone is enough
	if count() != 2 {
		t.Error("not registered by SNI")
	}
	try() // known now, still pending: announced once more
	wait(t, "two announcements", func() bool { return seen.Load() == 2 })

	// A chain with the CA registers too; one whose CA only issued the issuer does not.
	other := ca.issue(t, pkix.Name{CommonName: "other"})
	if _, err := connect(t, s, other, "other", withChain(ca)); err == nil {
		t.Error("connected at once")
	}
	if count() != 3 {
		t.Error("not registered by chain")
	}
	sub := newCA(t, "Sub CA")
	subTmpl := *sub.cert
	subTmpl.RawSubject, subTmpl.SerialNumber = nil, nil
	sub.cert = createCert(t, &subTmpl, ca.cert, sub.key.Public(), ca.key)
	below := sub.issue(t, pkix.Name{CommonName: "below"})
	if _, err := connect(t, s, below, "below", withChain(sub, ca)); err == nil {
		t.Error("connected through an issuing CA that is not registered")
	}
	if count() != 3 {
		t.Error("registered a certificate that the CA did not sign itself")
	}
}

func TestSNIOnlyInTwoAccounts(t *testing.T) {
	s := startSim(t)
	ca := newCA(t, "Everywhere CA")
	for _, a := range []Account{first, second} {
		c := s.client(a, region)
		_, err := c.RegisterCACertificate(ctx, &iot.RegisterCACertificateInput{
			CaCertificate: &ca.pem, CertificateMode: "SNI_ONLY", SetAsActive: true, AllowAutoRegistration: true})
		wantCode(t, err, "")
	}
	dev := ca.issue(t, pkix.Name{CommonName: "dev"})
	for _, opts := range [][]option{{withChain(ca)}, {sni(second)}, {sni(second), withChain(ca)}} {
		if _, err := connect(t, s, dev, "dev", opts...); err == nil {
			t.Error("connected before activation")
		}
	}
	for a, want := range map[Account]int{first: 0, second: 1} {
		out, err := s.client(a, region).ListCertificates(ctx, &iot.ListCertificatesInput{})
		if err != nil || len(out.Certificates) != want {
			t.Errorf("account %s has %d certificates, want %d (%v)", a.ID, len(out.Certificates), want, err)
		}
	}
	c := s.client(second, region)
	id := certificateID(dev.cert)
	_, err := c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: "ACTIVE"})
	wantCode(t, err, "")
	_, err = c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(strings.ReplaceAll(connectPolicy, first.ID, second.ID))})
	wantCode(t, err, "")
	_, err = c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("p"), Target: aws.String("arn:aws:iot:eu-central-1:444455556666:cert/" + id)})
	wantCode(t, err, "")
	if _, err := connect(t, s, dev, "dev", sni(second)); err != nil {
		t.Errorf("with SNI: %v", err)
	}
	if _, err := connect(t, s, dev, "dev", withChain(ca)); err == nil {
		t.Error("an SNI_ONLY certificate connected without SNI")
	}
}

// TestExpiredDeviceCertificate is the note of the tutorial: a TLS alert at the
// device, and nothing anywhere else.
func TestExpiredDeviceCertificate(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Expired CA")
	ca.mustRegister(t, c)
	dev := ca.issue(t, pkix.Name{CommonName: "old"}, func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Minute) })
	for version, want := range map[uint16]string{tls.VersionTLS12: "unknown certificate", tls.VersionTLS13: "bad certificate"} {
		_, err := connect(t, s, dev, "old", withChain(ca), func(c *tls.Config, _ *paho.ClientOptions) { c.MaxVersion = version })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("TLS %x: %v, want an alert %q", version, err, want)
		}
	}
	if e := eventsOf(t, s, ""); len(e) != 0 {
		t.Errorf("events of a refused handshake: %+v", e)
	}
	root := writeFile(t, t.TempDir(), "root.pem", string(s.RootPEM()))
	dev.files(t, ca)
	out, err := mosquittoPub(t, s, root, dev.certFile, dev.keyFile, "--tls-version", "tlsv1.2", "-t", "data/x", "-m", "{}", "-d")
	if err == nil {
		t.Errorf("mosquitto_pub succeeded: %s", out)
	}
}

func TestTopicPermissions(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Topics CA")
	ca.mustRegister(t, c)
	dev, _, _ := activeDevice(t, c, ca, "dev")
	other, _, _ := activeDevice(t, c, ca, "other")

	session, err := connect(t, s, dev, "dev")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	tok := session.Subscribe("data/#", 1, func(_ paho.Client, m paho.Message) { got <- m.Topic() })
	if err := done(t, tok); err != nil {
		t.Fatal(err)
	}
	for _, filter := range []string{"secret/#", "$aws/rules/x", "$SYS/#"} {
		tok := session.Subscribe(filter, 1, nil)
		done(t, tok)
		if code := tok.(*paho.SubscribeToken).Result()[filter]; code != 0x80 {
			t.Errorf("subscribing to %s gave %#x, want 0x80", filter, code)
		}
	}
	sender, err := connect(t, s, other, "other")
	if err != nil {
		t.Fatal(err)
	}
	if err := done(t, sender.Publish("data/1", 1, false, "{}")); err != nil {
		t.Fatal(err)
	}
	if topic := receive(t, got); topic != "data/1" {
		t.Errorf("received %s", topic)
	}
	// iot:Subscribe is not iot:Receive.
	_, err = c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("deaf"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:Receive","Resource":"*/deaf"}}`)})
	wantCode(t, err, "MalformedPolicyException") // not an ARN
	_, err = c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("deaf"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:Receive","Resource":"arn:*/deaf"}}`)})
	wantCode(t, err, "")
	_, err = c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("deaf"), Target: aws.String("arn:aws:iot:eu-central-1:111122223333:cert/" + certificateID(dev.cert))})
	wantCode(t, err, "")
	for _, topic := range []string{"data/deaf", "data/2"} {
		if err := done(t, sender.Publish(topic, 1, false, "{}")); err != nil {
			t.Fatal(err)
		}
	}
	if topic := receive(t, got); topic != "data/2" {
		t.Errorf("received %s", topic)
	}
	if n := len(eventsOf(t, s, "receive.denied")); n != 1 {
		t.Errorf("%d deliveries denied, want 1", n)
	}
	for _, topic := range []string{"secret/1", "$aws/things/x/shadow/update"} {
		lost := make(chan struct{}, 1)
		x, err := connect(t, s, other, "other", func(_ *tls.Config, o *paho.ClientOptions) {
			o.SetConnectionLostHandler(func(paho.Client, error) { lost <- struct{}{} })
		})
		if err != nil {
			t.Fatal(err)
		}
		x.Publish(topic, 0, false, "{}")
		receive(t, lost) // a message that is not allowed ends the connection
	}
	// iot:RetainPublish is an action of its own.
	lost := make(chan struct{}, 1)
	x, err := connect(t, s, other, "other", func(_ *tls.Config, o *paho.ClientOptions) {
		o.SetConnectionLostHandler(func(paho.Client, error) { lost <- struct{}{} })
	})
	if err != nil {
		t.Fatal(err)
	}
	x.Publish("data/2", 0, true, "{}")
	receive(t, lost)
	// So is the last will.
	if _, err := connect(t, s, other, "other", func(_ *tls.Config, o *paho.ClientOptions) { o.SetWill("secret/will", "x", 0, false) }); err == nil {
		t.Error("a will on a topic that is not allowed was accepted")
	}
}

func TestTakeover(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Takeover CA")
	ca.mustRegister(t, c)
	dev, _, _ := activeDevice(t, c, ca, "dev")
	lost := make(chan struct{}, 1)
	if _, err := connect(t, s, dev, "dev", func(_ *tls.Config, o *paho.ClientOptions) {
		o.SetConnectionLostHandler(func(paho.Client, error) { lost <- struct{}{} })
	}); err != nil {
		t.Fatal(err)
	}
	again, err := connect(t, s, dev, "dev")
	if err != nil {
		t.Fatal(err)
	}
	receive(t, lost)
	if err := done(t, again.Publish("data/x", 1, false, "{}")); err != nil {
		t.Error(err)
	}
}

func TestMosquittoClients(t *testing.T) {
	tool(t, "mosquitto_sub")
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Mosquitto CA")
	ca.mustRegister(t, c)
	dev, _, _ := activeDevice(t, c, ca, "dev")
	dev.files(t)
	root := writeFile(t, t.TempDir(), "root.pem", string(s.RootPEM()))
	for _, version := range []string{"mqttv311", "mqttv5"} {
		host, port, _ := strings.Cut(s.BrokerAddr(), ":")
		sub := exec.Command("mosquitto_sub", "-h", host, "-p", port, "--cafile", root, "--cert", dev.certFile, "--key", dev.keyFile,
			"-i", "sub", "-V", version, "-t", "data/#", "-C", "1", "-W", "30")
		out := new(strings.Builder)
		sub.Stdout = out
		if err := sub.Start(); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- sub.Wait() }()
		pending := true
		for pending { // publish until the subscriber has what it waits for
			if text, err := mosquittoPub(t, s, root, dev.certFile, dev.keyFile, "-i", "pub", "-V", version, "-t", "data/m", "-m", "hello"); err != nil {
				t.Fatalf("%s: %v: %s", version, err, text)
			}
			select {
			case err := <-result:
				if pending = false; err != nil {
					t.Errorf("%s: mosquitto_sub: %v", version, err)
				}
			default:
			}
		}
		if strings.TrimSpace(out.String()) != "hello" {
			t.Errorf("%s: received %q", version, out)
		}
		if _, err := mosquittoPub(t, s, root, dev.certFile, dev.keyFile, "-i", "pub", "-V", version, "-t", "secret/m", "-m", "x"); err == nil {
			t.Errorf("%s: publishing without permission succeeded", version)
		}
	}
}
