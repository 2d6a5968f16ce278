package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// dps is a target with one of everything.
const dps = `
tls: {issuer: issuing, profile: server, names: [localhost]}
profiles:
  server: {preset: server}
  device: {preset: device}
  edge: {preset: azure-iot-edge}
  edge-ca: {preset: azure-edge-ca}
labels:
  - {name: line, profile: device, issuer: issuing, authorize: inventory, one_time: true}
  - {name: lab, profile: device, issuer: issuing, authorize: inventory, one_time: true}
  - {name: gateways, preset: azure-iot-edge, profile: edge, gateway: edge-ca, issuer: edge, authorize: inventory, one_time: true}
azure:
  reconcile: 12h
  targets:
    - name: plant
      subscription_id: 01234567-89ab-cdef-0123-456789abcdef
      resource_group: rg-plant
      service: plant-dps
      id_scope: 0ne00AB12CD
      identity: {tenant_id: 11111111-2222-3333-4444-555555555555, client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa, secret_file: azure/secret}
      sas: {policy: provisioningserviceowner, key_file: azure/dps-key}
      connect: {address: "127.0.0.1:4443", trust_file: sim/root.pem}
      ops_per_minute: 5000
      cas:
        - {authority: root, name: plant-root}
        - {authority: old, self_attested: true, state: deleted}
      groups:
        - id: line-a
          anchors: [root]
          reference: true
          labels: [line]
          device:
            edge: true
            hubs: [plant-hub.azure-devices.net]
            allocation: custom
            webhook: https://pick.example/hub
            webhook_api: "2019-03-31"
            reprovision: reset
            tags: {plant: {name: augsburg, hall: 3}}
            desired: {telemetry: {seconds: 30}}
        - {id: line-b, anchors: [issuing, next], disabled: true, state: deleted}
      enrollments:
        - name: lab
          profiles: [device]
          labels: [lab]
          orders: [WO-117]
          device_id: "lab-${device}"
          device: {allocation: static, hubs: [plant-hub.azure-devices.net], reprovision: never}
      hubs:
        - {host: plant-hub.azure-devices.net, sas: {policy: registryReadWrite, key_file: azure/hub-key}}
        - {host: other-hub.azure-devices.net}
`

func TestParseAzure(t *testing.T) {
	c, err := Parse([]byte(dps))
	if err != nil {
		t.Fatal(err)
	}
	target := c.Azure.Targets[0]
	switch group := target.Groups[0]; {
	case c.Azure.Reconcile != 12*time.Hour || target.OpsPerMinute != 5000 || target.Connect.Address != "127.0.0.1:4443":
		t.Errorf("%+v", c.Azure)
	case !group.Device.Edge || group.Device.Webhook == "" || group.Device.Tags["plant"] == nil || !group.Reference:
		t.Errorf("%+v", group)
	case !target.CAs[1].SelfAttested || target.CAs[1].State != "deleted" || target.Enrollments[0].DeviceID != "lab-${device}":
		t.Errorf("%+v", target)
	case target.Hubs[0].SAS.Policy != "registryReadWrite" || target.Hubs[1].SAS != nil:
		t.Errorf("%+v", target.Hubs)
	}
	if c, err = Parse([]byte(good)); err != nil || c.Azure.Reconcile != 24*time.Hour {
		t.Errorf("without azure: %+v, %v", c, err)
	}
	// What the machine offers, Entra everywhere.
	plain := strings.Replace(dps, "      sas: {policy: provisioningserviceowner, key_file: azure/dps-key}\n", "", 1)
	plain = strings.Replace(plain, "      identity: {tenant_id: 11111111-2222-3333-4444-555555555555, client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa, secret_file: azure/secret}\n", "", 1)
	if _, err := Parse([]byte(plain)); err != nil {
		t.Errorf("without identity and sas: %v", err)
	}
}

func TestRefuseAzure(t *testing.T) {
	const identity = "tenant_id: 11111111-2222-3333-4444-555555555555, client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa, secret_file: azure/secret"
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown key", "ops_per_minute", "ops_per_second", "unknown field"},
		{"a tick too often", "reconcile: 12h", "reconcile: 1s", "azure.reconcile: 1s"},
		{"name", "name: plant\n", "name: Plant A\n", `targets[0].name: "Plant A"`},
		{"subscription", "subscription_id: 01234567-89ab-cdef-0123-456789abcdef", "subscription_id: plant", `subscription_id: "plant"`},
		{"resource group", "rg-plant", "rg-plant.", `resource_group: "rg-plant."`},
		{"service", "service: plant-dps", "service: plant-dps.azure-devices-provisioning.net", "no name of a DPS instance"},
		{"ID scope", "0ne00AB12CD", "0ne/1", `id_scope: "0ne/1"`},
		{"tenant", "tenant_id: 11111111-2222-3333-4444-555555555555", "tenant_id: example.org", `identity.tenant_id: "example.org"`},
		{"client", "client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa", "client_id: mintmark", `identity.client_id: "mintmark"`},
		{"two proofs", identity, identity + ", certificate_file: azure/client.pem", "identity: has secret_file and certificate_file"},
		{"no proof", ", secret_file: azure/secret", "", "identity: has neither"},
		{"policy", "policy: provisioningserviceowner", `policy: "a b"`, `sas.policy: "a b"`},
		{"no key", "provisioningserviceowner, key_file: azure/dps-key", "provisioningserviceowner", ".sas.key_file: must be set"},
		{"address", `"127.0.0.1:4443"`, `"https://127.0.0.1:4443"`, "connect.address"},
		{"rate", "ops_per_minute: 5000", "ops_per_minute: -1", "ops_per_minute: -1"},
		{"CA of nobody", "authority: root, ", "", "cas[0].authority: must be set"},
		{"CA twice", "authority: old", "authority: root", `cas[1].authority: "root" is listed twice`},
		{"name of a CA", "name: plant-root", "name: plant root", `cas[0].name: "plant root"`},
		{"state of a CA", "self_attested: true, state: deleted", "state: inactive", `cas[1].state: "inactive"`},
		{"group", "id: line-a", "id: line-a.", `groups[0].id: "line-a."`},
		{"group twice", "id: line-b", "id: LINE-A", `groups[1].id: "LINE-A" is defined twice`},
		{"state of a group", "disabled: true, state: deleted", "state: off", `groups[1].state: "off"`},
		{"no anchor", "anchors: [root]", "anchors: []", "groups[0].anchors: there are 0"},
		{"three anchors", "[issuing, next]", "[issuing, next, root]", "groups[1].anchors: there are 3"},
		{"one anchor twice", "[issuing, next]", "[next, next]", `groups[1].anchors[1]: "next" is listed twice`},
		{"reference to nothing", "anchors: [root]", "anchors: [issuing]", `groups[0].anchors[0]: "issuing" is not among cas`},
		{"reference to what goes", "anchors: [root]", "anchors: [old]", `groups[0].anchors[0]: "old" is not among cas`},
		{"gateways let in", "[issuing, next]", "[edge]", "a gateway signs what it likes"},
		{"no such label", "labels: [line]", "labels: [line-9]", `groups[0].labels[0]: there is no label "line-9"`},
		{"label of two groups", "anchors: [issuing, next],", "anchors: [issuing, next], labels: [line],", "is a label of groups[0], too"},
		{"hub of a group", "hubs: [plant-hub.azure-devices.net]\n            allocation: custom", "hubs: [plant-hub]\n            allocation: custom", `device.hubs[0]: "plant-hub"`},
		{"allocation", "allocation: custom", "allocation: random", `device.allocation: "random"`},
		{"custom without its function", "            webhook: https://pick.example/hub\n", "", "device.webhook: must be set exactly"},
		{"function without custom", "allocation: custom", "allocation: hashed", "device.webhook: must be set exactly"},
		{"function over plain http", "https://pick.example/hub", "http://u:hunter2@pick.example/hub", "device.webhook: is not an https URL"},
		{"custom without its version", "            webhook_api: \"2019-03-31\"\n", "", "device.webhook_api"},
		{"reprovision", "reprovision: reset", "reprovision: always", `device.reprovision: "always"`},
		{"enrollment", "name: lab\n", "name: Lab\n", `enrollments[0].name: "Lab"`},
		{"everybody", "          profiles: [device]\n          labels: [lab]\n          orders: [WO-117]\n", "", "would be for every device"},
		{"no such profile", "profiles: [device]", "profiles: [press]", `enrollments[0].profiles[0]: there is no profile "press"`},
		{"servers", "profiles: [device]", "profiles: [server]", "is not for devices"},
		{"gateways' own certificates", "profiles: [device]", "profiles: [edge-ca]", "is not for devices"},
		{"label of an enrollment", "labels: [lab]", "labels: [lap]", `enrollments[0].labels[0]: there is no label "lap"`},
		{"order", "orders: [WO-117]", `orders: [" WO-117"]`, "enrollments[0].orders[0]"},
		{"hub", "host: other-hub.azure-devices.net", "host: Other-Hub.azure-devices.net", "in lower case"},
		{"hub of somebody else", "host: other-hub.azure-devices.net", "host: other-hub.example", "hubs[1].host"},
		{"hub twice", "host: other-hub", "host: plant-hub", "hubs[1].host: \"plant-hub.azure-devices.net\" is listed twice"},
		{"hub's key", "registryReadWrite, key_file: azure/hub-key", "registryReadWrite", "hubs[0].sas.key_file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Count(dps, test.old) != 1 {
				t.Fatalf("the configuration has %q %d times", test.old, strings.Count(dps, test.old))
			}
			_, err := Parse([]byte(strings.Replace(dps, test.old, test.new, 1)))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the text does not hold %q: %v", test.want, err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the text holds a password: %v", err)
			}
		})
	}
	target := dps[strings.Index(dps, "    - name: plant\n"):]
	if _, err := Parse([]byte(dps + target)); err == nil || !strings.Contains(err.Error(), `targets[1].name: "plant" is defined twice`) ||
		!strings.Contains(err.Error(), "targets[1].service") {
		t.Errorf("one target twice: %v", err)
	}
}

// TestAzureBudget: more than an instance can have is said before any call.
func TestAzureBudget(t *testing.T) {
	var cas, groups strings.Builder
	for i := range 26 {
		fmt.Fprintf(&cas, "        - {authority: ca-%d}\n", i)
	}
	for i := range 101 {
		fmt.Fprintf(&groups, "        - {id: group-%d, anchors: [root]}\n", i)
	}
	for _, test := range []struct{ at, more, want string }{
		{"      cas:\n", cas.String(), ".cas: there are 27, and a DPS instance has 25 at most"},
		{"      groups:\n", groups.String(), ".groups: there are 102, and a DPS instance has 100 at most"},
	} {
		_, err := Parse([]byte(strings.Replace(dps, test.at, test.at+test.more, 1)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %q: %v", test.want, err)
		}
	}
}

// TestAzureDocumented: every key of a target is in the reference.
func TestAzureDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Azure\n")
	if !found {
		t.Fatal("there is no section Azure")
	}
	keys := keysOf("", reflect.TypeFor[AzureTarget]())
	if len(keys) < 40 {
		t.Fatalf("only %d keys: %v", len(keys), keys)
	}
	for _, key := range append(keys, "azure.reconcile") {
		if !strings.Contains(section, "`"+key+"`") {
			t.Errorf("docs/configuration.md does not describe %s", key)
		}
	}
}

// keysOf are the keys of a part of the configuration that hold a value. What groups
// and enrollments make of a device is the same in both, and described once.
func keysOf(prefix string, part reflect.Type) []string {
	var keys []string
	for i := range part.NumField() {
		f := part.Field(i)
		name, kind := prefix+f.Tag.Get("yaml"), f.Type
		if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct {
			name, kind = name+"[]", kind.Elem()
		}
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if f.Name == "Device" {
			name = "device"
		}
		if kind.Kind() == reflect.Struct {
			keys = append(keys, keysOf(name+".", kind)...)
			continue
		}
		keys = append(keys, name)
	}
	return keys
}
