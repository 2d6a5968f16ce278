package kit_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/awsreg/kit"
)

const (
	account = "111122223333"
	region  = "eu-central-1"
	thing   = "press-0042"
)

// authority is a certificate with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// issue makes a certificate; by nil signs itself.
func issue(t testing.TB, name string, isCA bool, by *authority, notAfter time.Time) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: notAfter, IsCA: isCA, BasicConstraintsValid: true,
	}
	if isCA {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// device starts a simulator that knows a device, and writes the device's kit with
// its key beside it.
func device(t *testing.T) string {
	t.Helper()
	sim, err := awssim.Start(t.Context(), awssim.Config{Region: region, Accounts: []awssim.Account{{ID: account, AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "example"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	api := iot.New(iot.Options{Region: region, BaseEndpoint: aws.String(sim.ControlURL()), Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "example", "")})
	ctx := t.Context()
	until := time.Now().Add(48 * time.Hour)
	ca := issue(t, "Press CA", true, nil, until)
	code, err := api.GetRegistrationCode(ctx, &iot.GetRegistrationCodeInput{})
	if err != nil {
		t.Fatal(err)
	}
	proof := issue(t, *code.RegistrationCode, false, ca, until)
	if _, err := api.RegisterCACertificate(ctx, &iot.RegisterCACertificateInput{
		CaCertificate: aws.String(string(ca.pem())), VerificationCertificate: aws.String(string(proof.pem())), SetAsActive: true}); err != nil {
		t.Fatal(err)
	}
	own := issue(t, thing, false, ca, until)
	registered, err := api.RegisterCertificate(ctx, &iot.RegisterCertificateInput{
		CertificatePem: aws.String(string(own.pem())), CaCertificatePem: aws.String(string(ca.pem())), Status: types.CertificateStatusActive})
	if err != nil {
		t.Fatal(err)
	}
	policy := awsreg.DevicePolicy(awsreg.Target{AccountID: account, Region: region})
	steps := []func() error{
		func() error {
			_, err := api.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String(thing)})
			return err
		},
		func() error {
			_, err := api.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("press"), PolicyDocument: aws.String(policy)})
			return err
		},
		func() error {
			_, err := api.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("press"), Target: registered.CertificateArn})
			return err
		},
		func() error {
			_, err := api.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String(thing), Principal: registered.CertificateArn})
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "kit")
	if _, err := kit.Write(dir, kit.Kit{Device: thing, Certificate: own.pem(), Chain: ca.pem(), Endpoint: sim.BrokerAddr(), Roots: sim.RootPEM()}); err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(own.key)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	if err := os.WriteFile(filepath.Join(dir, "device.key"), block, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs one of the kit's programs, with a deadline.
func run(t *testing.T, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("no %s here", tool)
	}
}

// TestMosquitto: the programs connect as they are, publish and subscribe, with
// ALPN and without; and not with another's certificate.
func TestMosquitto(t *testing.T) {
	need(t, "mosquitto_pub")
	need(t, "mosquitto_sub")
	dir := device(t)
	for _, env := range [][]string{nil, {"ALPN=1"}} {
		if out, err := run(t, dir, env, "sh", "mosquitto-pub.sh"); err != nil {
			t.Errorf("publishing with %v: %v\n%s", env, err, out)
		}
	}
	// Subscribed (SUBACK) and gone again: -E ends once the subscription stands.
	out, err := run(t, dir, nil, "sh", "mosquitto-sub.sh", portOf(t, dir), "-E", "-d")
	if err != nil || !strings.Contains(out, "Subscribed (mid: 1): 1") {
		t.Errorf("subscribing: %v\n%s", err, out)
	}
	stranger := issue(t, thing, false, nil, time.Now().Add(time.Hour))
	if err := os.WriteFile(filepath.Join(dir, "certificate-and-chain.pem"), stranger.pem(), 0o644); err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(stranger.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "device.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, dir, nil, "sh", "mosquitto-pub.sh"); err == nil {
		t.Errorf("a certificate that nobody registered published:\n%s", out)
	}
}

// portOf reads the port of the kit's simulator.
func portOf(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "mosquitto-sub.sh"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(data, []byte("port=${1:-"))
	port, _, _ := bytes.Cut(rest, []byte("}"))
	return string(port)
}

func TestCheckScript(t *testing.T) {
	need(t, "openssl")
	dir := device(t)
	out, err := run(t, dir, nil, "sh", "check.sh")
	if err != nil || !strings.Contains(out, "Verify return code: 0 (ok)") || !strings.Contains(out, "Certificate will not expire") {
		t.Errorf("%v\n%s", err, out)
	}
	// With other roots it says so.
	other := issue(t, "Other root", true, nil, time.Now().Add(time.Hour))
	if err := os.WriteFile(filepath.Join(dir, "AmazonRootCA.pem"), other.pem(), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, dir, nil, "sh", "check.sh"); err == nil {
		t.Errorf("a server under another root was taken:\n%s", out)
	}
}

// TestNode runs the program with the device SDK for JavaScript, which must be
// installed below MINTMARK_NODE_MODULES (npm install aws-iot-device-sdk-v2).
func TestNode(t *testing.T) {
	need(t, "node")
	dir := device(t)
	if out, err := run(t, dir, nil, "node", "--check", "publish.cjs"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	modules := os.Getenv("MINTMARK_NODE_MODULES")
	if modules == "" {
		t.Skip("MINTMARK_NODE_MODULES does not name where the device SDK is")
	}
	out, err := run(t, dir, []string{"NODE_PATH=" + modules}, "node", "publish.cjs")
	if err != nil || !strings.Contains(out, "published to devices/press-0042/hello") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPython compiles the program, and runs it with the device SDK for Python if
// MINTMARK_PYTHON names an interpreter that has it (pip install awsiotsdk).
func TestPython(t *testing.T) {
	need(t, "python3")
	dir := device(t)
	if out, err := run(t, dir, []string{"PYTHONPYCACHEPREFIX=" + t.TempDir()}, "python3", "-m", "py_compile", "publish.py"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	python := os.Getenv("MINTMARK_PYTHON")
	if python == "" {
		t.Skip("MINTMARK_PYTHON names no interpreter with the device SDK")
	}
	out, err := run(t, dir, nil, python, "publish.py")
	if err != nil || !strings.Contains(out, "published to devices/press-0042/hello") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestHeaders: the C files compile, and hold the certificates whole.
func TestHeaders(t *testing.T) {
	need(t, "cc")
	dir := device(t)
	for _, name := range []string{"logging_levels.h", "logging_stack.h"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#define LOG_INFO 3\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := `#include "demo_config.h"
#include "secrets.h"
#include <stdio.h>
int main(void) { printf("%s%s", AWS_CERTIFICATE, CLIENT_IDENTIFIER); return AWS_MQTT_PORT != AWS_PORT || sizeof AWS_ROOTS < 100 || !AWS_ENDPOINT[0] || !AWS_CLIENT_ID[0] || !AWS_TOPIC[0]; }
`
	if err := os.WriteFile(filepath.Join(dir, "main.c"), []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, dir, nil, "cc", "-Wall", "-o", "main", "main.c"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := run(t, dir, nil, "./main")
	want, _ := os.ReadFile(filepath.Join(dir, "certificate-and-chain.pem"))
	if err != nil || out != string(want)+thing {
		t.Errorf("%v: %q", err, out)
	}
}
