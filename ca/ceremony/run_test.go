package ceremony

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mintmark/internal/pkitest"
)

// TestRunRefuses changes one circumstance in each row: nothing may be made then, no
// key touched and no folder left.
func TestRunRefuses(t *testing.T) {
	r := newRoom(t)
	stranger := pkitest.NewKey(t)
	for _, c := range []struct {
		name   string
		change func(*Config)
		hash   string // "" for the right one
		want   string
	}{
		{"wrong hash", func(*Config) {}, strings.Repeat("0", 64), "not the hash of the ceremony file"},
		{"no hash", func(*Config) {}, " ", "not the hash of the ceremony file"},
		{"half of the hash", func(*Config) {}, r.vars["alice"][:32], "not the hash of the ceremony file"},
		{"no officers", func(c *Config) { c.Officers = nil }, "", "0 officers present, and the ceremony needs 2"},
		{"too few officers", func(c *Config) { delete(c.Officers, "bob") }, "", "1 officer present, and the ceremony needs 2"},
		{"no key store", func(c *Config) { c.Keys = nil }, "", "needs a key store"},
		{"no word for a key that is gone", func(c *Config) { c.NotFound = nil }, "", "its word for a key that is not there"},
		{"network", func(c *Config) { c.Networks = func() ([]string, error) { return []string{"eth0", "wlan0"}, nil } }, "", "eth0, wlan0"},
		{"network unknown", func(c *Config) { c.Networks = func() ([]string, error) { return nil, errors.New("no netlink") } }, "", "no netlink"},
		{"folder exists", func(c *Config) { c.Folder = r.dir }, "", "exists"},
		{"folder of a folder that is not there", func(c *Config) { c.Folder = filepath.Join(r.dir, "a", "b") }, "", "making the folder"},
		{"officer with another's key", func(c *Config) { c.Officers["bob"] = r.officers["alice"] }, "", "the key of officer \"bob\" is not the one"},
		{"unknown officer", func(c *Config) { c.Officers["mallory"] = stranger }, "", "\"mallory\" is no officer"},
		{"officer who signs nothing", func(c *Config) { c.Officers["bob"] = publicOnly{r.officers["bob"].Public()} }, "", "officer \"bob\""},
		{"officer who signs badly", func(c *Config) {
			c.Officers["alice"] = liar{r.officers["alice"].Public(), stranger}
		}, "", "officer \"alice\": the signature"},
	} {
		keys := r.ring(t)
		cfg := r.config(t, keys)
		f, err := Parse([]byte(r.text(everything)))
		if err != nil {
			t.Fatal(err)
		}
		c.change(&cfg)
		hash := c.hash
		if hash == "" {
			hash = f.Hash()
		}
		p, err := Prepare(background, f, cfg)
		if err == nil {
			_, err = p.Run(background, hash)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if _, err := os.Lstat(cfg.Folder); err == nil && cfg.Folder != r.dir {
			t.Errorf("%s: there is a folder", c.name)
		}
		if len(keys.made) > 0 || len(keys.keys) != 1 {
			t.Errorf("%s: keys were made or destroyed", c.name)
		}
	}
}

// liar has the public key of one and signs with another.
type liar struct {
	public crypto.PublicKey
	crypto.Signer
}

func (l liar) Public() crypto.PublicKey { return l.public }

// TestRunStops lets a ceremony fail after it has begun: the folder says how far it
// came, and keys that were not reached are untouched.
func TestRunStops(t *testing.T) {
	r := newRoom(t)
	wrongKey := strings.Replace(everything, "${oldkey}", "${wrong}", 1)
	r.vars["wrong"] = strings.Repeat("ab", 32)
	for _, c := range []struct {
		name, file, want string
		change           func(*Config, *keyring)
		keys             int // left in the key store
		words            string
	}{
		{"key of an authority missing", everything, "no such key", func(_ *Config, k *keyring) { clear(k.keys) }, 0, "begun"},
		{"key of an authority is another", everything, "not the key of the CA certificate", func(c *Config, k *keyring) { c.Keys = swapped{k, pkitest.Key(t, "P-521")} }, 1, "begun"},
		{"destroys a wrong key", wrongKey, "it is not destroyed", func(*Config, *keyring) {}, 1, "begun"},
		{"key exists", everything, "such a key already", func(_ *Config, k *keyring) { k.keys["softkms:path=keys/root.pem"] = pkitest.Key(t, "P-521") }, 2, "see whether it is there"},
		{"key of another kind", everything, "the key is P-256, not P-384", func(_ *Config, k *keyring) { k.spare["P-384"] = pkitest.SecondKey(t, "P-256") }, 2, "which exists"},
		{"key that cannot sign", everything, "elsewhere", func(_ *Config, k *keyring) { k.spare["P-384"] = publicOnly{pkitest.Key(t, "P-384").Public()} }, 2, "it may exist"},
		{"key that signs garbage", everything, "does not verify", func(_ *Config, k *keyring) {
			k.spare["P-384"] = liar{pkitest.Key(t, "P-384").Public(), pkitest.SecondKey(t, "P-384")}
		}, 2, "it may exist"},
		{"network in the middle", everything, "has a network (usb0)", func(c *Config, k *keyring) {
			c.Networks = func() ([]string, error) {
				if len(k.made) > 0 {
					return []string{"usb0"}, nil
				}
				return nil, nil
			}
		}, 2, "made the key"},
		{"key that does not go", everything, "still there", func(c *Config, k *keyring) { c.Keys = undying{k} }, 2, "see whether it is there"},
		{"token taken away after", everything, "looking for the key at softkms:path=keys/old.pem after it was destroyed: the token is away", func(c *Config, k *keyring) { c.Keys = &leaving{keyring: k} }, 1, "see whether it is there"},
	} {
		keys := r.ring(t)
		cfg := r.config(t, keys)
		c.change(&cfg, keys)
		f, err := Parse([]byte(r.text(c.file)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Prepare(background, f, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = p.Run(background, f.Hash()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if len(keys.keys) != c.keys {
			t.Errorf("%s: %d keys are left, want %d", c.name, len(keys.keys), c.keys)
		}
		report, err := Verify(cfg.Folder, Trust{})
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Join(report.Words, "\n")
		if !report.Incomplete || len(report.Findings) == 0 || !strings.Contains(words, c.words) || !strings.Contains(words, "stopped: ") {
			t.Errorf("%s: the report is %q, %q", c.name, report.Findings, words)
		}
		if _, err := p.Run(background, f.Hash()); err == nil || !strings.Contains(err.Error(), "exists") {
			t.Errorf("%s: it went on in the folder: %v", c.name, err)
		}
	}
}

// swapped opens another key than was asked for.
type swapped struct {
	*keyring
	key crypto.Signer
}

func (s swapped) Signer(context.Context, string, crypto.PublicKey) (crypto.Signer, error) {
	return s.key, nil
}

// undying says that it destroys keys.
type undying struct{ *keyring }

func (undying) Destroy(context.Context, string, crypto.PublicKey) error { return nil }

// leaving is a token that cannot be asked any more after it has destroyed a key.
type leaving struct {
	*keyring
	gone bool
}

func (l *leaving) Destroy(ctx context.Context, uri string, want crypto.PublicKey) error {
	l.gone = true
	return l.keyring.Destroy(ctx, uri, want)
}

func (l *leaving) Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	if l.gone {
		return nil, errors.New("the token is away")
	}
	return l.keyring.Signer(ctx, uri, want)
}

// killer is a key that ends the process when it is to sign for the nth time, as a
// power failure would.
type killer struct {
	crypto.Signer
	left *int
}

func (k killer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if *k.left--; *k.left < 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return k.Signer.Sign(rand, digest, opts)
}

// TestCrash kills a ceremony between the journal and each signature of a CA key. The
// folder then says which key exists and what may have been signed, and nothing that was
// signed is missing from its journal.
func TestCrash(t *testing.T) {
	if text := os.Getenv("CEREMONY_CRASH"); text != "" {
		crash(t, text)
		return
	}
	const signatures = 6 // of everything
	for n := range signatures + 1 {
		folder := filepath.Join(t.TempDir(), "ceremony")
		command := exec.Command(os.Args[0], "-test.run", "^TestCrash$")
		// Who is killed does not clean up.
		command.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), fmt.Sprintf("CEREMONY_CRASH=%d %s", n, folder))
		out, err := command.CombinedOutput()
		if n == signatures {
			if err != nil {
				t.Fatalf("without a crash: %v\n%s", err, out)
			}
			mustVerify(t, folder, nil)
			continue
		}
		if err == nil {
			t.Fatalf("crash %d did not happen:\n%s", n, out)
		}
		report, err := Verify(folder, Trust{})
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Join(report.Words, "\n")
		if !report.Incomplete || !strings.Contains(words, `step "root" made the key`) || !strings.Contains(words, "it may exist") {
			t.Errorf("crash %d: %q, %q", n, report.Findings, words)
		}
		if got := strings.Count(words, " signed "); got != n {
			t.Errorf("crash %d: the journal has %d signatures:\n%s", n, got, words)
		}
		// The intent has all of what was to be signed.
		f, err := Parse(pkitest.ReadFile(t, filepath.Join(folder, fileYAML)))
		if err != nil {
			t.Fatal(err)
		}
		entries, err := readJournal(pkitest.ReadFile(t, filepath.Join(folder, fileJournal)), f.Hash())
		if err != nil {
			t.Fatal(err)
		}
		if last := entries[len(entries)-1]; last.Kind != entryIntent || len(last.TBS) == 0 || last.Key == nil {
			t.Errorf("crash %d: the last entry is %+v", n, last)
		}
	}
}

func crash(t *testing.T, text string) {
	var n int
	var folder string
	if _, err := fmt.Sscan(text, &n, &folder); err != nil {
		t.Fatal(err)
	}
	r := newRoom(t)
	keys := r.ring(t)
	keys.keys["softkms:path=keys/old.pem"] = killer{r.oldKey, &n}
	keys.spare["P-384"] = killer{pkitest.Key(t, "P-384"), &n}
	cfg := r.config(t, keys)
	cfg.Folder = folder
	r.hold(t, everything, cfg)
}

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden pins what each step signs, under fixed keys and serial numbers.
func TestGolden(t *testing.T) {
	r := newRoom(t)
	cfg := r.config(t, r.ring(t))
	f, err := Parse([]byte(r.text(everything)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Prepare(background, f, cfg)
	if err != nil {
		t.Fatal(err)
	}
	next := int64(0x4000)
	if _, err := p.carryOut(background, f.Hash(), func() *big.Int { next++; return big.NewInt(next) }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"root.pem", "line3.pem", "old-with-new.pem", "new-with-old.pem", "root.crl", "old.crl"} {
		data := pkitest.ReadFile(t, filepath.Join(cfg.Folder, "outputs", name))
		var tbs []byte
		if strings.HasSuffix(name, ".crl") {
			l, err := x509.ParseRevocationList(data)
			if err != nil {
				t.Fatal(err)
			}
			tbs = l.RawTBSRevocationList
		} else {
			list, err := parseCertificates(data)
			if err != nil {
				t.Fatal(err)
			}
			tbs = list[0].RawTBSCertificate
		}
		golden(t, strings.TrimSuffix(name, ".pem"), tbs)
	}
}

// golden compares what was signed with testdata/name.tbs, in hexadecimal.
func golden(t *testing.T, name string, tbs []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".tbs")
	if *update {
		var b strings.Builder
		for rest := tbs; len(rest) > 0; rest = rest[min(len(rest), 40):] {
			fmt.Fprintf(&b, "%x\n", rest[:min(len(rest), 40)])
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := hex.DecodeString(strings.ReplaceAll(string(pkitest.ReadFile(t, path)), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tbs, want) {
		t.Errorf("%s changed:\n got %x\nwant %x", name, tbs, want)
	}
}
