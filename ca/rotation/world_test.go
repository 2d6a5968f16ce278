package rotation_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// world is everything outside of a rotation, in memory. It does what it is told, keeps what
// was done to it, and complains about what must never be done in that order. Before and
// after each call it may die, or fail.
type world struct {
	t    *testing.T
	now  time.Time
	keys map[string]crypto.Signer

	// The ledger.
	rotations []ledger.Rotation
	over      map[string]bool
	journal   map[string][]ledger.RotationEntry
	officers  []ledger.Principal
	counts    map[ledger.AnchorClass]int
	countsOf  map[string]counts                // of a rotation that has others than these
	devices   map[string][]ledger.AnchorDevice // of a rotation, by name
	noted     map[string]ledger.AnchorNote     // by rotation and device

	// The registration authority.
	findings   rotation.Findings
	broken     map[string]error // keys that do not sign
	made       bool             // the new CA
	certified  bool
	verified   []ledger.Issue // what served, each time that paths were
	given      bool           // bridges and both roots, by EST
	late       bool           // a device fetches them just before they end
	adopted    ledger.Issue
	served     ledger.Issue // by the record as it was read last
	servedAt   rotation.State
	revoked    bool
	below      map[string]rotation.Left
	ceremony   *rotation.Waiting // until something is brought
	brought    int
	clouds     []*cloud
	complaints []string

	// What happens at the points before and after each call, counted from 1.
	points []string
	crash  int // dies at this one
	fail   int // fails at this one

	mu *sync.Mutex // held during each call
}

// died is what a world panics with that dies.
type died struct{ point string }

var errInjected = errors.New("injected")

// point is passed before and after each call.
func (w *world) point(name string) error {
	w.points = append(w.points, name)
	switch len(w.points) {
	case w.crash:
		panic(died{name})
	case w.fail:
		return fmt.Errorf("%s: %w", name, errInjected)
	}
	return nil
}

// call runs one call with a point before and one after it.
func (w *world) call(name string, do func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.point(name + ", before"); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return w.point(name + ", after")
}

// read is a call that changes nothing: whether a server dies before or after it is the same.
func (w *world) read(name string, do func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.point(name + ", before"); err != nil {
		return err
	}
	return do()
}

func (w *world) complain(format string, args ...any) {
	w.complaints = append(w.complaints, fmt.Sprintf(format, args...))
}

var start = time.Date(2031, 3, 1, 8, 0, 0, 0, time.UTC)

// newWorld has two clouds, two issuing CAs, three officers with keys and 1000 devices.
func newWorld(t *testing.T) *world {
	w := &world{t: t, mu: new(sync.Mutex), now: start, keys: make(map[string]crypto.Signer), over: make(map[string]bool), journal: make(map[string][]ledger.RotationEntry), devices: make(map[string][]ledger.AnchorDevice), noted: make(map[string]ledger.AnchorNote),
		counts: map[ledger.AnchorClass]int{ledger.AnchorLeft: 1000}, broken: make(map[string]error), below: make(map[string]rotation.Left), adopted: ledger.IssueOld, served: ledger.IssueOld}
	w.findings = rotation.Findings{Affected: []string{"line-a", "line-b"}, Warned: []string{"a warning"}, Changes: []reconcile.Change{
		{Kind: "key", Subject: "b", Action: reconcile.Create}, {Kind: "certificate", Subject: "b with a", Action: reconcile.Create}, {Kind: "cacerts", Subject: "b", Action: reconcile.Update}}}
	w.clouds = []*cloud{{w: w, name: "aws/line-a", stage: rotation.StageBefore}, {w: w, name: "azure/main", stage: rotation.StageBefore}}
	for _, name := range []string{"alice", "bob", "carol"} {
		w.officer(name, access.Officer)
	}
	return w
}

// clone is the same world once more, for what is tried many times from the same state.
func (w *world) clone() *world {
	c := *w
	c.mu = new(sync.Mutex)
	c.rotations = slices.Clone(w.rotations)
	for i, r := range c.rotations {
		c.rotations[i].Signatures = slices.Clone(r.Signatures)
	}
	c.over, c.counts, c.broken, c.below = maps.Clone(w.over), maps.Clone(w.counts), maps.Clone(w.broken), maps.Clone(w.below)
	c.noted, c.countsOf = maps.Clone(w.noted), maps.Clone(w.countsOf)
	c.journal = make(map[string][]ledger.RotationEntry)
	for id, entries := range w.journal {
		c.journal[id] = slices.Clone(entries)
	}
	c.officers, c.verified, c.complaints, c.points = slices.Clone(w.officers), slices.Clone(w.verified), slices.Clone(w.complaints), nil
	c.clouds = nil
	for _, one := range w.clouds {
		other := *one
		other.w, other.advanced = &c, slices.Clone(one.advanced)
		c.clouds = append(c.clouds, &other)
	}
	return &c
}

// officer adds a principal with a new key.
func (w *world) officer(name string, role access.Role) {
	w.t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		w.t.Fatal(err)
	}
	w.keys[name] = private
	w.officers = append(w.officers, ledger.Principal{Name: name, Roles: []string{string(role)}, Key: der, AddedAt: start})
}

// machine is a server that has just been started.
func (w *world) machine() *rotation.Machine {
	var clouds []rotation.Cloud
	for _, c := range w.clouds {
		clouds = append(clouds, c)
	}
	return rotation.New(rotation.World{Records: (*records)(w), Authorities: (*authorities)(w), Clouds: clouds, Fleet: (*fleet)(w),
		Officers: func(context.Context) ([]ledger.Principal, error) {
			err := w.read("officers", func() error { return nil })
			return slices.Clone(w.officers), err
		},
		Now: func() time.Time { return w.now }})
}

// get is the record as stored.
func (w *world) get(id string) *ledger.Rotation {
	i := slices.IndexFunc(w.rotations, func(r ledger.Rotation) bool { return r.ID == id })
	if i < 0 {
		w.t.Fatalf("no rotation %s", id)
	}
	return &w.rotations[i]
}

// records is the ledger's part; see ledger.Rotations.
type records world

func (w *records) PutRotation(_ context.Context, r ledger.Rotation, entry ledger.RotationEntry, over bool) error {
	return (*world)(w).call("put "+entry.State+" "+entry.Step+" "+entry.Event, func() error {
		i := slices.IndexFunc(w.rotations, func(other ledger.Rotation) bool { return other.ID == r.ID })
		switch {
		case i < 0 && r.Version != 1, i >= 0 && w.rotations[i].Version != r.Version-1:
			return ledger.ErrStale
		}
		for _, other := range w.rotations {
			if other.ID != r.ID && !w.over[other.ID] && !over {
				return ledger.ErrTaken
			}
		}
		if !bytes.Equal(r.Plan, planOf(w, i, r)) {
			(*world)(w).complain("the plan was changed by %s %s", entry.Step, entry.Event)
		}
		if entry.Step == "enter" && r.State == string(rotation.Switched) && w.verified[len(w.verified)-1] != ledger.IssueNew {
			(*world)(w).complain("switched without a look at the new paths")
		}
		if i < 0 {
			w.rotations = append(w.rotations, r)
		} else {
			w.rotations[i] = r
		}
		w.over[r.ID] = over
		entry.Number = int64(len(w.journal[r.ID]) + 1)
		w.journal[r.ID] = append(w.journal[r.ID], entry)
		return nil
	})
}

func planOf(w *records, i int, r ledger.Rotation) []byte {
	if i < 0 {
		return r.Plan
	}
	return w.rotations[i].Plan
}

func (w *records) Rotations(context.Context) ([]ledger.Rotation, error) {
	err := (*world)(w).read("rotations", func() error { return nil })
	return slices.Clone(w.rotations), err
}

func (w *records) RotationJournal(_ context.Context, id string, after int64, limit int) ([]ledger.RotationEntry, error) {
	var page []ledger.RotationEntry
	err := (*world)(w).read("journal", func() error {
		for _, e := range w.journal[id] {
			if e.Number > after && len(page) < min(limit, 7) {
				page = append(page, e)
			}
		}
		return nil
	})
	return page, err
}

func (w *records) NoteAnchors(_ context.Context, id string, notes []ledger.AnchorNote) error {
	return (*world)(w).call("note", func() error {
		for _, n := range notes {
			if !n.Chains.IsZero() || !n.Waived.IsZero() {
				(*world)(w).complain("noted of %s more than its anchors", n.Device)
			}
			w.noted[id+" "+n.Device] = n
		}
		return nil
	})
}

// Anchors lists, two on a page.
func (w *records) Anchors(_ context.Context, q ledger.AnchorQuery) (page []ledger.AnchorDevice, next string, err error) {
	err = (*world)(w).read("anchors", func() error {
		for _, d := range w.devices[q.Rotation] {
			if d.Class != q.Class || d.Device <= q.After {
				continue
			}
			if len(page) == 2 {
				next = page[1].Device
				return nil
			}
			page = append(page, d)
		}
		return nil
	})
	return page, next, err
}

func (w *records) AnchorCount(context.Context, ledger.AnchorQuery) (map[ledger.AnchorClass]int, error) {
	return nil, errors.New("a machine counts by Fleet")
}

// fleet counts devices.
type fleet world

func (w *fleet) Count(_ context.Context, r ledger.Rotation) (counts map[ledger.AnchorClass]int, err error) {
	err = (*world)(w).read("count", func() error {
		if _, err := rotation.ParsePlan(r.Plan); err != nil {
			return err
		}
		counts = maps.Clone(w.counts)
		if own, has := w.countsOf[r.ID]; has {
			counts = maps.Clone(own)
		}
		return nil
	})
	return counts, err
}

func (w *fleet) Noted(context.Context) error {
	return (*world)(w).read("noted", func() error { return nil })
}

// cloud is one target.
type cloud struct {
	w         *world
	name      string
	stage     rotation.Stage
	absent    bool // has nothing of the rotation
	refuses   map[rotation.Stage]bool
	remaining int
	unknown   error         // of Remaining
	stuck     bool          // says that it has done what it has not
	hangs     chan struct{} // until it is closed, or nobody waits any more
	falls     bool          // panics
	advanced  []rotation.Stage
}

func (c *cloud) Name() string { return c.name }
func (c *cloud) Has(ledger.Rotation) []string {
	if c.absent {
		return nil
	}
	return []string{"CA a"}
}

func (c *cloud) Plan(_ context.Context, r ledger.Rotation, stage rotation.Stage) (p reconcile.Plan, err error) {
	err = c.w.read(c.name+" plan "+string(stage), func() error {
		p = c.plan(stage)
		return nil
	})
	return p, err
}

func (c *cloud) plan(stage rotation.Stage) reconcile.Plan {
	p := reconcile.Plan{Target: c.name, Changes: []reconcile.Change{{Kind: "policy", Subject: "device", Action: reconcile.None},
		{Kind: "rule", Subject: "elsewhere", Action: reconcile.Foreign}}}
	switch {
	case c.refuses[stage]:
		p.Changes = append(p.Changes, reconcile.Change{Kind: "ca", Subject: "slot", Action: reconcile.Refuse, After: "25 of 25 are taken"})
	case stage != c.stage:
		p.Changes = append(p.Changes, reconcile.Change{Kind: "ca", Subject: "b", Action: reconcile.Update, Before: string(c.stage), After: string(stage)})
	}
	return p
}

// follows are the stages to which a target may be taken from one.
var follows = map[rotation.Stage][]rotation.Stage{
	rotation.StageBefore:      {rotation.StageCutOff, rotation.StageRegistered},
	rotation.StageCutOff:      {rotation.StageRegistered, rotation.StageBefore},
	rotation.StageRegistered:  {rotation.StageBoth, rotation.StageBefore},
	rotation.StageBoth:        {rotation.StageOldQuiet, rotation.StageBefore},
	rotation.StageOldQuiet:    {rotation.StageOldInactive, rotation.StageBoth},
	rotation.StageOldInactive: {rotation.StageOldRemoved, rotation.StageBoth},
}

func (c *cloud) Advance(ctx context.Context, r ledger.Rotation, stage rotation.Stage) (p reconcile.Plan, err error) {
	if c.hangs != nil {
		select {
		case <-c.hangs:
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
	if c.falls {
		panic(c.name + " fell")
	}
	err = c.w.call(c.name+" "+string(stage), func() error {
		p = c.plan(stage)
		again := r.Kept && stage == rotation.StageBoth // whatever has become of what was left
		if stage != c.stage && !slices.Contains(follows[c.stage], stage) && !again {
			c.w.complain("%s was taken from %s to %s", c.name, c.stage, stage)
		}
		if stage == rotation.StageOldInactive && (r.Issue != ledger.IssueNew || c.w.served != ledger.IssueNew) {
			c.w.complain("%s lost the old CA before the new one served", c.name)
		}
		if stage == rotation.StageBefore && (r.Issue == ledger.IssueCanary || r.Issue == ledger.IssueNew || c.w.served != ledger.IssueOld) {
			c.w.complain("%s lost the new CA while it served", c.name)
		}
		if !c.stuck {
			c.stage = stage
		}
		c.advanced = append(c.advanced, stage)
		return nil
	})
	return p, err
}

func (c *cloud) Remaining(context.Context, ledger.Rotation) (n int, text string, err error) {
	err = c.w.read(c.name+" remaining", func() error {
		n, text = c.remaining, "by its own list"
		return c.unknown
	})
	return n, text, err
}

// snapshot is all that must be the same at the end, however often the way there was cut off.
func (w *world) snapshot(id string) string {
	var b strings.Builder
	r := w.get(id)
	fmt.Fprintf(&b, "%s issue %s kept %t paused %q twins %d over %t\n", r.State, r.Issue, r.Kept, r.Paused, len(r.Twins), w.over[id])
	fmt.Fprintf(&b, "made %t certified %t given %t adopted %s served %s at %s revoked %t\n", w.made, w.certified, w.given, w.adopted, w.served, w.servedAt, w.revoked)
	for _, c := range w.clouds {
		fmt.Fprintf(&b, "%s %s\n", c.name, c.stage)
	}
	var signed []string
	for _, s := range r.Signatures {
		signed = append(signed, fmt.Sprintf("signed %s %s\n", s.Gate, s.Officer))
	}
	slices.Sort(signed)
	b.WriteString(strings.Join(signed, ""))
	return b.String()
}
