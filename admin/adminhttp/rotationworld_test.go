package adminhttp_test

import (
	"context"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// rotations is a machine over the authorities and the ledger of a world, without a cloud.
func rotations(ra *issuer.RA, store ledger.Ledger) *rotation.Machine {
	return rotation.New(rotation.World{
		Records: store, Authorities: ra.Rotations(), Fleet: counting{ra, store}, Officers: store.Principals, Now: ra.Now,
	})
}

// counting counts devices as a server does.
type counting struct {
	ra    *issuer.RA
	store ledger.Ledger
}

func (c counting) Count(ctx context.Context, r ledger.Rotation) (map[ledger.AnchorClass]int, error) {
	query, err := rotation.AnchorQuery(r, c.ra.Now())
	if err != nil {
		return nil, err
	}
	return c.store.AnchorCount(ctx, query)
}

// Noted has nothing to wait for: no device fetches anything here.
func (c counting) Noted(context.Context) error { return nil }

// rotation plans the replacement of the root by one of that name, past the API, and rolls
// it back when the test ends: only one may run.
func (p *people) rotation(t *testing.T, name string, change func(*rotation.Spec)) ledger.Rotation {
	t.Helper()
	p.endRotations(t)
	spec := rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: name, Gates: rotation.Gates{Distribute: time.Hour}}
	if change != nil {
		change(&spec)
	}
	r, _, err := p.machine.Plan(t.Context(), spec, "test")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// endRotations rolls back what runs, now and when the test ends.
func (p *people) endRotations(t *testing.T) {
	t.Helper()
	end := func() {
		list, err := p.ra.Ledger.Rotations(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, r := range list {
			if rotation.State(r.State).Frees() {
				continue
			}
			if _, err := p.machine.Rollback(context.Background(), r.ID, "the test is over", "test", nil); err != nil {
				t.Error(err)
			}
		}
	}
	end()
	t.Cleanup(end)
}

// signGate gives the signature of an officer for the way into a state, past the API.
func (p *people) signGate(t *testing.T, r ledger.Rotation, gate rotation.State, officers ...string) ledger.Rotation {
	t.Helper()
	for _, officer := range officers {
		signature, err := access.Sign(p.signers[officer], rotation.Statement(r, gate))
		if err != nil {
			t.Fatal(err)
		}
		if r, err = p.machine.Sign(t.Context(), r.ID, gate, officer, signature); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// approvedRotation is one that two officers have signed, in state APPROVED.
func (p *people) approvedRotation(t *testing.T, name string, change func(*rotation.Spec)) ledger.Rotation {
	t.Helper()
	r := p.signGate(t, p.rotation(t, name, change), rotation.Approved, "alice", "bob")
	result, err := p.machine.Run(t.Context(), r.ID, rotation.Approved, "test", nil)
	if err != nil || result.Rotation.State != string(rotation.Approved) {
		t.Fatalf("run to %s: %v, %q", result.Rotation.State, err, result.Blocked)
	}
	return result.Rotation
}

// now is a rotation as it stands in the ledger.
func (p *people) now(t *testing.T, id string) ledger.Rotation {
	t.Helper()
	list, err := p.ra.Ledger.Rotations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.ID == id {
			return r
		}
	}
	t.Fatalf("there is no rotation %s", id)
	return ledger.Rotation{}
}
