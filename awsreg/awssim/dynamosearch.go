package awssim

import (
	"sort"
	"strings"
)

// search are the members that Query and Scan share.
type search struct {
	TableName                 string
	FilterExpression          string
	ProjectionExpression      string
	Select                    string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]any
	Limit                     *int
	ExclusiveStartKey         item
	ConsistentRead            bool
	ReturnConsumedCapacity    string
}

func scanItems(c *call) (any, error) {
	var in search
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	return in.run(c.w, "", true)
}

func queryItems(c *call) (any, error) {
	var in struct {
		search
		KeyConditionExpression string
		ScanIndexForward       *bool
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	if in.KeyConditionExpression == "" {
		return nil, validation("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	return in.run(c.w, in.KeyConditionExpression, in.ScanIndexForward == nil || *in.ScanIndexForward)
}

// reader is a search that has been parsed.
type reader struct {
	t       *table
	keys    predicate // holds for every item in a Scan
	hash    any       // the partition of a Query, nil in a Scan
	filter  predicate
	project func(item) item
	count   bool // items are counted, not returned
}

func (in *search) parse(w *world, keyCondition string) (*reader, error) {
	t, err := w.findTable(in.TableName)
	if err != nil {
		return nil, err
	}
	p, err := newPlaceholders(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	if err != nil {
		return nil, err
	}
	r := &reader{t: t, count: in.Select == "COUNT"}
	switch {
	case in.Select == "" || in.Select == "ALL_ATTRIBUTES" && in.ProjectionExpression == "":
	case in.Select == "COUNT" && in.ProjectionExpression == "":
	case in.Select == "SPECIFIC_ATTRIBUTES" && in.ProjectionExpression != "":
	default:
		return nil, validation("Select %q does not go with the other members of this request", clip(in.Select, 32))
	}
	if in.Limit != nil && *in.Limit < 1 {
		return nil, validation("Limit must be at least 1")
	}
	if keyCondition != "" {
		if r.hash, err = t.checkKeyCondition(p, keyCondition); err != nil {
			return nil, err
		}
	}
	if r.keys, err = p.condition("KeyConditionExpression", keyCondition); err != nil {
		return nil, err
	}
	if r.filter, err = p.condition("FilterExpression", in.FilterExpression); err != nil {
		return nil, err
	}
	if r.project, err = p.projection(in.ProjectionExpression); err != nil {
		return nil, err
	}
	if in.ExclusiveStartKey != nil {
		if _, err := t.keyOf(in.ExclusiveStartKey, true); err != nil {
			return nil, err
		}
	}
	return r, p.done()
}

// run walks the items in key order. Limit and the 1 MB of a page count the items
// looked at before the filter, as in DynamoDB.
func (in *search) run(w *world, keyCondition string, forward bool) (any, error) {
	r, err := in.parse(w, keyCondition)
	if err != nil {
		return nil, err
	}
	list := r.t.ordered()
	at := func(i int) *record {
		if forward {
			return list[i]
		}
		return list[len(list)-1-i]
	}
	start := sort.Search(len(list), func(i int) bool {
		it := at(i).it
		if in.ExclusiveStartKey != nil {
			n := r.t.order(it, in.ExclusiveStartKey)
			return n > 0 && forward || n < 0 && !forward
		}
		if r.hash == nil {
			return true
		}
		n, _ := compare(it[r.t.hash], r.hash)
		return n >= 0 && forward || n <= 0 && !forward
	})
	found, matched, scanned, size := []item{}, 0, 0, 0
	out := map[string]any{}
	for i := start; i < len(list); i++ {
		rec := at(i)
		if r.hash != nil && !equal(rec.it[r.t.hash], r.hash) {
			break
		}
		if !r.keys(rec.it) {
			continue
		}
		if in.Limit != nil && scanned == *in.Limit || size >= maxPageBytes {
			out["LastEvaluatedKey"] = r.t.keyAttributes(at(i - 1).it)
			break
		}
		scanned++
		size += rec.size
		if r.filter(rec.it) {
			matched++
			if !r.count {
				found = append(found, r.project(rec.it))
			}
		}
	}
	out["Count"], out["ScannedCount"] = matched, scanned
	if !r.count {
		out["Items"] = found
	}
	return out, nil
}

// checkKeyCondition wants "hash = :v", and with a sort key optionally a comparison
// of it (API reference, Query). It returns the value of the hash key.
func (t *table) checkKeyCondition(p *placeholders, text string) (any, error) {
	e, err := p.expression("KeyConditionExpression", text)
	if err != nil {
		return nil, err
	}
	seen := map[string]any{}
	for {
		attr, err := e.keyTerm(t)
		if err != nil {
			return nil, err
		}
		op := e.peek()
		e.pos++
		if seen[attr] != nil || attr != t.hash && attr != t.sort || attr == t.hash && op != "=" || !strings.HasPrefix(e.peek(), ":") {
			return nil, validation("Query condition missed key schema element, or this AWS simulator does not understand the condition on %q", clip(attr, 64))
		}
		switch strings.ToUpper(op) {
		case "=", "<", "<=", ">", ">=", ",":
			seen[attr], err = e.value()
			if err == nil && op == "," { // begins_with
				err = e.expect(")")
			}
		case "BETWEEN":
			if _, err = e.value(); err == nil && !e.keyword("AND") {
				err = e.unexpected()
			}
			if err == nil {
				seen[attr], err = e.value()
			}
		default:
			err = e.unexpected()
		}
		if err != nil {
			return nil, err
		}
		if e.peek() == "" {
			break
		}
		if !e.keyword("AND") {
			return nil, e.unexpected()
		}
	}
	if seen[t.hash] == nil {
		return nil, validation("Query condition missed key schema element: %s", t.hash)
	}
	return seen[t.hash], nil
}

// keyTerm reads the attribute of a key condition, which may stand in begins_with.
func (e *expression) keyTerm(t *table) (string, error) {
	if e.peek() == "begins_with" && e.pos+1 < len(e.tokens) && e.tokens[e.pos+1] == "(" {
		e.pos += 2
		attr, err := e.attribute()
		if err == nil && (attr != t.sort || e.peek() != ",") {
			err = e.unexpected()
		}
		return attr, err
	}
	attr, err := e.attribute()
	if err == nil && e.peek() == "," {
		err = e.unexpected()
	}
	return attr, err
}
