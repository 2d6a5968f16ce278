package revocation_test

import (
	"bytes"
	"errors"
	"maps"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// TestDue: what was revoked makes the CRL of its shard due and no other; time makes all.
func TestDue(t *testing.T) {
	w := newWorld(t)
	w.revoked(2, 3)
	w.revoked(9, 1) // of a time with more shards
	p := w.publisher(3)
	w.publish(p)
	first := w.numbers()
	if len(first) != 5 {
		t.Fatalf("CRLs %v", first)
	}
	for shard, entries := range map[int]int{0: 0, 1: 0, 2: 3, 3: 0, 9: 1} {
		list := w.list(shard)
		if len(list.RevokedCertificateEntries) != entries {
			t.Errorf("shard %d lists %d", shard, len(list.RevokedCertificateEntries))
		}
		want, err := (&ca.CRLScope{Points: points("line-a", shard), OnlyUsers: shard > 0}).Value()
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, x := range list.Extensions {
			if x.Id.String() == "2.5.29.28" {
				got = x.Value
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("shard %d has the scope %x, want %x", shard, got, want)
		}
	}
	w.publish(p)
	if again := w.numbers(); !maps.Equal(again, first) {
		t.Errorf("nothing was due, and CRLs went from %v to %v", first, again)
	}
	w.revoked(3, 1)
	w.publish(p)
	second := w.numbers()
	for shard, number := range second {
		if (number > first[shard]) != (shard == 3) {
			t.Errorf("after a revocation in shard 3, that of %d went from %d to %d", shard, first[shard], number)
		}
	}
	w.now = w.now.Add(time.Hour)
	w.publish(p)
	for shard, number := range w.numbers() {
		if number <= second[shard] {
			t.Errorf("after a period, that of %d is still %d", shard, number)
		}
	}
}

// TestRescoped: the first shards of an authority change what its full CRL is about, which is
// signed anew at once, once, and by whichever server comes next.
func TestRescoped(t *testing.T) {
	w := newWorld(t)
	w.publish(w.publisher(0))
	before := w.numbers()
	p := w.publisher(2)
	w.publish(p)
	after := w.numbers()
	if after[0] <= before[0] || len(after) != 3 {
		t.Errorf("CRLs went from %v to %v", before, after)
	}
	w.publish(p)
	w.publish(w.publisher(2))
	if again := w.numbers(); !maps.Equal(again, after) {
		t.Errorf("CRLs went from %v to %v", after, again)
	}
	// Shards that there were stay, and so does the scope of the others.
	w.publish(w.publisher(0))
	if again := w.numbers(); !maps.Equal(again, after) {
		t.Errorf("without shards: from %v to %v", after, again)
	}
}

// TestPending signs what is due of one authority, and nothing if nothing is.
func TestPending(t *testing.T) {
	w := newWorld(t)
	p := w.publisher(2)
	for range 2 {
		if err := p.PublishPending(t.Context(), w.fence, w.line); err != nil {
			t.Fatal(err)
		}
	}
	first := w.numbers()
	w.revoked(1, 1)
	if err := p.PublishPending(t.Context(), w.fence, w.line); err != nil {
		t.Fatal(err)
	}
	second := w.numbers()
	if len(first) != 3 || second[0] != first[0] || second[1] <= first[1] || second[2] != first[2] {
		t.Errorf("CRLs went from %v to %v", first, second)
	}
	if err := p.Publish(t.Context(), w.fence, w.line, 2); err != nil || w.numbers()[2] <= second[2] || w.numbers()[1] != second[1] {
		t.Errorf("signing shard 2: %v, from %v to %v", err, second, w.numbers())
	}
	if err := p.Publish(t.Context(), w.fence, w.line, 3); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("signing a shard that there is not: %v", err)
	}
	if _, err := w.store.Acquire(t.Context(), "crl", "other", w.now.Add(48*time.Hour), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), w.fence, w.line); !errors.Is(err, ledger.ErrLapsed) {
		t.Errorf("without the lease: %v", err)
	}
}
