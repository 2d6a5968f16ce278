package awsreg_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/internal/pkitest"
)

var errKilled = errors.New("the process is dead")

// past is what an account has before the walk: the two CAs that are to go out of
// service with certificates under them, and of everything else an earlier state,
// so that the walk creates, updates and deletes.
type past struct {
	issuers map[string]*authority
	devices map[string][]*x509.Certificate // by issuer
}

func newPast(t *testing.T) past {
	p := past{issuers: ancients(t), devices: make(map[string][]*x509.Certificate)}
	for _, name := range []string{"old", "older"} {
		for i := range 3 {
			c, _, _ := p.issuers[name].device(t, fmt.Sprint(name, "-", i))
			p.devices[name] = append(p.devices[name], c)
		}
	}
	return p
}

// world is a fresh account with that past, and the target that it is to have.
func (p past) world(t *testing.T) (*world, awsreg.Target) {
	w := newWorld(t)
	w.issuers = maps.Clone(p.issuers)
	before := everything(w.sim.ControlURL())
	before.CAs = slices.Clone(before.CAs[4:])
	for i := range before.CAs {
		before.CAs[i].State, before.CAs[i].Sweep = "", ""
	}
	before.Fleets, before.Rotation = before.Fleets[:1], nil
	before.Fleets[0].RotationHook, before.Fleets[0].ThingPrefix, before.Fleets[0].RoleARN = "", "p-", roleARN("mintmark-former")
	before.Provider.Function = lambdaARN("mintmark-former")
	if _, err := w.registrar(first).Apply(t.Context(), before, nil); err != nil {
		t.Fatal(err)
	}
	for range 4 { // so that the next version needs room
		_, err := w.iot(first).CreatePolicyVersion(t.Context(), &iot.CreatePolicyVersionInput{
			PolicyName: aws.String("pumps-device"), PolicyDocument: aws.String(openPolicy), SetAsDefault: true,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for issuer, devices := range p.devices {
		for i, c := range devices {
			w.registerOne(w.issuers[issuer], c, [...]types.CertificateStatus{on, on, off}[i])
		}
	}
	w.http = newRecorder()
	return w, everything(w.sim.ControlURL())
}

// TestKilledAnywhere kills an Apply at each of its calls and runs it again in a
// new process. Whatever the point was, the account ends as it does undisturbed.
//
// The process dies when a call has taken effect and before it has the answer,
// which for the account is the same as dying before the next call leaves. Every
// call is walked with MINTMARK_LONG=1, and else every third. A process that dies at one of those before the first change has
// left the account as it was, which is checked, so that these share an account and
// the run that is undisturbed.
func TestKilledAnywhere(t *testing.T) {
	p := newPast(t)
	undisturbed, target := p.world(t)
	before := undisturbed.state()
	if _, err := undisturbed.registrar(first).Apply(t.Context(), target, nil); err != nil {
		t.Fatal(err)
	}
	calls, from := undisturbed.http.calls, undisturbed.http.firstChange-1
	undisturbed.settled(target)
	want := undisturbed.state()
	t.Logf("%d calls, the first change is number %d", calls, from+1)
	if from < 30 || calls-from < 80 {
		t.Fatalf("an Apply of everything makes %d calls only", calls)
	}
	t.Run("before the first change", func(t *testing.T) {
		t.Parallel()
		w, target := p.world(t)
		for n := 1; n <= from; n++ {
			w.http = newRecorder()
			ctx, kill := context.WithCancel(t.Context())
			w.http.after = killAt(n, kill)
			_, err := w.registrar(first).Apply(ctx, target, nil)
			kill()
			if err == nil || w.http.calls < n {
				t.Fatalf("%d: it made %d calls and ended with %v", n, w.http.calls, err)
			}
			if w.state() != before {
				t.Fatalf("%d: the account is changed before the first change:\n%s", n, difference(before, w.state()))
			}
		}
		w.http = newRecorder()
		if _, err := w.registrar(first).Apply(t.Context(), target, nil); err != nil {
			t.Fatal(err)
		}
		if got := w.state(); got != want {
			t.Errorf("the account differs from the undisturbed one:\n%s", difference(want, got))
		}
	})
	take := pkitest.Walk(t, 3)
	for n := from + 1; n < calls; n++ {
		if !take(n) {
			continue
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w, target := p.world(t)
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			w.http.after = killAt(n, kill)
			if _, err := w.registrar(first).Apply(ctx, target, nil); err == nil || w.http.calls < n {
				t.Fatalf("it made %d calls and ended with %v", w.http.calls, err)
			}
			w.http = newRecorder()
			if _, err := w.registrar(first).Apply(t.Context(), target, nil); err != nil {
				t.Fatal(err)
			}
			if got := w.state(); got != want {
				t.Errorf("the account differs from the undisturbed one:\n%s", difference(want, got))
			}
		})
	}
	// The process lives and the connection dies, once at every change: before it
	// takes effect, and after.
	for _, effect := range []bool{false, true} {
		t.Run(fmt.Sprint("cut ", effect), func(t *testing.T) {
			t.Parallel()
			w, target := p.world(t)
			met := make(map[string]bool)
			var mu sync.Mutex
			cut := func(r sent) error {
				mu.Lock()
				defer mu.Unlock()
				what, _, _ := strings.Cut(r.what, "verificationCertificate") // which is another each time
				if !r.changes || met[what] {
					return nil
				}
				met[what] = true
				return io.ErrUnexpectedEOF
			}
			if effect {
				w.http.after = cut
			} else {
				w.http.before = cut
			}
			if _, err := w.registrar(first).Apply(t.Context(), target, nil); err != nil {
				t.Fatal(err)
			}
			if len(met) < 25 {
				t.Errorf("only %d changes were met", len(met))
			}
			if got := w.state(); got != want {
				t.Errorf("the account differs from the undisturbed one:\n%s", difference(want, got))
			}
		})
	}
}

// killAt ends a process with its call n: nothing leaves a dead process.
func killAt(n int, kill context.CancelFunc) func(sent) error {
	return func(r sent) error {
		if r.n < n {
			return nil
		}
		kill()
		return errKilled
	}
}

// TestKilledBetweenAccounts kills a process that applies two targets, the second in
// an account that it reaches through a role, at each of its calls: in the middle of
// one, between the two, and while it assumes the role. A new process that applies
// both leaves both accounts as they are undisturbed.
func TestKilledBetweenAccounts(t *testing.T) {
	issuers := map[string]*authority{"line": newAuthority(t, "line")}
	fresh := func(t *testing.T) (*world, []awsreg.Target) {
		w := newWorld(t)
		w.issuers = issuers
		return w, []awsreg.Target{w.in(first, region, awsreg.ModeDefault), w.in(second, region, awsreg.ModeSNIOnly)}
	}
	states := func(w *world) string {
		return w.state() + string(must(w.sim.State(second.ID, region))(w.t))
	}
	// applyAll is one process. It returns after how many calls each target was done.
	applyAll := func(ctx context.Context, w *world, targets []awsreg.Target) (done []int, err error) {
		r := w.registrar(first)
		for _, target := range targets {
			if _, err := r.Apply(ctx, target, nil); err != nil {
				return done, err
			}
			done = append(done, w.http.calls)
		}
		return done, nil
	}
	w, targets := fresh(t)
	var assumed []int
	w.http.after = func(r sent) error {
		if strings.Contains(r.what, "Action=AssumeRole") {
			assumed = append(assumed, r.n)
		}
		return nil
	}
	done, err := applyAll(t.Context(), w, targets)
	if err != nil {
		t.Fatal(err)
	}
	want := states(w)
	calls, between := done[1], done[0]
	t.Logf("%d calls, the first target is done with number %d, the role is assumed at %v", calls, between, assumed)
	if len(assumed) != 1 || assumed[0] <= between || calls < 2*between-10 || between < 10 {
		t.Fatal("this is not the walk that it should be")
	}
	take := pkitest.Walk(t, 3)
	for n := 1; n < calls; n++ {
		if !take(n) && n != between && n != assumed[0] {
			continue
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w, targets := fresh(t)
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			w.http.after = killAt(n, kill)
			done, err := applyAll(ctx, w, targets)
			if err == nil || len(done) == 2 || len(done) == 1 && n < between {
				t.Fatalf("killed at %d, it had done %v and ended with %v", n, done, err)
			}
			w.http = newRecorder()
			if _, err := applyAll(t.Context(), w, targets); err != nil {
				t.Fatal(err)
			}
			if got := states(w); got != want {
				t.Errorf("the accounts differ from the undisturbed ones:\n%s", difference(want, got))
			}
		})
	}
}

// difference shows where two documents part.
func difference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	cut := func(s string) string { return s[max(0, min(i, len(s))-200):min(len(s), i+200)] }
	return "want ..." + cut(a) + "...\ngot  ..." + cut(b) + "..."
}
