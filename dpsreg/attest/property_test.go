package attest_test

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"testing"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
)

// TestOrderOfEnrollments: in random small worlds, the enrollment that decides is the
// one that the documented order finds: the individual one, else the group of the nearest
// issuer; and whether it is enabled decides.
func TestOrderOfEnrollments(t *testing.T) {
	root := attesttest.NewRoot(t, "Root", now)
	works := root.Sub(t, "Works")
	line := works.Sub(t, "Line")
	device := line.Device(t, "press-0042")
	other := root.Sub(t, "Other Works").Certificate
	whole := []*x509.Certificate{device.Certificate, line.Certificate, works.Certificate, root.Certificate}
	r := rand.New(rand.NewPCG(1, 2))
	decided := map[string]int{}
	for n := range 3000 {
		c := attesttest.Case{
			CAs:       []attest.CA{{Name: "root", Certificate: root.Certificate, Verified: true}},
			Presented: attest.Presented{RegistrationID: "press-0042", Chain: whole, Now: now},
		}
		// Each certificate is in no group, an enabled or a disabled one; one is of nobody here.
		disabled := map[string]bool{}
		group := map[int]string{}
		for i, cert := range append(whole[1:len(whole):len(whole)], other) {
			if k := r.IntN(3); k > 0 {
				g := attest.Group{ID: fmt.Sprintf("group-%d", i+1), Anchors: []*x509.Certificate{cert}, Disabled: k == 2}
				if r.IntN(2) == 0 {
					g.Anchors = []*x509.Certificate{other, cert}
				}
				c.Groups, disabled[g.ID], group[i+1] = append(c.Groups, g), g.Disabled, g.ID
			}
		}
		r.Shuffle(len(c.Groups), func(i, j int) { c.Groups[i], c.Groups[j] = c.Groups[j], c.Groups[i] })
		individual := r.IntN(4)
		switch individual {
		case 1, 2:
			c.Individuals = []attesttest.Individual{{RegistrationID: "press-0042", Certificate: device.Certificate, Disabled: individual == 2}}
		case 3:
			c.Individuals = []attesttest.Individual{{RegistrationID: "press-0043", Certificate: device.Certificate, Disabled: true}}
		}

		wantIndividual, wantGroup, want := "", "", false
		switch {
		case individual == 1 || individual == 2:
			wantIndividual, want = "press-0042", individual == 1
		default:
			for i := 1; i < len(whole); i++ {
				if id, ok := group[i]; ok {
					wantGroup, want = id, !disabled[id]
					break
				}
			}
		}
		v := attest.Judge(c.Service(), c.Presented)
		if v.Accepted != want || v.Individual != wantIndividual || v.Group != wantGroup {
			t.Fatalf("world %d: %+v, want accepted %v by %q, group %q; groups %v", n, v, want, wantIndividual, wantGroup, c.Groups)
		}
		if rule := v.Rule; !want && (wantGroup+wantIndividual != "") != (rule == "disabled") {
			t.Fatalf("world %d: refused by %s", n, rule)
		}
		decided[fmt.Sprint(v.Rule, v.Group, v.Individual)]++
	}
	if len(decided) < 9 {
		t.Errorf("the worlds had these outcomes only: %v", decided)
	}
}

// TestVerifiedAnywhere: in random worlds, a chain is taken exactly if what is sent has
// a verified certificate at or above that of its nearest group.
func TestVerifiedAnywhere(t *testing.T) {
	root := attesttest.NewRoot(t, "Root", now)
	works := root.Sub(t, "Works")
	line := works.Sub(t, "Line")
	whole := []*x509.Certificate{line.Device(t, "press-0042").Certificate, line.Certificate, works.Certificate, root.Certificate}
	for mask := range 1 << 9 { // verified, anchored, and how many are sent
		sent := whole[:1+mask>>6&3]
		if mask>>8 == 1 {
			sent = whole
		}
		var s attest.Service
		for i, c := range whole[1:] {
			if mask>>i&1 == 1 {
				s.Verified = append(s.Verified, attest.CA{Certificate: c, Verified: true})
			}
			if mask>>(3+i)&1 == 1 {
				s.Groups = append(s.Groups, attest.Group{ID: fmt.Sprint(i), Anchors: []*x509.Certificate{c}})
			}
		}
		nearest, above := 0, false
		for i := 1; i < len(sent); i++ {
			if nearest == 0 && mask>>(3+i-1)&1 == 1 {
				nearest = i
			}
			above = above || nearest > 0 && mask>>(i-1)&1 == 1
		}
		v := attest.Judge(s, attest.Presented{RegistrationID: "press-0042", Chain: sent, Now: now})
		if v.Accepted != above {
			t.Errorf("mask %b, %d sent: %+v, want %v", mask, len(sent), v, above)
		}
	}
}
