package hook

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// maxAsks is how many certificates can be asked for for one device, under one work
// order or with one certificate: enough for a device that is cut off again and again.
const maxAsks = 16

// Asked is what the certificate provider writes before it has a device's request
// signed: whoever holds a claim can ask for certificates and never provision.
type Asked struct {
	Device string
	Key    string // SHA-256 of the request's public key, in hexadecimal
	Order  string // empty if the device asked with its own certificate
	Claim  string // id of the certificate that asked
	At     time.Time
	N      int // how often, under this order or with this certificate
}

// AskedKey and AsksKey are the keys of what the certificate provider writes.
func AskedKey(device string) string { return askedMark + device }
func AsksKey(order string) string   { return asksMark + order }

// Item is what is written of a device for which a certificate is asked for.
func (a Asked) Item() Item {
	return Item{
		keyName: text(AskedKey(a.Device)),
		"key":   text(a.Key),
		"order": text(a.Order),
		"claim": text(a.Claim),
		"at":    number(a.At.Unix()),
		"n":     number(int64(a.N)),
	}
}

// DecodeAsked reads the item of a device for which a certificate was asked for. What
// it accepts, Item gives back.
func DecodeAsked(item Item) (Asked, error) {
	r := reader{item: item}
	pk := r.text(keyName)
	a := Asked{Key: r.text("key"), Order: r.text("order"), Claim: r.text("claim"), At: time.Unix(r.number("at"), 0).UTC()}
	n := r.number("n")
	device, ok := strings.CutPrefix(pk, askedMark)
	switch {
	case r.err != nil:
		return Asked{}, r.err
	case !ok || !ValidDevice(device):
		return Asked{}, errField(pk, keyName, pk)
	case !ValidID(a.Key):
		return Asked{}, errField(pk, "key", a.Key)
	case !ValidID(a.Claim):
		return Asked{}, errField(pk, "claim", a.Claim)
	case n < 0 || n > maxAsks:
		return Asked{}, errField(pk, "n", "out of range")
	}
	a.Device, a.N = device, int(n)
	return a, nil
}

// sameGrant reports whether two were asked for under the same order, or with the
// same certificate of the device.
func (a Asked) sameGrant(b Asked) bool {
	return a.Order == b.Order && (a.Order != "" || a.Claim == b.Claim)
}

// grant is what an admitted request is asked under.
type grant struct {
	order Order // without an ID for a device that asks with its own certificate
	thing string
}

// ask writes that a certificate is asked for, before anybody signs one. The first
// one for a device under an order takes a unit of the order's quantity; the same
// key again costs none. Whoever comes with another key a moment later is a rival.
// What was admitted is checked again in the same transaction.
func (p *Provider) ask(ctx context.Context, g grant, principal string, csr *x509.CertificateRequest, now time.Time) (Asked, error) {
	next := Asked{
		Device: csr.Subject.CommonName, Key: id(sha256.Sum256(csr.RawSubjectPublicKeyInfo)),
		Order: g.order.ID, Claim: principal, At: now,
	}
	for {
		had, err := Table{Client: p.Dynamo, Name: p.Table}.asked(ctx, next.Device)
		first := errors.Is(err, ErrUnknown)
		switch {
		case first:
			next.N = 1
		case err != nil:
			return Asked{}, err
		case had.Key != next.Key && now.Sub(had.At) < settling:
			return Asked{}, refusal(Busy, principal, "for device %q a certificate with another key was asked for %s ago; ask again in %s", next.Device, now.Sub(had.At), settling)
		case !had.sameGrant(next):
			next.N = 1
		case had.N >= maxAsks:
			return Asked{}, refusal(InUse, principal, "for device %q %d certificates were asked for: it comes again under another work order", next.Device, had.N)
		default:
			next.N = had.N + 1
		}
		write := put(p.Table, next.Item(), isAbsent, nil, ErrTaken)
		if !first {
			write = put(p.Table, next.Item(), "#key = :key AND #n = :n AND #claim = :claim AND #at = :at", had.values(), ErrTaken).naming("key", "n", "claim", "at")
		}
		steps := []step{
			write,
			absent(p.Table, HeldKey(g.thing), refusal(Held, principal, "device %q was held at this moment", next.Device)),
			absent(p.Table, revokedMark+principal, refusal(IsRevoked, principal, "mintmark has revoked it at this moment")),
		}
		if g.order.ID != "" {
			steps = append(steps, stillOpen(p.Table, g.order, now, principal))
			if next.N == 1 && (first || !had.sameGrant(next)) {
				steps = append(steps, unit(p.Table, AsksKey(g.order.ID), g.order.Quantity,
					refusal(OrderFull, principal, "work order %q is for %d devices, and certificates were asked for for as many", g.order.ID, g.order.Quantity)))
			}
		}
		if err := transact(ctx, p.Dynamo, steps); !errors.Is(err, ErrTaken) {
			return next, err
		}
	}
}

// values are those of the condition that nobody has asked since.
func (a Asked) values() Item {
	return Item{":key": text(a.Key), ":n": number(int64(a.N)), ":claim": text(a.Claim), ":at": number(a.At.Unix())}
}

// takeBack counts an ask as none, after the server has refused it or could not be
// reached: a server that is down costs a device nothing. The order's unit stays with
// the device. It has a little time even if the decision's is over.
func (p *Provider) takeBack(ctx context.Context, a Asked) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), margin/2)
	defer cancel()
	values := a.values()
	values[":before"] = number(int64(a.N - 1))
	err := update(ctx, p.Dynamo, &dynamodb.UpdateItemInput{
		TableName: aws.String(p.Table), Key: Key(AskedKey(a.Device)),
		UpdateExpression:          aws.String("SET #n = :before"),
		ConditionExpression:       aws.String("#key = :key AND #n = :n AND #claim = :claim AND #at = :at"),
		ExpressionAttributeNames:  names("key", "n", "claim", "at"),
		ExpressionAttributeValues: values,
	})
	if err == nil || errors.Is(err, ErrTaken) {
		return nil // or somebody has asked since, and counts for both
	}
	return fmt.Errorf("taking back that a certificate was asked for: %w", err)
}
