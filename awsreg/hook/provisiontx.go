package hook

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// first writes that a device is admitted, and takes a unit of its order. It
// returns ErrTaken if somebody else was first.
func (p *Provisioner) first(ctx context.Context, a admission) error {
	seat, err := p.succession().seat(ctx, Taken{}, a.Taken, a.thing)
	if err != nil {
		return err
	}
	steps := []step{put(p.Table, a.Taken.Item(), isAbsent, nil, ErrTaken), p.unit(a)}
	return transact(ctx, p.Dynamo, append(steps, p.common(a, seat)...))
}

// second writes that a certificate has taken the place of another, which cannot
// be put in service any more. A unit of the order is taken only if the other had
// come under another order.
func (p *Provisioner) second(ctx context.Context, had Taken, a admission, seat Rotating) error {
	steps := []step{
		put(p.Table, a.Taken.Item(), "#certificate = :old", Item{":old": text(had.CertificateID)}, ErrTaken).naming("certificate"),
		{types.TransactWriteItem{Delete: &types.Delete{TableName: aws.String(p.Table), Key: Key(FleetKey(had.CertificateID))}}, nil},
	}
	if had.Order != a.Order {
		steps = append(steps, p.unit(a))
	}
	return transact(ctx, p.Dynamo, append(steps, p.common(a, seat)...))
}

// unit takes one unit of the order's quantity.
func (p *Provisioner) unit(a admission) step {
	return unit(p.Table, UsedKey(a.Order), a.order.Quantity,
		refusal(OrderFull, a.CertificateID, "work order %q is for %d devices, and as many were admitted", a.Order, a.order.Quantity))
}

// unit counts one more under a key, up to a quantity.
func unit(table, pk string, quantity int, otherwise error) step {
	return step{types.TransactWriteItem{Update: &types.Update{
		TableName: aws.String(table), Key: Key(pk),
		UpdateExpression:         aws.String("ADD #n :one"),
		ConditionExpression:      aws.String("attribute_not_exists(#n) OR #n < :quantity"),
		ExpressionAttributeNames: names("n"),
		ExpressionAttributeValues: Item{
			":one": number(1), ":quantity": number(int64(quantity)),
		},
	}}, otherwise}
}

// stillOpen checks that an order is open, for its template, and not over.
func stillOpen(table string, o Order, now time.Time, certificateID string) step {
	return step{types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
		TableName: aws.String(table), Key: Key(OrderKey(o.ID)),
		ConditionExpression:      aws.String("#state = :open AND #template = :template AND #notAfter > :now"),
		ExpressionAttributeNames: names("state", "template", "notAfter"),
		ExpressionAttributeValues: Item{
			":open": text(openState), ":template": text(o.Template), ":now": number(now.Unix()),
		},
	}}, refusal(OrderClosed, certificateID, "work order %q was closed at this moment", o.ID)}
}

// common is the certificate's own item, the device's in the rotation table, in the
// place of what is there (nothing if empty), and what must still hold at the moment of the
// decision.
func (p *Provisioner) common(a admission, seat Rotating) []step {
	admitted := Admitted{CertificateID: a.CertificateID, Thing: a.thing, Device: a.Device, Template: a.template.Name, At: a.At}
	steps := []step{
		put(p.Table, admitted.Item(), isAbsent, nil, refusal(InUse, a.CertificateID, "it has been admitted for another device")),
		stillOpen(p.Table, a.order, a.At, a.CertificateID),
		absent(p.Table, HeldKey(a.thing), refusal(Held, a.CertificateID, "device %q was held at this moment", a.Device)),
		absent(p.Table, revokedMark+a.Claim, refusal(IsRevoked, a.Claim, "mintmark has revoked it at this moment")),
	}
	if p.Rotation == "" {
		return steps
	}
	if seat.Thing == "" {
		return append(steps, put(p.Rotation, a.rotating().Item(), isAbsent, nil, ErrTaken))
	}
	condition, values := seat.unchanged()
	return append(steps, put(p.Rotation, a.rotating().Item(), condition, values, ErrTaken).naming("current", "next", "replaced"))
}

func (a admission) rotating() Rotating {
	return Rotating{Thing: a.thing, Device: a.Device, Current: a.CertificateID, IssuedAt: a.At}
}

// void notes that a certificate is being replaced, before it is revoked: if the
// call is cut off in between, the next one knows who revoked it.
func (p *Provisioner) void(ctx context.Context, had Taken, at time.Time) (Taken, error) {
	err := update(ctx, p.Dynamo, &dynamodb.UpdateItemInput{
		TableName: aws.String(p.Table), Key: Key(TakenKey(had.Device)),
		UpdateExpression:         aws.String("SET #void = :at"),
		ConditionExpression:      aws.String("#certificate = :old"),
		ExpressionAttributeNames: names("void", "certificate"),
		ExpressionAttributeValues: Item{
			":at":  number(at.Unix()),
			":old": text(had.CertificateID),
		},
	})
	had.Void = at
	return had, err
}
