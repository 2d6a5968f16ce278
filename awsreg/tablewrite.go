package awsreg

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mintmark/awsreg/hook"
)

const (
	// batchSize is how many items BatchWriteItem takes, readSize how many keys
	// BatchGetItem does.
	// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
	// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
	batchSize = 25
	readSize  = 100
	// batchesAtOnce bounds the batches of one call of write that are under way.
	batchesAtOnce = 4
)

// batchItem is an item to be written, or a key to be deleted, and the task that it
// is of.
type batchItem struct {
	task   int
	item   hook.Item
	remove bool
}

func (b batchItem) request() dynamotypes.WriteRequest {
	if b.remove {
		return dynamotypes.WriteRequest{DeleteRequest: &dynamotypes.DeleteRequest{Key: b.item}}
	}
	return dynamotypes.WriteRequest{PutRequest: &dynamotypes.PutRequest{Item: b.item}}
}

// write puts items into the table, and its failures into errs. Of items with one
// key the last one given stays: only batches without a common key are under way
// at once.
func (s *session) write(ctx context.Context, table string, items []batchItem, errs []error) {
	var mu sync.Mutex // guards errs
	for len(items) > 0 {
		var batches [][]batchItem
		var rest []batchItem
		keys := make(map[string]bool)
		for _, item := range items {
			if key := itemKey(item.item); keys[key] {
				rest = append(rest, item)
			} else {
				keys[key] = true
				if n := len(batches); n == 0 || len(batches[n-1]) == batchSize {
					batches = append(batches, nil)
				}
				batches[len(batches)-1] = append(batches[len(batches)-1], item)
			}
		}
		inParallel(batchesAtOnce, len(batches), func(i int) {
			left, err := s.writeBatch(ctx, table, batches[i])
			mu.Lock()
			defer mu.Unlock()
			for _, b := range left {
				errs[b.task] = err
			}
		})
		items = rest
	}
}

// writeBatch repeats a batch until DynamoDB has processed all of it: it answers
// success for a part and gives the rest back. It returns what is not written when
// it gives up.
func (s *session) writeBatch(ctx context.Context, table string, batch []batchItem) ([]batchItem, error) {
	err := retry(ctx, func() error {
		requests := make([]dynamotypes.WriteRequest, len(batch))
		for i, b := range batch {
			requests[i] = b.request()
		}
		out, err := s.dynamo.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
			RequestItems: map[string][]dynamotypes.WriteRequest{table: requests},
		})
		if err != nil {
			return explain(fmt.Sprintf("writing to table %q", table), err)
		}
		left := make(map[string]bool)
		for _, request := range out.UnprocessedItems[table] {
			switch {
			case request.PutRequest != nil:
				left[itemKey(request.PutRequest.Item)] = true
			case request.DeleteRequest != nil:
				left[itemKey(request.DeleteRequest.Key)] = true
			}
		}
		if len(left) == 0 {
			batch = nil
			return nil
		}
		remaining := make([]batchItem, 0, len(left))
		for _, b := range batch {
			if left[itemKey(b.item)] {
				remaining = append(remaining, b)
			}
		}
		batch = remaining
		return fmt.Errorf("writing to table %q: %d items unprocessed: %w", table, len(left), errNotYet)
	})
	return batch, err
}

// putItems writes items of different keys, all of them or fails.
func (s *session) putItems(ctx context.Context, table string, items ...hook.Item) error {
	return s.change(ctx, table, items, false)
}

// deleteItems deletes by key; what is not there is no error.
func (s *session) deleteItems(ctx context.Context, table string, keys ...hook.Item) error {
	return s.change(ctx, table, keys, true)
}

func (s *session) change(ctx context.Context, table string, items []hook.Item, remove bool) error {
	all, errs := make([]batchItem, len(items)), make([]error, 1)
	for i, item := range items {
		all[i] = batchItem{0, item, remove}
	}
	s.write(ctx, table, all, errs)
	return errs[0]
}

// getItems reads the items of different keys with consistent reads; absent ones
// are not in the result.
func (s *session) getItems(ctx context.Context, table string, keys ...string) (map[string]hook.Item, error) {
	found := make(map[string]hook.Item)
	for len(keys) > 0 {
		n := min(len(keys), readSize)
		wanted := make([]hook.Item, n)
		for i, key := range keys[:n] {
			wanted[i] = hook.Key(key)
		}
		err := retry(ctx, func() error {
			out, err := s.dynamo.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
				RequestItems: map[string]dynamotypes.KeysAndAttributes{table: {Keys: wanted, ConsistentRead: aws.Bool(true)}},
			})
			if err != nil {
				return err
			}
			for _, item := range out.Responses[table] {
				found[itemKey(item)] = item
			}
			if left := out.UnprocessedKeys[table].Keys; len(left) > 0 {
				wanted = left
				return errNotYet
			}
			return nil
		})
		if err != nil {
			return nil, explain(fmt.Sprintf("reading table %q", table), err)
		}
		keys = keys[n:]
	}
	return found, nil
}

func itemKey(item hook.Item) string {
	if v, ok := item[tableKey].(*dynamotypes.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

// isConditionFailed: a conditional write found something else than it asked for.
func isConditionFailed(err error) bool {
	var failed *dynamotypes.ConditionalCheckFailedException
	return errors.As(err, &failed)
}
