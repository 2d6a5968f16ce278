package config

import (
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
  claim: {preset: claim}
  officer: {preset: officer}
access: {issuer: officers, profile: officer}
orders: {issuer: claims, profile: claim}
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
          orders: [WO-9]
          device:
            edge: true
            hubs: [plant-hub.azure-devices.net]
            allocation: custom
            webhook: https://pick.example/hub
            webhook_api: "2019-03-31"
            reprovision: reset
            tags: {plant: {name: augsburg, hall: 3}}
            desired: {telemetry: {seconds: 30}}
        - {id: line-b, anchors: [issuing, claims], disabled: true, state: deleted}
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
	case !group.Device.Edge || group.Device.Webhook == "" || group.Device.Tags["plant"] == nil || !group.Reference || len(group.Orders) != 1:
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
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown key", "ops_per_minute", "ops_per_second", "unknown field"},
		{"a tick too often", "reconcile: 12h", "reconcile: 1s", "azure.reconcile: 1s"},
		{"gateways let in", "anchors: [root]", "anchors: [edge]", "a gateway signs what it likes"},
		{"gateways uploaded", "authority: root, ", "authority: edge, ", "a gateway signs what it likes"},
		{"claims let in", "anchors: [root]", "anchors: [claims]", `groups[0].anchors[0]: "claims" is the issuing CA of orders`},
		{"officers let in", "anchors: [root]", "anchors: [officers]", `groups[0].anchors[0]: "officers" is the issuing CA of access`},
		{"officers uploaded", "authority: root, ", "authority: officers, ", `cas[0].authority: "officers" is the issuing CA of access`},
		{"no such label", "labels: [line]", "labels: [line-9]", `groups[0].labels[0]: there is no label "line-9"`},
		{"no such profile", "profiles: [device]", "profiles: [press]", `enrollments[0].profiles[0]: there is no profile "press"`},
		{"servers", "profiles: [device]", "profiles: [server]", "is not for devices"},
		{"gateways' own certificates", "profiles: [device]", "profiles: [edge-ca]", "is not for devices"},
		{"label of an enrollment", "labels: [lab]", "labels: [lap]", `enrollments[0].labels[0]: there is no label "lap"`},
		{"order of a group", "orders: [WO-9]", `orders: [""]`, "groups[0].orders[0]"},
		{"gateways let in by their label", "anchors: [root]\n          reference: true\n          labels: [line]", "labels: [gateways]", "groups[0].labels[0]: \"edge\" issues CA certificates of gateways"},
		{"order", "orders: [WO-117]", `orders: [" WO-117"]`, "enrollments[0].orders[0]"},
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
		})
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
