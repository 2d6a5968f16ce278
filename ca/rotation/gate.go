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

// measure says what the move into a state misses. It changes nothing. Devices are counted,
// which reads every one of them, where the gate asks for it.
func (m *mover) measure(ctx context.Context, to State) gate {
	var g gate
	m.clock(&g)
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
		}
	case TrustRemoved:
		m.floor(&g, gates.Drain)
		m.moved(&g)
		if !root {
			m.below(ctx, &g)
		}
		m.remaining(ctx, &g)
	case Retired:
		m.remaining(ctx, &g)
	case Archived:
		m.expired(ctx, &g)
	}
	if to.Signed() {
		m.signatures(ctx, &g, to)
	}
	return g
}

// clock refuses to go by a clock that stands before the time at which the state was
// entered: floors mean nothing by it. Servers may differ by a little.
func (m *mover) clock(g *gate) {
	if now := m.world.Now(); now.Add(clockSlack).Before(m.r.Since) {
		g.miss("the clock says %s, and %s was entered at %s: set the clock", now.UTC().Format(time.RFC3339), m.r.State, m.r.Since.UTC().Format(time.RFC3339))
	}
}

// floor asks that the state has lasted.
func (m *mover) floor(g *gate, least time.Duration) {
	end := m.r.Since.Add(least)
	switch left := end.Sub(m.world.Now()); {
	case left > 0 && least > 0:
		g.miss("%s lasts at least %s: until %s, %s from now", m.r.State, span(least), end.UTC().Format(time.RFC3339), span(left))
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
		text += fmt.Sprintf(", %d of them waived", waived)
	}
	if n < all {
		text += fmt.Sprintf(": %d left: %s", all-n, leftOut(g.counts, have))
	}
	holds := enough(n, all, share)
	if !holds && !m.r.Emergency {
		text += fmt.Sprintf(". mintmark rotate devices %s lists them; what cannot follow is taken out by mintmark rotate waive %s", m.r.ID, m.r.ID)
	}
	g.ask(m.r.Emergency, holds, "%s", text)
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
// would do, but who has it may use it until it is revoked or over.
func (m *mover) below(ctx context.Context, g *gate) {
	left, err := m.world.Authorities.LeftBelow(ctx, m.r)
	if err != nil {
		g.miss("counting what is in force under %s: %v", m.r.Old, err)
		return
	}
	waived := g.counts[ledger.AnchorWaived]
	holds := left.Devices <= waived
	text := fmt.Sprintf("%s of devices in force under %s, %s waived", a(left.Devices, "certificate", "certificates"), m.r.Old, a(waived, "device is", "devices are"))
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
	case left.Devices == 0 && left.Others == 0:
		g.find("nothing is in force under %s", m.r.Old)
	case !left.LastExpiry.IsZero() && left.LastExpiry.Before(now):
		g.find("the last certificate under %s expired on %s", m.r.Old, left.LastExpiry.UTC().Format(time.DateOnly))
	default:
		g.miss("%s of devices and %d of others are in force under %s, which signs their CRLs until the last one is revoked or expires: %s. mintmark cert list --issuer %s shows them",
			a(left.Devices, "certificate", "certificates"), left.Others, m.r.Old, left.LastExpiry.UTC().Format(time.RFC3339), m.r.Old)
	}
}

// signatures asks that enough officers have signed.
func (m *mover) signatures(ctx context.Context, g *gate, to State) {
	principals, err := m.world.Officers(ctx)
	if err != nil {
		g.miss("reading who is an officer: %v", err)
		return
	}
	names, not := signatures(principals, m.r, to)
	g.signed = names
	need := max(m.plan.Spec.Gates.Officers, leastOfficers)
	text := fmt.Sprintf("%d of %d officers have signed for %s", len(names), need, to)
	if len(names) > 0 {
		text += ": " + strings.Join(names, ", ")
	}
	if len(not) > 0 {
		text += "; not counted: " + strings.Join(not, "; ")
	}
	if len(names) >= need {
		g.find("%s", text)
		return
	}
	g.miss("%s. mintmark rotate approve %s --gate %s --key KEY", text, m.r.ID, to)
}
