package hook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Dynamo is the part of DynamoDB by which functions read and decide.
// *dynamodb.Client implements it.
type Dynamo interface {
	Getter
	TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, opts ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
	UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// step is one write, or one check, of a transaction.
type step struct {
	item types.TransactWriteItem
	// otherwise is what it means if the step's condition does not hold.
	otherwise error
}

// put writes an item if a condition holds.
func put(table string, item Item, condition string, values Item, otherwise error) step {
	return step{types.TransactWriteItem{Put: &types.Put{
		TableName: aws.String(table), Item: item, ConditionExpression: aws.String(condition), ExpressionAttributeValues: values,
	}}, otherwise}
}

// naming declares the attributes that the condition of a put names as #attribute.
func (s step) naming(attributes ...string) step {
	s.item.Put.ExpressionAttributeNames = names(attributes...)
	return s
}

// names stands attributes for themselves in an expression, behind a #: many plain
// words are reserved there.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
func names(attributes ...string) map[string]string {
	m := make(map[string]string, len(attributes))
	for _, a := range attributes {
		m["#"+a] = a
	}
	return m
}

// absent checks that an item is not there.
func absent(table, pk string, otherwise error) step {
	return step{types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
		TableName: aws.String(table), Key: Key(pk), ConditionExpression: aws.String(isAbsent),
	}}, otherwise}
}

const isAbsent = "attribute_not_exists(pk)"

// maxWait bounds the pause between two attempts.
const maxWait = 200 * time.Millisecond

// transact does all steps or none. It tries again while others write the same
// items, until the context ends. Of the conditions that do not hold the first one
// decides the error.
//
// An attempt whose answer was lost may have taken effect, and the next one then
// finds its conditions broken by it: whoever gets ErrTaken reads again.
func transact(ctx context.Context, client Dynamo, steps []step) error {
	in := &dynamodb.TransactWriteItemsInput{}
	for _, s := range steps {
		in.TransactItems = append(in.TransactItems, s.item)
	}
	return retrying(ctx, func() error {
		_, err := client.TransactWriteItems(ctx, in)
		var canceled *types.TransactionCanceledException
		if !errors.As(err, &canceled) {
			return err
		}
		again := false
		for i, reason := range canceled.CancellationReasons {
			switch code := aws.ToString(reason.Code); {
			case code == "ConditionalCheckFailed" && i < len(steps):
				return steps[i].otherwise
			case code == "TransactionConflict" || code == "ThrottlingError" || code == "ProvisionedThroughputExceeded":
				again = true
			}
		}
		if again {
			return errAgain
		}
		return err
	})
}

// update changes one item if a condition holds, and returns ErrTaken if not.
func update(ctx context.Context, client Dynamo, in *dynamodb.UpdateItemInput) error {
	return retrying(ctx, func() error {
		_, err := client.UpdateItem(ctx, in)
		var failed *types.ConditionalCheckFailedException
		var conflict *types.TransactionConflictException
		switch {
		case errors.As(err, &failed):
			return ErrTaken
		case errors.As(err, &conflict):
			return errAgain
		}
		return err
	})
}

// errAgain: somebody else was writing the same item at the same moment.
var errAgain = errors.New("another transaction is in progress")

// retrying calls until the outcome is not errAgain or the context ends, with
// growing random pauses.
func retrying(ctx context.Context, call func() error) error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, maxWait) {
		err := call()
		if err != errAgain {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("writing to DynamoDB: %w: %w", errAgain, context.Cause(ctx))
		}
	}
}
