package awsreg

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// pageSize is the largest page of the operations that list.
// https://docs.aws.amazon.com/iot/latest/apireference/API_ListCertificatesByCA.html
const pageSize = 250

// listing is what AWS has of many certificates, in the least memory: the id is the
// hash itself, and the status one byte.
type listing map[[32]byte]status

// status is a CertificateStatus.
type status byte

const (
	statusOther status = iota
	statusActive
	statusInactive
	statusRevoked
	statusPending
)

var statuses = map[types.CertificateStatus]status{
	types.CertificateStatusActive:            statusActive,
	types.CertificateStatusInactive:          statusInactive,
	types.CertificateStatusRevoked:           statusRevoked,
	types.CertificateStatusPendingActivation: statusPending,
}

func (s status) String() string {
	for name, n := range statuses {
		if n == s {
			return string(name)
		}
	}
	return "of another status"
}

func (l listing) add(certificates []types.Certificate) {
	var id [32]byte
	for _, c := range certificates {
		name := aws.ToString(c.CertificateId)
		if len(name) != hex.EncodedLen(len(id)) {
			continue // no id that AWS gives
		}
		if _, err := hex.Decode(id[:], []byte(name)); err == nil {
			l[id] = statuses[c.Status]
		}
	}
}

// status is what AWS has of a certificate; statusOther if it is not listed.
func (l listing) status(id string) status { return l[hash(id)] }

// listByCA lists every certificate that AWS registered under a CA.
func (s *session) listByCA(ctx context.Context, caID string) (listing, error) {
	l := make(listing)
	in := &iot.ListCertificatesByCAInput{CaCertificateId: aws.String(caID), PageSize: aws.Int32(pageSize), AscendingOrder: true}
	for {
		var out *iot.ListCertificatesByCAOutput
		err := retry(ctx, func() (err error) {
			out, err = s.iot.ListCertificatesByCA(ctx, in)
			return err
		})
		if code(err) == codeNotFound { // the CA is not registered
			return l, nil
		}
		if err != nil {
			return nil, explain(fmt.Sprintf("listing the certificates under CA %s", caID), err)
		}
		l.add(out.Certificates)
		if in.Marker = out.NextMarker; aws.ToString(out.NextMarker) == "" {
			return l, nil
		}
	}
}

// listAll calls page with every certificate of the account, page by page.
func (s *session) listAll(ctx context.Context, page func([]types.Certificate)) error {
	in := &iot.ListCertificatesInput{PageSize: aws.Int32(pageSize), AscendingOrder: true}
	for {
		var out *iot.ListCertificatesOutput
		err := retry(ctx, func() (err error) {
			out, err = s.iot.ListCertificates(ctx, in)
			return err
		})
		if err != nil {
			return explain("listing the certificates of the account", err)
		}
		page(out.Certificates)
		if in.Marker = out.NextMarker; aws.ToString(out.NextMarker) == "" {
			return nil
		}
	}
}

// list lists the certificates that AWS may have of a CA of the target: those
// registered under it, or all of the account where they are registered without it. Of
// an authority with several certificates it is what is under any of them.
func (r *Registrar) list(ctx context.Context, s *session, ca CA) (listing, error) {
	if ca.Mode == ModeNone {
		l := make(listing)
		return l, s.listAll(ctx, l.add)
	}
	all := make(listing)
	for _, one := range s.target.CAs {
		if one.authority() != ca.authority() || one.Mode == ModeNone {
			continue
		}
		id, err := r.issuerID(ctx, one.Issuer)
		if err != nil {
			return nil, err
		}
		under, err := s.listByCA(ctx, id)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, under)
	}
	return all, nil
}
