package awsreg_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// mosquitto is a device: the real client with a certificate and its chain.
type mosquitto struct {
	w    *world
	dir  string
	name string
}

func (w *world) mosquitto(name string, c *x509.Certificate, key *ecdsa.PrivateKey, issuer string) mosquitto {
	w.t.Helper()
	m := mosquitto{w, w.t.TempDir(), name}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	for file, data := range map[string][]byte{
		"root.pem": w.sim.RootPEM(),
		"cert.pem": []byte(pemOf(c) + pemOf(w.issuers[issuer].Certificate)),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(filepath.Join(m.dir, file), data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	return m
}

// publish connects and publishes one message.
func (m mosquitto) publish(topic string) error {
	host, port, err := net.SplitHostPort(m.w.sim.BrokerAddr())
	if err != nil {
		return err
	}
	cmd := exec.Command("mosquitto_pub", "-h", host, "-p", port, "--cafile", "root.pem", "--cert", "cert.pem", "--key", "key.pem",
		"-i", m.name, "-t", topic, "-m", "{}", "-q", "1")
	cmd.Dir = m.dir
	return cmd.Run()
}

// eventually tries again as a device does.
func (m mosquitto) eventually(topic string) error {
	var err error
	for range 50 {
		if err = m.publish(topic); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func needMosquitto(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a real MQTT client")
	}
	pkitest.Tool(t, "mosquitto_pub")
}

// TestJustInTimeRegistration is the whole way: the CA registered by Apply, the
// manifest pushed, the function as it is built for Lambda, called by the topic
// rule that Apply made, and a real MQTT client.
func TestJustInTimeRegistration(t *testing.T) {
	needMosquitto(t)
	bootstrap := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-tags", "lambda.norpc", "-o", bootstrap, "mintmark/cmd/mintmark-lambda")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the function: %v\n%s", err, out)
	}
	w := newWorld(t, func(c *awssim.Config) {
		c.Functions = map[string]awssim.Function{function: {Path: bootstrap, Env: []string{
			"_HANDLER=jitr", "MINTMARK_TABLE=mintmark-devices", "MINTMARK_POLICY=mintmark-device", "MINTMARK_MAX_AGE=24h",
		}}}
	})
	target := w.target()
	w.apply(target)
	r := w.registrar(first)

	c, key, record := w.issuers["line"].device(t, "pump-1")
	id := awsreg.CertificateID(c.Raw)
	tasks := awsreg.TasksFor([]awsreg.Target{target}, record)
	device := w.mosquitto("pump-1", c, key, "line")

	// Not pushed yet: refused, pending, and after the push the next connection is
	// enough.
	if err := device.publish("devices/pump-1/data"); err == nil {
		t.Fatal("a device that nobody announced was let in")
	}
	if err := device.publish("devices/pump-1/data"); err == nil || w.certificateStatus(id) != types.CertificateStatusPendingActivation {
		t.Fatalf("err %v, status %s", err, w.certificateStatus(id))
	}
	w.deliver(target, tasks)
	// Pushed, but nobody says how old the manifest is.
	refusals := w.logged("stale-manifest")
	if err := device.publish("devices/pump-1/data"); err == nil {
		t.Fatal("let in by a manifest without a head")
	}
	w.eventually("the function refuses it", func() bool { return w.logged("stale-manifest") > refusals })
	if status := w.certificateStatus(id); status != types.CertificateStatusPendingActivation {
		t.Fatalf("activated by a manifest without a head: %s", status)
	}
	if err := r.Beat(t.Context(), target, time.Now().Add(-25*time.Hour)); err != nil {
		t.Fatal(err)
	}
	refusals = w.logged("stale-manifest")
	if err := device.publish("devices/pump-1/data"); err == nil {
		t.Fatal("let in by a stale manifest")
	}
	w.eventually("the function refuses it", func() bool { return w.logged("stale-manifest") > refusals })
	if status := w.certificateStatus(id); status != types.CertificateStatusPendingActivation {
		t.Fatalf("activated by a stale manifest: %s", status)
	}
	if err := r.Beat(t.Context(), target, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := device.eventually("devices/pump-1/data"); err != nil {
		t.Fatalf("never let in: %v", err)
	}

	// It is its thing, and may not speak for another.
	things := must(w.iot(first).ListPrincipalThings(t.Context(), &iot.ListPrincipalThingsInput{
		Principal: aws.String("arn:aws:iot:" + region + ":" + first.ID + ":cert/" + id),
	}))(t)
	if !slices.Equal(things.Things, []string{"pump-1"}) {
		t.Errorf("things %v", things.Things)
	}
	other := device
	other.name = "pump-2"
	if err := other.publish("devices/pump-2/data"); err == nil {
		t.Error("connected as another thing")
	}

	// Revoked: AWS is told, and the device does not come back.
	record.State = ledger.Revoked
	w.deliver(target, awsreg.TasksFor([]awsreg.Target{target}, record))
	if status := w.certificateStatus(id); status != types.CertificateStatusRevoked {
		t.Errorf("status %s", status)
	}
	if err := device.publish("devices/pump-1/data"); err == nil {
		t.Error("a revoked device was let in")
	}

	// Revoked before its first connection.
	c, key, record = w.issuers["line"].device(t, "pump-3")
	record.State = ledger.Revoked
	w.deliver(target, awsreg.TasksFor([]awsreg.Target{target}, record))
	device = w.mosquitto("pump-3", c, key, "line")
	w.eventually("the function revokes it", func() bool {
		if err := device.publish("devices/pump-3/data"); err == nil {
			t.Fatal("a revoked device was let in")
		}
		return w.certificateStatus(awsreg.CertificateID(c.Raw)) == types.CertificateStatusRevoked
	})
}

// logged counts the lines of the functions' logs that hold a text.
func (w *world) logged(text string) int {
	w.t.Helper()
	answer, err := http.Get(w.sim.ControlURL() + "/_sim/events?kind=lambda.log")
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	var events []struct{ Message string }
	if err := json.NewDecoder(answer.Body).Decode(&events); err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if strings.Contains(e.Message, text) {
			n++
		}
	}
	return n
}

func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestJustInTimeProvisioning runs the generated template.
func TestJustInTimeProvisioning(t *testing.T) {
	needMosquitto(t)
	w := newWorld(t)
	target := w.target()
	target.CAs[1].Mode = awsreg.ModeDefault // the client sends no SNI to an address
	w.apply(target)
	c, key, _ := w.issuers["auto"].device(t, "valve-1")
	device := w.mosquitto("valve-1", c, key, "auto")
	if err := device.eventually("devices/valve-1/data"); err != nil {
		t.Fatalf("never let in: %v", err)
	}

	// One that was revoked before it ever connected.
	c, key, record := w.issuers["auto"].device(t, "valve-2")
	record.State = ledger.Revoked
	w.deliver(target, awsreg.TasksFor([]awsreg.Target{target}, record))
	device = w.mosquitto("valve-2", c, key, "auto")
	for range 10 {
		if err := device.publish("devices/valve-2/data"); err == nil {
			t.Fatal("a revoked device was provisioned")
		}
	}
}
