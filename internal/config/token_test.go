package config

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/kms/uri"
)

// tokens is the good configuration with tokens.
func tokens(list string) []byte {
	return []byte(good + "keys:\n  tokens:\n" + list)
}

const goodToken = `
    - name: factory
      uri: pkcs11:module-path=/usr/lib/x.so;token=factory
      pin: {file: secrets/pin}
      spare: {uri: "pkcs11:token=spare?module-path=/usr/lib/x.so", pin: {credential: spare-pin}}
      sessions: 16
      attempt: 1s
      deadline: 4s
      keep_alive: 0s
      accept: [CKA_DECRYPT, CKA_LOCAL]
    - {name: root, uri: "pkcs11:module-path=/usr/lib/x.so;serial=1;slot-id=07", pin: {operators: 3}}
    - {name: pad, uri: "PKCS11:module-path=/usr/lib/y.so;token=a%20b", pin: {pad: true}}
`

func TestTokens(t *testing.T) {
	c, err := Parse(tokens(goodToken))
	if err != nil {
		t.Fatal(err)
	}
	first := c.Keys.Tokens[0]
	if first.Sessions != 16 || first.Attempt != time.Second || first.Deadline != 4*time.Second || first.KeepAlive == nil || *first.KeepAlive != 0 ||
		first.PIN.File != "secrets/pin" || first.Spare.PIN.Credential != "spare-pin" || len(first.Accept) != 2 {
		t.Errorf("read %+v", first)
	}
	if second := c.Keys.Tokens[1]; second.PIN.Operators != 3 || second.KeepAlive != nil || !c.Keys.Tokens[2].PIN.Pad {
		t.Errorf("read %+v", c.Keys.Tokens)
	}
	for uri, want := range map[string]TokenPlace{
		first.URI:                           {Module: "/usr/lib/x.so", Token: "factory"},
		first.Spare.URI:                     {Module: "/usr/lib/x.so", Token: "spare"},
		c.Keys.Tokens[1].URI:                {Module: "/usr/lib/x.so", Serial: "1", Slot: "7"},
		c.Keys.Tokens[2].URI:                {Module: "/usr/lib/y.so", Token: "a b"},
		"pkcs11:token=a%3bb;module-path=/x": {Module: "/x", Token: "a;b"},
	} {
		if got, err := ParseTokenURI(uri); err != nil || got != want {
			t.Errorf("%s: %+v, %v", uri, got, err)
		}
	}
}

func TestTokensRefused(t *testing.T) {
	const place = "uri: pkcs11:module-path=/x.so;token=a"
	for _, test := range []struct{ token, want string }{
		{`{name: Factory, ` + place + `, pin: {file: p}}`, `keys.tokens[0].name: "Factory" must match`},
		{`{name: "", ` + place + `, pin: {file: p}}`, `keys.tokens[0].name`},
		{`{name: a, ` + place + `, pin: {}}`, "keys.tokens[0].pin: exactly one of"},
		{`{name: a, ` + place + `, pin: {file: p, operators: 1}}`, "keys.tokens[0].pin: exactly one of"},
		{`{name: a, ` + place + `, pin: {operators: -1}}`, "operators: -1 is not between"},
		{`{name: a, ` + place + `, pin: {operators: 17}}`, "operators: 17 is not between"},
		{`{name: a, ` + place + `, pin: {credential: ../x}}`, "is no name of a systemd credential"},
		{`{name: a, ` + place + `, pin: {value: "1234"}}`, "unknown field"},
		{`{name: a, ` + place + `, pin: {file: p}, sessions: 257}`, "sessions: 257 is not between 1 and 256"},
		{`{name: a, ` + place + `, pin: {file: p}, sessions: -1}`, "sessions: -1 is not"},
		{`{name: a, ` + place + `, pin: {file: p}, deadline: 31s}`, "deadline: 31s is not at most 30s"},
		{`{name: a, ` + place + `, pin: {file: p}, deadline: -1s}`, "deadline: -1s is not"},
		{`{name: a, ` + place + `, pin: {file: p}, attempt: 5s}`, "attempt: 5s is not less than the deadline (5s)"},
		{`{name: a, ` + place + `, pin: {file: p}, deadline: 1s}`, "attempt: 1.5s is not less than the deadline (1s)"},
		{`{name: a, ` + place + `, pin: {file: p}, attempt: 1ms}`, "attempt: 1ms is less than"},
		{`{name: a, ` + place + `, pin: {file: p}, attempt: -1s}`, "attempt: -1s is less than"},
		{`{name: a, ` + place + `, pin: {file: p}, keep_alive: 1ms}`, "keep_alive: 1ms is not between"},
		{`{name: a, ` + place + `, pin: {file: p}, keep_alive: -5s}`, "keep_alive: -5s is not between"},
		{`{name: a, ` + place + `, pin: {file: p}, accept: [CKA_SENSITIVE]}`, `accept[0]: "CKA_SENSITIVE" is none of`},
		{`{name: a, ` + place + `, pin: {file: p}, accept: [decrypt]}`, `accept[0]: "decrypt" is none of`},
		{`{name: a, ` + place + `, pin: {file: p}, accept: [CKA_LOCAL, CKA_LOCAL]}`, `accept[1]: "CKA_LOCAL" is there twice`},
		{`{name: a, ` + place + `, pin: {file: p}, spare: {` + place + `, pin: {file: p}}}`, "keys.tokens[0].spare.uri: is the token of keys.tokens[0].uri, too"},
		{`{name: a, ` + place + `, pin: {file: p}, spare: {uri: "pkcs11:module-path=/x.so;token=b"}}`, "keys.tokens[0].spare.pin: exactly one of"},
		{`{name: a, ` + place + ", pin: {file: p}}\n    - {name: a, uri: \"pkcs11:module-path=/x.so;token=b\", pin: {file: p}}", `keys.tokens[1].name: "a" is the name of another`},
		{`{name: a, ` + place + ", pin: {file: p}}\n    - {name: b, " + place + ", pin: {file: p}}", "keys.tokens[1].uri: is the token of keys.tokens[0].uri, too"},
		{`{name: a, uri: "softkms:path=x", pin: {file: p}}`, "keys.tokens[0].uri: is no token"},
		{`{name: a, pin: {file: p}}`, "keys.tokens[0].uri: is no token"},
		{`{name: a, uri: "pkcs11:token=a", pin: {file: p}}`, "names no module"},
		{`{name: a, uri: "pkcs11:module-path=x.so;token=a", pin: {file: p}}`, "module-path must be an absolute path"},
		{`{name: a, uri: "pkcs11:module-path=/a/../x.so;token=a", pin: {file: p}}`, "module-path must be an absolute path"},
		{`{name: a, uri: "pkcs11:module-path=/x.so", pin: {file: p}}`, "names no token"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=", pin: {file: p}}`, "has no usable value for token"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;slot-id=one", pin: {file: p}}`, "slot-id is not a number"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=a;token=b", pin: {file: p}}`, "has token twice"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=a?module-path=/y.so", pin: {file: p}}`, "has module-path twice"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=a;library-version=3", pin: {file: p}}`, "has an attribute other than"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=a;object=issuing", pin: {file: p}}`, "names a key (object)"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=a;%69d=1", pin: {file: p}}`, "names a key (id)"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=a+b", pin: {file: p}}`, "as %XX"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=%zz", pin: {file: p}}`, "has no usable value for token"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=a?pin-value=987654", pin: {file: p}}`, "holds pin-value"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;token=a?pin-source=/987654", pin: {file: p}}`, "holds pin-source"},
		{`{name: a, uri: "pkcs11:module-path=/x.so;pin%2Dvalue=987654;token=a", pin: {file: p}}`, "holds pin-value"},
	} {
		_, err := Parse(tokens("    - " + test.token + "\n"))
		switch {
		case err == nil:
			t.Errorf("%s: taken", test.token)
		case !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v, want %q", test.token, err, test.want)
		case strings.Contains(err.Error(), "987654"):
			t.Errorf("%s: the error repeats the PIN: %v", test.token, err)
		}
	}
	var many strings.Builder
	for i := range maxTokens + 1 {
		fmt.Fprintf(&many, "    - {name: t%d, uri: \"pkcs11:module-path=/x.so;token=t%d\", pin: {pad: true}}\n", i, i)
	}
	if _, err := Parse(tokens(many.String())); err == nil || !strings.Contains(err.Error(), "keys.tokens: there are 17") {
		t.Errorf("too many tokens: %v", err)
	}
}

func TestFIPS140(t *testing.T) {
	for value, want := range map[string]string{"required": "", "\"\"": "", "on": `fips140: "on" is not required`, "true": `fips140: "true" is not required`} {
		_, err := Parse([]byte(good + "fips140: " + value + "\n"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// What is taken for a token holds no PIN to any reader, names one token, and is the
// same when it is written down again.
func FuzzParseTokenURI(f *testing.F) {
	for _, s := range []string{
		"pkcs11:module-path=/x.so;token=a", "pkcs11:token=a%20b?module-path=/x.so", "pkcs11:module-path=/x;slot-id=007;serial=%41",
		"pkcs11:module-path=/x.so;token=a?pin-value=1", "pkcs11:module-path=/x.so;token=a?x=1?pin-value=1", "pkcs11:;;&pin%2dvalue=1", "pkcs11:module-path=/x.so;token=a&pin-value=1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseTokenURI(s)
		if err != nil {
			if p != (TokenPlace{}) {
				t.Errorf("%q: %+v with error %v", s, p, err)
			}
			return
		}
		if u, err := uri.Parse(s); err == nil {
			for _, name := range []string{"pin-value", "pin-source", "object", "id"} {
				if u.Get(name) != "" {
					t.Errorf("%q: %s passed", s, name)
				}
			}
		}
		written := "pkcs11:"
		for _, a := range []struct{ name, value string }{{"module-path", p.Module}, {"token", p.Token}, {"serial", p.Serial}, {"slot-id", p.Slot}} {
			if a.value != "" {
				written += a.name + "=" + strings.NewReplacer("+", "%2B", "&", "%26", ";", "%3B").Replace(url.PathEscape(a.value)) + ";"
			}
		}
		if again, err := ParseTokenURI(written); err != nil || again != p {
			t.Errorf("%q: %+v; %q: %+v, %v", s, p, written, again, err)
		}
	})
}

func TestTPMDevice(t *testing.T) {
	with := func(device string) ([]byte, string) {
		return bytes.Replace(tokens(goodToken), []byte("keys:\n  tokens"), []byte("keys:\n  tpm: {device: "+device+"}\n  tokens"), 1), device
	}
	for _, good := range []string{"/dev/tpmrm1", "/run/swtpm/socket"} {
		text, device := with(good)
		if c, err := Parse(text); err != nil || c.Keys.TPM.Device != device {
			t.Errorf("%s: %v", device, err)
		}
	}
	for _, bad := range []string{"tpmrm0", "/dev/../tmp/x", "/dev/"} {
		text, device := with(bad)
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), "keys.tpm.device") {
			t.Errorf("%s: %v", device, err)
		}
	}
}
