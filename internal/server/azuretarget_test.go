package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// everythingAzure is a target with one of everything, and much of what it warns of.
const everythingAzure = `azure:
  reconcile: 0s
  targets:
    - name: plant
      subscription_id: 01234567-89ab-cdef-0123-456789abcdef
      resource_group: rg-plant
      service: plant-dps
      id_scope: 0ne00AB12CD
      identity: {tenant_id: 11111111-2222-3333-4444-555555555555, client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa, certificate_file: /etc/mintmark/client.pem}
      sas: {policy: owner, key_file: dps-key}
      connect: {address: "127.0.0.1:4443", trust_file: sim.pem}
      ops_per_minute: 5000
      cas:
        - {authority: root, name: plant-root}
        - {authority: issuing, self_attested: true}
      groups:
        - id: line-a
          anchors: [root]
          reference: true
          disabled: true
          labels: [cloud]
          orders: [WO-117]
          device: {edge: true, hubs: [plant-hub.azure-devices.net], allocation: custom, webhook: "https://pick.example/hub", webhook_api: "2019-03-31", reprovision: reset, tags: {hall: 3}, desired: {seconds: 30}}
        - {id: people, anchors: [officers], state: deleted}
      enrollments:
        - {name: lab, profiles: [plain], labels: [edge], orders: [WO-117], device_id: "lab-${device}", device: {reprovision: never, tags: {order: "${order}"}}}
      hubs:
        - {host: plant-hub.azure-devices.net, sas: {policy: registry, key_file: hub-key}}
orders: {issuer: claims, profile: claim}
access: {issuer: officers, profile: officer}
labels:
  - {name: cloud, profile: device, issuer: issuing, authorize: inventory, own: [device]}
  - {name: edge, preset: azure-iot-edge, profile: plain, issuer: issuing, authorize: inventory, own: [plain]}
`

func azureState(t *testing.T) (string, *config.Config) {
	t.Helper()
	dir := newState(t)
	editConfig(t, dir, "labels:\n", everythingAzure)
	editConfig(t, dir, "profiles:\n", "profiles:\n  plain: {preset: azure-iot-edge}\n  claim: {preset: claim}\n  officer: {preset: officer}\n")
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, c
}

func TestAzureTargets(t *testing.T) {
	dir, c := azureState(t)
	list, err := azureTargetsOf(c)
	if err != nil {
		t.Fatal(err)
	}
	target := list[0]
	switch group, pinned := target.Groups[0], target.Enrollments[0]; {
	case target.Name != "plant" || target.SubscriptionID == "" || target.ResourceGroup != "rg-plant" || target.Service != "plant-dps" || target.IDScope != "0ne00AB12CD" || target.OpsPerMinute != 5000:
		t.Errorf("target %+v", target)
	case target.Identity.CertificateFile != "/etc/mintmark/client.pem" || target.Identity.TenantID == "" || target.Identity.SecretFile != "":
		t.Errorf("identity %+v", target.Identity)
	case target.SAS == nil || *target.SAS != (dpsreg.SAS{Policy: "owner", KeyFile: filepath.Join(dir, "dps-key")}):
		t.Errorf("sas %+v", target.SAS)
	case target.Connect != dpsreg.Connect{Address: "127.0.0.1:4443", Trust: filepath.Join(dir, "sim.pem")}:
		t.Errorf("connect %+v", target.Connect)
	case target.CAs[0].Name != "plant-root" || !target.CAs[1].SelfAttested:
		t.Errorf("CAs %+v", target.CAs)
	case !group.Reference || !group.Disabled || group.Labels[0] != "cloud" || group.Orders[0] != "WO-117" || !group.Edge || group.Hubs[0] == "" || group.Webhook == "" || group.WebhookAPI == "" || group.Reprovision != "reset" || group.Allocation != "custom" || group.Tags["hall"] == nil || group.Desired["seconds"] == nil:
		t.Errorf("group %+v", group)
	case target.Groups[1].State != dpsreg.StateDeleted || target.Groups[1].Anchors[0] != "officers":
		t.Errorf("groups %+v", target.Groups)
	case pinned.Profiles[0] != "plain" || pinned.Labels[0] != "edge" || pinned.Orders[0] != "WO-117" || pinned.DeviceID != "lab-${device}" || pinned.Tags["order"] != "${order}" || pinned.Reprovision != "never":
		t.Errorf("enrollment %+v", pinned)
	case target.Hubs[0].SAS == nil || target.Hubs[0].SAS.KeyFile != filepath.Join(dir, "hub-key"):
		t.Errorf("hubs %+v", target.Hubs)
	}
	if got := len(azureNeeds(c)); got != 4 {
		t.Errorf("%d authorities are needed", got)
	}
}

// TestAzureChecked: the configuration leaves to dpsreg what a target is on its own. What
// that refuses is refused by config check with the file, and what azure bundle push takes
// there is taken here, too.
func TestAzureChecked(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"tenant by its domain", "11111111-2222-3333-4444-555555555555", "example.onmicrosoft.com", ""},
		{"raised quota", "ops_per_minute: 5000", "ops_per_minute: 2000000", ""},
		{"policy", "policy: owner", "policy: owner!a", ""},
		{"hub in upper case", "host: plant-hub", "host: Plant-Hub", ""},

		{"name", "name: plant\n", "name: Plant A\n", `DPS target "Plant A": the name`},
		{"subscription", "01234567-89ab-cdef-0123-456789abcdef", "plant", `subscription id "plant"`},
		{"resource group", "rg-plant", "rg-plant.", `resource group "rg-plant."`},
		{"service", "service: plant-dps", "service: plant-dps.azure-devices-provisioning.net", "must be the name of a DPS instance"},
		{"ID scope", "0ne00AB12CD", "0ne/1", `id scope "0ne/1"`},
		{"tenant", "11111111-2222-3333-4444-555555555555", "a/b", `tenant id "a/b"`},
		{"client", "66666666-7777-8888-9999-aaaaaaaaaaaa", "mintmark", `client id "mintmark"`},
		{"two proofs", "certificate_file: /etc", "secret_file: secret, certificate_file: /etc", "a client secret and a certificate"},
		{"no proof", ", certificate_file: /etc/mintmark/client.pem", "", "without a secret or certificate file"},
		{"policy with a blank", "policy: owner", `policy: "a b"`, `the name "a b"`},
		{"no key", "owner, key_file: dps-key", "owner", `policy "owner" has no file`},
		{"address", "127.0.0.1:4443", "https://127.0.0.1:4443", "is not HOST:PORT"},
		{"quota", "ops_per_minute: 5000", "ops_per_minute: -1", "-1 operations"},
		{"CA of nobody", "authority: root, ", "", "a CA names no authority"},
		{"CA twice", "authority: issuing", "authority: root", `CA "root" is listed twice`},
		{"name of a CA", "name: plant-root", "name: plant root", `the name "plant root"`},
		{"state of a CA", "name: plant-root", "state: inactive", `state "inactive"`},
		{"group", "id: line-a", "id: line-a.", "the id must be"},
		{"group twice", "id: people", "id: LINE-A", `"line-a" and "LINE-A" are one to DPS`},
		{"state of a group", "disabled: true", "state: off", `state "off"`},
		{"no anchor", "{id: people, anchors: [officers], state: deleted}", "{id: people}", "it stands on no authority"},
		{"three anchors", "anchors: [root]", "anchors: [root, issuing, next]", "3 anchors"},
		{"one anchor twice", "anchors: [root]", "anchors: [root, root]", `both anchors are "root"`},
		{"reference to nothing", "anchors: [root]", "anchors: [next]", `"next" is not among the target's`},
		{"hub of a group", "hubs: [plant-hub.azure-devices.net]", "hubs: [plant-hub]", `hub "plant-hub"`},
		{"allocation", "allocation: custom", "allocation: random", `allocation "random"`},
		{"custom without its function", `webhook: "https://pick.example/hub", `, "", "the webhook must be an https URL"},
		{"function over plain http", "https://pick.example/hub", "http://u:hunter2@pick.example/hub", "the webhook must be an https URL"},
		{"function without custom", "allocation: custom", "allocation: hashed", "an allocation function is named"},
		{"custom without its version", `, webhook_api: "2019-03-31"`, "", "api version"},
		{"reprovision", "reprovision: reset", "reprovision: always", `reprovision "always"`},
		{"enrollment", "name: lab,", "name: a lab,", `enrollment "a lab"`},
		{"everybody", "profiles: [plain], labels: [edge], orders: [WO-117], ", "", "whose devices it is for"},
		{"placeholder", "lab-${device}", "lab-${devise}", "devise"},
		{"hub of somebody else", "host: plant-hub.azure-devices.net", "host: plant-hub.example", `hub "plant-hub.example"`},
		{"hub's key", "registry, key_file: hub-key", "registry", `policy "registry" has no file`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, _ := azureState(t)
			editConfig(t, dir, test.old, test.new)
			_, err := CheckConfig(t.Context(), dir)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), config.File+": azure.targets: ") || !strings.Contains(err.Error(), test.want)):
				t.Errorf("the text does not hold %q: %v", test.want, err)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("the text holds a password: %v", err)
			}
		})
	}
}

func TestAzureRisks(t *testing.T) {
	_, c := azureState(t)
	risky := strings.Join(risks(c), "\n")
	for _, words := range []string{
		"azure.reconcile is 0",
		`CA "issuing" is self_attested`,
		`enrollment "lab" pins devices of label "edge", which is for IoT Edge`,
		`profile "device" takes upper case`,
	} {
		if !strings.Contains(risky, words) {
			t.Errorf("the risks do not say %q:\n%s", words, risky)
		}
	}
	if strings.Contains(risky, `profile "plain"`) || strings.Contains(risky, `CA "root" is`) {
		t.Errorf("a risk that is none:\n%s", risky)
	}
}

// TestAzureFiles: files that cannot be used are named, and what they hold is not.
func TestAzureFiles(t *testing.T) {
	dir, c := azureState(t)
	write := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("hunter2"), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("dps-key", 0o600)
	write("hub-key", 0o644)
	if err := os.Mkdir(filepath.Join(dir, "sim.pem"), 0o700); err != nil {
		t.Fatal(err)
	}
	found := strings.Join(azureFiles(c), "\n")
	for _, words := range []string{
		"identity.certificate_file: /etc/mintmark/client.pem does not exist",
		"hubs[0].sas.key_file: " + filepath.Join(dir, "hub-key") + " can be read by others than its owner (mode 0644)",
		"connect.trust_file: " + filepath.Join(dir, "sim.pem") + " is not a regular file",
	} {
		if !strings.Contains(found, words) {
			t.Errorf("the findings do not say %q:\n%s", words, found)
		}
	}
	if strings.Contains(found, "dps-key") || strings.Contains(found, "hunter2") {
		t.Errorf("findings:\n%s", found)
	}
}

func TestTakesUpperCase(t *testing.T) {
	pattern := func(text string) map[string]issuer.Attribute {
		return map[string]issuer.Attribute{"commonName": {Pattern: text}}
	}
	for _, test := range []struct {
		profile issuer.ProfileConfig
		want    bool
	}{
		{issuer.ProfileConfig{Preset: "azure-iot-edge"}, false},
		{issuer.ProfileConfig{Preset: "device"}, true},
		{issuer.ProfileConfig{Preset: "device", Subject: pattern(`[a-z0-9-]{1,64}`)}, false},
		{issuer.ProfileConfig{Preset: "device", Subject: pattern(`press-[0-9]+`)}, false},
		{issuer.ProfileConfig{Preset: "device", Subject: pattern(`Press-[0-9]+`)}, true},
		{issuer.ProfileConfig{Preset: "device", Subject: pattern(`(?i)press-[0-9]+`)}, true},
		{issuer.ProfileConfig{Preset: "device", Subject: pattern(`press-\w+`)}, true},
		{issuer.ProfileConfig{Preset: "device", Subject: pattern(`press-.+`)}, true},
		{issuer.ProfileConfig{Preset: "device", Subject: pattern(`press-[^A-Z]+`)}, false},
		{issuer.ProfileConfig{Preset: "device", Subject: map[string]issuer.Attribute{"commonName": {Value: "Press"}}}, true},
		{issuer.ProfileConfig{Preset: "device", Subject: map[string]issuer.Attribute{"serialNumber": {Pattern: ".+"}}}, false},
	} {
		c := &config.Config{Profiles: map[string]issuer.ProfileConfig{"p": test.profile}}
		if got := takesUpperCase(c, "p"); got != test.want {
			t.Errorf("%+v: %v", test.profile, got)
		}
	}
}

// TestStrangersOfRotation: what has taken the place of a CA of claims, gateways or officers lets
// nobody in as a device, either; also once the rotation was taken back.
func TestStrangersOfRotation(t *testing.T) {
	s := openLocal(t, newState(t), nil)
	defer s.Close()
	s.config.Orders.Issuer = "claims"
	if got := s.azure.strangers(); got["claims"] == "" || got["claims-2"] != "" {
		t.Fatalf("before: %v", got)
	}
	w := turn(t, s, ledger.RotateIssuing, func(s *rotation.Spec) { s.Old, s.New = "claims", "claims-2" })
	w.r.Issue = ledger.IssueCanary
	w.enter(t, rotation.Canaried)
	if got := s.azure.strangers(); got["claims-2"] != "claim certificates" || got["claims"] != "claim certificates" {
		t.Errorf("while it runs: %v", got)
	}
	w.r.Issue, w.r.Kept = ledger.IssueOld, true
	w.enter(t, rotation.RolledBack)
	if got := s.azure.strangers(); got["claims-2"] != "claim certificates" {
		t.Errorf("taken back: %v", got)
	}
}
