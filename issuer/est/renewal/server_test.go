package renewal

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"mintmark/issuer/est"
)

// TestFastClock: a device whose clock is ahead gets certificates that are due at
// once. It says so, and goes on as after a failure.
func TestFastClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCA(t, 90*24*time.Hour)
		hooks, said := 0, ""
		k := &Keeper{
			Files:    enrolled(t, c, "two files"),
			Say:      func(format string, a ...any) { said += fmt.Sprintf(format, a...) },
			Now:      func() time.Time { return time.Now().Add(70 * 24 * time.Hour) },
			Generate: func(crypto.PublicKey) (crypto.Signer, error) { return newKey(t), nil },
			After:    func(context.Context) error { hooks++; return nil },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		k.Ask = func(ctx context.Context, current *tls.Certificate, key crypto.Signer) ([]*x509.Certificate, error) {
			if c.asked == 100 {
				cancel() // enough to fail
			}
			return c.ask(ctx, current, key)
		}
		k.Run(ctx)
		// After 1, 2, 4 ... minutes, and then every six hours and more.
		if c.asked < 4 || c.asked > 14 {
			t.Errorf("%d certificates in a day", c.asked)
		}
		if pair, err := k.Files.Load(); err != nil || hooks != c.asked || c.issued[string(pair.Leaf.RawSubjectPublicKeyInfo)] == nil || !strings.Contains(said, "clock") {
			t.Errorf("the last one is not in force: %v, %d hooks, said %q", err, hooks, said)
		}
	})
}

// TestRefusedKey: a key that the server has refused for good does not wait for the
// next attempt, so that a change of its type has effect. One that may have its
// certificate already does.
func TestRefusedKey(t *testing.T) {
	for _, layout := range layouts {
		for _, test := range []struct {
			err   error
			stays bool
		}{
			{&est.StatusError{Code: 400, Text: "the profile takes P-384"}, false},
			{&est.StatusError{Code: 403}, false},
			{&est.StatusError{Code: 422}, false},
			{&est.StatusError{Code: 401}, true},
			{&est.StatusError{Code: 408}, true},
			{&est.StatusError{Code: 429}, true},
			{&est.StatusError{Code: 500}, true},
			{&est.StatusError{Code: 503}, true},
			{&est.StatusError{Code: 307}, true},
			{&est.PendingError{}, true},
			{errors.New("connection reset"), true},
		} {
			c := newCA(t, 900*time.Hour)
			curve, answer := elliptic.P256(), test.err
			var asked []crypto.Signer
			k := &Keeper{
				Files: enrolled(t, c, layout), Say: t.Logf, Now: func() time.Time { return time.Now().Add(800 * time.Hour) },
				Generate: func(crypto.PublicKey) (crypto.Signer, error) { return ecdsa.GenerateKey(curve, rand.Reader) },
			}
			k.Ask = func(ctx context.Context, current *tls.Certificate, key crypto.Signer) ([]*x509.Certificate, error) {
				asked = append(asked, key)
				if answer != nil {
					return nil, answer
				}
				return c.ask(ctx, current, key)
			}
			c.life *= 2
			if _, err := k.Once(t.Context()); !errors.Is(err, test.err) {
				t.Fatalf("%s, %v: %v", layout, test.err, err)
			}
			curve, answer = elliptic.P384(), nil // the operator has read it
			if o, err := k.Once(t.Context()); err != nil || !o.Renewed {
				t.Fatalf("%s, after %v: %v", layout, test.err, err)
			}
			if stays := samePublic(asked[0], asked[1].Public()); stays != test.stays {
				t.Errorf("%s, after %v: the same key: %v", layout, test.err, stays)
			}
			if left := leftovers(t, k.Files); len(left) > 0 {
				t.Errorf("%s: %v is left", layout, left)
			}
		}
	}
}

// TestCannotWrite: what would keep the new certificate from its place is found
// before the server is asked for one.
func TestCannotWrite(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to act as a user and to give that user's files to another")
	}
	const user, other = 65534, 65533
	for _, layout := range layouts {
		for _, rekey := range []bool{false, true} {
			c := newCA(t, 900*time.Hour)
			f := enrolled(t, c, layout)
			k := &Keeper{Files: f, Say: t.Logf, Now: func() time.Time { return time.Now().Add(800 * time.Hour) }, Ask: c.ask}
			if rekey {
				k.Generate = func(crypto.PublicKey) (crypto.Signer, error) { return newKey(t), nil }
			}
			// The user may do as it likes with the directories, and has the files by
			// their group.
			for _, name := range []string{f.Certificate, f.Key} {
				real, err := filepath.EvalSymlinks(name)
				if err != nil {
					t.Fatal(err)
				}
				err = errors.Join(os.Chown(real, other, 0), os.Chmod(real, 0o660))
				for dir := range map[string]bool{filepath.Dir(name): true, filepath.Dir(real): true} {
					for ; filepath.Dir(dir) != filepath.Clean(os.TempDir()) && len(dir) > 1; dir = filepath.Dir(dir) {
						err = errors.Join(err, os.Chown(dir, user, 0))
					}
					err = errors.Join(err, os.Chown(dir, user, 0))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			ended := make(chan struct{})
			var err error
			go func() {
				defer close(ended)
				runtime.LockOSThread() // and not unlocked: the thread ends with this
				unix.Setfsuid(user)
				_, err = k.Once(t.Context())
			}()
			<-ended
			if !errors.Is(err, os.ErrPermission) || c.asked > 0 {
				t.Errorf("%s, rekey %v: asked %d times, %v", layout, rekey, c.asked, err)
			}
			if left := leftovers(t, f); len(left) > 0 {
				t.Errorf("%s, rekey %v: %v is left", layout, rekey, left)
			}
		}
	}
}
