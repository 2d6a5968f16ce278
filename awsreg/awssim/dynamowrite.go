package awssim

import (
	"maps"
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

// write is one write of one item: parsed, then decided on the item as it is, then
// applied. A transaction decides all of its writes before it applies any.
type write struct {
	t         *table
	key       string
	condition predicate
	showOld   bool // in the refusal
	next      func(old item) (item, error)
	touched   []string // attributes of an update

	old, updated item // set by decide; nil is an item that is not there
}

// begin parses what writes share. made is the parsed write without its key.
func (in *conditional) begin(w *world) (*write, *placeholders, error) {
	t, err := w.findTable(in.TableName)
	if err != nil {
		return nil, nil, err
	}
	p, err := newPlaceholders(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	if err != nil {
		return nil, nil, err
	}
	wr := &write{t: t, showOld: in.ReturnValuesOnConditionCheckFailure == "ALL_OLD"}
	wr.condition, err = p.condition("ConditionExpression", in.ConditionExpression)
	return wr, p, err
}

// decide evaluates the condition and the new item.
func (wr *write) decide() error {
	wr.old = wr.t.items[wr.key]
	if !wr.condition(wr.old) {
		e := dynamoError("ConditionalCheckFailedException", "The conditional request failed")
		if wr.showOld && wr.old != nil {
			e.item = wr.old
		}
		return e
	}
	var err error
	if wr.updated, err = wr.next(wr.old); err != nil || wr.updated == nil {
		return err
	}
	return checkItem(wr.updated)
}

func (wr *write) apply() error {
	if wr.updated == nil {
		wr.t.remove(wr.key)
		return nil
	}
	return wr.t.put(wr.key, wr.updated)
}

// run decides, applies and answers a write that stands alone.
func (wr *write) run(returnValues string) (any, error) {
	if wr.touched == nil && returnValues != "" && returnValues != "NONE" && returnValues != "ALL_OLD" {
		return nil, validation("ReturnValues can only be ALL_OLD or NONE")
	}
	if err := wr.decide(); err != nil {
		return nil, err
	}
	out := map[string]any{}
	switch returnValues {
	case "", "NONE":
	case "ALL_OLD":
		if wr.old != nil {
			out["Attributes"] = wr.old
		}
	case "ALL_NEW":
		out["Attributes"] = wr.updated
	case "UPDATED_OLD", "UPDATED_NEW":
		from, part := wr.old, item{}
		if returnValues == "UPDATED_NEW" {
			from = wr.updated
		}
		for _, name := range wr.touched {
			if v, ok := from[name]; ok {
				part[name] = v
			}
		}
		if len(part) > 0 {
			out["Attributes"] = part
		}
	default:
		return nil, validation("ReturnValues %q is none of NONE, ALL_OLD, ALL_NEW, UPDATED_OLD, UPDATED_NEW", clip(returnValues, 32))
	}
	return out, wr.apply()
}

type putRequest struct {
	conditional
	Item item
}

func (in *putRequest) parse(w *world) (*write, error) {
	wr, p, err := in.begin(w)
	if err != nil {
		return nil, err
	}
	if wr.key, err = wr.t.keyOf(in.Item, false); err != nil {
		return nil, err
	}
	if err := checkItem(in.Item); err != nil {
		return nil, err
	}
	wr.next = func(item) (item, error) { return in.Item, nil }
	return wr, p.done()
}

type updateRequest struct {
	conditional
	Key              item
	UpdateExpression string
}

// parse of an update: an item that is not there is created (API reference,
// UpdateItem).
func (in *updateRequest) parse(w *world) (*write, error) {
	wr, p, err := in.begin(w)
	if err != nil {
		return nil, err
	}
	if wr.key, err = wr.t.keyOf(in.Key, true); err != nil {
		return nil, err
	}
	u, err := p.update(in.UpdateExpression)
	if err != nil {
		return nil, err
	}
	wr.touched = append([]string{}, u.touched...)
	for _, name := range u.touched {
		if name == wr.t.hash || name == wr.t.sort {
			return nil, validation("One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", name)
		}
	}
	wr.next = func(old item) (item, error) {
		if old == nil {
			old = maps.Clone(in.Key)
		}
		return u.run(old)
	}
	return wr, p.done()
}

type deleteRequest struct {
	conditional
	Key item
}

func (in *deleteRequest) parse(w *world) (*write, error) {
	wr, p, err := in.begin(w)
	if err != nil {
		return nil, err
	}
	if wr.key, err = wr.t.keyOf(in.Key, true); err != nil {
		return nil, err
	}
	wr.next = func(item) (item, error) { return nil, nil }
	return wr, p.done()
}

// checkRequest is the ConditionCheck of a transaction.
type checkRequest struct {
	conditional
	Key item
}

func (in *checkRequest) parse(w *world) (*write, error) {
	if in.ConditionExpression == "" {
		return nil, validation("The ConditionExpression of a ConditionCheck must be given")
	}
	wr, p, err := in.begin(w)
	if err != nil {
		return nil, err
	}
	if wr.key, err = wr.t.keyOf(in.Key, true); err != nil {
		return nil, err
	}
	wr.next = func(old item) (item, error) { return old, nil }
	return wr, p.done()
}

func putItem(c *call) (any, error) {
	var in putRequest
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	wr, err := in.parse(c.w)
	if err != nil {
		return nil, err
	}
	return wr.run(in.ReturnValues)
}

func updateItem(c *call) (any, error) {
	var in updateRequest
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	wr, err := in.parse(c.w)
	if err != nil {
		return nil, err
	}
	return wr.run(in.ReturnValues)
}

func deleteItem(c *call) (any, error) {
	var in deleteRequest
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	wr, err := in.parse(c.w)
	if err != nil {
		return nil, err
	}
	return wr.run(in.ReturnValues)
}
