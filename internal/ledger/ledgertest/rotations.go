package ledgertest

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// rotation is a new one.
func (b *bench) rotation(id string) ledger.Rotation {
	return ledger.Rotation{ID: id, Kind: ledger.RotateRoot, Old: "root", New: "root-2", Plan: []byte(`{"id":"` + id + `"}`), State: "PLANNED", Since: b.now, At: b.now, Actor: "anna", Version: 1}
}

func (b *bench) entryOf(r ledger.Rotation) ledger.RotationEntry {
	return ledger.RotationEntry{At: b.now, Actor: "anna", State: r.State, Step: "step", Event: "done", Text: fmt.Sprint("version ", r.Version)}
}

// rotate records the next version of a rotation and returns it.
func (b *bench) rotate(r ledger.Rotation, over bool) ledger.Rotation {
	b.t.Helper()
	b.ok(b.PutRotation(b.ctx, r, b.entryOf(r), over))
	r.Version++
	return r
}

var rotationChecks = []check{
	{"a rotation is kept with all that is known of it", func(t *testing.T, b *bench) {
		first := b.rotation("r-1")
		b.ok(b.PutRotation(b.ctx, first, b.entryOf(first), false))
		full := first
		full.Version, full.State, full.Since, full.Paused, full.Emergency, full.Kept = 2, "CANARY", b.now.Add(time.Minute), "the line stands", true, true
		full.Issue, full.Canary = ledger.IssueCanary, ledger.Canary{Labels: []string{"line", "lab"}, Percent: 5}
		full.Twins = []ledger.Twin{{Authority: "line-a", DER: []byte{0x30, 1}}}
		full.Signatures = []ledger.GateSignature{{Gate: "APPROVED", Officer: "anna", Signature: []byte{1, 2}, At: b.now}}
		all, err := b.Rotations(b.ctx)
		b.ok(err)
		b.equal("first version", all, []ledger.Rotation{first})
		b.ok(b.PutRotation(b.ctx, full, b.entryOf(full), true))
		b.now = b.now.Add(time.Hour)
		b.rotate(b.rotation("a-2"), false)
		all, err = b.Rotations(b.ctx)
		b.ok(err)
		b.equal("in the order in which they began", []ledger.Rotation{all[0], all[1]}, []ledger.Rotation{full, b.rotation("a-2")})
	}},
	{"of two who change it one is told so", func(t *testing.T, b *bench) {
		r := b.rotation("r-1")
		r.Version = 2
		b.want(b.PutRotation(b.ctx, r, b.entryOf(r), false), ledger.ErrStale)
		next := b.rotate(b.rotation("r-1"), false)
		b.want(b.PutRotation(b.ctx, b.rotation("r-1"), b.entryOf(next), false), ledger.ErrStale)
		var won, lost atomic.Int32
		together(func(n int) {
			switch err := b.PutRotation(b.ctx, next, b.entryOf(next), false); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, ledger.ErrStale):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
		b.equal("won and lost", []int32{won.Load(), lost.Load()}, []int32{1, clients - 1})
		next.Version = 4
		b.want(b.PutRotation(b.ctx, next, b.entryOf(next), false), ledger.ErrStale)
	}},
	{"only one runs at a time", func(t *testing.T, b *bench) {
		first := b.rotate(b.rotation("r-1"), false)
		second := b.rotation("r-2")
		b.want(b.PutRotation(b.ctx, second, b.entryOf(second), false), ledger.ErrTaken)
		first = b.rotate(first, true)
		second = b.rotate(second, false)
		b.want(b.PutRotation(b.ctx, first, b.entryOf(first), false), ledger.ErrTaken)
		b.rotate(first, true) // a last word
		b.rotate(second, false)
	}},
	{"of many that begin one runs", func(t *testing.T, b *bench) {
		var won, lost atomic.Int32
		together(func(n int) {
			r := b.rotation(fmt.Sprint("r-", n))
			switch err := b.PutRotation(b.ctx, r, b.entryOf(r), false); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, ledger.ErrTaken):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
		b.equal("won and lost", []int32{won.Load(), lost.Load()}, []int32{1, clients - 1})
	}},
	{"the journal has a line for every version, without gaps", func(t *testing.T, b *bench) {
		r := b.rotation("r-1")
		var want []ledger.RotationEntry
		for n := range 5 {
			b.now = b.now.Add(time.Second)
			e := b.entryOf(r)
			e.Number = 99 // set by the ledger
			b.ok(b.PutRotation(b.ctx, r, e, false))
			stale := r
			if err := b.PutRotation(b.ctx, stale, e, false); !errors.Is(err, ledger.ErrStale) {
				t.Fatal(err)
			}
			e.Number = int64(n + 1)
			want = append(want, e)
			r.Version++
		}
		journal := func(id string, after int64, limit int) []ledger.RotationEntry {
			t.Helper()
			all, err := b.RotationJournal(b.ctx, id, after, limit)
			b.ok(err)
			return all
		}
		b.equal("journal", journal("r-1", 0, 0), want)
		b.equal("part of it", journal("r-1", 2, 2), want[2:4])
		b.equal("of another", journal("r-2", 0, 0), []ledger.RotationEntry(nil))
	}},
	{"what it replaces and its plan never change", func(t *testing.T, b *bench) {
		next := b.rotate(b.rotation("r-1"), false)
		for name, change := range map[string]func(*ledger.Rotation){
			"plan": func(r *ledger.Rotation) { r.Plan = []byte("{}") }, "old": func(r *ledger.Rotation) { r.Old = "other" }, "new": func(r *ledger.Rotation) { r.New = "other" },
			"kind": func(r *ledger.Rotation) { r.Kind = ledger.RotateIssuing }, "at": func(r *ledger.Rotation) { r.At = r.At.Add(time.Second) },
		} {
			r := next
			change(&r)
			if err := b.PutRotation(b.ctx, r, b.entryOf(r), false); err == nil || errors.Is(err, ledger.ErrStale) {
				t.Errorf("%s: %v", name, err)
			}
		}
		b.rotate(next, false)
	}},
	{"what is no rotation is refused", func(t *testing.T, b *bench) {
		for name, change := range map[string]func(*ledger.Rotation, *ledger.RotationEntry){
			"no name":    func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.ID = "" },
			"no state":   func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.State = "" },
			"no time":    func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.At = time.Time{} },
			"no plan":    func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.Plan = nil },
			"large plan": func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.Plan = make([]byte, 1<<20+1) },
			"kind":       func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.Kind = "leaf" },
			"to itself":  func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.New = r.Old },
			"version":    func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.Version = 0 },
			"twins": func(r *ledger.Rotation, _ *ledger.RotationEntry) {
				r.Twins = []ledger.Twin{{Authority: "a", DER: make([]byte, 1<<20+1)}}
			},
			"name": func(r *ledger.Rotation, _ *ledger.RotationEntry) { r.ID = "r\x00" },
			"step": func(_ *ledger.Rotation, e *ledger.RotationEntry) { e.Step = strings.Repeat("x", 2000) },
		} {
			r := b.rotation("r-1")
			e := b.entryOf(r)
			change(&r, &e)
			if err := b.PutRotation(b.ctx, r, e, false); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		all, err := b.Rotations(b.ctx)
		b.ok(err)
		b.equal("rotations", len(all), 0)
		r := b.rotation("r-1")
		e := b.entryOf(r)
		e.Text = strings.Repeat("x", 50_000) + "\xff\x00" // what went wrong is cut, not refused
		b.ok(b.PutRotation(b.ctx, r, e, false))
		journal, err := b.RotationJournal(b.ctx, "r-1", 0, 0)
		b.ok(err)
		b.equal("text", journal[0].Text, strings.Repeat("x", 16_000))
	}},
	{"injected failures leave no half of it", func(t *testing.T, b *bench) {
		mode := NotPersist
		faulty := &Faulty{Ledger: b.Ledger, Fail: func(string) Mode { return mode }}
		r := b.rotation("r-1")
		b.want(faulty.PutRotation(b.ctx, r, b.entryOf(r), false), ErrInjected)
		all, err := b.Rotations(b.ctx)
		b.ok(err)
		b.equal("not persisted", len(all), 0)
		mode = ButPersist
		b.want(faulty.PutRotation(b.ctx, r, b.entryOf(r), false), ErrInjected)
		b.want(b.PutRotation(b.ctx, r, b.entryOf(r), false), ledger.ErrStale) // read it again: it is there
		b.want(faulty.NoteAnchors(b.ctx, "r-1", []ledger.AnchorNote{{Device: "dev-1", Chains: b.now}}), ErrInjected)
	}},
}
