package awsreg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// batchSize is how many items BatchWriteItem takes.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
const batchSize = 25

// Deliver tells a target what tasks of its kind say and returns one error a task,
// nil where it is told. Tasks may be delivered again and in any order: entries of
// valid certificates never change, and a revocation has an item of its own.
func (r *Registrar) Deliver(ctx context.Context, t Target, tasks []ledger.Task) []error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	errs := make([]error, len(tasks))
	s, err := r.session(ctx, t, false)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	cas := make(map[string]string) // id by name
	pushes := make([]push, len(tasks))
	var items []batchItem
	for i, task := range tasks {
		if pushes[i], errs[i] = parsePush(task.Payload); errs[i] != nil {
			continue
		}
		if t.JITR == nil {
			continue
		}
		entry := pushes[i].Entry
		if entry.State == hook.Valid {
			if cas[entry.Issuer] == "" {
				if cas[entry.Issuer], errs[i] = r.issuerID(ctx, entry.Issuer); errs[i] != nil {
					continue
				}
			}
			entry.CA = cas[entry.Issuer]
		}
		for _, item := range entry.Items() {
			items = append(items, batchItem{i, item})
		}
	}
	if len(items) > 0 {
		s.write(ctx, t.Manifest.table(), items, errs)
	}
	// The mark is in the table before the certificate is touched: package hook
	// relies on that order.
	for i, p := range pushes {
		if errs[i] == nil && p.State == hook.Revoked {
			errs[i] = retry(ctx, func() error { return r.revoke(ctx, s, p) })
		}
	}
	return errs
}

func (r *Registrar) issuerID(ctx context.Context, name string) (string, error) {
	issuer, err := r.issuer(ctx, name)
	if err != nil {
		return "", err
	}
	return CertificateID(issuer.Certificate.Raw), nil
}

// Beat says in the manifest's head that everything recorded by asOf is in the
// manifest. The caller has seen the target's part of the outbox empty, and took
// asOf before it looked. While nobody beats, the manifest ages, and past its
// maximum age the Lambda activates nothing. A target without JITR has no head.
func (r *Registrar) Beat(ctx context.Context, t Target, asOf time.Time) error {
	if t.JITR == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	s, err := r.session(ctx, t, false)
	if err != nil {
		return err
	}
	head := hook.Head{PushedAt: asOf, Server: r.cfg.Server, MaxAge: t.Manifest.maxAge()}
	err = retry(ctx, func() error {
		_, err := s.dynamo.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(t.Manifest.table()), Item: head.Item()})
		return err
	})
	return explain(fmt.Sprintf("AWS target %q: writing the head of table %q", t.Name, t.Manifest.table()), err)
}

// batchItem is an item and the task that it is of.
type batchItem struct {
	task int
	item hook.Item
}

// write puts items into the table, and its failures into errs. One batch takes a
// key only once, so a repeated one waits for the next.
func (s *session) write(ctx context.Context, table string, items []batchItem, errs []error) {
	for len(items) > 0 {
		batch, keys := make([]batchItem, 0, batchSize), make(map[string]bool)
		var rest []batchItem
		for _, item := range items {
			if key := itemKey(item.item); len(batch) == batchSize || keys[key] {
				rest = append(rest, item)
			} else {
				keys[key] = true
				batch = append(batch, item)
			}
		}
		s.writeBatch(ctx, table, batch, errs)
		items = rest
	}
}

// writeBatch repeats a batch until DynamoDB has processed all of it: it answers
// success for a part and gives the rest back.
func (s *session) writeBatch(ctx context.Context, table string, batch []batchItem, errs []error) {
	err := retry(ctx, func() error {
		requests := make([]dynamotypes.WriteRequest, len(batch))
		for i, b := range batch {
			requests[i] = dynamotypes.WriteRequest{PutRequest: &dynamotypes.PutRequest{Item: b.item}}
		}
		out, err := s.dynamo.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
			RequestItems: map[string][]dynamotypes.WriteRequest{table: requests},
		})
		if err != nil {
			return explain(fmt.Sprintf("writing to table %q", table), err)
		}
		left := make(map[string]bool)
		for _, request := range out.UnprocessedItems[table] {
			if request.PutRequest != nil {
				left[itemKey(request.PutRequest.Item)] = true
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
	for _, b := range batch { // whatever is left when giving up
		errs[b.task] = err
	}
}

func itemKey(item hook.Item) string {
	if v, ok := item[tableKey].(*dynamotypes.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

// revoke makes a revoked certificate unusable at AWS. The broker reads neither
// CRLs nor OCSP, so that this status is what keeps the device out, and ends its
// connection within minutes.
// https://docs.aws.amazon.com/iot/latest/apireference/API_UpdateCertificate.html
//
// A certificate that AWS does not know is refused by the Lambda once the mark is
// in the manifest. JITP has no such check and would let it in, so there it is
// registered, as revoked.
func (r *Registrar) revoke(ctx context.Context, s *session, p push) error {
	doing := fmt.Sprintf("revoking certificate %s", p.CertificateID)
	_, err := s.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{
		CertificateId: aws.String(p.CertificateID),
		NewStatus:     types.CertificateStatusRevoked,
	})
	switch code(err) {
	case codeNotFound:
		if p.Certificate == "" {
			return nil
		}
		return r.registerRevoked(ctx, s, p)
	case codeState:
		// AWS may refuse to revoke what is revoked.
		out, describeErr := s.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: aws.String(p.CertificateID)})
		if describeErr != nil {
			return explain(doing, describeErr)
		}
		if d := out.CertificateDescription; d != nil && d.Status == types.CertificateStatusRevoked {
			return nil
		}
	}
	return explain(doing, err)
}

// registerRevoked registers a certificate so that it can never be provisioned.
// https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterCertificate.html
func (r *Registrar) registerRevoked(ctx context.Context, s *session, p push) error {
	issuer, err := r.issuer(ctx, p.Issuer)
	if err != nil {
		return err
	}
	_, err = s.iot.RegisterCertificate(ctx, &iot.RegisterCertificateInput{
		CertificatePem:   aws.String(p.Certificate),
		CaCertificatePem: aws.String(certificatePEM(issuer.Certificate.Raw)),
		Status:           types.CertificateStatusRevoked,
	})
	switch code(err) {
	case codeExists: // it connected this very moment: the next attempt revokes it
		return fmt.Errorf("registering certificate %s as revoked: %w", p.CertificateID, errors.Join(errNotYet, err))
	case codeNotFound, "CertificateValidationException":
		// What has expired cannot come in. But a CA that is not registered yet would
		// let it in once it is.
		if now := r.cfg.Now(); now.After(p.NotAfter) || now.After(issuer.Certificate.NotAfter) {
			return nil
		}
		have, describeErr := describeCA(ctx, s.iot, CertificateID(issuer.Certificate.Raw), issuer)
		if describeErr == nil && have == nil {
			return fmt.Errorf("registering certificate %s as revoked: CA %q is not registered yet, `mintmark aws apply` registers it: %w", p.CertificateID, p.Issuer, err)
		}
		return describeErr
	}
	return explain(fmt.Sprintf("registering certificate %s as revoked", p.CertificateID), err)
}
