package awssim

// getOne reads one item, nil for one that is not there.
func (w *world) getOne(name string, key item, projection string, names map[string]string) (item, error) {
	t, err := w.findTable(name)
	if err != nil {
		return nil, err
	}
	k, err := t.keyOf(key, true)
	if err != nil {
		return nil, err
	}
	p, err := newPlaceholders(names, nil)
	if err != nil {
		return nil, err
	}
	project, err := p.projection(projection)
	if err != nil {
		return nil, err
	}
	if err := p.done(); err != nil {
		return nil, err
	}
	it, ok := t.items[k]
	if !ok {
		return nil, nil
	}
	return project(it), nil
}

func getItem(c *call) (any, error) {
	var in struct {
		TableName                string
		Key                      item
		ConsistentRead           bool
		ProjectionExpression     string
		ExpressionAttributeNames map[string]string
		ReturnConsumedCapacity   string
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	it, err := c.w.getOne(in.TableName, in.Key, in.ProjectionExpression, in.ExpressionAttributeNames)
	if err != nil || it == nil {
		return map[string]any{}, err
	}
	return map[string]any{"Item": it}, nil
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
			wr.t.remove(wr.key)
		} else if err := wr.t.put(wr.key, wr.it); err != nil {
			return nil, err
		}
	}
	return map[string]any{"UnprocessedItems": map[string]any{}}, nil
}

func batchGetItem(c *call) (any, error) {
	var in struct {
		RequestItems map[string]struct {
			Keys                     []item
			ConsistentRead           bool
			ProjectionExpression     string
			ExpressionAttributeNames map[string]string
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
			it, err := c.w.getOne(name, k, req.ProjectionExpression, req.ExpressionAttributeNames)
			if err != nil {
				return nil, err
			}
			if it != nil {
				out[name] = append(out[name], it)
			}
		}
	}
	return map[string]any{"Responses": out, "UnprocessedKeys": map[string]any{}}, nil
}
