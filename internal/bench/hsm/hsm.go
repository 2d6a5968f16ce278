// Package hsm measures what signatures in a token cost through the key store, against
// the token's library alone: with SoftHSM2, and with a module in front of it that is as
// slow as one on a network.
//
// The reference is a C program with nothing in it but C_SignInit and C_Sign, compiled
// when it is needed.
package hsm

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/internal/keystore"
)

var (
	//go:embed testdata/bare.c
	bareSource []byte
	//go:embed testdata/delay.c
	delaySource []byte
)

// ErrMissing is what New returns where SoftHSM2 or gcc is not installed, or this build
// has no PKCS#11.
var ErrMissing = errors.New("SoftHSM2 (softhsm2-util), gcc and a build with PKCS#11 are needed")

var modules = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
}

const (
	label = "bench"
	pin   = "98765432" // of a token that lasts as long as the measurement
)

// Token is a SoftHSM2 token with one P-256 key, in a directory of its own.
type Token struct {
	dir, module, delayed, bare, uri string
}

// New makes one in dir. It sets environment variables that the library reads.
func New(ctx context.Context, dir string) (*Token, error) {
	t := &Token{dir: dir, bare: filepath.Join(dir, "bare"), delayed: filepath.Join(dir, "delay.so")}
	for _, path := range modules {
		if _, err := os.Stat(path); err == nil {
			t.module = path
			break
		}
	}
	util, err := exec.LookPath("softhsm2-util")
	if _, e := exec.LookPath("gcc"); !built || t.module == "" || err != nil || e != nil {
		return nil, ErrMissing
	}
	tokens, conf := filepath.Join(dir, "tokens"), filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	if err := errors.Join(
		os.WriteFile(conf, []byte(text), 0o600),
		os.WriteFile(t.pinFile(), []byte(pin+"\n"), 0o400),
		os.Setenv("SOFTHSM2_CONF", conf), os.Setenv("DELAY_MODULE", t.module),
	); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, util, "--init-token", "--free", "--label", label, "--so-pin", pin, "--pin", pin).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("softhsm2-util: %w: %s", err, out)
	}
	if err := errors.Join(t.compile(ctx, bareSource, t.bare), t.compile(ctx, delaySource, t.delayed, "-shared", "-fPIC")); err != nil {
		return nil, err
	}
	store, err := t.open(t.module, 1)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	t.uri, _, err = store.Create(ctx, "pkcs11:token="+label+";object=bench", "P-256")
	return t, err
}

func (t *Token) pinFile() string { return filepath.Join(t.dir, "pin") }

func (t *Token) compile(ctx context.Context, source []byte, out string, flags ...string) error {
	in := out + ".c"
	if err := os.WriteFile(in, source, 0o600); err != nil {
		return err
	}
	args := append([]string{"-std=gnu11", "-O2", "-o", out, in}, flags...)
	if text, err := exec.CommandContext(ctx, "gcc", append(args, "-ldl", "-lpthread")...).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, text)
	}
	return nil
}

func (t *Token) open(module string, sessions int) (*keystore.Store, error) {
	return keystore.Open(keystore.Config{
		Tokens: []keystore.TokenConfig{{
			Name: label, URI: "pkcs11:module-path=" + module + ";token=" + label,
			PIN: keystore.PIN{File: t.pinFile()}, Sessions: sessions,
		}},
		Logger: slog.New(slog.DiscardHandler),
	})
}

// Bare is how many signatures a second the library makes alone, in so many threads with
// a session each.
func (t *Token) Bare(ctx context.Context, sessions int, d time.Duration) (float64, error) {
	c := exec.CommandContext(ctx, t.bare, t.module, label, strconv.Itoa(sessions), strconv.FormatInt(d.Milliseconds(), 10))
	c.Stdin = strings.NewReader(pin + "\n")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, fmt.Errorf("signing with the library alone: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// Supervised is how many signatures a second the key store makes, with so many sessions
// and twice as many callers, so that no session waits for the way there and back of its
// caller; each C_Sign takes delay longer.
func (t *Token) Supervised(ctx context.Context, sessions int, d, delay time.Duration) (float64, error) {
	module := t.module
	if delay > 0 {
		module = t.delayed
		if err := os.Setenv("DELAY_US", strconv.FormatInt(delay.Microseconds(), 10)); err != nil {
			return 0, err
		}
	}
	store, err := t.open(module, sessions)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	signer, err := store.Signer(ctx, t.uri, nil)
	if err != nil {
		return 0, err
	}
	return rate(ctx, signer, 2*sessions, d)
}

// rate signs in closed loops.
func rate(ctx context.Context, signer crypto.Signer, callers int, d time.Duration) (float64, error) {
	var signatures atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			digest := sha256.Sum256([]byte("bench"))
			for n := byte(0); time.Since(start) < d && ctx.Err() == nil && failed.Load() == nil; n++ {
				digest[0] = n
				if _, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					failed.Store(&err)
					return
				}
				signatures.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	if err := ctx.Err(); err != nil {
		return 0, err // cut off, it is no measurement
	}
	return float64(signatures.Load()) / time.Since(start).Seconds(), nil
}

// rounds is how often two rates are measured in turn, so that what else the machine does
// hits both.
const rounds = 4

// Ratio measures what the key store makes of a number of sessions, and the library
// alone. It takes twice d.
func Ratio(ctx context.Context, t *Token, sessions int, d time.Duration) (supervised, bare float64, err error) {
	return inTurn(
		func() (float64, error) { return t.Supervised(ctx, sessions, d/rounds, 0) },
		func() (float64, error) { return t.Bare(ctx, sessions, d/rounds) },
	)
}

// Growth measures what the key store makes of many sessions and of one, where each
// signature takes delay longer. It takes twice d.
func Growth(ctx context.Context, t *Token, sessions int, d, delay time.Duration) (many, one float64, err error) {
	return inTurn(
		func() (float64, error) { return t.Supervised(ctx, sessions, d/rounds, delay) },
		func() (float64, error) { return t.Supervised(ctx, 1, d/rounds, delay) },
	)
}

func inTurn(a, b func() (float64, error)) (float64, float64, error) {
	var first, second float64
	for range rounds {
		r, err := a()
		if err != nil {
			return 0, 0, err
		}
		first += r / rounds
		if r, err = b(); err != nil {
			return 0, 0, err
		}
		second += r / rounds
	}
	return first, second, nil
}
