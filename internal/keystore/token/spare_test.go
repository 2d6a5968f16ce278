//go:build linux && cgo && !nopkcs11

package token

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// pair is two modules whose tokens hold the same keys, as those of a cloned HSM do.
type pair struct {
	primary, spare *shim.Module
	copied         string    // directory of the spare
	signers        []*Signer // of a token that is closed
}

func newPair(t *testing.T, keys int) *pair {
	t.Helper()
	module, label, _ := pkitest.SoftHSM(t)
	pkitest.Tool(t, "gcc")
	conf := os.Getenv("SOFTHSM2_CONF")
	maker, err := Open(Config{Name: "maker", Primary: softSource(module, label), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{}
	for i := range keys {
		p.signers = append(p.signers, made(t, maker, "k"+string(rune('0'+i)), "P-256"))
	}
	if err := maker.Close(); err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(filepath.Dir(conf), "tokens")
	copied := filepath.Join(t.TempDir(), "tokens")
	if out, err := exec.Command("cp", "-a", tokens, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.copied = copied
	text := strings.ReplaceAll(string(pkitest.ReadFile(t, conf)), tokens, copied)
	if p.primary, err = shim.New(t.TempDir(), module, conf); err != nil {
		t.Fatal(err)
	}
	if p.spare, err = shim.New(t.TempDir(), module, pkitest.WriteFile(t, "spare.conf", []byte(text))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.primary.Mend(); p.spare.Mend() })
	return p
}

func (p *pair) source(m *shim.Module) Source {
	return Source{Module: m.Path, Token: wire.Selector{Label: "factory"}, PIN: pinOf(pkitest.SoftHSMPIN, "1")}
}

// open opens a token with or without the spare.
func (p *pair) open(t *testing.T, spare bool, cfg Config) *Token {
	t.Helper()
	cfg.Primary = p.source(p.primary)
	if spare {
		s := p.source(p.spare)
		cfg.Spare = &s
	}
	return openToken(t, cfg)
}

func (p *pair) signer(t *testing.T, token *Token, i int) *Signer {
	t.Helper()
	s, err := token.Signer(t.Context(), KeyName{Public: p.signers[i].Public()}, true)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The spare serves from the start where the primary is not there, and gives back what it
// took over.
func TestSpareFromTheStart(t *testing.T) {
	p := newPair(t, 1)
	p.primary.Set(shim.Gone, ckrTokenNotPresent)
	token := p.open(t, true, Config{})
	s := p.signer(t, token, 0)
	if err := signOnce(s); err != nil {
		t.Fatal(err)
	}
	if n := counted(t, token, "token_failovers_total", ""); n != 1 {
		t.Errorf("the spare took over %v times", n)
	}
	status := token.Status()
	if status.Legs[0].State != Absent || status.Legs[1].State != Ready {
		t.Errorf("the primary is %s, the spare %s", status.Legs[0].State, status.Legs[1].State)
	}
	if _, err := token.Signer(t.Context(), KeyName{Label: []byte("k0")}, true); !unavailable(err) {
		t.Errorf("a key by its name, with the spare alone: %v", err)
	}
	p.primary.Mend()
	before := p.primary.Get(shim.Signed)
	eventually(t, "the primary signs again", func() bool {
		if err := signOnce(s); err != nil {
			t.Fatal(err)
		}
		return !token.onSpare.Load() // not by what the module counts: some of it are tests
	})
	if p.primary.Get(shim.Signed) == before {
		t.Error("it is noted that the primary signs, which has not")
	}
	// With the spare gone too there is a time to ask again.
	p.primary.Set(shim.Gone, ckrTokenNotPresent)
	p.spare.Set(shim.Gone, ckrTokenNotPresent)
	eventually(t, "neither is there", func() bool { return unavailable(signOnce(s)) && unavailable(s.Ready()) })
}

func unavailable(err error) bool {
	var u *UnavailableError
	return errors.As(err, &u) && u.RetryAfter() >= time.Second
}

// A spare without the keys is seen long before it is needed.
func TestSpareIsEmpty(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	pkitest.AddToken(t, "empty")
	empty := softSource(module, "empty")
	token := openToken(t, Config{Primary: softSource(module, label), Spare: &empty})
	s := made(t, token, "k", "P-256")
	if err := signOnce(s); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the status says that the spare lacks the key", func() bool {
		spare := token.Status().Legs[1]
		return spare.State == Ready && len(spare.Problems) == 1 && strings.Contains(spare.Problems[0], "no such key")
	})
	if err := token.Destroy(t.Context(), KeyName{Public: s.Public()}); err != nil {
		t.Error(err)
	}
}

// Destroyed is only what is destroyed in both.
func TestDestroyInBoth(t *testing.T) {
	p := newPair(t, 2)
	token := p.open(t, true, Config{})
	other := p.signer(t, token, 1)
	name := KeyName{Public: p.signers[0].Public()}
	p.spare.Set(shim.Gone, ckrTokenNotPresent)
	eventually(t, "the spare is away", func() bool { return token.Status().Legs[1].State == Absent })
	if err := token.Destroy(t.Context(), name); !unavailable(err) {
		t.Errorf("destroying half of it: %v", err)
	}
	p.spare.Mend()
	eventually(t, "the spare is back", func() bool { return token.Status().Legs[1].State == Ready })
	if err := signOnce(p.signer(t, token, 0)); err != nil {
		t.Errorf("the key is gone: %v", err)
	}
	if err := token.Destroy(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*shim.Module{p.primary, p.spare} {
		alone := openToken(t, Config{Primary: p.source(m)})
		if _, err := alone.Signer(t.Context(), name, true); !errors.Is(err, ErrNotFound) {
			t.Errorf("it is left in one: %v", err)
		}
	}
	if err := signOnce(other); err != nil {
		t.Error(err)
	}
}

// A key that always hangs is put out of use, and the others are not disturbed any
// longer; it is tried by itself and comes back.
func TestKeyThatHangs(t *testing.T) {
	p := newPair(t, 2)
	token := p.open(t, false, Config{Attempt: 200 * time.Millisecond, Deadline: 2 * time.Second, KeepAlive: -1})
	bad, good := p.signer(t, token, 0), p.signer(t, token, 1)
	p.primary.Set(shim.Key, shim.KeyID([]byte("k0")))
	p.primary.Set(shim.Hang, shim.HangSign)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := signOnce(good); err != nil {
				t.Errorf("another key: %v", err)
				return
			}
		}
	})
	if err := signOnce(bad); !unavailable(err) || !strings.Contains(err.Error(), "hang") {
		t.Errorf("a key that hangs: %v", err)
	}
	if err := bad.Ready(); !unavailable(err) {
		t.Errorf("it is said to be ready: %v", err)
	}
	if err := good.Ready(); err != nil {
		t.Error(err)
	}
	eventually(t, "the others are served again", func() bool { return token.legs[0].current() != nil })
	loads := p.primary.Get(shim.Loads)
	for range 20 {
		if err := signOnce(bad); !unavailable(err) {
			t.Errorf("a key that hangs: %v", err)
		}
	}
	// Its trials are in processes of their own.
	if n := p.primary.Get(shim.Loads); n > loads+1 {
		t.Errorf("the library was loaded %d times more", n-loads)
	}
	if problems := token.Status().Legs[0].Problems; len(problems) != 1 || !strings.Contains(problems[0], "hang") {
		t.Errorf("the status says %q", problems)
	}
	pid := childOf(t, token.legs[0])
	p.primary.Mend()
	eventually(t, "the key is in use again", func() bool { return signOnce(bad) == nil })
	if childOf(t, token.legs[0]) != pid {
		t.Error("the trial of the key took the process of the others")
	}
	close(stop)
	wg.Wait()
}

// Wrong signatures: the token is out of use until one verifies, and what keeps an idle
// token alive finds them too.
func TestDistrust(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, false, Config{KeepAlive: 20 * time.Millisecond})
	s := p.signer(t, token, 0)
	if err := signOnce(s); err != nil {
		t.Fatal(err)
	}
	p.primary.SetTimes(shim.Garbage, shim.GarbageWrong, -1)
	eventually(t, "nobody had to ask", func() bool { return unavailable(s.Ready()) })
	leg := token.Status().Legs[0]
	if leg.State != Failing || leg.Reopens[causeDistrust] == 0 || !strings.Contains(leg.Detail, "do not verify") {
		t.Errorf("%+v", leg)
	}
	sum := sha256.Sum256(nil)
	if _, err := s.Sign(nil, sum[:], crypto.SHA256); !unavailable(err) {
		t.Errorf("it signed: %v", err)
	}
	p.primary.Mend()
	eventually(t, "it signs again", func() bool { return signOnce(s) == nil })
	// One that is told so is opened anew.
	sum = sha256.Sum256(nil)
	signature, err := s.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	before := token.Status().Legs[0].Reopens[causeDistrust]
	s.Distrust([]byte("of somebody else"))
	s.Distrust(signature)
	s.Distrust(signature) // what the first one ended is not ended again
	if n := token.Status().Legs[0].Reopens[causeDistrust]; n != before+1 {
		t.Errorf("%d times opened anew, of 1", n-before)
	}
	eventually(t, "it signs again", func() bool { return signOnce(s) == nil })
}

// A wrong signature of the primary is not blamed on the spare, which has signed since.
func TestDistrustOfTheRightLeg(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, true, Config{KeepAlive: -1})
	s := p.signer(t, token, 0)
	eventually(t, "the spare is ready", func() bool { return token.Status().Legs[1].State == Ready })
	p.primary.SetTimes(shim.Garbage, shim.GarbageWrong, 1)
	sum := sha256.Sum256(nil)
	wrong, err := s.Sign(nil, sum[:], crypto.SHA256)
	if err != nil || verifies(s.Public(), sum[:], wrong) == nil {
		t.Fatalf("no wrong signature: %v", err)
	}
	mechanism, input, err := inputOf(s.Public(), sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	spare := token.legs[1]
	if _, err := spare.sign(ctx, spare.view(s.k), s.k, mechanism, input); err != nil {
		t.Fatal(err)
	}
	s.Distrust(wrong)
	for i, want := range []int{1, 0} {
		if n := token.Status().Legs[i].Reopens[causeDistrust]; n != want {
			t.Errorf("leg %d was distrusted %d times, want %d", i, n, want)
		}
	}
}

// A key whose attributes were changed behind the back of the server is refused by name.
func TestPolicyReadBack(t *testing.T) {
	p := newPair(t, 1)
	p.primary.Set(shim.LieValue, 1)
	p.primary.Set(shim.Lie, 0x162) // CKA_EXTRACTABLE
	token := p.open(t, false, Config{})
	_, err := token.Signer(t.Context(), KeyName{Public: p.signers[0].Public()}, true)
	if !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "CKA_EXTRACTABLE is true") {
		t.Errorf("%v", err)
	}
	if _, err := token.Signer(t.Context(), KeyName{Public: p.signers[0].Public()}, false); err != nil {
		t.Errorf("a key that is none of a CA: %v", err)
	}
	if _, err := token.Create(t.Context(), KeyName{ID: []byte("new"), Label: []byte("new")}, "P-256"); !errors.Is(err, ErrPolicy) {
		t.Errorf("making a key: %v", err)
	}
	p.primary.Mend()
	if _, err := token.Find(t.Context(), KeyName{Label: []byte("new")}); !errors.Is(err, ErrNotFound) {
		t.Errorf("the key was left there: %v", err)
	}
}
