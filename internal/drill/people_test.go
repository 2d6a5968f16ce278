package drill

import (
	"crypto"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// people are two security officers and their keys.
type people map[string]crypto.Signer

func newPeople(t *testing.T) people {
	return people{"alice": pkitest.NewKey(t), "bob": pkitest.NewKey(t)}
}

func (l people) principal(t *testing.T, name string) ledger.Principal {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(l[name].Public())
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Principal{Name: name, Roles: []string{string(access.Officer), string(access.Operator)}, Key: der, AddedBy: "drill"}
}

// enter puts them on record, unless they are.
func (l people) enter(p *plant) {
	p.t.Helper()
	have, err := p.inside.Ledger.Principals(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for name := range l {
		if slices.ContainsFunc(have, func(h ledger.Principal) bool { return h.Name == name }) {
			continue
		}
		who := l.principal(p.t, name)
		who.AddedAt = p.clock.now()
		if err := p.inside.Ledger.PutPrincipal(p.t.Context(), who, who.AddedAt); err != nil {
			p.t.Fatal(err)
		}
	}
}

// as is the administrative API in the hands of one of them.
func (p *plant) as(name string) *admin.Client {
	return admin.New(admin.InProcess(p.inside.Admin(access.Of(p.people.principal(p.t, name)))))
}

// waive takes devices out of the gates, by two persons.
func (p *plant) waive(id, reason string, devices []string) {
	p.t.Helper()
	_, err := p.as("alice").WaiveDevices(p.t.Context(), id, admin.Waiver{Devices: devices, Reason: reason})
	proposed := new(admin.Proposed)
	if !errors.As(err, &proposed) {
		p.t.Fatalf("one person alone waived devices: %v", err)
	}
	full, err := p.as("bob").Approval(p.t.Context(), proposed.Approval.ID)
	if err != nil {
		p.t.Fatal(err)
	}
	signature, err := access.Sign(p.people["bob"], []byte(full.Statement))
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.as("bob").Approve(p.t.Context(), full.ID, signature); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.as("alice").RunApproval(p.t.Context(), full.ID); err != nil {
		p.t.Fatal(err)
	}
	for _, name := range devices {
		p.waived[name] = true
	}
}

// sign has both officers sign for a gate, who have not.
func (p *plant) sign(r ledger.Rotation, gate rotation.State) {
	p.t.Helper()
	for name, key := range p.people {
		if slices.ContainsFunc(r.Signatures, func(s ledger.GateSignature) bool { return s.Gate == string(gate) && s.Officer == name }) {
			continue
		}
		signature, err := access.Sign(key, rotation.Statement(r, gate))
		if err == nil {
			_, err = p.inside.Machine.Sign(p.t.Context(), r.ID, gate, name, signature)
		}
		if err != nil {
			p.t.Fatalf("%s signs for %s: %v", name, gate, err)
		}
	}
}

// move signs where that is asked, and moves a rotation towards a state.
func (p *plant) move(id string, to rotation.State) rotation.Result {
	p.t.Helper()
	if to.Signed() {
		p.sign(p.record(id), to)
	}
	result, err := p.run(id, to)
	if err != nil {
		p.t.Fatalf("into %s: %v", to, err)
	}
	return result
}

// run moves a rotation. After a leap of the clock the server first takes its turns anew, and
// says so.
func (p *plant) run(id string, to rotation.State) (rotation.Result, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		result, err := p.inside.Machine.Run(p.t.Context(), id, to, "alice", nil)
		if err == nil || !strings.Contains(err.Error(), "has lapsed") || time.Now().After(deadline) {
			return result, err
		}
	}
}

// record is a rotation as the ledger has it.
func (p *plant) record(id string) ledger.Rotation {
	p.t.Helper()
	list, err := p.inside.Ledger.Rotations(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(r ledger.Rotation) bool { return r.ID == id })
	if i < 0 {
		p.t.Fatalf("there is no rotation %s", id)
	}
	return list[i]
}
