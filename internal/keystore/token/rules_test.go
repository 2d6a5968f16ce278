package token

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

func TestJudge(t *testing.T) {
	good := func() []wire.Attribute {
		var list []wire.Attribute
		for _, r := range rules {
			list = append(list, wire.Attribute{Name: r.name, Value: r.want, Known: true})
		}
		return list
	}
	if w, err := judge(good(), nil, true); err != nil || w != nil {
		t.Fatalf("a good key: %q, %v", w, err)
	}
	for i, r := range rules {
		wrong := good()
		wrong[i].Value = !r.want
		_, err := judge(wrong, nil, true)
		if !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), r.name+" is ") {
			t.Errorf("a new key with another %s: %v", r.name, err)
		}
		warnings, err := judge(wrong, nil, false)
		if r.always && (!errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), r.name)) {
			t.Errorf("a key with another %s: %v", r.name, err)
		}
		if !r.always && (err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], r.name)) {
			t.Errorf("a restored key with another %s: %q, %v", r.name, warnings, err)
		}
		warnings, err = judge(wrong, []string{r.name}, true)
		if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "accepted: "+r.name+" is ") {
			t.Errorf("%s is accepted: %q, %v", r.name, warnings, err)
		}
		unknown := good()
		unknown[i].Known = false
		if _, err := judge(unknown, nil, true); (err == nil) != r.mayLack {
			t.Errorf("a token that does not say %s: %v", r.name, err)
		}
	}
	if _, err := judge(nil, nil, false); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "CKA_EXTRACTABLE") {
		t.Errorf("a token that says nothing: %v", err)
	}
}

func TestInputRefused(t *testing.T) {
	ec, rsaKey := pkitest.Key(t, "P-256").Public(), pkitest.Key(t, "RSA-2048").Public()
	for _, tt := range []struct {
		name   string
		public crypto.PublicKey
		size   int
		opts   crypto.SignerOpts
		want   string
	}{
		{"no hash", ec, 32, nil, "no hash"},
		{"no digest", ec, 0, crypto.SHA256, "has 0 bytes"},
		{"short", ec, 31, crypto.SHA256, "31 bytes"},
		{"long", rsaKey, 33, crypto.SHA256, "33 bytes"},
		{"another hash", rsaKey, 32, crypto.SHA384, "32 bytes"},
		{"not hashed", ec, 32, crypto.Hash(0), "none of SHA-256"},
		{"SHA-1", ec, 20, crypto.SHA1, "none of SHA-256"},
		{"PSS", rsaKey, 32, &rsa.PSSOptions{Hash: crypto.SHA256}, "RSA-PSS"},
		{"no key", nil, 32, crypto.SHA256, "does not sign"},
	} {
		if _, _, err := inputOf(tt.public, make([]byte, tt.size), tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestBreaker(t *testing.T) {
	var b breaker
	now := time.Now()
	b.strike(hangStrikes, "hangs", now)
	if !b.suspect() || b.tripped() {
		t.Fatal("after one hang")
	}
	b.signed()
	if b.suspect() {
		t.Fatal("after a signature")
	}
	for i := range 3 {
		if b.tripped() {
			t.Fatalf("after %d crashes", i)
		}
		b.strike(crashStrikes, "crashes", now)
	}
	if !b.tripped() || b.until.Sub(now) != firstTrial {
		t.Fatalf("after three crashes: %+v", b)
	}
	for _, want := range []time.Duration{2 * firstTrial, 4 * firstTrial} {
		if b.again(now); b.until.Sub(now) != want {
			t.Errorf("tried again after %s, want %s", b.until.Sub(now), want)
		}
	}
	for range 100 {
		b.again(now)
	}
	if b.until.Sub(now) != lastTrial {
		t.Errorf("tried again after %s, want %s", b.until.Sub(now), lastTrial)
	}
}

func TestLossOf(t *testing.T) {
	for _, code := range []uint{0x05, 0x06, 0x30, 0x32, 0x60, 0x82, 0x91, 0xB0, 0xB3, 0xE0, 0x101, 0x190, ckrVendorDefined + 7} {
		if lossOf(&wire.Error{Call: "C_Sign", Code: code}) == "" {
			t.Errorf("0x%x is not taken for a loss", code)
		}
	}
	for _, code := range []uint{0x02, 0x20, 0x21, 0x68, 0xA0, 0xA4} {
		if cause := lossOf(&wire.Error{Call: "C_Sign", Code: code}); cause != "" {
			t.Errorf("0x%x is taken for a loss: %s", code, cause)
		}
	}
	for _, code := range []uint{0xA0, 0xA1, 0xA2, 0xA3, 0xA4} {
		if !isRefusedPIN(&wire.Error{Call: "C_Login", Code: code}) {
			t.Errorf("0x%x is no refusal", code)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	good := Config{Name: "a", Primary: Source{Module: "/x.so"}, Logger: slog.New(slog.DiscardHandler)}
	if _, err := Open(good); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Config){
		"no name":          func(c *Config) { c.Name = "" },
		"no logger":        func(c *Config) { c.Logger = nil },
		"no absolute path": func(c *Config) { c.Primary.Module = "x.so" },
		"sessions":         func(c *Config) { c.Sessions = wire.MaxSessions + 1 },
		"must be longer":   func(c *Config) { c.Deadline = time.Second },
		"people for a PIN": func(c *Config) { c.Primary.Parts = maxParts + 1 },
		"asks for it itse": func(c *Config) {
			c.Primary.Pad, c.Primary.PIN = true, func() ([]byte, string, error) { return nil, "", nil }
		},
		"no absolute path ": func(c *Config) { c.Spare = &Source{} },
	} {
		c := good
		change(&c)
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(what)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Those of two tokens can be in one registry, and their names do not change unseen.
func TestMetrics(t *testing.T) {
	m := newMetrics("a")
	if n := reflect.TypeFor[metrics]().NumField(); len(m.all()) != n {
		t.Errorf("%d of %d metrics are listed", len(m.all()), n)
	}
}

func TestVerifiesInput(t *testing.T) {
	for _, algorithm := range []string{"P-256", "RSA-2048"} {
		key := pkitest.Key(t, algorithm)
		digest := make([]byte, crypto.SHA512.Size())
		signature, err := key.Sign(rand.Reader, digest, crypto.SHA512)
		if err != nil {
			t.Fatal(err)
		}
		_, input, err := inputOf(key.Public(), digest, crypto.SHA512)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifiesInput(key.Public(), input, signature); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		signature[len(signature)-1] ^= 1
		if err := verifiesInput(key.Public(), input, signature); err == nil {
			t.Errorf("%s: a wrong signature verifies", algorithm)
		}
	}
}
