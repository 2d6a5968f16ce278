package awssim

import (
	"encoding/base64"
	"sort"
	"strconv"
)

// The two paging styles of the IoT API: certificates and policies page with
// pageSize and marker, everything else with maxResults and nextToken. Sizes are
// 1 to 250 and 25 by default (API reference, ListCACertificates).
const (
	defaultPage = 25
	maxPage     = 250
)

// paginate cuts one page out of items, which are sorted by ascending sequence
// number. The token is the last sequence number seen, so that a page neither
// repeats nor skips an item when others come and go.
func paginate[T any](c *call, items []T, seq func(T) int64, sizeKey, tokenKey string, ascending bool) ([]T, string, error) {
	return paginateIf(c, items, func(T) bool { return true }, seq, sizeKey, tokenKey, ascending)
}

// paginateIf is paginate for the items that keep lets through. It looks only at
// the items from the token on, until the page is full.
func paginateIf[T any](c *call, items []T, keep func(T) bool, seq func(T) int64, sizeKey, tokenKey string, ascending bool) ([]T, string, error) {
	size := defaultPage
	if v := c.query.Get(sizeKey); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxPage {
			return nil, "", invalid("%s must be between 1 and %d, not %q", sizeKey, maxPage, v)
		}
		size = n
	}
	at := func(i int) T {
		if ascending {
			return items[i]
		}
		return items[len(items)-1-i]
	}
	start := 0
	if v := c.query.Get(tokenKey); v != "" {
		raw, err := base64.URLEncoding.DecodeString(v)
		last, err2 := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || err2 != nil || last < 0 {
			return nil, "", invalid("Invalid %s", tokenKey)
		}
		start = sort.Search(len(items), func(i int) bool {
			n := seq(at(i))
			return ascending && n > last || !ascending && n < last
		})
	}
	out := []T{}
	for i := start; i < len(items); i++ {
		it := at(i)
		if !keep(it) {
			continue
		}
		if len(out) == size {
			token := strconv.FormatInt(seq(out[size-1]), 10)
			return out, base64.URLEncoding.EncodeToString([]byte(token)), nil
		}
		out = append(out, it)
	}
	return out, "", nil
}

// ordered keeps the sorted values of a map of a world, so that reading page after
// page sorts once. Every addition to a world takes a sequence number and every
// removal changes the size, so that the two together tell whether it is still
// right. Values must not be replaced under their key.
type ordered[V any] struct {
	seq  int64
	list []V
}

func (o *ordered[V]) of(w *world, m map[string]V, seq func(V) int64) []V {
	if o.seq != w.seq || len(o.list) != len(m) {
		o.seq, o.list = w.seq, sorted(m, seq)
	}
	return o.list
}

// certsInOrder lists the certificates, oldest first. The caller holds w.mu and
// does not change the list.
func (w *world) certsInOrder() []*certificate {
	return w.certOrder.of(w, w.certs, func(x *certificate) int64 { return x.seq })
}

// thingsInOrder is certsInOrder for things.
func (w *world) thingsInOrder() []*thing {
	return w.thingOrder.of(w, w.things, func(x *thing) int64 { return x.seq })
}
