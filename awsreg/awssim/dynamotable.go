package awssim

import (
	"encoding/json"
	"slices"
)

// record is an item in the order of a table.
type record struct {
	it   item
	size int // bytes, as itemSize counts them
	gone bool
}

// put stores an item. The order is brought up to date by the next search: what is
// new waits in fresh, so that writing many items sorts them once.
func (t *table) put(key string, it item) error {
	rec, ok := t.records[key]
	if !ok {
		if len(t.items) >= maxRecords {
			return dynamoError("LimitExceededException", "the simulator holds at most %d items in a table", maxRecords)
		}
		rec = &record{}
		t.records[key] = rec
		t.fresh = append(t.fresh, rec)
	}
	rec.it, rec.size = it, itemSize(it)
	t.items[key] = it
	return nil
}

func (t *table) remove(key string) {
	if rec, ok := t.records[key]; ok {
		rec.gone = true
		t.left = true
		delete(t.records, key)
		delete(t.items, key)
	}
}

// ordered lists the items in key order. The caller does not keep the list past
// the world's lock.
func (t *table) ordered() []*record {
	isGone := func(r *record) bool { return r.gone }
	if t.left {
		t.sorted = slices.DeleteFunc(t.sorted, isGone)
		t.fresh = slices.DeleteFunc(t.fresh, isGone)
		t.left = false
	}
	if len(t.fresh) == 0 {
		return t.sorted
	}
	byKey := func(a, b *record) int { return t.order(a.it, b.it) }
	slices.SortFunc(t.fresh, byKey)
	merged := make([]*record, 0, len(t.sorted)+len(t.fresh))
	i, j := 0, 0
	for i < len(t.sorted) && j < len(t.fresh) {
		if byKey(t.sorted[i], t.fresh[j]) <= 0 {
			merged = append(merged, t.sorted[i])
			i++
		} else {
			merged = append(merged, t.fresh[j])
			j++
		}
	}
	merged = append(merged, t.sorted[i:]...)
	t.sorted, t.fresh = append(merged, t.fresh[j:]...), nil
	return t.sorted
}

// order compares two items by partition key, then by sort key. DynamoDB orders
// only within a partition; between partitions any fixed order will do.
func (t *table) order(a, b item) int {
	if n, _ := compare(a[t.hash], b[t.hash]); n != 0 || t.sort == "" {
		return n
	}
	n, _ := compare(a[t.sort], b[t.sort])
	return n
}

func (t *table) keyAttributes(it item) item {
	out := item{t.hash: it[t.hash]}
	if t.sort != "" {
		out[t.sort] = it[t.sort]
	}
	return out
}

// itemSize is the size of an item as the simulator counts it: names and values as
// JSON, which is somewhat more than DynamoDB counts.
func itemSize(it item) int {
	size := 0
	for name, v := range it {
		b, _ := json.Marshal(v) // checkItem has marshalled it before
		size += len(name) + len(b)
	}
	return size
}
