package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mintmark/internal/ledger"
)

// Run moves a rotation as far as its gates allow. to stops it in that state; empty for as
// far as it goes. One that is being taken back goes on with that.
//
// What stops a rotation as it should is no error: Result says it. An error is one of a
// step, which stands in the journal, and the next Run begins with that step again.
func (m *Machine) Run(ctx context.Context, id string, to State, actor string, progress Progress) (Result, error) {
	if to != "" && !slices.Contains(States, to) {
		return Result{}, refused("rotation-state", "%q is no state that a rotation can be taken to: use one of %s", to, stateList())
	}
	ctx, end, err := m.exclusive(ctx, id)
	if err != nil {
		return Result{}, err
	}
	defer end()
	r, err := m.open(ctx, id, actor, progress)
	if err != nil {
		return Result{}, err
	}
	if State(r.r.State).Over() {
		return Result{Rotation: r.r}, nil
	}
	if RollingBack(r.r) {
		return r.back(ctx)
	}
	if err := r.refresh(ctx); err != nil {
		return Result{Rotation: r.r}, err
	}
	for {
		at := State(r.r.State)
		if at.Next() == "" || to != "" && at.From(to) || r.r.Paused != "" {
			return r.result(ctx), nil
		}
		if err := ctx.Err(); err != nil {
			return Result{Rotation: r.r}, err
		}
		g := r.measure(ctx, at.Next())
		if len(g.missing) > 0 {
			return r.with(ctx, g), nil
		}
		waiting, err := r.move(ctx, at.Next(), g)
		if waiting != nil {
			g.missing = []string{waiting.What}
			result := r.with(ctx, g)
			result.Waiting = waiting
			return result, nil
		}
		if err != nil {
			return Result{Rotation: r.r}, err
		}
	}
}

// move does what leads into a state whose gate holds, and enters it.
func (m *mover) move(ctx context.Context, to State, g gate) (*Waiting, error) {
	waiting, err := m.do(ctx, to, m.works(to))
	if waiting != nil || err != nil {
		return waiting, err
	}
	return nil, m.enter(ctx, to, m.r, strings.Join(g.found, "; "))
}

// do does pieces of work in order, each with a line before and one after it.
func (m *mover) do(ctx context.Context, to State, works []work) (*Waiting, error) {
	if len(works) > 0 && works[0].beside { // then all are
		return nil, m.beside(ctx, to, works)
	}
	var broken error
	for _, w := range works {
		if broken != nil && !w.apart {
			break
		}
		waiting, err := m.one(ctx, to, w)
		if waiting != nil {
			return waiting, broken
		}
		broken = errors.Join(broken, err)
		if err != nil && (!w.apart || ctx.Err() != nil || errors.Is(err, ledger.ErrStale)) {
			break
		}
	}
	return nil, broken
}

func (m *mover) one(ctx context.Context, to State, w work) (*Waiting, error) {
	if err := m.begin(ctx, to, w); err != nil {
		return nil, err
	}
	r := m.r
	text, err := w.do(ctx, &r)
	if waiting := new(Waiting); errors.As(err, &waiting) {
		return waiting, m.put(ctx, m.r, to, w.step, noted, "waits for a ceremony: "+waiting.What)
	}
	if err != nil {
		return nil, m.fail(ctx, to, w.step, err)
	}
	return nil, m.put(ctx, r, to, w.step, done, text)
}

// begin writes that a piece of work is begun.
func (m *mover) begin(ctx context.Context, to State, w work) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := m.r
	if w.mark != nil {
		w.mark(&r)
	}
	return m.put(ctx, r, to, w.step, begun, "")
}

// enter writes that a rotation is in a state, and has the servers go by that.
func (m *mover) enter(ctx context.Context, to State, r ledger.Rotation, text string) error {
	r.State, r.Since = string(to), m.now()
	if to != RolledBack {
		// Who signed for taking it back did so for the state in which it was.
		r.Signatures = slices.DeleteFunc(slices.Clone(r.Signatures), func(s ledger.GateSignature) bool { return s.Gate == string(RolledBack) })
	}
	if err := m.put(ctx, r, to, "enter", done, text); err != nil {
		return err
	}
	if err := m.refresh(ctx); err != nil {
		return fmt.Errorf("the rotation is in state %s, and others learn it within seconds: %w", to, err)
	}
	return nil
}

// Status measures the next gate and changes nothing.
func (m *Machine) Status(ctx context.Context, id string) (Result, error) {
	r, err := m.open(ctx, id, "", nil)
	if err != nil {
		return Result{}, err
	}
	return r.result(ctx), nil
}

// result measures what is next.
func (m *mover) result(ctx context.Context) Result {
	at := State(m.r.State)
	if at.Over() {
		return Result{Rotation: m.r}
	}
	if RollingBack(m.r) {
		var g gate
		return Result{Rotation: m.r, Next: RolledBack, Counts: m.counts(ctx, &g), Measured: g.found,
			Blocked: []string{fmt.Sprintf("it is %s: mintmark rotate run %s goes on with it", m.r.Paused, m.r.ID)}}
	}
	g := m.measure(ctx, at.Next())
	if m.r.Paused != "" {
		g.missing = append([]string{fmt.Sprintf("paused: %s. mintmark rotate resume %s lets it go on", m.r.Paused, m.r.ID)}, g.missing...)
	}
	return m.with(ctx, g)
}

// with is the result of a gate.
func (m *mover) with(ctx context.Context, g gate) Result {
	result := Result{Rotation: m.r, Next: State(m.r.State).Next(), Counts: m.counts(ctx, &g)}
	if reopens, err := m.reopens(ctx); err != nil {
		g.find("%v", err)
	} else if reopens {
		names, _, err := m.signed(ctx, RolledBack)
		if err != nil {
			g.find("%v", err)
		}
		result.Back = &Back{Officers: m.need(), Signed: names}
	}
	result.Blocked, result.Measured, result.Signed = g.missing, g.found, g.signed
	return result
}

// counts are the devices by class, also where the gate did not ask for them.
func (m *mover) counts(ctx context.Context, g *gate) map[ledger.AnchorClass]int {
	if g.counts == nil {
		counts, err := m.fleet(ctx, m.r)
		if err != nil {
			g.find("%v", err)
		}
		g.counts = counts
	}
	return g.counts
}

func stateList() string {
	var names []string
	for _, s := range States {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}
