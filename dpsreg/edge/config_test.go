package edge

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"go.step.sm/crypto/kms/uri"
)

var update = flag.Bool("update", false, "write the golden files")

// documented reads testdata/keys.txt: the type of each key.
func documented(t testing.TB) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	keys := make(map[string]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if field := strings.Fields(lines.Text()); len(field) == 3 && field[0] != "#" {
			keys[field[0]+" "+field[1]] = field[2]
		}
	}
	if len(keys) < 40 {
		t.Fatalf("only %d keys", len(keys))
	}
	return keys
}

// flatten lists the values of a document by their whole key.
func flatten(prefix string, doc map[string]any, into map[string]any) map[string]any {
	for key, value := range doc {
		if inner, ok := value.(map[string]any); ok {
			flatten(prefix+key+".", inner, into)
			continue
		}
		into[prefix+key] = value
	}
	return into
}

// parse reads config.toml by a parser that is not ours.
func parse(t testing.TB, text []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if _, err := toml.Decode(string(text), &doc); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return flatten("", doc, make(map[string]any))
}

// one is the file of a name.
func one(t testing.TB, files []File, name string) File {
	t.Helper()
	for _, f := range files {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no %s", name)
	return File{}
}

// every is each combination of what can be asked for; those that are refused are left to
// TestRefused.
func every(t testing.TB) []Config {
	w := newWorld(t)
	slot := uint64(3)
	choices := [][]func(*Config){
		{
			func(c *Config) { *c = w.file() },
			func(c *Config) { *c = w.est() },
			func(c *Config) { *c = w.pkcs11() },
			func(c *Config) { *c = w.pkcs11(); c.Token.Label, c.Token.Slot = "", &slot },
		},
		{nil, func(c *Config) { c.Individual = true }},
		{nil, func(c *Config) { c.EdgeCA, c.Enroll.Trust = edgeCALabel, encode(w.root.cert, w.gateways.cert) }},
		{ // how it authenticates
			func(c *Config) { c.Enroll.Bootstrap, c.Enroll.User = w.bootstrap.pem(), "" },
			func(c *Config) { c.Enroll.Bootstrap, c.Enroll.User = nil, "line-a" },
			func(c *Config) { c.Enroll.Bootstrap, c.Enroll.User = w.bootstrap.pem(), `li"ne\a` },
			func(c *Config) { c.Enroll.Bootstrap, c.Enroll.Certificate = nil, w.leaf.pem() },
		},
		{nil, func(c *Config) { c.Renew = Renew{Threshold: 50, Retry: 10, KeepKey: true} }},
		{ // keys in a token
			nil,
			func(c *Config) { c.Token.Library, c.Token.Label, c.Token.Slot = "/usr/lib/p11.so", "To;k=e%n?", nil },
			func(c *Config) {
				c.Token.Library, c.Token.Label, c.Token.Slot, c.Token.BootstrapObject, c.Token.NoPIN = "/usr/lib/p11.so", "token", nil, "boot strap", true
			},
		},
		{
			nil,
			func(c *Config) {
				c.Hostname, c.Reprovisioning, c.GlobalEndpoint = "gateway.example.org", "OnErrorOnly", "https://dps.example.org/"
				c.Payload, c.TrustBundle = []byte(`{"modelId": "dtmi:com:example:edgedevice;1"}`), w.gateways.pem()
			},
		},
	}
	list := []Config{{}}
	for _, options := range choices {
		var next []Config
		for _, c := range list {
			for _, option := range options {
				made := c
				if option != nil {
					option(&made)
				}
				next = append(next, made)
			}
		}
		list = next
	}
	return slices.DeleteFunc(list, func(c Config) bool {
		if !c.byEST() {
			return c.Enroll.User != "" || c.Enroll.Certificate != nil || c.Enroll.Bootstrap != nil || c.Renew != Renew{}
		}
		if c.Enroll.Bootstrap == nil && c.Enroll.Certificate == nil && c.Token.BootstrapObject != "" {
			return true
		}
		return c.Individual && c.Identity == ByEST && c.EdgeCA == "" && c.Renew != Renew{}
	})
}

// TestEveryCombination: whatever is asked for is TOML, has no key that is not
// documented, each with its type and in its place, and none of the known traps.
func TestEveryCombination(t *testing.T) {
	keys := documented(t)
	seen := make(map[string]bool)
	list := every(t)
	// A file identity without EST has no way to authenticate, which is left out above.
	w := newWorld(t)
	list = append(list, w.file(), w.pkcs11())
	for i, c := range list {
		files, err := Files(c)
		if err != nil {
			t.Errorf("combination %d: %v", i, err)
			continue
		}
		text := one(t, files, "config.toml").Data
		doc := parse(t, text)
		for key, value := range doc {
			kind := map[string]string{"string": "string", "bool": "bool", "[]interface {}": "strings"}[fmt.Sprintf("%T", value)]
			if keys[key+" "+kind] == "" {
				t.Errorf("%s, a %T, is not documented, in\n%s", key, value, text)
			}
			seen[key+" "+kind] = true
		}
		noTrap(t, c, string(text), doc, files)
		if t.Failed() {
			t.Fatalf("combination %d of %d:\n%s", i, len(list), text)
		}
	}
	for key := range keys {
		if !seen[key] {
			t.Errorf("no combination writes %s", key)
		}
	}
	t.Logf("%d combinations", len(list))
}

// noTrap checks for what IoT Edge takes without a word and does not do.
func noTrap(t *testing.T, c Config, text string, doc map[string]any, files []File) {
	t.Helper()
	// Keys of the document stand before the first table, the mode in quotes.
	first := strings.Index(text, "\n[")
	if at := strings.Index(text, `auto_reprovisioning_mode = "`); at < 0 || at > first {
		t.Error("auto_reprovisioning_mode is not at the top, in quotes")
	}
	if doc["provisioning.attestation.registration_id"] != device || doc["provisioning.source"] != "dps" || doc["provisioning.attestation.method"] != "x509" {
		t.Error("this is not the device")
	}
	has := func(key string) bool { _, ok := doc[key]; return ok }
	for _, table := range []string{"provisioning.attestation.identity_cert.auto_renew", "cert_issuance.est.identity_auto_renew", "edge_ca.auto_renew"} {
		if a, b, d := has(table+".rotate_key"), has(table+".threshold"), has(table+".retry"); a != b || b != d {
			t.Errorf("%s has not all three fields", table)
		}
	}
	if renews := has("provisioning.attestation.identity_cert.auto_renew.retry"); renews != (c.Identity == ByEST && !c.Individual) {
		t.Errorf("the identity is renewed: %v", renews)
	}
	if c.byEST() != has("cert_issuance.est.urls.default") || c.byEST() != strings.Contains(text, "\n[cert_issuance.est.auth]\n") {
		t.Error("the default URL and the table of authentication go with EST")
	}
	if c.Identity == ByEST && (doc["cert_issuance.est.urls.default"] != doc["provisioning.attestation.identity_cert.url"] || doc["provisioning.attestation.identity_cert.common_name"] != device) {
		t.Error("the renewal asks elsewhere, or in another name")
	}
	for _, table := range []string{"cert_issuance.est.auth", "edge_ca"} {
		if has(table+".bootstrap_identity_cert") && has(table+".identity_cert") {
			t.Errorf("%s has a bootstrap and an identity", table)
		}
		for _, kind := range []string{"bootstrap_identity", "identity"} {
			if has(table+"."+kind+"_cert") != has(table+"."+kind+"_pk") {
				t.Errorf("%s: a %s without certificate or key", table, kind)
			}
		}
	}
	if c.EdgeCA != "" {
		name, _ := doc["edge_ca.common_name"].(string)
		if name != "aziot-edge CA "+device || len(name) > 64 || doc["edge_ca.url"] != c.EdgeCA || !has("edge_ca.auto_renew.retry") {
			t.Error("the Edge CA is not as our server wants it")
		}
		if !has("edge_ca.username") && !has("edge_ca.bootstrap_identity_cert") && !has("edge_ca.identity_cert") {
			t.Error("the Edge CA would ask with the EST identity of another label")
		}
	}
	if (c.Token.Library != "") != has("aziot_keys.pkcs11_base_slot") || (c.Token.Library != "") != has("aziot_keys.pkcs11_lib_path") {
		t.Error("the token is named by its library and a slot, or not at all")
	}
	// Every file that is named is put in its place, and each that is put there is named.
	placed := make(map[string]bool)
	for _, f := range files {
		if f.Place != "" && f.Name != "config.toml" {
			placed["file://"+f.Place] = false
		}
	}
	for _, k := range c.keys() {
		placed["file://"+secrets+"/"+k.name] = false
	}
	name := func(value any) {
		if text, ok := value.(string); ok && strings.HasPrefix(text, "file://") {
			if _, there := placed[text]; !there {
				t.Errorf("nobody puts %s there", text)
			}
			placed[text] = true
		}
	}
	for _, value := range doc {
		if list, ok := value.([]any); ok {
			for _, one := range list {
				name(one)
			}
			continue
		}
		name(value)
	}
	for file, named := range placed {
		if !named {
			t.Errorf("%s is put there for nothing", file)
		}
	}
}

// TestGolden shows what people get, for the usual cases.
func TestGolden(t *testing.T) {
	w := newWorld(t)
	file := w.file()
	file.Payload = []byte(`{"site": "Ulm"}`)
	est := w.est()
	est.EdgeCA, est.TrustBundle, est.Hostname = edgeCALabel, w.gateways.pem(), "gateway-7.example.org"
	password := w.est()
	password.Enroll.Bootstrap, password.Enroll.User = nil, "line-a"
	pkcs11 := w.pkcs11()
	slot := uint64(0)
	bootstrap := w.est()
	bootstrap.Token = Token{Library: "/usr/lib/libmypkcs11.so", Slot: &slot, BootstrapObject: "est-bootstrap-id"}
	for name, c := range map[string]Config{"file": file, "est": est, "password": password, "pkcs11": pkcs11, "est-pkcs11": bootstrap} {
		files, err := Files(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden(t, name+".toml", one(t, files, "config.toml").Data)
		if name == "est" {
			golden(t, "place-est.sh", one(t, files, "place.sh").Data)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is now\n%s", name, got)
	}
}

// TestTokenURI: another reader of PKCS #11 URIs finds in ours what was asked for.
func TestTokenURI(t *testing.T) {
	slot := uint64(18446744073709551615)
	for _, token := range []Token{
		{Label: "Key pairs"}, {Label: `a;b=c?d&e%41/"\@`}, {Slot: &slot}, {Label: "token", NoPIN: true},
	} {
		for _, object := range []string{"", "device id", `x;pin-value=1?y&z`} {
			text := strings.Replace(token.uri(object), pinMark, percent("1 2%&"), 1)
			u, err := uri.ParseWithScheme("pkcs11", text)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			pin := ""
			if !token.NoPIN {
				pin = "1 2%&"
			}
			number := ""
			if token.Slot != nil {
				number = "18446744073709551615"
			}
			if u.Get("token") != token.Label || u.Get("object") != object || u.Get("slot-id") != number || u.Get("pin-value") != pin {
				t.Errorf("%s is read as token %q, slot %q, object %q, PIN %q", text, u.Get("token"), u.Get("slot-id"), u.Get("object"), u.Get("pin-value"))
			}
		}
	}
}

// TestWarnings: what surprises is said, and nothing else is.
func TestWarnings(t *testing.T) {
	w := newWorld(t)
	est := w.est()
	est.EdgeCA = edgeCALabel
	if list := est.Warnings(); len(list) != 0 {
		t.Errorf("unexpected: %q", list)
	}
	individual := est
	individual.Individual = true
	password := est
	password.Enroll.Bootstrap, password.Enroll.User = nil, "line-a"
	file := w.file()
	file.EdgeCA = edgeCALabel
	for word, c := range map[string]Config{"individual enrollment": individual, "password alone": password, "that is a file": file, "no production": w.est()} {
		if list := c.Warnings(); !strings.Contains(strings.Join(list, "\n"), word) {
			t.Errorf("nothing about %q in %q", word, list)
		}
	}
}
