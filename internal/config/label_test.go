package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// complete is a configuration with every key of a label, and a pair of labels
// for IoT Edge.
const complete = `
server: line-1
public_url: http://ca.example:8080
tls: {issuer: issuing, profile: server, names: [localhost]}
profiles:
  device: {preset: device}
  edge: {preset: azure-iot-edge}
  edge-ca: {preset: azure-edge-ca}
  ra: {preset: registration-authority}
  server: {preset: server}
  provisioned: {preset: aws-jitp}
  officer: {preset: officer}
labels:
  - name: line
    profile: device
    issuer: issuing
    authorize: webhook
    webhook: {url: "https://mes.example/enroll", ca: mes.pem, key_file: secrets/mes}
    passwords: [{user: factory, sha256: "0000000000000000000000000000000000000000000000000000000000000001"}]
    one_time: true
    own: [device]
    registration_authorities: [ra]
    maker: {anchors: maker.pem, device: serialNumber, subject: {organization: "Maker GmbH"}, crls: [maker.crl]}
    both: true
    renewal: {authorize: trusted, grace: 30d, password: true, change_names: true}
    proof_of_possession: required
    retry: 5m
    second_key: refuse
    change_names: true
    cacerts: active
    keygen: {plain: true, symmetric_keys: {line: secrets/line}}
    limits: {identity: 0, address: 10, label: 100}
  - name: edge
    preset: azure-iot-edge
    profile: edge
    issuer: issuing
    authorize: inventory
    one_time: true
    own: [edge]
  - name: edge-ca
    preset: azure-iot-edge
    profile: edge
    gateway: edge-ca
    issuer: gateways
    authorize: inventory
    one_time: true
    own: [edge]
limits: {connections: 100, connections_per_address: 10, handshakes: 4, stations: [10.1.2.0/24, "2001:db8::/48"]}
approval: {ttl: 2d, most: 50}
access: {issuer: people, profile: officer}
aws:
  targets:
    - name: a
      account_id: "123456789012"
      region: eu-central-1
      cas:
        - {issuer: jitp, mode: DEFAULT, use: jitp, jitp: {profile: provisioned, role_arn: "arn:aws:iam::123456789012:role/x", policy: p}}
`

func TestLabels(t *testing.T) {
	c, err := Parse([]byte(complete))
	if err != nil {
		t.Fatal(err)
	}
	line, edge := c.Labels[0], c.Labels[1]
	if *line.Limits.Identity != 0 || *line.Limits.Address != 10 || line.Renewal.Grace != 30*24*time.Hour || line.Keygen.SymmetricKeys["line"] != "secrets/line" || line.SecondKey != "refuse" {
		t.Errorf("what is written: %+v", line)
	}
	if edge.SecondKey != "allow" || edge.CACerts != "path" || edge.ProofOfPossession != "off" {
		t.Errorf("the preset azure-iot-edge: %+v", edge)
	}
	if edge.Limits.Identity != nil || edge.Limits.Address != nil {
		t.Error("a limit that is left out is there")
	}
	if p := c.Limits.Prefixes(); len(p) != 2 || p[0].String() != "10.1.2.0/24" || p[1].String() != "2001:db8::/48" {
		t.Errorf("stations: %v", p)
	}
	plain, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if l := plain.Labels[0]; l.SecondKey != "hold" || l.CACerts != "full" || l.ProofOfPossession != "optional" {
		t.Errorf("what is left out: %+v", l)
	}
	if plain.Limits.Connections < minConnections || plain.Limits.Handshakes < 1 || plain.Approval.TTL == 0 || plain.Approval.Most == 0 {
		t.Errorf("limits: %+v, %+v", plain.Limits, plain.Approval)
	}
}

// TestLabelRefused: each mistake is refused with a text that names the key and
// says what is wrong with it.
func TestLabelRefused(t *testing.T) {
	const webhook = `{url: "https://mes.example/enroll", ca: mes.pem, key_file: secrets/mes}`
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown preset", "preset: azure-iot-edge\n    profile: edge\n    issuer: issuing", "preset: iot\n    profile: edge\n    issuer: issuing", "labels[1].preset"},
		{"RA's profile for devices", "profile: device\n    issuer", "profile: ra\n    issuer", "labels[0].profile: \"ra\" has the preset registration-authority"},
		{"gateway's profile for devices", "profile: device\n    issuer", "profile: edge-ca\n    issuer", "labels[0].profile"},
		{"RA that is a device", "registration_authorities: [ra]", "registration_authorities: [device]", "labels[0].registration_authorities"},
		{"RA among our own", "own: [device]", "own: [device, ra]", "labels[0].own: \"ra\""},
		{"CA among our own", "own: [device]", "own: [device, edge-ca]", "labels[0].own: \"edge-ca\""},
		{"webhook that is missing", "    webhook: " + webhook + "\n", "", "labels[0].webhook: must be set"},
		{"webhook that nobody asks", "authorize: webhook", "authorize: trusted", "labels[0].webhook: nobody"},
		{"webhook without TLS", "https://mes.example", "http://mes.example", "labels[0].webhook.url"},
		{"webhook with a user", "https://mes.example", "https://a:b@mes.example", "labels[0].webhook.url"},
		{"webhook without a host", "https://mes.example", "https://:443", "labels[0].webhook.url"},
		{"webhook without credential", ", key_file: secrets/mes", "", "labels[0].webhook: exactly one"},
		{"webhook with both credentials", "key_file: secrets/mes", "key_file: secrets/mes, cert: c.pem, key: k.pem", "labels[0].webhook: exactly one"},
		{"webhook with half a credential", "key_file: secrets/mes", "cert: c.pem", "labels[0].webhook.cert"},
		{"RA with order", "authorize: webhook\n    webhook: " + webhook, "authorize: order", "labels[0].registration_authorities: has no credential of a work order"},
		{"passwords with order", "authorize: webhook\n    webhook: " + webhook, "authorize: order", "labels[0]: passwords, one_time and maker would enroll past every quota"},
		{"one_time with order", "authorize: inventory\n    one_time: true\n    own: [edge]\n  - name: edge-ca", "authorize: order\n    one_time: true\n    own: [edge]\n  - name: edge-ca", "labels[1]: passwords, one_time and maker would enroll past every quota"},
		{"another profile with order", "authorize: inventory\n    one_time: true\n    own: [edge]\n  - name: edge-ca", "authorize: order\n    own: [edge, device]\n  - name: edge-ca", "labels[1].own: \"device\" has no credential of a work order"},
		{"gateways with order", "issuer: gateways\n    authorize: inventory\n    one_time: true", "issuer: gateways\n    authorize: order", "labels[2].gateway: no work order pays"},
		{"both without a password", "authorize: inventory\n    one_time: true\n    own: [edge]\n  - name: edge-ca", "authorize: inventory\n    both: true\n    own: [edge]\n  - name: edge-ca", "labels[1].both: demands a password"},
		{"both without a certificate", "authorize: inventory\n    one_time: true\n    own: [edge]\n  - name: edge-ca", "authorize: inventory\n    both: true\n    one_time: true\n  - name: edge-ca", "labels[1].both: demands a certificate"},
		{"password to renew without one", "authorize: inventory\n    one_time: true\n    own: [edge]\n  - name: edge-ca", "authorize: inventory\n    renewal: {password: true}\n    own: [edge]\n  - name: edge-ca", "labels[1].renewal.password"},
		{"nobody", "authorize: inventory\n    one_time: true\n    own: [edge]\n  - name: edge-ca", "authorize: inventory\n  - name: edge-ca", "labels[1]: nobody can enroll"},
		{"maker without anchors", "anchors: maker.pem, ", "", "labels[0].maker.anchors"},
		{"maker's attribute", "subject: {organization:", "subject: {organisation:", "labels[0].maker.subject.organisation"},
		{"maker's pattern", `"Maker GmbH"`, `"Maker ("`, "labels[0].maker.subject.organization"},
		{"maker's empty pattern", `"Maker GmbH"`, `""`, "labels[0].maker.subject.organization"},
		{"maker's CRL without a name", "crls: [maker.crl]", `crls: [""]`, "labels[0].maker.crls[0]"},
		{"names of nobody", "authorize: inventory\n    one_time: true\n    own: [edge]\n  - name: edge-ca", "authorize: inventory\n    one_time: true\n    change_names: true\n    own: [edge]\n  - name: edge-ca", "labels[1].change_names"},
		{"renewal by order", "renewal: {authorize: trusted", "renewal: {authorize: order", "labels[0].renewal.authorize"},
		{"renewal by nonsense", "renewal: {authorize: trusted", "renewal: {authorize: all", "labels[0].renewal.authorize"},
		{"endless grace", "grace: 30d", "grace: 367d", "labels[0].renewal.grace"},
		{"negative grace", "grace: 30d", "grace: -1h", "labels[0].renewal.grace"},
		{"nobody renews", "own: [device]", "own: [edge]", "labels[0].renewal: no certificate renews here"},
		{"proof", "proof_of_possession: required", "proof_of_possession: yes", "labels[0].proof_of_possession"},
		{"second key", "second_key: refuse", "second_key: never", "labels[0].second_key"},
		{"cacerts", "cacerts: active", "cacerts: all", "labels[0].cacerts"},
		{"retry", "retry: 5m", "retry: 10ms", "labels[0].retry"},
		{"keys that wait", "retry: 5m", "approval: true", "labels[0].keygen: a key that the server makes cannot wait"},
		{"key without a file", "{line: secrets/line}", `{line: ""}`, "labels[0].keygen.symmetric_keys.line"},
		{"key without a name", "{line: secrets/line}", `{"": secrets/line}`, "labels[0].keygen.symmetric_keys"},
		{"limit of a label", "label: 100", "label: -1", "labels[0].limits.label"},
		{"limit of a device", "identity: 0", "identity: -1", "labels[0].limits.identity"},
		{"limit of an address", "address: 10,", "address: 9999999,", "labels[0].limits.address"},
		{"misspelt limit", "identity: 0", "identitty: 0", "identitty"},
		{"approval at IoT Edge", "    issuer: gateways", "    approval: true\n    issuer: gateways", "labels[2].approval"},
		{"approved renewal at IoT Edge", "    issuer: gateways", "    renewal: {approval: true}\n    issuer: gateways", "labels[2].renewal.approval"},
		{"held key at IoT Edge", "    issuer: gateways", "    second_key: hold\n    issuer: gateways", "labels[2].second_key"},
		{"proof at IoT Edge", "    issuer: gateways", "    proof_of_possession: required\n    issuer: gateways", "labels[2].proof_of_possession"},
		{"chain at IoT Edge", "    issuer: gateways", "    cacerts: full\n    issuer: gateways", "labels[2].cacerts"},
		{"keys at IoT Edge", "    issuer: gateways", "    keygen: {}\n    issuer: gateways", "labels[2].keygen"},
		{"profile at IoT Edge", "profile: edge\n    issuer: issuing", "profile: device\n    issuer: issuing", "labels[1].profile"},
		{"gateway's profile", "gateway: edge-ca", "gateway: edge", "labels[2].gateway"},
		{"gateway under a CA of a cloud", "issuer: gateways", "issuer: jitp", "labels[2].issuer: \"jitp\" issues CA certificates of gateways and is aws.targets[0].cas[0].issuer"},
		{"gateway under the CA of people", "issuer: gateways", "issuer: people", "labels[2].issuer"},
		{"gateway under the CA of devices", "issuer: gateways", "issuer: issuing", "labels[2].issuer: \"issuing\" issues CA certificates of gateways and is labels[0].issuer"},
		{"no connections", "connections: 100", "connections: 0", "limits.connections"},
		{"no connections of an address", "connections_per_address: 10", "connections_per_address: 0", "limits.connections_per_address"},
		{"no handshakes", "handshakes: 4", "handshakes: 0", "limits.handshakes"},
		{"station without a length", "10.1.2.0/24", "10.1.2.0", "limits.stations[0]"},
		{"station within a network", "10.1.2.0/24", "10.1.2.3/24", "10.1.2.0/24"},
		{"mapped station", "10.1.2.0/24", `"::ffff:10.1.2.0/120"`, "limits.stations[0]"},
		{"approval for ever", "ttl: 2d", "ttl: 1000d", "approval.ttl"},
		{"nobody waits", "most: 50", "most: 0", "approval.most"},
		{"second_key of a profile", "device: {preset: device}", "device: {preset: device, second_key: true}", "profiles.device.second_key: labels decide this now"},
	} {
		if !strings.Contains(complete, test.old) {
			t.Fatalf("%s: the complete configuration has no %q", test.name, test.old)
		}
		_, err := Parse([]byte(strings.Replace(complete, test.old, test.new, 1)))
		if err == nil {
			t.Errorf("%s: accepted", test.name)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the text does not say %q: %v", test.name, test.want, err)
		}
	}
}

// TestTold: an error names the label and says lengths of time as they are written,
// and the same mistake is one line.
func TestTold(t *testing.T) {
	_, err := Parse([]byte(strings.Replace(complete, "grace: 30d", "grace: 400d", 1)))
	if want := `label "line": labels[0].renewal.grace: 400d is not between`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the text does not say %q: %v", want, err)
	}
	text := strings.Replace(complete, "issuer: gateways", "issuer: issuing", 1)
	for _, name := range []string{"b", "c", "d", "e"} {
		text = strings.Replace(text, "limits: {connections:", "  - {name: "+name+", profile: device, issuer: issuing, authorize: inventory, own: [device]}\nlimits: {connections:", 1)
	}
	_, err = Parse([]byte(text))
	if err == nil || strings.Count(err.Error(), "issues CA certificates of gateways") != 1 || !strings.Contains(err.Error(), `labels[1].issuer ("edge")`) || !strings.Contains(err.Error(), "3 more") {
		t.Errorf("a gateway that shares its CA with six labels: %v", err)
	}
	for d, want := range map[time.Duration]string{
		400 * 24 * time.Hour: "400d", 36 * time.Hour: "36h", 15 * time.Minute: "15m", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s", 10 * time.Millisecond: "10ms", 0: "0s", -time.Hour: "-1h",
	} {
		got := DurationText(d)
		if back, err := ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v is %q, which reads as %v, %v", d, got, back, err)
		}
	}
}

// TestSecretsStayOut: an error about an address of a webhook does not repeat it.
func TestSecretsStayOut(t *testing.T) {
	_, err := Parse([]byte(strings.Replace(complete, "https://mes.example", "https://token:hunter2@mes.example", 1)))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// TestExample: the pair of labels for IoT Edge in the reference is right as it
// stands there.
func TestExample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	const begin = "    profiles:\n      edge: {"
	_, example, found := strings.Cut(string(text), begin)
	example, _, _ = strings.Cut(example, "\n\n")
	if !found {
		t.Fatal("the example is not there")
	}
	example = strings.ReplaceAll("\n"+begin+example, "\n    ", "\n")
	example = strings.Replace(example, "labels:\n", "  server: {preset: server}\nlabels:\n", 1)
	c, err := Parse([]byte("tls: {issuer: issuing, profile: server, names: [localhost]}" + example + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Labels) != 2 || c.Labels[1].Gateway != "edge-ca" || c.Labels[0].SecondKey != "allow" {
		t.Errorf("%+v", c.Labels)
	}
}

// TestDocumented: every key of a label, of limits and of approval is in the
// reference.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"preset", "gateway", "webhook.url", "webhook.ca", "webhook.key_file", "webhook.cert", "one_time", "registration_authorities",
		"maker.subject", "maker.crls", "both", "renewal.authorize", "renewal.grace", "renewal.password", "renewal.approval", "renewal.change_names",
		"proof_of_possession", "approval", "retry", "second_key", "change_names", "cacerts", "keygen.plain", "keygen.symmetric_keys",
		"limits.identity", "limits.address", "limits.label", "limits.connections", "limits.connections_per_address", "limits.handshakes", "limits.stations",
		"approval.ttl", "approval.most",
	} {
		if !strings.Contains(string(text), "`"+key+"`") {
			t.Errorf("docs/configuration.md does not describe %s", key)
		}
	}
}
