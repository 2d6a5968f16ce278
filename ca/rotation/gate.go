package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// gate is what was measured before a move. Whatever cannot be measured is missing.
type gate struct {
	missing, found, signed []string
	counts                 map[ledger.AnchorClass]int
}

func (g *gate) miss(format string, args ...any) {
	g.missing = append(g.missing, fmt.Sprintf(format, args...))
}
func (g *gate) find(format string, args ...any) {
	g.found = append(g.found, fmt.Sprintf(format, args...))
}

// ask is for what an emergency shows and does not wait for.
func (g *gate) ask(emergency, holds bool, format string, args ...any) {
	switch {
	case holds:
		g.find(format, args...)
	case emergency:
		g.find(format+" (shown, not asked for in an emergency)", args...)
	default:
		g.miss(format, args...)
	}
}

// measure says what the move into a state misses, signatures too. It changes nothing.
func (m *mover) measure(ctx context.Context, to State) gate {
	g := m.conditions(ctx, to)
	if to.Signed() {
		m.signatures(ctx, &g, to)
	}
	return g
}

// conditions is what officers sign for: everything that a gate asks for but their
// signatures. Devices are counted, which reads every one of them, where the gate asks for it.
func (m *mover) conditions(ctx context.Context, to State) gate {
	var g gate
	m.clock(&g)
	m.whole(&g, to)
	gates, root := m.plan.Spec.Gates, m.r.Kind == ledger.RotateRoot
	if to == TrustRemoved || root && (to == Canaried || to == Switched) {
		m.count(ctx, &g)
	}
	switch to {
	case Canaried:
		if root {
			m.floor(&g, gates.Distribute)
			m.trusting(&g)
		} else {
			g.find("both CAs stand under the same root: there are no anchors to distribute")
		}
	case Switched:
		m.floor(&g, gates.Watch)
		if root {
			m.trusting(&g)
			m.refusing(&g)
		}
	case Draining:
		settle := m.world.Settle
		if m.r.Emergency {
			settle = min(settle, hurriedSettle)
		}
		m.floor(&g, settle)
	case TrustRemoved:
		m.floor(&g, gates.Drain)
		m.moved(&g)
		if !root {
			m.below(ctx, &g)
			m.anew(&g)
		}
		m.remaining(ctx, &g)
	case Retired:
		m.remaining(ctx, &g)
	case Archived:
		m.expired(ctx, &g)
	}
	return g
}

// clock refuses to go by a clock that stands before the time at which the state was
// entered: floors mean nothing by it. Servers may differ by a little.
func (m *mover) clock(g *gate) {
	if now := m.world.Now(); now.Add(clockSlack).Before(m.r.Since) {
		g.miss("the clock says %s, and %s was entered at %s: set the clock", when(now), m.r.State, when(m.r.Since))
	}
}

// floor asks that the state has lasted.
func (m *mover) floor(g *gate, least time.Duration) {
	end := m.r.Since.Add(least)
	switch left := end.Sub(m.world.Now()); {
	case left > 0 && least > 0:
		g.miss("%s lasts at least %s: until %s, %s from now", m.r.State, span(least), when(end), span(left))
	case least > 0:
		g.find("%s has lasted at least %s", m.r.State, span(least))
	}
}

// count counts the devices for a gate.
func (m *mover) count(ctx context.Context, g *gate) {
	counts, err := m.fleet(ctx, m.r)
	if err != nil {
		g.miss("%v", err)
		return
	}
	g.counts = counts
}

// fleet counts the devices by class; never nil without an error.
func (m *Machine) fleet(ctx context.Context, r ledger.Rotation) (map[ledger.AnchorClass]int, error) {
	counts, err := m.world.Fleet.Count(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("counting devices: %w", err)
	}
	if counts == nil {
		counts = make(map[ledger.AnchorClass]int)
	}
	return counts, nil
}

// trusting asks for the share of devices that have the new anchors.
func (m *mover) trusting(g *gate) {
	m.share(g, m.plan.Spec.Gates.Trusting, "the new anchors", ledger.AnchorMoved, ledger.AnchorTrusts, ledger.AnchorWaived)
}

// moved asks for the share of devices that chain to the new CA.
func (m *mover) moved(g *gate) {
	m.share(g, m.plan.Spec.Gates.Moved, "moved", ledger.AnchorMoved, ledger.AnchorWaived)
}

// share asks that the devices of some classes are a share of all.
func (m *mover) share(g *gate, share int, what string, have ...ledger.AnchorClass) {
	if g.counts == nil {
		return // said already
	}
	all, n := total(g.counts), 0
	for _, class := range have {
		n += g.counts[class]
	}
	text := fmt.Sprintf("%s %% of %s %s, %s %% are asked for", hundredths(shareOf(n, all)), a(all, "device has", "devices have"), what, hundredths(share))
	if waived := g.counts[ledger.AnchorWaived]; waived > 0 {
		text += ", " + a(waived, "of them is waived", "of them are waived")
	}
	if n < all {
		text += fmt.Sprintf(": %d left: %s", all-n, leftOut(g.counts, have))
	}
	holds := enough(n, all, share)
	if !holds && !m.r.Emergency {
		if m.r.Kind == ledger.RotateRoot && g.counts[ledger.AnchorTrusts] > 0 && !slices.Contains(have, ledger.AnchorTrusts) {
			text += ". Those that trust have to ask /cacerts again after the switch, with their certificate: a renewal alone does not show that they have moved"
		}
		text += fmt.Sprintf(". mintmark rotate devices %s lists them; what cannot follow is taken out by mintmark rotate waive %s", m.r.ID, m.r.ID)
	}
	g.ask(m.r.Emergency, holds, "%s", text)
}

// refusing says whom the switch of an emergency cuts off: the old key vouches for nothing new,
// so that no path leads devices from the old root to the new one.
func (m *mover) refusing(g *gate) {
	if !m.r.Emergency || g.counts == nil {
		return
	}
	n := total(g.counts) - g.counts[ledger.AnchorTrusts] - g.counts[ledger.AnchorMoved]
	g.find("%s not the anchors of %s, and will refuse this server from the switch on", a(n, "device has", "devices have"), m.r.New)
}

// anew says who loses the certificate that it renews with, at the end of an emergency.
func (m *mover) anew(g *gate) {
	if !m.r.Emergency || g.counts == nil {
		return
	}
	n := total(g.counts) - g.counts[ledger.AnchorMoved]
	g.find("%s not moved, and will have to enroll anew: everything that %s has signed is revoked", a(n, "device has", "devices have"), m.r.Old)
}

// leftOut lists the classes that are not among those that count.
func leftOut(counts map[ledger.AnchorClass]int, have []ledger.AnchorClass) string {
	var parts []string
	for _, class := range classes {
		if n := counts[class]; n > 0 && !slices.Contains(have, class) {
			parts = append(parts, fmt.Sprintf("%d %s", n, class))
		}
	}
	for class, n := range counts {
		if n > 0 && !slices.Contains(classes, class) {
			parts = append(parts, fmt.Sprintf("%d %q", n, class))
		}
	}
	return strings.Join(parts, ", ")
}

// below asks that no device shows a certificate of the old CA any more: its other one
// would do, but who has it may use it until it is revoked or over. Those of devices that
// were waived are not among what is left.
func (m *mover) below(ctx context.Context, g *gate) {
	left, err := m.world.Authorities.LeftBelow(ctx, m.r)
	if err != nil {
		g.miss("counting what is in force under %s: %v", m.r.Old, err)
		return
	}
	holds := left.Devices == 0
	text := fmt.Sprintf("%s of devices that are not waived in force under %s", a(left.Devices, "certificate", "certificates"), m.r.Old)
	if !holds && !m.r.Emergency {
		text += fmt.Sprintf(". mintmark cert revoke --issuer %s --superseded revokes those whose devices have a newer one, and cuts nobody off", m.r.Old)
	}
	g.ask(m.r.Emergency, holds, "%s", text)
	if left.Others > 0 {
		g.find("%s of others than devices in force under %s", a(left.Others, "certificate", "certificates"), m.r.Old)
	}
}

// remaining asks each cloud for devices that come in by the old CA only.
func (m *mover) remaining(ctx context.Context, g *gate) {
	for _, cloud := range m.concerned(m.r) {
		n, text, err := cloud.Remaining(ctx, m.r)
		if err != nil {
			g.miss("%s: counting what comes in by %s: %v", cloud.Name(), m.r.Old, err)
			continue
		}
		words := fmt.Sprintf("%s: %s in by %s only", cloud.Name(), a(n, "device comes", "devices come"), m.r.Old)
		if text != "" {
			words += ": " + text
		}
		g.ask(m.r.Emergency, n == 0, "%s", words)
	}
}

// expired asks that nothing below the old CA is in force: until then its CRLs are needed.
func (m *mover) expired(ctx context.Context, g *gate) {
	left, err := m.world.Authorities.LeftBelow(ctx, m.r)
	switch now := m.world.Now(); {
	case err != nil:
		g.miss("counting what is in force under %s: %v", m.r.Old, err)
	case left.Devices+left.Waived+left.Others == 0:
		g.find("nothing is in force under %s", m.r.Old)
	case !left.LastExpiry.IsZero() && left.LastExpiry.Before(now):
		g.find("the last certificate under %s expired on %s", m.r.Old, left.LastExpiry.UTC().Format(time.DateOnly))
	default:
		text := fmt.Sprintf("%s of devices and %d of others are in force under %s, which signs their CRLs until the last one is revoked or expires: %s. mintmark cert list --issuer %s shows them",
			a(left.Devices+left.Waived, "certificate", "certificates"), left.Others, m.r.Old, when(left.LastExpiry), m.r.Old)
		if left.Others > 0 && m.r.Kind == ledger.RotateRoot {
			text += fmt.Sprintf("; those of CAs have another one under %s, and what leads from one root to the other is given out no more: mintmark cert revoke SERIAL --authority --reason superseded for each of these cuts nobody off. The self-signed certificate of %s is listed, too, and is none of them: mintmark ca show %s says which it is", m.r.New, m.r.Old, m.r.Old)
		}
		g.miss("%s", text)
	}
}

// signatures asks that enough officers have signed.
func (m *mover) signatures(ctx context.Context, g *gate, to State) {
	names, text, err := m.signed(ctx, to)
	if err != nil {
		g.miss("%v", err)
		return
	}
	g.signed = names
	if len(names) >= m.need() {
		g.find("%s", text)
		return
	}
	g.miss("%s", text)
}

// need is how many officers must sign.
func (m *mover) need() int { return max(m.plan.Spec.Gates.Officers, leastOfficers) }

// signed lists the officers whose signatures for a gate count, and says so in words, with
// what to type if they are too few.
func (m *mover) signed(ctx context.Context, to State) (names []string, text string, err error) {
	principals, err := m.world.Officers(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("reading who is an officer: %w", err)
	}
	names, not := signatures(principals, m.r, to)
	text = fmt.Sprintf("%d of %d officers have signed for %s", len(names), m.need(), to)
	if len(names) > 0 {
		text += ": " + strings.Join(names, ", ")
	}
	if len(not) > 0 {
		text += "; not counted: " + strings.Join(not, "; ")
	}
	if len(names) < m.need() {
		text += fmt.Sprintf(". mintmark rotate approve %s --gate %s --key KEY", m.r.ID, to)
	}
	return names, text, nil
}
