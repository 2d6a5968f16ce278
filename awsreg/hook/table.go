package hook

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// Getter is the one operation of DynamoDB that reading the manifest takes.
type Getter interface {
	GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
}

// Table is the manifest in DynamoDB, as a Store. The methods return ErrUnknown
// for an item that is not there, unless they say otherwise.
type Table struct {
	Client Getter
	Name   string
}

var _ Store = Table{}

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
	return decoded(ctx, t, headKey, DecodeHead)
}

// Held implements Store. The server writes the mark under the name of the thing.
// Under the device's own name it counts if it is about that device.
func (t Table) Held(ctx context.Context, thing, device string) (bool, error) {
	mark, err := t.get(ctx, HeldKey(thing))
	if mark != nil || err != nil || device == thing {
		return mark != nil, err
	}
	mark, err = t.get(ctx, HeldKey(device))
	if mark == nil || err != nil {
		return false, err
	}
	r := reader{item: mark}
	return r.text("device") == device || r.err != nil, nil
}

// revoked reports whether a certificate has the mark of a revocation.
func (t Table) revoked(ctx context.Context, certificateID string) (bool, error) {
	mark, err := t.get(ctx, revokedMark+certificateID)
	return mark != nil, err
}

func (t Table) order(ctx context.Context, id string) (Order, error) {
	return decoded(ctx, t, OrderKey(id), DecodeOrder)
}

func (t Table) claim(ctx context.Context, certificateID string) (Claim, error) {
	return decoded(ctx, t, ClaimKey(certificateID), DecodeClaim)
}

func (t Table) template(ctx context.Context, name string) (Template, error) {
	return decoded(ctx, t, TemplateKey(name), DecodeTemplate)
}

func (t Table) taken(ctx context.Context, device string) (Taken, error) {
	return decoded(ctx, t, TakenKey(device), DecodeTaken)
}

func (t Table) asked(ctx context.Context, device string) (Asked, error) {
	return decoded(ctx, t, AskedKey(device), DecodeAsked)
}

func (t Table) admitted(ctx context.Context, certificateID string) (Admitted, error) {
	return decoded(ctx, t, FleetKey(certificateID), DecodeAdmitted)
}

// whose is the device and the thing of a certificate, by what was written when it
// was admitted, or, of one that came by another way, by its entry.
func (t Table) whose(ctx context.Context, certificateID string) (device, thing string, err error) {
	admitted, err := t.admitted(ctx, certificateID)
	if err == nil || !errors.Is(err, ErrUnknown) {
		return admitted.Device, admitted.Thing, err
	}
	entry, err := t.Entry(ctx, certificateID)
	if err == nil && entry.State == Revoked {
		err = refusal(IsRevoked, certificateID, "mintmark has revoked it")
	}
	return entry.Device, entry.Thing, err
}

// used is how many devices were admitted under an order; 0 without an item.
func (t Table) used(ctx context.Context, order string) (int, error) {
	item, err := t.get(ctx, UsedKey(order))
	if item == nil || err != nil {
		return 0, err
	}
	return DecodeUsed(item)
}

// expected is the order on whose list a device is.
func (t Table) expected(ctx context.Context, device string) (string, error) {
	return decoded(ctx, t, ExpectedKey(device), func(item Item) (string, error) {
		r := reader{item: item}
		return r.text("order"), r.err
	})
}

// rotating is for the rotation table.
func (t Table) rotating(ctx context.Context, thing string) (Rotating, error) {
	return decoded(ctx, t, thing, DecodeRotating)
}

// decoded reads one item and decodes it.
func decoded[T any](ctx context.Context, t Table, pk string, decode func(Item) (T, error)) (T, error) {
	var none T
	item, err := t.get(ctx, pk)
	if err != nil {
		return none, err
	}
	if item == nil {
		return none, ErrUnknown
	}
	v, err := decode(item)
	if err != nil {
		return none, fmt.Errorf("reading item %s of table %s: %w", cut(pk), t.Name, err)
	}
	return v, nil
}

// get reads one item with a consistent read: without it a revocation could be
// missed for a while after it was written. It returns nil if there is none.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html
func (t Table) get(ctx context.Context, pk string) (Item, error) {
	out, err := t.Client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      aws.String(t.Name),
		Key:            Key(pk),
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, fmt.Errorf("reading item %s of table %s: %w", cut(pk), t.Name, err)
	}
	if len(out.Item) == 0 {
		return nil, nil
	}
	return out.Item, nil
}
