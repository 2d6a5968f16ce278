package awssim

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mosquittoRR asks once with the real client and returns the message on the topic of
// the answer.
func mosquittoRR(t *testing.T, s *Sim, root, cert, key, clientID, topic, kind, payload string) map[string]any {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.BrokerAddr())
	cmd := exec.Command(tool(t, "mosquitto_rr"), "-h", host, "-p", port, "--cafile", root, "--cert", cert, "--key", key, "-i", clientID,
		"-q", "1", "-W", "30", "-t", topic, "-e", topic+"/"+kind, "-m", payload)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("mosquitto_rr %s: %v: %s\n%+v", topic, err, out, eventsOf(t, s, ""))
	}
	var answer map[string]any
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("mosquitto_rr %s: %v: %s", topic, err, out)
	}
	return answer
}

// TestFleetProvisioningByHand sets fleet provisioning up as the tutorials do, with the
// aws command, and provisions with mosquitto: claim certificate of AWS, template with
// hook, key made by openssl on the device.
func TestFleetProvisioningByHand(t *testing.T) {
	tool(t, "mosquitto_rr")
	dir := t.TempDir()
	s := startSim(t, withFleetFunction(t), func(c *Config) { c.StateDir = dir })
	root := filepath.Join(dir, "amazon-root.pem")
	claimFile, claimKey := filepath.Join(dir, "claim.pem"), filepath.Join(dir, "claim.private.key")
	claimARN := mustCLI(t, s, "iot", "create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile", claimFile,
		"--private-key-outfile", claimKey, "--public-key-outfile", filepath.Join(dir, "claim.public.key"), "--query", "certificateArn")
	mustCLI(t, s, "iot", "create-policy", "--policy-name", "claim", "--policy-document", fleetClaimPolicy)
	mustCLI(t, s, "iot", "create-policy", "--policy-name", "device", "--policy-document", connectPolicy)
	mustCLI(t, s, "iot", "attach-policy", "--policy-name", "claim", "--target", claimARN)
	mustCLI(t, s, "iot", "create-thing-type", "--thing-type-name", "press")
	mustCLI(t, s, "iot", "create-thing-group", "--thing-group-name", "line-1")
	writeFile(t, dir, "template.json", fleetTemplateBody)
	mustCLI(t, s, "iot", "create-provisioning-template", "--template-name", "fleet", "--enabled", "--template-body", "file://"+dir+"/template.json",
		"--provisioning-role-arn", provisioningRole, "--pre-provisioning-hook", "targetArn="+fleetARN+",payloadVersion=2020-04-01")

	openssl(t, dir, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "device.key")
	openssl(t, dir, "req", "-new", "-key", "device.key", "-out", "device.csr", "-subj", "/CN=4711")
	csr, err := os.ReadFile(filepath.Join(dir, "device.csr"))
	if err != nil {
		t.Fatal(err)
	}
	request, err := json.Marshal(obj{"certificateSigningRequest": string(csr)})
	if err != nil {
		t.Fatal(err)
	}
	rr := func(clientID, topic, kind, payload string) map[string]any {
		t.Helper()
		return mosquittoRR(t, s, root, claimFile, claimKey, clientID, topic, kind, payload)
	}
	made := rr("press-1", fromCSR, "accepted", string(request))
	device := writeFile(t, dir, "device.pem", made["certificatePem"].(string))
	register := func(token any, more string) string {
		b, err := json.Marshal(token)
		if err != nil {
			t.Fatal(err)
		}
		return `{"certificateOwnershipToken":` + string(b) + `,"parameters":{"SerialNumber":"4711"` + more + `}}`
	}
	pub := func() (string, error) {
		return mosquittoPub(t, s, root, device, filepath.Join(dir, "device.key"), "-i", "unit-4711", "-t", "data/hello", "-m", "{}")
	}
	if out, err := pub(); err == nil {
		t.Fatalf("a certificate that waits for RegisterThing could connect: %s", out)
	}
	if no := rr("press-1", provision, "rejected", register("stolen", "")); no["errorCode"] != "InvalidCertificateOwnershipToken" {
		t.Errorf("a token that is none: %v", no)
	}
	if no := rr("press-1", provision, "rejected", register(made["certificateOwnershipToken"], `,"mode":"deny"`)); no["statusCode"] != 403.0 {
		t.Errorf("the hook denies: %v", no)
	}
	if done := rr("press-1", provision, "accepted", register(made["certificateOwnershipToken"], "")); done["thingName"] != "unit-4711" {
		t.Errorf("answer: %v", done)
	}
	if out, err := pub(); err != nil {
		t.Fatalf("the device cannot publish: %v: %s", err, out)
	}
	if out := mustCLI(t, s, "iot", "describe-thing", "--thing-name", "unit-4711", "--query", "attributes.cert_issuance"); out != "20260102" {
		t.Errorf("cert_issuance %q", out)
	}
	if out := mustCLI(t, s, "iot", "list-certificates", "--query", "length(certificates)"); out != "2" {
		t.Errorf("%s certificates", out)
	}

	// By trusted user.
	claim := mustCLI(t, s, "iot", "create-provisioning-claim", "--template-name", "fleet", "--query", "[certificatePem,keyPair.PrivateKey]", "--output", "json")
	var parts []string
	if err := json.Unmarshal([]byte(claim), &parts); err != nil || len(parts) != 2 {
		t.Fatalf("claim: %v %s", err, claim)
	}
	claimFile, claimKey = writeFile(t, dir, "user.pem", parts[0]), writeFile(t, dir, "user.key", parts[1])
	made = rr("phone", "$aws/certificates/create/json", "accepted", "{}")
	if !strings.Contains(made["privateKey"].(string), "PRIVATE KEY") {
		t.Error("no key")
	}

	// RegisterThing by the API, with the same template and certificate.
	arns := mustCLI(t, s, "iot", "register-thing", "--template-body", "file://"+dir+"/template.json",
		"--parameters", "SerialNumber=4712,AWS::IoT::Certificate::Id="+made["certificateId"].(string), "--query", "resourceArns.thing")
	if !strings.HasSuffix(arns, ":thing/unit-4712") {
		t.Errorf("thing %q", arns)
	}
}
