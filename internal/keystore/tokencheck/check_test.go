package tokencheck

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/internal/keystore/token/child"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

func TestMain(m *testing.M) {
	child.Main()
	os.Exit(m.Run())
}

// has reports whether a line of that result holds all the words.
func (r Report) has(result Result, words ...string) bool {
	return slices.ContainsFunc(r.Lines, func(l Line) bool {
		for _, w := range words {
			if !strings.Contains(l.Check+": "+l.Text, w) {
				return false
			}
		}
		return l.Result == result
	})
}

func TestCheck(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	log := new(bytes.Buffer)
	run := func(change func(*Config)) Report {
		t.Helper()
		c := Config{
			Module: module, Token: wire.Selector{Label: label}, PIN: []byte(pkitest.SoftHSMPIN), Sessions: 3,
			Measure: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil)),
		}
		change(&c)
		r, err := Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	objects := func() string {
		t.Helper()
		out, err := exec.Command(pkitest.Tool(t, "pkcs11-tool"), "--module", module, "--login", "--pin", pkitest.SoftHSMPIN, "--token-label", label, "--list-objects").CombinedOutput()
		if err != nil {
			t.Fatalf("pkcs11-tool: %v\n%s", err, out)
		}
		return string(out)
	}

	for _, kind := range []string{"P-256", "RSA-2048"} {
		r := run(func(c *Config) { c.Make = kind })
		if !r.Passed || !r.has(OK, "token: ", `"factory"`, "SoftHSM") || !r.has(OK, "login: ", "3 sessions") || !r.has(OK, "key: ", kind) ||
			!r.has(OK, "signature: ", "verifies") || !r.has(OK, "destroy: ", "gone") {
			t.Errorf("%s: %+v", kind, r)
		}
		if len(r.Rates) != 2 || r.Rates[0].Sessions != 1 || r.Rates[1].Sessions != 3 || r.Rates[0].PerSecond <= 0 || r.Rates[1].PerSecond <= 0 {
			t.Errorf("%s: rates %+v", kind, r.Rates)
		}
	}
	if text := objects(); strings.Contains(text, "mintmark-check") {
		t.Errorf("something was left in the token:\n%s", text)
	}

	if r := run(func(*Config) {}); !r.Passed || !r.has(Warning, "key: ", "no key is named") {
		t.Errorf("without a key: %+v", r)
	}
	if r := run(func(c *Config) { c.Label = []byte("issuing") }); r.Passed || !r.has(Failed, "key: ", `no key with object="issuing" in token "factory"`) {
		t.Errorf("a key that is not there: %+v", r)
	}
	if r := run(func(c *Config) { c.Make = "P-521" }); r.Passed || !r.has(Failed, "key: ", "P-521") {
		t.Errorf("a kind of key that is not made: %+v", r)
	}
	if r := run(func(c *Config) { c.Token.Label = "other" }); r.Passed || !r.has(Failed, "login: ", `labelled "other"`, `it has "factory"`) {
		t.Errorf("a token that is not there: %+v", r)
	}

	// A key that another tool made, with more rights than a CA key may have.
	out, err := exec.Command(pkitest.Tool(t, "pkcs11-tool"), "--module", module, "--login", "--pin", pkitest.SoftHSMPIN, "--token-label", label,
		"--keypairgen", "--key-type", "RSA:2048", "--id", "77", "--label", "theirs").CombinedOutput()
	if err != nil {
		t.Fatalf("pkcs11-tool: %v\n%s", err, out)
	}
	r := run(func(c *Config) { c.ID = []byte{0x77} })
	if r.Passed || !r.has(Failed, "key: ", "CKA_DECRYPT") || !r.has(OK, "signature: ") {
		t.Errorf("a key with too many rights: %+v", r)
	}
	if !strings.Contains(objects(), "theirs") {
		t.Error("a key that was only looked at is gone")
	}

	r = run(func(c *Config) { c.PIN = []byte("wrong-987"); c.Make = "P-256" })
	if r.Passed || !r.has(Failed, "login: ", "PIN") {
		t.Errorf("a wrong PIN: %+v", r)
	}
	// One try counts at the token: not the last.
	if r = run(func(*Config) {}); !r.Passed {
		t.Errorf("after a wrong PIN: %+v", r)
	}
	if text := log.String(); strings.Contains(text, pkitest.SoftHSMPIN) || strings.Contains(text, "wrong-987") {
		t.Errorf("the log has a PIN: %s", text)
	}
}

func TestNoModule(t *testing.T) {
	for module, want := range map[string]string{"/nowhere/x.so": "", "x.so": "no absolute path"} {
		r, err := Run(t.Context(), Config{Module: module, Token: wire.Selector{Label: "a"}, PIN: []byte("1"), Logger: slog.New(slog.DiscardHandler)})
		if want == "" && (err != nil || r.Passed || !r.has(Failed, "login: ")) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %+v, %v", module, r, err)
		}
	}
}

func TestExplained(t *testing.T) {
	for code, want := range map[uint]string{
		0xA0:       "logging in: C_Login: CKR_PIN_INCORRECT (0xa0), again: the PIN is wrong: do not try many, the token locks",
		0x80000102: "logging in: C_Login: error 0x80000102 of the vendor's own (its manual has it), again",
		0x7777:     "logging in: C_Login: error 0x7777 of the token's library, again",
	} {
		if got := explained("logging in: " + (&wire.Error{Call: "C_Login", Code: code}).Error() + ", again"); got != want {
			t.Errorf("%x: %s", code, got)
		}
	}
}
