package hook

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// Getter is the one operation of DynamoDB that reading the manifest takes.
type Getter interface {
	GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
}

// Table is the manifest in DynamoDB, as a Store.
type Table struct {
	Client Getter
	Name   string
}

// Entry implements Store. The mark of a revocation is read after the entry, so
// that a revocation is seen as late as possible, and counts without an entry.
func (t Table) Entry(ctx context.Context, id string) (Entry, error) {
	entry, entryErr := t.get(ctx, id)
	mark, err := t.get(ctx, revokedMark+id)
	if err != nil {
		return Entry{}, err
	}
	if entryErr != nil {
		return Entry{}, entryErr
	}
	if mark != nil {
		r := reader{item: mark}
		return Entry{CertificateID: id, Device: r.text("device"), Serial: r.text("serial"), State: Revoked}, nil
	}
	if entry == nil {
		return Entry{}, ErrUnknown
	}
	return DecodeEntry(entry)
}

// Head implements Store.
func (t Table) Head(ctx context.Context) (Head, error) {
	item, err := t.get(ctx, headKey)
	if err != nil {
		return Head{}, err
	}
	if item == nil {
		return Head{}, ErrUnknown
	}
	return DecodeHead(item)
}

// get reads one item with a consistent read: without it a revocation could be
// missed for a while after it was written.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html
func (t Table) get(ctx context.Context, pk string) (Item, error) {
	out, err := t.Client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      aws.String(t.Name),
		Key:            Key(pk),
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, fmt.Errorf("reading item %s of table %s: %w", pk, t.Name, err)
	}
	if len(out.Item) == 0 {
		return nil, nil
	}
	return out.Item, nil
}
