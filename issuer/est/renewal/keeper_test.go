package renewal

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/issuer/est"
)

// ca issues certificates as a server does that knows repeated requests.
type ca struct {
	t      testing.TB
	key    *ecdsa.PrivateKey
	root   *x509.Certificate
	life   time.Duration
	issued map[string]*x509.Certificate // by public key, those of this renewal
	asked  int
}

func newCA(t testing.TB, life time.Duration) *ca {
	c := &ca{t: t, key: newKey(t), life: life, issued: make(map[string]*x509.Certificate)}
	c.root = &x509.Certificate{Subject: pkix.Name{CommonName: "Root"}}
	return c
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c *ca) issue(key crypto.Signer) *x509.Certificate {
	c.t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "press"},
		NotBefore: time.Now().Truncate(time.Second), NotAfter: time.Now().Truncate(time.Second).Add(c.life),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.root, key.Public(), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return certificate
}

// ask is Keeper.Ask: the same key gets the same certificate.
func (c *ca) ask(_ context.Context, current *tls.Certificate, key crypto.Signer) ([]*x509.Certificate, error) {
	c.asked++
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if c.issued[string(spki)] == nil {
		c.issued[string(spki)] = c.issue(key)
	}
	return []*x509.Certificate{c.issued[string(spki)]}, nil
}

// layouts are the ways to have certificate and key on disk.
var layouts = []string{"two files", "two directories", "one file", "links"}

// enrolled returns files with a first certificate.
func enrolled(t testing.TB, c *ca, layout string) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{Certificate: filepath.Join(dir, "press.pem"), Key: filepath.Join(dir, "press.key")}
	switch layout {
	case "two directories":
		if err := os.Mkdir(filepath.Join(dir, "private"), 0o700); err != nil {
			t.Fatal(err)
		}
		f.Key = filepath.Join(dir, "private", "press.key")
	case "one file":
		f.Key = f.Certificate
	}
	key := newKey(t)
	keyPEM, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	at := f
	if layout == "links" {
		real := t.TempDir()
		at = Files{Certificate: filepath.Join(real, "c"), Key: filepath.Join(real, "k")}
		if err := errors.Join(os.Symlink(at.Certificate, f.Certificate), os.Symlink(at.Key, f.Key)); err != nil {
			t.Fatal(err)
		}
	}
	certificatePEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.issue(key).Raw})
	if at.Key == at.Certificate {
		keyPEM = append(keyPEM, certificatePEM...)
	} else if err := os.WriteFile(at.Certificate, certificatePEM, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at.Key, keyPEM, 0o640); err != nil {
		t.Fatal(err)
	}
	return f
}

// leftovers lists what stands beside certificate and key.
func leftovers(t testing.TB, f Files) []string {
	t.Helper()
	var list []string
	for _, name := range []string{f.Certificate, f.Key} {
		real, err := filepath.EvalSymlinks(name)
		if err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(filepath.Dir(real), "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range found {
			if strings.HasSuffix(one, suffix) || strings.HasSuffix(one, ".tmp") || strings.HasSuffix(one, ".pending") {
				list = append(list, filepath.Base(one))
			}
		}
	}
	return list
}

var errCrash = errors.New("crash")

// crashing runs fn and reports whether it was cut off.
func crashing(fn func()) (cut bool) {
	defer func() {
		if r := recover(); r == errCrash {
			cut = true
		} else if r != nil {
			panic(r)
		}
	}()
	fn()
	return false
}

// TestCrash ends the process before each change on disk. Whatever is there then
// must be a pair, or become one without asking the server; and the next start
// must end with the new certificate, the hook run, and nothing left over.
func TestCrash(t *testing.T) {
	for _, layout := range layouts {
		for _, rekey := range []bool{false, true} {
			for at := 0; ; at++ {
				c := newCA(t, 1000*time.Hour)
				f := enrolled(t, c, layout)
				first, err := f.Load()
				if err != nil {
					t.Fatal(err)
				}
				hooks := 0
				k := &Keeper{
					Files: f, Ask: c.ask, Say: func(string, ...any) {},
					Now:   func() time.Time { return first.Leaf.NotAfter.Add(-time.Hour) },
					After: func(context.Context) error { hooks++; return nil },
				}
				c.life *= 2
				if rekey {
					k.Generate = func(crypto.PublicKey) (crypto.Signer, error) { return newKey(t), nil }
				}
				n, where := 0, ""
				k.Files.step = func(what string) error {
					if n++; n > at {
						where = what
						panic(errCrash)
					}
					return nil
				}
				cut := crashing(func() { _, err = k.Once(t.Context()) })
				if !cut && err != nil {
					t.Fatal(err)
				}
				name := layout + ", before " + where
				files, unlock, lockErr := k.lock()
				if lockErr != nil {
					t.Fatalf("%s: %v", name, lockErr)
				}
				files.step = nil
				if _, err := files.Load(); err != nil {
					if layout == "one file" || !rekey {
						t.Errorf("%s: there is a moment without a pair: %v", name, err)
					}
					if _, err := files.Recover(); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					if _, err := files.Load(); err != nil {
						t.Errorf("%s: not a pair after recovery: %v", name, err)
					}
				}
				unlock()

				k.Files.step = nil
				o, err := k.Once(t.Context())
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				last, err := f.Load()
				if err != nil || !last.Leaf.NotAfter.After(first.Leaf.NotAfter) || !o.Certificate.Equal(last.Leaf) {
					t.Fatalf("%s: no new certificate: %v", name, err)
				}
				if samePublic(first.PrivateKey.(crypto.Signer), last.Leaf.PublicKey) == rekey {
					t.Errorf("%s: key changed: %v, want %v", name, !rekey, rekey)
				}
				if len(c.issued) != 1 {
					t.Errorf("%s: certificates for %d keys were asked for", name, len(c.issued))
				}
				if hooks == 0 {
					t.Errorf("%s: the hook has not run", name)
				}
				// A key that waited for its certificate in one file may remain, and is no
				// key of any certificate to come.
				for _, one := range leftovers(t, f) {
					if layout != "one file" || !strings.HasSuffix(one, ".key"+suffix) {
						t.Errorf("%s: %s is left", name, one)
					}
				}
				for file, mode := range map[string]os.FileMode{f.Key: 0o640} {
					if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
						t.Errorf("%s: %s has mode %v, %v", name, file, info.Mode(), err)
					}
				}
				if !cut {
					if at < 4 {
						t.Fatalf("%s: only %d changes on disk were seen", name, at)
					}
					break
				}
			}
		}
	}
}

func TestOnce(t *testing.T) {
	c := newCA(t, 900*time.Hour)
	f := enrolled(t, c, "two files")
	first, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	var hook error
	k := &Keeper{Files: f, Ask: c.ask, Say: t.Logf, Now: func() time.Time { return now }, After: func(context.Context) error { return hook }}
	o, err := k.Once(t.Context())
	if err != nil || o.Renewed || c.asked != 0 || !o.Certificate.Equal(first.Leaf) {
		t.Fatalf("not due: %+v, %v", o, err)
	}
	now = o.Due.Add(-time.Second)
	if o, err = k.Once(t.Context()); err != nil || o.Renewed {
		t.Errorf("a second early: %+v, %v", o, err)
	}
	now = o.Due
	// No better than the old one.
	c.life = 0
	if o, err = k.Once(t.Context()); err == nil || o.Renewed || !strings.Contains(err.Error(), "earlier than") {
		t.Errorf("worse: %+v, %v", o, err)
	}
	clear(c.issued)
	c.life = 900 * time.Hour
	k.Ask = func(context.Context, *tls.Certificate, crypto.Signer) ([]*x509.Certificate, error) {
		return []*x509.Certificate{first.Leaf}, nil
	}
	if o, err = k.Once(t.Context()); err == nil || o.Renewed || !strings.Contains(err.Error(), "there already") {
		t.Errorf("the same: %+v, %v", o, err)
	}
	k.Ask = c.ask
	ask := k.Ask
	k.Ask = func(ctx context.Context, current *tls.Certificate, _ crypto.Signer) ([]*x509.Certificate, error) {
		return ask(ctx, current, newKey(t))
	}
	if o, err = k.Once(t.Context()); err == nil || o.Renewed || !strings.Contains(err.Error(), "not for the key") {
		t.Errorf("another's: %+v, %v", o, err)
	}
	if at, err := f.Load(); err != nil || !at.Leaf.Equal(first.Leaf) || len(leftovers(t, f)) > 0 {
		t.Errorf("refused certificates left something: %v %v", err, leftovers(t, f))
	}
	k.Ask = ask
	// The hook fails, and is tried again although nothing is due.
	hook = errors.New("reload failed")
	c.life = 2000 * time.Hour
	if o, err = k.Once(t.Context()); !errors.Is(err, hook) || !o.Renewed {
		t.Errorf("hook: %+v, %v", o, err)
	}
	if o, err = k.Once(t.Context()); !errors.Is(err, hook) || o.Renewed {
		t.Errorf("hook again: %+v, %v", o, err)
	}
	hook = nil
	if o, err = k.Once(t.Context()); err != nil || o.Renewed {
		t.Errorf("hook at last: %+v, %v", o, err)
	}
	hook = errors.New("must not run")
	if _, err = k.Once(t.Context()); err != nil {
		t.Errorf("hook without a renewal: %v", err)
	}

	// Who renews already is not disturbed.
	_, unlock, err := k.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("locked: %v", err)
	}
	unlock()

	// What nobody knows is neither used nor removed.
	strange := f.Certificate + suffix
	if err := os.WriteFile(strange, []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Once(t.Context()); err == nil || !strings.Contains(err.Error(), strange) || !exists(strange) {
		t.Errorf("strange file: %v", err)
	}
}

// TestNowhere: where the new certificate could not be put, none is asked for. The
// name has room for the suffix of the lock and for no other.
func TestNowhere(t *testing.T) {
	c := newCA(t, 30*24*time.Hour)
	f := enrolled(t, c, "two files")
	long := filepath.Join(filepath.Dir(f.Certificate), strings.Repeat("c", 250))
	if err := os.Rename(f.Certificate, long); err != nil {
		t.Fatal(err)
	}
	f.Certificate = long
	k := &Keeper{Files: f, Ask: c.ask, Say: t.Logf, Now: func() time.Time { return time.Now().Add(28 * 24 * time.Hour) }, At: Fraction{}}
	if _, err := k.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "could not be replaced") {
		t.Errorf("%v", err)
	}
	if c.asked > 0 {
		t.Error("a certificate was issued, and lost")
	}
}

// TestToken keeps a key that is in no file.
func TestToken(t *testing.T) {
	c := newCA(t, 900*time.Hour)
	key := newKey(t)
	f := Files{Certificate: filepath.Join(t.TempDir(), "press.pem"), Signer: key}
	if err := f.Install([]*x509.Certificate{c.issue(key)}, nil); err != nil {
		t.Fatal(err)
	}
	c.life *= 2
	k := &Keeper{Files: f, Ask: c.ask, Say: t.Logf, Now: func() time.Time { return time.Now().Add(800 * time.Hour) }}
	if o, err := k.Once(t.Context()); err != nil || !o.Renewed {
		t.Fatalf("%+v, %v", o, err)
	}
	if pair, err := f.Load(); err != nil || pair.PrivateKey != crypto.Signer(key) {
		t.Fatal(err)
	}
	f.Signer = newKey(t)
	if _, err := f.Load(); err == nil {
		t.Error("another key was accepted")
	}
	k.Files = f
	k.Files.Signer = key
	k.Generate = func(crypto.PublicKey) (crypto.Signer, error) { return newKey(t), nil }
	k.Now = func() time.Time { return time.Now().Add(1700 * time.Hour) }
	if _, err := k.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be changed") {
		t.Errorf("rekey of a token: %v", err)
	}
}

// TestRun passes three years in no time: every renewal comes in its window, and
// a server that fails for a while is asked at growing distances.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 90 * 24 * time.Hour
		c := newCA(t, life)
		f := enrolled(t, c, "two files")
		ctx, cancel := context.WithTimeout(t.Context(), 3*365*24*time.Hour)
		defer cancel()
		type attempt struct {
			at     time.Time
			failed bool
			age    time.Duration
		}
		var attempts []attempt
		var down, up time.Time
		down = time.Now().Add(365 * 24 * time.Hour)
		up = down.Add(100 * 24 * time.Hour) // longer than a certificate lives
		k := &Keeper{
			Files: f, Say: func(string, ...any) {},
			Generate: func(crypto.PublicKey) (crypto.Signer, error) { return newKey(t), nil },
		}
		k.Ask = func(ctx context.Context, current *tls.Certificate, key crypto.Signer) ([]*x509.Certificate, error) {
			now := time.Now()
			failed := now.After(down) && now.Before(up)
			attempts = append(attempts, attempt{now, failed, now.Sub(current.Leaf.NotBefore)})
			if failed {
				return nil, &est.StatusError{Code: 503, RetryAfter: 90 * time.Second}
			}
			return c.ask(ctx, current, key)
		}
		k.Run(ctx)
		renewed, failures := 0, 0
		for i, a := range attempts {
			if a.failed {
				failures++
				if a.age < life*2/3 {
					t.Errorf("attempt at the age of %v", a.age)
				}
				if i > 0 && attempts[i-1].failed {
					if apart := a.at.Sub(attempts[i-1].at); apart < 90*time.Second || apart > 450*time.Minute+time.Second {
						t.Errorf("%v between two attempts", apart)
					}
				}
				continue
			}
			renewed++
			late := i > 0 && attempts[i-1].failed
			if a.age < life*2/3 || !late && a.age > life*2/3+life/30+time.Second {
				t.Errorf("renewed at the age of %v", a.age)
			}
		}
		// Three years less a hundred days in steps of 60 to 63 days.
		if renewed < 14 || renewed > 19 {
			t.Errorf("%d renewals in three years", renewed)
		}
		// Some 60 days of failures, six hours and more apart after the first few.
		if failures < 100 || failures > 450 {
			t.Errorf("%d failures while the server was down", failures)
		}
		if pair, err := f.Load(); err != nil || time.Now().After(pair.Leaf.NotAfter) {
			t.Errorf("no valid certificate at the end: %v", err)
		}
	})
}
