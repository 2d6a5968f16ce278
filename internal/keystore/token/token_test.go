//go:build linux && cgo && !nopkcs11

package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// pinOf returns a source of a PIN that does not change.
func pinOf(pin, version string) func() ([]byte, string, error) {
	return func() ([]byte, string, error) { return []byte(pin), version, nil }
}

// softSource is a token of SoftHSM with its right PIN.
func softSource(module, label string) Source {
	return Source{Module: module, Token: wire.Selector{Label: label}, PIN: pinOf(pkitest.SoftHSMPIN, "1")}
}

// openToken opens a token that is closed when the test ends, which leaves nothing.
func openToken(t testing.TB, cfg Config) *Token {
	t.Helper()
	cfg.Name = "factory"
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	token, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	return token
}

// made makes a key.
func made(t testing.TB, token *Token, name, algorithm string) *Signer {
	t.Helper()
	s, err := token.Create(t.Context(), KeyName{ID: []byte(name), Label: []byte(name)}, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signOnce makes a signature and verifies it.
func signOnce(s *Signer) error {
	sum := sha256.Sum256([]byte(rand.Text()))
	signature, err := s.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		return err
	}
	return verifies(s.Public(), sum[:], signature)
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// second returns the error of a call with two results.
func second[T any](_ T, err error) error { return err }

// childOf returns the process that holds the library of a leg.
func childOf(t testing.TB, l *leg) int {
	t.Helper()
	if s := l.current(); s != nil {
		return s.proc.cmd.Process.Pid
	}
	t.Fatal("the leg is not open")
	return 0
}

// counted returns the sum of a counter, of those with the value of a label if it is given.
func counted(t *testing.T, token *Token, name, label string) (sum float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(token.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label || label == "" && l.GetName() == "token" {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// gone reports whether a process has ended.
func gone(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err != nil
}

func TestSigns(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	token := openToken(t, Config{Primary: softSource(module, label)})
	for _, algorithm := range []string{"P-256", "P-384", "RSA-2048"} {
		s := made(t, token, algorithm, algorithm)
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			h := hash.New()
			h.Write([]byte("message"))
			signature, err := s.Sign(nil, h.Sum(nil), hash)
			if err != nil {
				t.Fatal(err)
			}
			ok := false
			switch public := s.Public().(type) {
			case *ecdsa.PublicKey:
				ok = ecdsa.VerifyASN1(public, h.Sum(nil), signature)
			case *rsa.PublicKey:
				ok = rsa.VerifyPKCS1v15(public, hash, h.Sum(nil), signature) == nil
			}
			if !ok {
				t.Errorf("%s, %v: the signature does not verify", algorithm, hash)
			}
		}
		// By each of its names, and by its public key whatever its name is.
		for _, name := range []KeyName{{ID: []byte(algorithm)}, {Label: []byte(algorithm)}, {Public: s.Public(), Label: []byte("other")}} {
			again, err := token.Signer(t.Context(), name, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := signOnce(again); err != nil {
				t.Error(err)
			}
		}
		_, err := token.Create(t.Context(), KeyName{ID: []byte("x"), Label: []byte(algorithm)}, algorithm)
		if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "label") {
			t.Errorf("making a key under the label of another: %v", err)
		}
		_, err = token.Create(t.Context(), KeyName{ID: []byte(algorithm), Label: []byte("x")}, algorithm)
		if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "id") {
			t.Errorf("making a key under the id of another: %v", err)
		}
	}
	if _, err := token.Signer(t.Context(), KeyName{Label: []byte("none")}, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}
	if _, err := token.Signer(t.Context(), KeyName{Public: pkitest.Key(t, "P-256").Public()}, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("a public key that is not there: %v", err)
	}
	if n := len(token.registered()); n != 3 {
		t.Errorf("%d keys are known, of 3", n)
	}
}

func TestDestroy(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	token := openToken(t, Config{Primary: softSource(module, label)})
	s := made(t, token, "k", "P-256")
	other := made(t, token, "other", "P-256")
	if err := token.Destroy(t.Context(), KeyName{Public: s.Public()}); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Signer(t.Context(), KeyName{Label: []byte("k")}, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("the key is still there: %v", err)
	}
	if err := signOnce(s); !errors.Is(err, ErrNotFound) {
		t.Errorf("a signer of a destroyed key: %v", err)
	}
	if err := s.Ready(); !errors.Is(err, ErrNotFound) {
		t.Errorf("a signer of a destroyed key is ready: %v", err)
	}
	if problems := token.Status().Legs[0].Problems; len(problems) != 0 {
		t.Errorf("a destroyed key is in the status: %q", problems)
	}
	if err := token.Destroy(t.Context(), KeyName{Public: s.Public()}); !errors.Is(err, ErrNotFound) {
		t.Errorf("destroying it again: %v", err)
	}
	if err := signOnce(other); err != nil {
		t.Error(err)
	}
}

// The library ends under load, again and again: every signature that is asked for is made.
func TestCrashUnderLoad(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	token := openToken(t, Config{Primary: softSource(module, label), KeepAlive: -1})
	signers := []*Signer{made(t, token, "a", "P-256"), made(t, token, "b", "P-256")}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	signed := 0
	for i := range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := signOnce(signers[i%2]); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				signed++
				mu.Unlock()
			}
		})
	}
	for range 5 {
		pid := childOf(t, token.legs[0])
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		before := signed
		mu.Unlock()
		eventually(t, "signing goes on in another process", func() bool {
			mu.Lock()
			defer mu.Unlock()
			s := token.legs[0].current()
			return signed > before+20 && s != nil && s.proc.cmd.Process.Pid != pid
		})
	}
	close(stop)
	wg.Wait()
	if n := token.Status().Legs[0].Reopens[causeCrash]; n < 5 {
		t.Errorf("%d crashes were noticed, of 5", n)
	}
}

// A token that nobody uses is opened anew when its process ends.
func TestCrashWhileIdle(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	token := openToken(t, Config{Primary: softSource(module, label), KeepAlive: -1})
	s := made(t, token, "a", "P-256")
	pid := childOf(t, token.legs[0])
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process", func() bool {
		s := token.legs[0].current()
		return s != nil && s.proc.cmd.Process.Pid != pid
	})
	if err := signOnce(s); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"token_reopens_total", "token_restarts_total"} {
		if n, all := counted(t, token, name, causeCrash), counted(t, token, name, ""); n != 1 || all != 1 {
			t.Errorf("%s is %v for a crash, %v in all", name, n, all)
		}
	}
}

func TestCloseWhileSigning(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	token := openToken(t, Config{Primary: softSource(module, label)})
	s := made(t, token, "a", "P-256")
	pid := childOf(t, token.legs[0])
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				if err := signOnce(s); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("signing while it is closed: %v", err)
					}
					return
				}
			}
		})
	}
	if err := token.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if !gone(pid) {
		t.Error("the process is left")
	}
	eventually(t, "no goroutine of it is left", func() bool {
		stacks := make([]byte, 1<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(text, "token.(*leg)") && !strings.Contains(text, "token.(*process)")
	})
	for what, err := range map[string]error{
		"Sign":   signOnce(s),
		"Signer": second(token.Signer(t.Context(), KeyName{Public: s.Public()}, true)),
		"Create": second(token.Create(t.Context(), KeyName{ID: []byte("x"), Label: []byte("x")}, "P-256")),
		"Unlock": second(token.Unlock(t.Context(), Unlock{By: "alice", PIN: []byte("1")})),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}
