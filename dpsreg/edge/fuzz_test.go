package edge

import (
	"bytes"
	"testing"

	"github.com/BurntSushi/toml"
)

// FuzzTOML: whatever text stands in a value or a key, another parser reads the same.
func FuzzTOML(f *testing.F) {
	for _, seed := range []string{"", `a"b\c`, "line\nbreak\r\ttab", "\x00\x1f\x7f", "\u2028é😀", "# no comment", "[table]", `"""`, `\u0041`, "\xff"} {
		f.Add("key", seed)
		f.Add(seed, "value")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		var d document
		d.table().set("first", value)
		inner := d.table("table", key)
		inner.set(key, value)
		inner.set("list of "+key, []string{value, value})
		inner.set("inline-"+key, inline{key, value})
		text, err := d.render()
		if err != nil {
			if text != nil {
				t.Fatalf("%v, and yet %q", err, text)
			}
			return
		}
		var doc map[string]any
		if _, err := toml.Decode(string(text), &doc); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		got := doc["table"].(map[string]any)[key].(map[string]any)
		list := got["list of "+key].([]any)
		if doc["first"] != value || got[key] != value || len(list) != 2 || list[0] != value || got["inline-"+key].(map[string]any)[key] != value {
			t.Fatalf("%q became %v", value, doc)
		}
	})
}

// FuzzCertificates: what is read from a file is the same when it is written and read
// again, and what is refused leaves nothing.
func FuzzCertificates(f *testing.F) {
	w := newWorld(f)
	for _, seed := range [][]byte{w.chain(), w.leaf.pem(), w.leaf.keyPEM(f), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := certificates("the file", data)
		if err != nil {
			if list != nil {
				t.Fatalf("%v, and yet %d certificates", err, len(list))
			}
			return
		}
		again, err := certificates("the file", encode(list...))
		if err != nil || len(again) != len(list) {
			t.Fatalf("%d certificates became %d: %v", len(list), len(again), err)
		}
		for i := range list {
			if !bytes.Equal(list[i].Raw, again[i].Raw) {
				t.Fatalf("certificate %d is another", i)
			}
		}
	})
}

// FuzzConfig: whatever is asked for is refused, or becomes a configuration with the keys
// that are documented and nothing that a shell would run.
func FuzzConfig(f *testing.F) {
	keys := documented(f)
	w := newWorld(f)
	f.Add(device, "0ne00000A0B", "gateway", "https://ca.example.org/.well-known/est/edge", "line-a", "/usr/lib/p11.so", "Key pairs", "device id")
	f.Add("a$(x)", "`x`", "'", "https://ca.example.org/.well-known/est/\"", "\"\n[x]", "/a'b", "a@PKCS11_PIN@", ";token=b?")
	f.Fuzz(func(t *testing.T, id, scope, host, label, user, library, token, object string) {
		est := w.est()
		est.RegistrationID, est.IDScope, est.Hostname, est.Enroll.URL, est.Enroll.User = id, scope, host, label, user
		est.Token = Token{Library: library, Label: token, BootstrapObject: object}
		files, err := Files(est)
		if err != nil {
			if files != nil {
				t.Fatalf("%v, and yet %d files", err, len(files))
			}
			return
		}
		doc := parse(t, one(t, files, "config.toml").Data)
		for key, value := range doc {
			kind := "string"
			switch value.(type) {
			case bool:
				kind = "bool"
			case []any:
				kind = "strings"
			}
			if keys[key+" "+kind] == "" {
				t.Fatalf("%s is not documented", key)
			}
		}
		if doc["provisioning.attestation.registration_id"] != id || doc["cert_issuance.est.auth.username"] != user {
			t.Fatalf("%q of %q became %v", user, id, doc)
		}
		if script := one(t, files, "place.sh").Data; bytes.ContainsAny([]byte(id), "$`'\"\\\n ") || bytes.Contains(script, []byte("@CHECKS@")) {
			t.Fatalf("%q stands in the script", id)
		}
	})
}
