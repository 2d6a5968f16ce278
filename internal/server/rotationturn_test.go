package server

import (
	"context"
	"crypto"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// turner is a server whose rotations are moved by its machine, with two officers.
type turner struct {
	*Server
	moves    *rotation.Machine
	officers map[string]crypto.Signer
}

func newTurner(t *testing.T, s *Server) *turner {
	t.Helper()
	x := &turner{Server: s, moves: s.machine(), officers: make(map[string]crypto.Signer)}
	for _, name := range []string{"alice", "bob"} {
		key := pkitest.NewKey(t)
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ledger.PutPrincipal(t.Context(), ledger.Principal{Name: name, Roles: []string{string(access.Officer)}, Key: der, AddedAt: s.ra.Now(), AddedBy: "test"}, s.ra.Now()); err != nil {
			t.Fatal(err)
		}
		x.officers[name] = key
	}
	return x
}

// work runs jobs until the test ends, and closes the server then.
func (x *turner) work(t *testing.T, jobs ...func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	for _, job := range jobs {
		wait.Go(func() { job(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		x.Close()
	})
}

// plan plans a rotation whose floors are zero.
func (x *turner) plan(t *testing.T, spec rotation.Spec) ledger.Rotation {
	t.Helper()
	r, plan, err := x.moves.Plan(t.Context(), spec, "alice")
	if err != nil {
		t.Fatalf("planning: %v", err)
	}
	for _, step := range plan.Steps {
		for _, c := range step.Changes {
			if strings.Contains(c.Where, "/") {
				t.Logf("%s: %s: %s: %q -> %q", step.State, c.Where, c.What, c.Before, c.After)
			}
		}
	}
	return r
}

// enter signs for a state where that is asked, and moves a rotation into it.
func (x *turner) enter(t *testing.T, id string, state rotation.State) ledger.Rotation {
	t.Helper()
	result := x.run(t, id, state)
	if result.Rotation.State != string(state) {
		t.Fatalf("it is in %s and not in %s: %q", result.Rotation.State, state, result.Blocked)
	}
	return result.Rotation
}

// blocked wants a rotation not to come into a state, with these words. Nobody signs: a
// signature counts only once nothing else is missing.
func (x *turner) blocked(t *testing.T, id string, state rotation.State, words string) {
	t.Helper()
	result, err := x.moves.Run(t.Context(), id, state, "alice", nil)
	said := strings.Join(result.Blocked, "\n")
	if err != nil {
		said += err.Error()
	}
	if x.record(t, id).State == string(state) || !strings.Contains(said, words) {
		t.Errorf("in %s; what blocks %s does not say %q:\n%s", x.record(t, id).State, state, words, said)
	}
}

func (x *turner) run(t *testing.T, id string, state rotation.State) rotation.Result {
	t.Helper()
	if state.Signed() {
		x.sign(t, id, state)
	}
	result, err := x.moves.Run(t.Context(), id, state, "alice", nil)
	if err != nil {
		t.Fatalf("into %s: %v", state, err)
	}
	return result
}

func (x *turner) sign(t *testing.T, id string, state rotation.State) {
	t.Helper()
	r := x.record(t, id)
	for name, key := range x.officers {
		if slices.ContainsFunc(r.Signatures, func(s ledger.GateSignature) bool { return s.Gate == string(state) && s.Officer == name }) {
			continue
		}
		signature, err := access.Sign(key, rotation.Statement(r, state))
		if err == nil {
			_, err = x.moves.Sign(t.Context(), id, state, name, signature)
		}
		if err != nil {
			t.Fatalf("%s signs for %s: %v", name, state, err)
		}
	}
}

// record is a rotation as the ledger has it.
func (x *turner) record(t *testing.T, id string) ledger.Rotation {
	t.Helper()
	list, err := x.ledger.Rotations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(r ledger.Rotation) bool { return r.ID == id })
	if i < 0 {
		t.Fatalf("there is no rotation %s", id)
	}
	return list[i]
}
