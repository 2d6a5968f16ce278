package awssim

import (
	"bytes"
	"errors"
	"time"
)

// cancellation is why one action of a transaction did not happen (API reference,
// TransactWriteItems).
type cancellation struct {
	Code    string
	Message string `json:",omitempty"`
	Item    item   `json:",omitempty"`
}

// tokenLife is how long a ClientRequestToken makes a repetition harmless, and
// maxTokens how many the simulator remembers.
const (
	tokenLife = 10 * time.Minute
	maxTokens = 10000
)

// transaction is one that succeeded under a ClientRequestToken.
type transaction struct {
	at   time.Time
	body []byte
}

// transactItem is one action: exactly one member is set.
type transactItem struct {
	Put            *putRequest
	Update         *updateRequest
	Delete         *deleteRequest
	ConditionCheck *checkRequest
}

func (t *transactItem) parse(w *world) (*write, error) {
	n := 0
	var wr *write
	var err error
	if t.Put != nil {
		n++
		wr, err = t.Put.parse(w)
	}
	if t.Update != nil && err == nil {
		n++
		wr, err = t.Update.parse(w)
	}
	if t.Delete != nil && err == nil {
		n++
		wr, err = t.Delete.parse(w)
	}
	if t.ConditionCheck != nil && err == nil {
		n++
		wr, err = t.ConditionCheck.parse(w)
	}
	if err == nil && n != 1 {
		err = validation("TransactItems can only contain one of Check, Put, Update or Delete")
	}
	return wr, err
}

// transactWriteItems does all of its actions or none. A request that cannot be
// understood fails as a whole; one whose conditions fail is cancelled with a
// reason for each action.
func transactWriteItems(c *call) (any, error) {
	var in struct {
		TransactItems               []transactItem
		ClientRequestToken          string
		ReturnConsumedCapacity      string
		ReturnItemCollectionMetrics string
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	if n := len(in.TransactItems); n == 0 || n > maxTransact {
		return nil, validation("Member must have length less than or equal to %d, and at least 1: %d actions", maxTransact, n)
	}
	if len(in.ClientRequestToken) > 36 {
		return nil, validation("clientRequestToken must have 1 to 36 characters")
	}
	if done, err := c.w.repeated(in.ClientRequestToken, c.body); done || err != nil {
		return map[string]any{}, err
	}
	writes := make([]*write, len(in.TransactItems))
	seen := map[string]bool{}
	for i := range in.TransactItems {
		wr, err := in.TransactItems[i].parse(c.w)
		if err != nil {
			return nil, err
		}
		id := wr.t.name + "\x00" + wr.key
		if seen[id] {
			return nil, validation("Transaction request cannot include multiple operations on one item")
		}
		seen[id], writes[i] = true, wr
	}
	if err := decideAll(writes); err != nil {
		return nil, err
	}
	for _, wr := range writes {
		if err := wr.apply(); err != nil {
			return nil, err // not after room was made sure of
		}
	}
	c.w.remember(in.ClientRequestToken, c.body)
	return map[string]any{}, nil
}

// decideAll decides every write and returns the cancellation if one may not be.
func decideAll(writes []*write) error {
	reasons := make([]cancellation, len(writes))
	cancelled := false
	size, more := 0, map[*table]int{}
	for i, wr := range writes {
		reasons[i].Code = "None"
		err := wr.decide()
		var e *apiError
		switch {
		case err == nil:
			size += itemSize(wr.updated)
			if wr.old == nil && wr.updated != nil {
				more[wr.t]++
			}
		case errors.As(err, &e) && e.code == "ConditionalCheckFailedException":
			reasons[i], cancelled = cancellation{"ConditionalCheckFailed", e.message, e.item}, true
		case errors.As(err, &e) && e.code == "ValidationException":
			reasons[i], cancelled = cancellation{"ValidationError", e.message, nil}, true
		default:
			return err
		}
	}
	if cancelled {
		text := ""
		for i, r := range reasons {
			if i > 0 {
				text += ", "
			}
			text += r.Code
		}
		e := dynamoError("TransactionCanceledException", "Transaction cancelled, please refer cancellation reasons for specific reasons [%s]", text)
		e.reasons = reasons
		return e
	}
	if size > maxTransfer {
		return validation("Transaction size has exceeded the maximum allowed size of 4 MB")
	}
	for t, n := range more {
		if len(t.items)+n > maxRecords {
			return dynamoError("LimitExceededException", "the simulator holds at most %d items in a table", maxRecords)
		}
	}
	return nil
}

// repeated reports whether a token's transaction has been done. The same token
// with another request is a mistake of the caller.
func (w *world) repeated(token string, body []byte) (bool, error) {
	old, ok := w.domain.tokens[token]
	if token == "" || !ok || w.now().Sub(old.at) > tokenLife {
		return false, nil
	}
	if !bytes.Equal(old.body, body) {
		return false, dynamoError("IdempotentParameterMismatchException", "The request uses the same client token as a previous, but non-identical request.")
	}
	return true, nil
}

func (w *world) remember(token string, body []byte) {
	if token == "" {
		return
	}
	if len(w.domain.tokens) >= maxTokens {
		for k, old := range w.domain.tokens {
			if w.now().Sub(old.at) > tokenLife {
				delete(w.domain.tokens, k)
			}
		}
	}
	if len(w.domain.tokens) < maxTokens {
		w.domain.tokens[token] = transaction{w.now(), bytes.Clone(body)}
	}
}

func transactGetItems(c *call) (any, error) {
	var in struct {
		TransactItems []struct {
			Get *struct {
				TableName                string
				Key                      item
				ProjectionExpression     string
				ExpressionAttributeNames map[string]string
			}
		}
		ReturnConsumedCapacity string
	}
	if err := c.decodeDynamo(&in); err != nil {
		return nil, err
	}
	if n := len(in.TransactItems); n == 0 || n > maxTransact {
		return nil, validation("Member must have length less than or equal to %d, and at least 1: %d actions", maxTransact, n)
	}
	out := []map[string]any{}
	for _, ti := range in.TransactItems {
		if ti.Get == nil {
			return nil, validation("TransactItems of TransactGetItems must be Get")
		}
		it, err := c.w.getOne(ti.Get.TableName, ti.Get.Key, ti.Get.ProjectionExpression, ti.Get.ExpressionAttributeNames)
		if err != nil {
			return nil, err
		}
		if it == nil {
			out = append(out, map[string]any{})
		} else {
			out = append(out, map[string]any{"Item": it})
		}
	}
	return map[string]any{"Responses": out}, nil
}
