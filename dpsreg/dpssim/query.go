package dpssim

import (
	"bytes"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"mintmark/internal/pattern"
)

// Sizes of a page: neither the default of Azure nor its greatest is documented.
const (
	defaultPage = 100
	maxPage     = 1000
)

// selectAll is the one query that there is here. Azure has more, which is not documented
// for DPS.
var selectAll = pattern.New(`(?i)^\s*SELECT\s+\*(?:\s+FROM\s+([A-Za-z]+))?\s*;?\s*$`)

// parseQuery reads the body of a query and returns the collection that it names, in
// lower case; empty if it names none.
func parseQuery(data []byte) (string, error) {
	var q struct {
		Query string `json:"query"`
	}
	if err := decodeStrict(data, &q); err != nil {
		return "", err
	}
	m := selectAll.FindStringSubmatch(q.Query)
	if m == nil {
		return "", invalid("query %q: the simulator knows SELECT * [FROM name] only", clip(q.Query, 128))
	}
	return strings.ToLower(m[1]), nil
}

func (s *Sim) queryEnrollments(c *dataCall) (answer, error) {
	from, err := parseQuery(c.body)
	if err != nil {
		return answer{}, err
	}
	collection, item := "enrollmentgroups", "enrollmentGroup"
	if c.kind == kindIndividual {
		collection, item = "enrollments", "enrollment"
	}
	if from != "" && from != collection {
		return answer{}, invalid("the query is for %q, and the path for %s", from, collection)
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	all := s.store.of(c.kind)
	return page(c.header, item, slices.Sorted(maps.Keys(all)), func(id string) any { return s.store.shown(c.kind, all[id]) })
}

// queryRegistrations lists what became of the devices of a group.
func (s *Sim) queryRegistrations(c *dataCall) (answer, error) {
	// The specification has no body here; the vendor's older clients send a query.
	if len(bytes.TrimSpace(c.body)) > 0 {
		if _, err := parseQuery(c.body); err != nil {
			return answer{}, err
		}
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var ids []string
	for id, r := range s.store.registered {
		if strings.EqualFold(r.group, c.id) {
			ids = append(ids, id)
		}
	}
	// Records of a group stay when it is deleted, so that an unknown group is one only if
	// nothing came in by it.
	if len(ids) == 0 {
		if _, err := s.store.find(kindGroup, c.id); err != nil {
			return answer{}, err
		}
	}
	slices.Sort(ids)
	return page(c.header, "deviceRegistration", ids, func(id string) any { return s.store.registered[id].state })
}

// page answers the part of a sorted list that x-ms-max-item-count and x-ms-continuation
// ask for, and says where the next one begins. A continuation is the last id that was
// answered, so that what is made or deleted in between neither repeats nor hides others.
func page(h http.Header, item string, ids []string, value func(id string) any) (answer, error) {
	size := defaultPage
	if text := h.Get("X-Ms-Max-Item-Count"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < -1 || n == 0 {
			return answer{}, invalid("x-ms-max-item-count %q is no count", clip(text, 16))
		}
		if n > 0 {
			size = min(n, maxPage)
		}
	}
	start := 0
	if text := h.Get("X-Ms-Continuation"); text != "" {
		last, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(last) == 0 {
			return answer{}, invalid("x-ms-continuation is none that was answered")
		}
		found := false
		if start, found = slices.BinarySearch(ids, string(last)); found {
			start++
		}
	}
	end := min(start+size, len(ids))
	out := make([]any, 0, end-start)
	for _, id := range ids[start:end] {
		out = append(out, value(id))
	}
	a := ok(out).with("x-ms-item-type", item)
	if end < len(ids) {
		a = a.with("x-ms-continuation", base64.RawURLEncoding.EncodeToString([]byte(ids[end-1])))
	}
	return a, nil
}
