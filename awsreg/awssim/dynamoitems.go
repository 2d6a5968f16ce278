package awssim

import (
	"maps"
	"sort"
	"strings"
)

// conditional are the members that writes share.
type conditional struct {
	TableName                           string
	ConditionExpression                 string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           map[string]any
	ReturnValues                        string
	ReturnValuesOnConditionCheckFailure string
	ReturnConsumedCapacity              string // accepted; nothing is metered here
	ReturnItemCollectionMetrics         string // accepted; there are no item collections
}

// check finds the table, evaluates the condition on the item under key, and
// refuses placeholders that nothing uses.
func (in *conditional) check(p *placeholders, old item) error {
	ok, err := p.condition("ConditionExpression", in.ConditionExpression, old)
	if err != nil {
		return err
	}
	if err := p.done(); err != nil {
		return err
	}
	if ok {
		return nil
	}
	e := dynamoError("ConditionalCheckFailedException", "The conditional request failed")
	if in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" && old != nil {
		e.item = old
	}
	return e
}

// answer builds the reply of a write.
func (in *conditional) answer(old, updated item) (any, error) {
	out := map[string]any{}
	switch in.ReturnValues {
	case "", "NONE":
	case "ALL_OLD":
		if old != nil {
			out["Attributes"] = old
		}
	case "ALL_NEW":
		if updated == nil {
			return nil, validation("ReturnValues can only be ALL_OLD or NONE")
		}
		out["Attributes"] = updated
	default:
		return nil, validation("this AWS simulator does not have ReturnValues %q", clip(in.ReturnValues, 32))
	}
	return out, nil
}

func (in *conditional) begin(w *world) (*table, *placeholders, error) {
	t, err := w.findTable(in.TableName)
	if err != nil {
		return nil, nil, err
	}
	p, err := newPlaceholders(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	return t, p, err
}

func putItem(c *call) (any, error) {
	var in struct {
		conditional
		Item item
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	t, p, err := in.begin(c.w)
	if err != nil {
		return nil, err
	}
	key, err := t.keyOf(in.Item, false)
	if err != nil {
		return nil, err
	}
	if err := checkItem(in.Item); err != nil {
		return nil, err
	}
	old := t.items[key]
	if err := in.check(p, old); err != nil {
		return nil, err
	}
	out, err := in.answer(old, nil)
	if err != nil {
		return nil, err
	}
	return out, t.put(key, in.Item)
}

func (t *table) put(key string, it item) error {
	if _, ok := t.items[key]; !ok && len(t.items) >= maxRecords {
		return dynamoError("LimitExceededException", "the simulator holds at most %d items in a table", maxRecords)
	}
	t.items[key] = it
	return nil
}

func getItem(c *call) (any, error) {
	var in struct {
		TableName              string
		Key                    item
		ConsistentRead         bool
		ReturnConsumedCapacity string
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	t, err := c.w.findTable(in.TableName)
	if err != nil {
		return nil, err
	}
	key, err := t.keyOf(in.Key, true)
	if err != nil {
		return nil, err
	}
	if it, ok := t.items[key]; ok {
		return map[string]any{"Item": it}, nil
	}
	return map[string]any{}, nil
}

// updateItem creates an item that is not there (API reference, UpdateItem).
func updateItem(c *call) (any, error) {
	var in struct {
		conditional
		Key              item
		UpdateExpression string
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	t, p, err := in.begin(c.w)
	if err != nil {
		return nil, err
	}
	key, err := t.keyOf(in.Key, true)
	if err != nil {
		return nil, err
	}
	set := item{}
	if in.UpdateExpression != "" {
		if set, err = p.set(in.UpdateExpression); err != nil {
			return nil, err
		}
	}
	for name := range set {
		if name == t.hash || name == t.sort {
			return nil, validation("One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", name)
		}
	}
	old := t.items[key]
	if err := in.check(p, old); err != nil {
		return nil, err
	}
	updated := maps.Clone(in.Key)
	maps.Copy(updated, old)
	maps.Copy(updated, set)
	if err := checkItem(updated); err != nil {
		return nil, err
	}
	out, err := in.answer(old, updated)
	if err != nil {
		return nil, err
	}
	return out, t.put(key, updated)
}

func deleteItem(c *call) (any, error) {
	var in struct {
		conditional
		Key item
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	t, p, err := in.begin(c.w)
	if err != nil {
		return nil, err
	}
	key, err := t.keyOf(in.Key, true)
	if err != nil {
		return nil, err
	}
	old := t.items[key]
	if err := in.check(p, old); err != nil {
		return nil, err
	}
	out, err := in.answer(old, nil)
	if err == nil {
		delete(t.items, key)
	}
	return out, err
}

func batchWriteItem(c *call) (any, error) {
	type request struct {
		PutRequest    *struct{ Item item }
		DeleteRequest *struct{ Key item }
	}
	var in struct {
		RequestItems                map[string][]request
		ReturnConsumedCapacity      string
		ReturnItemCollectionMetrics string
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	type write struct {
		t   *table
		key string
		it  item // nil deletes
	}
	var writes []write
	seen := map[string]bool{}
	for name, list := range in.RequestItems {
		t, err := c.w.findTable(name)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			wr := write{t: t}
			switch {
			case r.PutRequest != nil && r.DeleteRequest == nil:
				wr.it = r.PutRequest.Item
				if wr.key, err = t.keyOf(wr.it, false); err == nil {
					err = checkItem(wr.it)
				}
			case r.DeleteRequest != nil && r.PutRequest == nil:
				wr.key, err = t.keyOf(r.DeleteRequest.Key, true)
			default:
				err = validation("a write request is one of PutRequest and DeleteRequest")
			}
			if err != nil {
				return nil, err
			}
			if seen[t.name+"\x00"+wr.key] {
				return nil, validation("Provided list of item keys contains duplicates")
			}
			seen[t.name+"\x00"+wr.key] = true
			writes = append(writes, wr)
		}
	}
	if len(writes) == 0 || len(writes) > maxBatchPut {
		return nil, validation("Member must have length less than or equal to %d, and at least 1: %d write requests", maxBatchPut, len(writes))
	}
	for _, wr := range writes {
		if wr.it == nil {
			delete(wr.t.items, wr.key)
		} else if err := wr.t.put(wr.key, wr.it); err != nil {
			return nil, err
		}
	}
	return map[string]any{"UnprocessedItems": map[string]any{}}, nil
}

func batchGetItem(c *call) (any, error) {
	var in struct {
		RequestItems map[string]struct {
			Keys           []item
			ConsistentRead bool
		}
		ReturnConsumedCapacity string
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	out, n := map[string][]item{}, 0
	for name, req := range in.RequestItems {
		t, err := c.w.findTable(name)
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		out[name] = []item{}
		for _, k := range req.Keys {
			key, err := t.keyOf(k, true)
			if err != nil {
				return nil, err
			}
			if seen[key] {
				return nil, validation("Provided list of item keys contains duplicates")
			}
			seen[key] = true
			if n++; n > maxBatchGet {
				return nil, validation("Too many items requested for the BatchGetItem call")
			}
			if it, ok := t.items[key]; ok {
				out[name] = append(out[name], it)
			}
		}
	}
	return map[string]any{"Responses": out, "UnprocessedKeys": map[string]any{}}, nil
}

// search are the members that Query and Scan share.
type search struct {
	TableName                 string
	FilterExpression          string
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

// run walks the items in key order. Limit counts the items looked at before the
// filter, as in DynamoDB.
func (in *search) run(w *world, keyCondition string, forward bool) (any, error) {
	t, err := w.findTable(in.TableName)
	if err != nil {
		return nil, err
	}
	p, err := newPlaceholders(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	if err != nil {
		return nil, err
	}
	if in.Limit != nil && *in.Limit < 1 {
		return nil, validation("Limit must be at least 1")
	}
	if keyCondition != "" {
		if err := t.checkKeyCondition(p, keyCondition); err != nil {
			return nil, err
		}
	}
	list := t.ordered(forward)
	start := 0
	if in.ExclusiveStartKey != nil {
		if _, err := t.keyOf(in.ExclusiveStartKey, true); err != nil {
			return nil, err
		}
		start = sort.Search(len(list), func(i int) bool {
			n := t.order(list[i], in.ExclusiveStartKey)
			return n > 0 && forward || n < 0 && !forward
		})
	}
	// Expressions are evaluated once on nothing, so that mistakes show on an empty
	// table too.
	if _, err := p.condition("FilterExpression", in.FilterExpression, nil); err != nil {
		return nil, err
	}
	if err := p.done(); err != nil {
		return nil, err
	}
	found, scanned := []item{}, 0
	var last item
	out := map[string]any{}
	for i := start; i < len(list); i++ {
		if ok, err := p.condition("KeyConditionExpression", keyCondition, list[i]); err != nil {
			return nil, err
		} else if !ok {
			continue
		}
		if in.Limit != nil && scanned == *in.Limit {
			out["LastEvaluatedKey"] = t.keyAttributes(last)
			break
		}
		scanned++
		last = list[i]
		ok, err := p.condition("FilterExpression", in.FilterExpression, list[i])
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, list[i])
		}
	}
	out["Items"], out["Count"], out["ScannedCount"] = found, len(found), scanned
	return out, nil
}

// checkKeyCondition wants "hash = :v", and with a sort key optionally a comparison
// of it (API reference, Query).
func (t *table) checkKeyCondition(p *placeholders, text string) error {
	e, err := p.expression("KeyConditionExpression", text, nil)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for {
		attr, err := e.attribute()
		if err != nil {
			return err
		}
		op := e.take()
		if seen[attr] || attr != t.hash && attr != t.sort || attr == t.hash && op != "=" || op == "<>" || !strings.HasPrefix(e.peek(), ":") {
			return validation("Query condition missed key schema element, or this AWS simulator does not understand the condition on %q", clip(attr, 64))
		}
		seen[attr] = true
		if _, err := e.value(); err != nil {
			return err
		}
		if e.peek() == "" {
			break
		}
		if !e.keyword("AND") {
			return e.unexpected()
		}
	}
	if !seen[t.hash] {
		return validation("Query condition missed key schema element: %s", t.hash)
	}
	return nil
}

func (t *table) ordered(forward bool) []item {
	list := make([]item, 0, len(t.items))
	for _, it := range t.items {
		list = append(list, it)
	}
	sort.Slice(list, func(i, j int) bool {
		n := t.order(list[i], list[j])
		return n < 0 && forward || n > 0 && !forward
	})
	return list
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
