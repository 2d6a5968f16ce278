package server

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/config"
	"mintmark/internal/keystore"
)

func TestInitToken(t *testing.T) {
	for uri, want := range map[string]struct{ name, uri, pin, key string }{
		"pkcs11:module-path=/x.so;token=factory?pin-source=/pin":               {"factory", "pkcs11:module-path=/x.so;token=factory", "/pin", "pkcs11:token=factory;object=root"},
		"pkcs11:token=Line%20A%2b%3b7?pin-source=file:///p%69n&module-path=/x": {"line-a-7", "pkcs11:token=Line%20A%2b%3b7?module-path=/x", "/pin", "pkcs11:token=Line%20A%2B%3B7;object=root"},
		"pkcs11:module-path=/x.so;serial=0a;slot-id=7?PIN-SOURCE=file:/pin":    {"token", "pkcs11:module-path=/x.so;serial=0a;slot-id=7", "/pin", "pkcs11:serial=0a;slot-id=7;object=root"},
	} {
		got, err := tokenOfURI(uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if got.name != want.name || got.uri != want.uri || got.pin != want.pin || got.key("root") != want.key {
			t.Errorf("%s: %+v, key %s", uri, got, got.key("root"))
		}
		o := InitOptions{Names: []string{"localhost"}, PublicURL: "http://localhost:8080", Server: "s", token: got}
		c, err := config.Parse([]byte(o.configuration(strings.Repeat("a1", 32))))
		if err != nil {
			t.Errorf("%s: its configuration: %v", uri, err)
		} else if one := c.Keys.Tokens[0]; one.Name != want.name || one.URI != want.uri || one.PIN.File != want.pin {
			t.Errorf("%s: its configuration has %+v", uri, one)
		}
	}
	for uri, want := range map[string]string{
		"pkcs11:module-path=/x.so;token=a":                                "says nothing of the PIN",
		"pkcs11:module-path=/x.so;token=a?pin-value=987654":               "holds pin-value",
		"pkcs11:module-path=/x.so;token=a;pin-source=/987654":             "holds pin-source",
		"pkcs11:module-path=/x.so;token=a?pin-source=/p&pin-value=987654": "holds pin-value",
		"pkcs11:module-path=/x.so;token=a?pin-source=":                    "must name one file",
		"pkcs11:module-path=/x.so;token=a?pin-source=/p&pin-source=/q":    "must name one file",
		"pkcs11:module-path=/x.so;token=a?pin-source=|cat":                "not a command",
		"pkcs11:module-path=/x.so;token=a;object=b?pin-source=/p":         "names a key (object)",
		"pkcs11:token=a?pin-source=/p":                                    "names no module",
		"softkms:path=x":                                                  "is no token",
	} {
		dir := filepath.Join(t.TempDir(), "state")
		err := Init(t.Context(), InitOptions{Dir: dir, Names: []string{"localhost"}, PKCS11: uri}, slog.New(slog.DiscardHandler), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "987654") {
			t.Errorf("%s: %v, want %q", uri, err, want)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s left something behind", uri)
		}
	}
}

func TestCheckTokens(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("987654\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	module, loose := write("x.so", 0o644), write("loose.so", 0o666)
	write("pin", 0o400)
	write("open", 0o444)
	if err := os.WriteFile(filepath.Join(dir, "long"), bytes.Repeat([]byte("1"), admin.MaxPIN+1), 0o400); err != nil {
		t.Fatal(err)
	}
	token := func(module, pin string) config.Token {
		return config.Token{Name: "a", URI: "pkcs11:token=a;module-path=" + module, PIN: config.PIN{File: pin}}
	}
	spare := token(module, "pin")
	spare.Spare = &config.SpareToken{URI: "pkcs11:token=b;module-path=" + module, PIN: config.PIN{File: "open"}}
	for _, test := range []struct {
		token config.Token
		want  string
	}{
		{token(module, "pin"), ""},
		{config.Token{URI: "pkcs11:token=a;module-path=" + module, PIN: config.PIN{Operators: 2}}, ""},
		{token(dir+"/gone.so", "pin"), "keys.tokens[0].uri: the module: stat"},
		{token(dir, "pin"), "is no file"},
		{token(loose, "pin"), "everybody can change the module"},
		{token(module, "gone"), "keys.tokens[0].pin.file"},
		{token(module, "open"), "can be read by others"},
		{token(module, "long"), "keys.tokens[0].pin.file"},
		{spare, "keys.tokens[0].spare.pin.file"},
	} {
		err := checkTokens(&config.Config{Dir: dir, Keys: config.Keys{Tokens: []config.Token{test.token}}})
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "987654")) {
			t.Errorf("%+v: %v, want %q", test.token, err, test.want)
		}
	}
}

func TestTokensOf(t *testing.T) {
	never, minute := time.Duration(0), time.Minute
	c := &config.Config{Dir: "/state", Keys: config.Keys{Tokens: []config.Token{
		{Name: "a", URI: "u", PIN: config.PIN{File: "secrets/pin"}, Sessions: 3, Attempt: 1, Deadline: 2, Accept: []string{"CKA_LOCAL"},
			Spare: &config.SpareToken{URI: "v", PIN: config.PIN{Operators: 2}}},
		{Name: "b", PIN: config.PIN{Credential: "c"}, KeepAlive: &never},
		{Name: "c", PIN: config.PIN{Pad: true}, KeepAlive: &minute},
	}}}
	want := []keystore.TokenConfig{
		{Name: "a", URI: "u", PIN: keystore.PIN{File: "/state/secrets/pin"}, Sessions: 3, Attempt: 1, Deadline: 2, Accept: []string{"CKA_LOCAL"},
			Spare: &keystore.SpareConfig{URI: "v", PIN: keystore.PIN{Operators: 2}}},
		{Name: "b", PIN: keystore.PIN{Credential: "c"}, KeepAlive: -1},
		{Name: "c", PIN: keystore.PIN{Pad: true}, KeepAlive: time.Minute},
	}
	if got := tokensOf(c); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestFIPSRequired(t *testing.T) {
	enabled, version := FIPS140()
	if version == "" {
		t.Error("no version of the module")
	}
	err := CheckFIPS(&config.Config{Dir: "/state", FIPS140: "required"})
	if errors.Is(err, errNotFIPS) == enabled {
		t.Errorf("in FIPS mode %t: %v", enabled, err)
	}
	if err := CheckFIPS(&config.Config{Dir: "/state"}); err != nil {
		t.Error(err)
	}
}
