package awssim

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// functionDir holds the compiled test function for as long as the tests run.
var functionDir string

func TestMain(m *testing.M) {
	var err error
	if functionDir, err = os.MkdirTemp("", "awssim-function"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(functionDir)
	os.Exit(code)
}

// buildFunction compiles the test function once.
var buildFunction = sync.OnceValues(func() (string, error) {
	path := filepath.Join(functionDir, "bootstrap")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/jitr")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

// connectPolicy is what a device needs to say hello.
const connectPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:eu-central-1:111122223333:client/${iot:ClientId}"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:eu-central-1:111122223333:topic/data/*"},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:eu-central-1:111122223333:topicfilter/data/*"}]}`

// mosquittoPub publishes one message with the real client.
func mosquittoPub(t *testing.T, s *Sim, root, cert, key string, args ...string) (string, error) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.BrokerAddr())
	cmd := exec.Command(tool(t, "mosquitto_pub"), append([]string{
		"-h", host, "-p", port, "--cafile", root, "--cert", cert, "--key", key, "-q", "1"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestJustInTimeRegistrationByHand is the well-known tutorial of 2017, command by
// command: openssl, aws and mosquitto_pub against the simulator.
func TestJustInTimeRegistrationByHand(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and runs command line clients")
	}
	tool(t, "mosquitto_pub")
	fn, err := buildFunction()
	if err != nil {
		t.Fatalf("building the function: %v", err)
	}
	dir := t.TempDir()
	s := startSim(t, func(c *Config) {
		c.StateDir = dir
		c.Functions = map[string]Function{"activate": {Path: fn, Env: []string{"POLICY=JustInTime"}}}
	})

	// The CA.
	writeFile(t, dir, "ca.cnf", "[req]\ndistinguished_name=dn\n[dn]\n[v3_ca]\nbasicConstraints=CA:true\nsubjectKeyIdentifier=hash\n")
	openssl(t, dir, "genrsa", "-out", "CAroot.key", "2048")
	openssl(t, dir, "req", "-x509", "-new", "-nodes", "-key", "CAroot.key", "-sha256", "-days", "365", "-out", "CAroot.pem",
		"-subj", "/C=JP/O=Example/CN=JITR Root", "-config", "ca.cnf", "-extensions", "v3_ca")

	// The verification certificate.
	code := mustCLI(t, s, "iot", "get-registration-code", "--query", "registrationCode")
	if again := mustCLI(t, s, "iot", "get-registration-code", "--query", "registrationCode"); len(code) != 64 || again != code {
		t.Fatalf("registration code %q, then %q", code, again)
	}
	openssl(t, dir, "genrsa", "-out", "verify.key", "2048")
	openssl(t, dir, "req", "-new", "-key", "verify.key", "-out", "verify.csr", "-subj", "/CN="+code)
	openssl(t, dir, "x509", "-req", "-in", "verify.csr", "-CA", "CAroot.pem", "-CAkey", "CAroot.key", "-CAcreateserial",
		"-out", "verify.crt", "-days", "365", "-sha256")

	// Register, activate, switch auto-registration on.
	caID := mustCLI(t, s, "iot", "register-ca-certificate", "--ca-certificate", "file://"+dir+"/CAroot.pem",
		"--verification-certificate", "file://"+dir+"/verify.crt", "--query", "certificateId")
	if status := mustCLI(t, s, "iot", "describe-ca-certificate", "--certificate-id", caID, "--query", "certificateDescription.status"); status != "INACTIVE" {
		t.Fatalf("a new CA is %s, want INACTIVE", status)
	}
	mustCLI(t, s, "iot", "update-ca-certificate", "--certificate-id", caID, "--new-status", "ACTIVE")
	mustCLI(t, s, "iot", "update-ca-certificate", "--certificate-id", caID, "--new-auto-registration-status", "ENABLE")

	// The policy, the rule and the function.
	writeFile(t, dir, "policy.json", connectPolicy)
	mustCLI(t, s, "iot", "create-policy", "--policy-name", "JustInTime", "--policy-document", "file://"+dir+"/policy.json")
	writeFile(t, dir, "rule.json", `{"sql":"SELECT * FROM '$aws/events/certificates/registered/`+caID+`'","ruleDisabled":false,
		"actions":[{"lambda":{"functionArn":"arn:aws:lambda:eu-central-1:111122223333:function:activate"}}]}`)
	mustCLI(t, s, "iot", "create-topic-rule", "--rule-name", "JustInTime", "--topic-rule-payload", "file://"+dir+"/rule.json")

	// The device certificate, joined with its CA.
	openssl(t, dir, "genrsa", "-out", "device.key", "2048")
	openssl(t, dir, "req", "-new", "-key", "device.key", "-out", "device.csr", "-subj", "/CN=device-1")
	openssl(t, dir, "x509", "-req", "-in", "device.csr", "-CA", "CAroot.pem", "-CAkey", "CAroot.key", "-CAcreateserial",
		"-out", "device.crt", "-days", "365", "-sha256")
	both := read(t, dir, "device.crt") + read(t, dir, "CAroot.pem")
	writeFile(t, dir, "deviceAndCA.crt", both)

	pub := func() (string, error) {
		return mosquittoPub(t, s, dir+"/amazon-root.pem", dir+"/deviceAndCA.crt", dir+"/device.key",
			"--tls-version", "tlsv1.2", "-i", "JustInTime", "-t", "data/hello", "-m", "{}")
	}
	if out, err := pub(); err == nil {
		t.Fatalf("the first connection was accepted: %s", out)
	}
	wait(t, "the function to activate the certificate", func() bool { return len(eventsOf(t, s, "lambda.succeeded")) > 0 })
	if out, err := pub(); err != nil {
		t.Fatalf("the second connection failed: %v: %s", err, out)
	}
	ev := eventsOf(t, s, "lambda.succeeded")[0].Details["event"]
	for _, want := range []string{`"caCertificateId":"` + caID + `"`, `"certificateStatus":"PENDING_ACTIVATION"`,
		`"awsAccountId":"111122223333"`, `"certificateRegistrationTimestamp":null`, `"sourceIp":"127.0.0.1"`, `"timestamp":1`} {
		if !strings.Contains(ev, want) {
			t.Errorf("the event %s lacks %s", ev, want)
		}
	}

	// Without the CA in the chain and without SNI nobody knows whose device it is.
	openssl(t, dir, "genrsa", "-out", "device2.key", "2048")
	openssl(t, dir, "req", "-new", "-key", "device2.key", "-out", "device2.csr", "-subj", "/CN=device-2")
	openssl(t, dir, "x509", "-req", "-in", "device2.csr", "-CA", "CAroot.pem", "-CAkey", "CAroot.key", "-CAcreateserial",
		"-out", "device2.crt", "-days", "365", "-sha256")
	if out, err := mosquittoPub(t, s, dir+"/amazon-root.pem", dir+"/device2.crt", dir+"/device2.key", "-t", "data/x", "-m", "{}"); err == nil {
		t.Fatalf("a device without chain and SNI was accepted: %s", out)
	}
	if out := mustCLI(t, s, "iot", "list-certificates-by-ca", "--ca-certificate-id", caID, "--query", "length(certificates)"); out != "1" {
		t.Errorf("%s certificates by CA, want 1", out)
	}
	certARN := mustCLI(t, s, "iot", "list-certificates", "--query", "certificates[0].certificateArn")
	if out := mustCLI(t, s, "iot", "list-attached-policies", "--target", certARN, "--query", "policies[0].policyName"); out != "JustInTime" {
		t.Errorf("attached policy %q", out)
	}
	if out := mustCLI(t, s, "sts", "get-caller-identity", "--query", "Account"); out != first.ID {
		t.Errorf("caller identity %s", out)
	}
}

// TestFunctionError: a function that reports an error is tried twice more, by one
// warm process.
func TestFunctionError(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function")
	}
	fn, err := buildFunction()
	if err != nil {
		t.Fatalf("building the function: %v", err)
	}
	s := startSim(t, func(c *Config) {
		c.Functions = map[string]Function{"activate": {Path: fn, Env: []string{"POLICY=nowhere"}}}
	})
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	w.invoke("rule", "arn:aws:lambda:eu-central-1:111122223333:function:activate",
		[]byte(`{"certificateId":"00","certificateStatus":"PENDING_ACTIVATION","awsAccountId":"111122223333"}`))
	wait(t, "the event to be dropped", func() bool { return len(eventsOf(t, s, "lambda.dropped")) == 1 })
	failed := eventsOf(t, s, "lambda.failed")
	if len(failed) != lambdaAttempts || !strings.Contains(failed[0].Message, "ResourceNotFoundException") {
		t.Errorf("failures: %+v", failed)
	}
	// What it failed at shows in the calls, once for each attempt.
	if calls := s.Calls(); len(calls) != lambdaAttempts || calls[0] != "AttachPolicy" {
		t.Errorf("calls: %v", calls)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
