package awsreg

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/reconcile"
)

const (
	// sameSubject is how many CAs of one subject an account and region takes.
	// https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterCACertificate.html
	sameSubject = 10
	// maxDescribed bounds the CAs that are looked at one by one, because AWS does
	// not list their subjects.
	maxDescribed = 500
	// ourTag marks the CAs that mintmark has registered; its value is the issuer's
	// name.
	ourTag = "mintmark"
)

// tenOfOneSubject turns the creation of an eleventh CA of one subject into a
// refusal, which AWS would make it after the others were registered.
func (r *Registrar) tenOfOneSubject(ctx context.Context, s *session, resources []resource, changes []reconcile.Change) error {
	creates := 0
	for i, res := range resources {
		if res.registers != nil && changes[i].Action == reconcile.Create {
			creates++
		}
	}
	if creates == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	list, err := s.listCAs(ctx)
	if err != nil || len(list)+creates <= sameSubject {
		return err
	}
	subjects := make(map[string]int)
	for _, ca := range list[:min(len(list), maxDescribed)] {
		c, _, err := s.describeAny(ctx, aws.ToString(ca.CertificateId))
		if err != nil {
			return err
		}
		if c != nil {
			subjects[string(c.RawSubject)]++
		}
	}
	for i, res := range resources {
		if res.registers == nil || changes[i].Action != reconcile.Create {
			continue
		}
		subject := string(res.registers.RawSubject)
		if subjects[subject]++; subjects[subject] <= sameSubject {
			continue
		}
		f := Finding{Refused, "same-subject", changes[i].Subject, overLimit,
			fmt.Sprintf("an account takes ten with the same subject in a region, and this would be one more: have one that is retired deleted first (state: deleted), or give the next CA another subject than %q", res.registers.Subject)}
		changes[i].Action, changes[i].After = reconcile.Refuse, f.String()
	}
	return nil
}

// listCAs lists the CAs that the account has in the region.
func (s *session) listCAs(ctx context.Context) ([]types.CACertificate, error) {
	const doing = "listing the CAs of the account"
	var list []types.CACertificate
	var marker *string
	for range maxPages {
		var page *iot.ListCACertificatesOutput
		err := retry(ctx, func() (err error) {
			page, err = s.iot.ListCACertificates(ctx, &iot.ListCACertificatesInput{PageSize: aws.Int32(listPage), Marker: marker, AscendingOrder: true})
			return err
		})
		if err != nil {
			return nil, explain(doing, err)
		}
		list = append(list, page.Certificates...)
		if marker = page.NextMarker; aws.ToString(marker) == "" {
			return list, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", doing, errTooManyPages)
}

// describeAny reads a CA of anybody's; nil if it is gone. What Go cannot parse
// has no subject to compare, and counts as nobody's.
func (s *session) describeAny(ctx context.Context, id string) (*x509.Certificate, *types.CACertificateDescription, error) {
	var d *types.CACertificateDescription
	err := retry(ctx, func() error {
		out, err := s.iot.DescribeCACertificate(ctx, &iot.DescribeCACertificateInput{CertificateId: aws.String(id)})
		if err == nil {
			d = out.CertificateDescription
		}
		return err
	})
	if code(err) == codeNotFound {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, explain("describing CA "+id, err)
	}
	if d == nil {
		return nil, nil, fmt.Errorf("describing CA %s: AWS answered without a description", id)
	}
	block, _ := pem.Decode([]byte(aws.ToString(d.CertificatePem)))
	if block == nil {
		return nil, d, nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, d, nil
	}
	return c, d, nil
}

// Unconfigured is a CA that is registered and looks like one of ours, but that
// the target does not have. Nothing is ever done about it.
type Unconfigured struct {
	CertificateID string
	Subject       string
	Issuer        string // by the tag that mintmark gave it; empty without one
	// The following are AWS's words.
	State            string
	Mode             string
	AutoRegistration string
}

// unconfigured finds the registered CAs that have mintmark's tag, or the subject
// of one that the target has, and are not in the target.
func (r *Registrar) unconfigured(ctx context.Context, s *session) ([]Unconfigured, error) {
	known := make(map[string]bool)
	var subjects [][]byte
	for _, ca := range s.target.CAs {
		issuer, err := r.issuer(ctx, ca.Issuer)
		if err != nil {
			return nil, err
		}
		if ca.Mode != ModeNone {
			known[CertificateID(issuer.Certificate.Raw)] = true
		}
		subjects = append(subjects, issuer.Certificate.RawSubject)
	}
	list, err := s.listCAs(ctx)
	if err != nil {
		return nil, err
	}
	var found []Unconfigured
	looked := 0
	for _, ca := range list {
		id := aws.ToString(ca.CertificateId)
		if known[id] {
			continue
		}
		if looked++; looked > maxDescribed {
			r.cfg.Logger.Warn("the account has more CAs than are looked at for ones of ours", "target", s.target.Name, "limit", maxDescribed)
			break
		}
		tag, err := s.tag(ctx, aws.ToString(ca.CertificateArn))
		if err != nil {
			return nil, err
		}
		c, d, err := s.describeAny(ctx, id)
		if err != nil {
			return nil, err
		}
		if d == nil {
			continue
		}
		one := Unconfigured{CertificateID: id, Issuer: tag, State: string(d.Status), Mode: string(d.CertificateMode), AutoRegistration: string(d.AutoRegistrationStatus)}
		ours := tag != ""
		if c != nil {
			one.Subject = c.Subject.String()
			for _, subject := range subjects {
				ours = ours || bytes.Equal(subject, c.RawSubject)
			}
		}
		if ours {
			found = append(found, one)
		}
	}
	return found, nil
}

// tag is the value of mintmark's tag on a CA, empty without one.
func (s *session) tag(ctx context.Context, arn string) (string, error) {
	var next *string
	for range maxPages {
		var page *iot.ListTagsForResourceOutput
		err := retry(ctx, func() (err error) {
			page, err = s.iot.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: aws.String(arn), NextToken: next})
			return err
		})
		if code(err) == codeNotFound { // deleted meanwhile
			return "", nil
		}
		if err != nil {
			return "", explain("reading the tags of "+arn, err)
		}
		for _, t := range page.Tags {
			if aws.ToString(t.Key) == ourTag {
				return aws.ToString(t.Value), nil
			}
		}
		if next = page.NextToken; aws.ToString(next) == "" {
			return "", nil
		}
	}
	return "", fmt.Errorf("reading the tags of %s: %w", arn, errTooManyPages)
}
