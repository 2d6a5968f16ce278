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
// which for the account is the same as dying before the next call leaves. The
// calls before the first change are walked in one step: the process that dies
// there has left the account as it was, which is checked.
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
	for n := from; n < calls; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w, target := p.world(t)
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			w.http.after = func(r sent) error {
				if r.n < n {
					return nil
				}
				kill() // nothing leaves a dead process
				return errKilled
			}
			if _, err := w.registrar(first).Apply(ctx, target, nil); err == nil || w.http.calls < n {
				t.Fatalf("it made %d calls and ended with %v", w.http.calls, err)
			}
			if n == from && w.state() != before {
				t.Errorf("the account is changed before the first change:\n%s", difference(before, w.state()))
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

// difference shows where two documents part.
func difference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	cut := func(s string) string { return s[max(0, min(i, len(s))-200):min(len(s), i+200)] }
	return "want ..." + cut(a) + "...\ngot  ..." + cut(b) + "..."
}
