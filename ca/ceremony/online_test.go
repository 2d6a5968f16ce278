package ceremony

import (
	"context"
	"crypto"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// inToken is a key that says what attributes it has.
type inToken struct {
	crypto.Signer
	err error
}

func (k inToken) Attributes(context.Context) (map[string]string, error) {
	return map[string]string{"CKA_SENSITIVE": "true", "CKA_EXTRACTABLE": "false"}, k.err
}

// TestAllowedNetwork holds that what a file allows is in the transcript: the network,
// and the attributes of a key in a token, too. What is worth a look is a warning.
func TestAllowedNetwork(t *testing.T) {
	r := newRoom(t)
	keys := r.ring(t)
	keys.spare["P-384"] = inToken{pkitest.Key(t, "P-384"), nil}
	cfg := r.config(t, keys)
	cfg.Networks = func() ([]string, error) { return []string{"eth0"}, nil }
	delete(cfg.Officers, "bob")
	file := strings.NewReplacer("officers:", "network: allowed\nofficers:", "threshold: 2", "threshold: 1", "from: 2026-12-01T09:00:00Z\n      until: 2046", "from: 2026-12-02T09:00:00Z\n      until: 2046").
		Replace(head + "steps:\n" + rootStep)
	f, err := Parse([]byte(r.text(file)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Prepare(background, f, cfg)
	if err != nil {
		t.Fatal(err)
	}
	warnings := strings.Join(p.Warnings, "\n")
	for _, want := range []string{"one officer alone", "eth0), which the file allows", "later than this machine's clock"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("the warnings lack %q: %q", want, p.Warnings)
		}
	}
	transcript, err := p.Run(background, Groups(f.Hash()))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"CKA_SENSITIVE": "true", "CKA_EXTRACTABLE": "false"}
	if !maps.Equal(transcript.Steps[0].Key.Attributes, want) || !transcript.Network.Allowed || len(transcript.Network.Interfaces) != 1 {
		t.Errorf("the transcript is %+v", transcript)
	}
	if words := strings.Join(mustVerify(t, cfg.Folder, nil).Words, "\n"); !strings.Contains(words, "network eth0") {
		t.Errorf("the report does not name the network: %s", words)
	}
}

// tired signs so many times.
type tired struct {
	crypto.Signer
	left *int
}

func (s tired) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if *s.left--; *s.left < 0 {
		return nil, errors.New("the card was taken out")
	}
	return s.Signer.Sign(rand, message, opts)
}

// TestOfficerLeaves has an officer sign before the first step and not after the last,
// and a token that does not say what its new key is: neither is a whole ceremony.
func TestOfficerLeaves(t *testing.T) {
	for _, c := range []struct {
		name, want, finding string
		change              func(*Config, *keyring)
	}{
		{"officer", "the card was taken out", "transcript.sig is missing", func(c *Config, _ *keyring) {
			once := 1
			c.Officers["alice"] = tired{c.Officers["alice"], &once}
		}},
		{"attributes", "no such attribute", "incomplete", func(_ *Config, k *keyring) {
			k.spare["P-384"] = inToken{pkitest.Key(t, "P-384"), errors.New("no such attribute")}
		}},
	} {
		r := newRoom(t)
		keys := r.ring(t)
		cfg := r.config(t, keys)
		c.change(&cfg, keys)
		f, err := Parse([]byte(r.text(head + "steps:\n" + rootStep)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Prepare(background, f, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Run(background, f.Hash()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		report, err := Verify(cfg.Folder, Trust{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(report.Findings, "\n"), c.finding) {
			t.Errorf("%s: %q, want %q", c.name, report.Findings, c.finding)
		}
	}
}
