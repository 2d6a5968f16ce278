package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

// Machine moves rotations. It may be used concurrently and by several servers: of two who
// move the same rotation one is told so (ledger.ErrStale).
type Machine struct {
	world  World
	moving sync.Mutex // held while a rotation is moved or taken back
}

// New returns a machine over a world. There must be one of it in a process.
func New(w World) *Machine { return &Machine{world: w} }

// Progress is told of each line of the journal as it is written.
type Progress func(ledger.RotationEntry)

// Result is where a rotation stands, and what is in its way.
type Result struct {
	Rotation ledger.Rotation
	// Next is the state whose gate was measured; empty if the rotation is over.
	Next State
	// Blocked says what that gate misses, one line each; empty if it may be passed.
	Blocked []string
	// Measured says what that gate found and does not miss.
	Measured []string
	// Signed are the officers whose signatures for that gate count.
	Signed []string
	// Waiting is what a ceremony must bring; nil if nothing.
	Waiting *Waiting
	// Counts are the devices by class, as the next gate was measured; nil where nothing was
	// counted.
	Counts map[ledger.AnchorClass]int
	// Back is who signs for taking it back; nil where nobody does.
	Back *Back
}

// Back is the gate of a rollback that officers sign for, with those who have.
type Back struct {
	Officers int
	Signed   []string
}

// What an entry of the journal tells; see ledger.RotationEntry.
const (
	begun  = "begin"
	done   = "done"
	failed = "failed"
	noted  = "note"
)

const (
	mostEntry = 4000 // bytes of the text of an entry
	// hurriedSettle is what an emergency waits for other servers at most.
	hurriedSettle = 10 * time.Second
	clockSlack    = 5 * time.Minute  // by which clocks of servers may differ
	lastWords     = 10 * time.Second // for the entry about a failure, whose caller may be gone
)

// rolledBackMark begins Paused of a rotation that is being taken back: whoever moves it
// next, after a crash too, goes on with that.
const rolledBackMark = "being rolled back: "

// RollingBack reports whether a rotation is being taken back, and not at the end of it.
func RollingBack(r ledger.Rotation) bool {
	return strings.HasPrefix(r.Paused, rolledBackMark) && !State(r.State).Over()
}

// mover is one caller who moves one rotation.
type mover struct {
	*Machine
	r        ledger.Rotation // as stored
	plan     Plan
	actor    string
	progress Progress
}

// open reads a rotation, and holds it against its plan.
func (m *Machine) open(ctx context.Context, id, actor string, progress Progress) (*mover, error) {
	list, err := m.world.Records.Rotations(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading rotations: %w", err)
	}
	i := slices.IndexFunc(list, func(r ledger.Rotation) bool { return r.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("rotation %q: %w", id, ledger.ErrNotFound)
	}
	plan, err := planOf(list[i])
	if err != nil {
		return nil, err
	}
	return &mover{Machine: m, r: list[i], plan: plan, actor: actor, progress: progress}, nil
}

// put writes the next version of the record with a line of the journal, and takes it over.
func (m *mover) put(ctx context.Context, r ledger.Rotation, state State, step, event, text string) error {
	r.Version = m.r.Version + 1
	entry := ledger.RotationEntry{At: m.now(), Actor: m.actor, State: string(state), Step: step, Event: event, Text: clip(clean(text))}
	err := m.world.Records.PutRotation(ctx, r, entry, State(r.State).Frees())
	switch {
	case errors.Is(err, ledger.ErrStale):
		return fmt.Errorf("rotation %s was changed by someone else meanwhile, nothing more is done here: look at mintmark rotate status %s: %w", r.ID, r.ID, err)
	case err != nil:
		return fmt.Errorf("writing the journal of rotation %s: %w", r.ID, err)
	}
	m.r = r
	// One line comes with each version, and both count from 1.
	entry.Number = r.Version
	if m.progress != nil {
		m.progress(entry)
	}
	return nil
}

// now is the time of what is written: a clock that went back does not take the record with it.
func (m *mover) now() time.Time {
	if now := m.world.Now().UTC(); now.After(m.r.Since) {
		return now
	}
	return m.r.Since
}

// fail writes down why a step failed, also for a caller who has gone, and returns that.
func (m *mover) fail(ctx context.Context, state State, step string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	return errors.Join(fmt.Errorf("%s, %s: %w", state, step, cause), m.put(ctx, m.r, state, step, failed, cause.Error()))
}

// refresh has the servers serve by the record.
func (m *mover) refresh(ctx context.Context) error {
	if err := m.world.Authorities.Refresh(ctx); err != nil {
		return fmt.Errorf("serving by the record: %w", err)
	}
	return nil
}

// concerned lists the cloud targets that have anything of a rotation.
func (m *Machine) concerned(r ledger.Rotation) []Cloud {
	var clouds []Cloud
	for _, c := range m.world.Clouds {
		if len(c.Has(r)) > 0 {
			clouds = append(clouds, c)
		}
	}
	return clouds
}

// clean keeps texts of others valid UTF-8, in which they are written and hashed.
func clean(text string) string { return strings.ToValidUTF8(text, "?") }

func clip(text string) string {
	if len(text) <= mostEntry {
		return text
	}
	return strings.ToValidUTF8(text[:mostEntry], "") + " [cut]"
}
