package server

import (
	"slices"
	"strings"
	"testing"

	"mintmark/awsreg"
	"mintmark/ca/rotation"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
)

// TestFileFollowsAtAWS: somebody changes the file before the old CA is out of service. Whatever it
// names of the two, the target stays in the rotation to its end; without either, the rotation
// stops and says so.
func TestFileFollowsAtAWS(t *testing.T) {
	h := newQuietHall(t)
	t.Cleanup(func() { h.Close() })
	// As after a restart with another file.
	file := func(name string) {
		t.Helper()
		i := slices.IndexFunc(h.config.AWS.Targets[0].CAs, func(ca config.AWSCA) bool { return strings.HasPrefix(ca.Issuer, "jitp") })
		h.config.AWS.Targets[0].CAs[i].Issuer = name
		list, err := awsTargetsOf(h.config, h.ra.Profiles)
		if err != nil {
			t.Fatal(err)
		}
		h.aws.list = list
	}
	jitp, err := h.ra.Authority("jitp")
	if err != nil {
		t.Fatal(err)
	}
	r := h.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: "jitp", New: "jitp-2"})
	for _, state := range rotation.States[1:10] {
		r = h.enter(t, r.ID, state)
	}
	want := map[rotation.State]string{rotation.Switched: "ACTIVE ENABLE", rotation.Draining: "ACTIVE DISABLE", rotation.TrustRemoved: "INACTIVE DISABLE", rotation.Retired: ""}
	for _, state := range rotation.States[9:13] {
		if state != rotation.Switched {
			r = h.enter(t, r.ID, state)
		}
		if got := h.caState(t, jitp.Certificate()); got != want[state] {
			t.Errorf("%s: the old CA is %q, want %q", state, got, want[state])
		}
		said := strings.Join(Replaced(h.config, h.ra.KnownRotations()), "\n")
		if strings.Contains(said, "AWS target") {
			t.Errorf("%s: somebody is told to change the file: %s", state, said)
		}
		if state == rotation.Retired {
			break
		}
		file("jitp-2")
		h.settled(t, state)
		if got := (awsCloud{h.aws, "line"}).Has(r); !slices.Equal(got, []string{"CA jitp"}) {
			t.Errorf("%s: the target has %q", state, got)
		}
		other := h.aws.list
		h.aws.list = slices.Clone(other)
		h.aws.list[0].CAs = slices.DeleteFunc(slices.Clone(other[0].CAs), func(ca awsreg.CA) bool { return ca.Issuer == "jitp-2" })
		h.blocked(t, r.ID, state.Next(), "aws/line takes part with CA jitp, and the configuration names that there no more: put it back into mintmark.yaml until the rotation is in state RETIRED")
		h.aws.list = other
	}
	h.settled(t, rotation.Retired)
	file("jitp")
	h.settled(t, rotation.Retired)
	if said := strings.Join(Replaced(h.config, h.ra.KnownRotations()), "\n"); !strings.Contains(said, `AWS target "line" names jitp`) {
		t.Errorf("nobody is told to change the file: %q", said)
	}
}

// TestFileFollowsAtDPS is the same of the root on which a group stands.
func TestFileFollowsAtDPS(t *testing.T) {
	t.Parallel()
	p := &plant{sim: startAzure(t)}
	dir := newState(t)
	p.configure(t, dir, p.sim.Addr(), "")
	p.local = &local{Server: openLocal(t, dir, nil), dir: dir}
	t.Cleanup(func() { p.Close() })
	p.apply(t)
	x := newTurner(t, p.Server)
	file := func(name string) {
		t.Helper()
		target := &p.config.Azure.Targets[0]
		target.CAs[0].Authority, target.Groups[0].Anchors = name, []string{name}
		list, err := azureTargetsOf(p.config)
		if err != nil {
			t.Fatal(err)
		}
		p.azure.list = list
	}
	r := x.plan(t, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2"})
	for _, state := range rotation.States[1:10] {
		r = x.enter(t, r.ID, state)
	}
	file("root-2")
	slots := map[rotation.State]string{rotation.Switched: "root root-2", rotation.Draining: "root-2 root", rotation.TrustRemoved: "root-2", rotation.Retired: "root-2"}
	for _, state := range rotation.States[9:13] {
		if state != rotation.Switched {
			r = x.enter(t, r.ID, state)
		}
		p.tidy(t, state)
		if got := p.slotsOf(t, "line-a"); got != slots[state] {
			t.Errorf("%s: the group stands on %q, want %q", state, got, slots[state])
		}
		if state == rotation.Draining {
			list := p.azure.list
			p.azure.list = nil
			x.blocked(t, r.ID, rotation.TrustRemoved, "azure/plant takes part with CA root, group line-a, and the configuration names that there no more")
			p.azure.list = list
		}
	}
}
