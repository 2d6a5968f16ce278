package server

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"mintmark/ca"
	"mintmark/ca/revocation"
	"mintmark/ca/revocation/place"
	"mintmark/internal/awshttp"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/internal/s3"
)

// newPublisher makes what signs CRLs and puts them where others serve them.
func (s *Server) newPublisher(ctx context.Context) (*revocation.Publisher, error) {
	places, err := s.crlPlaces(ctx)
	if err != nil {
		return nil, err
	}
	return revocation.New(revocation.Config{
		Ledger: s.ledger, Authorities: s.ra.Authorities, Period: s.config.CRL.Period, Lifetime: s.config.CRL.Lifetime,
		ShardCount: s.ra.ShardsOf, Points: s.ra.CRLPoints, Places: places, Wake: s.poke.Set, Now: s.ra.Now, Logger: s.log,
	}), nil
}

func (s *Server) crlPlaces(ctx context.Context) ([]revocation.Place, error) {
	var places []revocation.Place
	for i, c := range s.config.CRL.Publish {
		if c.Dir != "" {
			places = append(places, place.Folder(c.Dir, s.config.Path(c.Dir)))
			continue
		}
		bucket, err := crlBucket(ctx, *c.S3)
		if err != nil {
			return nil, fmt.Errorf("%s: crl.publish[%d].s3: %w", filepath.Join(s.config.Dir, config.File), i, err)
		}
		places = append(places, bucket)
	}
	return places, nil
}

func crlBucket(ctx context.Context, c config.CRLS3) (revocation.Place, error) {
	account, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.Region), awsconfig.WithSharedConfigProfile(c.Profile))
	if err != nil {
		return nil, err
	}
	if c.RoleARN != "" {
		account.HTTPClient = awshttp.Wrap(account.HTTPClient)
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(account), c.RoleARN, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "mintmark" })
		account.Credentials = aws.NewCredentialsCache(role)
	}
	return place.S3(s3.Config{AWS: account, Bucket: c.Bucket, Prefix: c.Prefix, Endpoint: c.Endpoint})
}

// checkShards refuses shards of a root: its CRL is about CA certificates, which a shard
// leaves out.
func (s *Server) checkShards() error {
	for _, name := range slices.Sorted(maps.Keys(s.config.CRL.Shards)) {
		a, err := s.ra.Authority(name)
		if err != nil {
			s.log.Warn("crl.shards names an authority that is not there yet", "authority", name)
			continue
		}
		if len(a.Chain()) == 0 {
			return fmt.Errorf("%s: crl.shards.%s: it is a root, whose CRL is about CA certificates: only that of an issuing CA is divided", filepath.Join(s.config.Dir, config.File), name)
		}
	}
	return nil
}

// crlRisks says which certificates are on the full CRL of an authority that has shards.
func crlRisks(c *config.Config) []string {
	if len(c.CRL.Shards) == 0 {
		return nil
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		switch p := c.Profiles[name]; {
		case p.CRL == nil:
		case len(*p.CRL) == 0:
			list = append(list, fmt.Sprintf("profile %q: crl is empty, so that its certificates name no CRL: where crl.shards divides that of their issuer, OpenSSL finds none for them", name))
		default:
			list = append(list, fmt.Sprintf("profile %q: crl has addresses of its own, so that its certificates are on the full CRL also of an authority in crl.shards", name))
		}
	}
	return list
}

// publishCRL signs what is due of an authority's CRLs now.
func (s *Server) publishCRL(ctx context.Context, name string) error {
	return s.withCRLs(ctx, name, s.crls.PublishPending)
}

// signCRL signs the next CRL of one shard now; of all if it is negative.
func (s *Server) signCRL(ctx context.Context, name string, shard int) error {
	return s.withCRLs(ctx, name, func(ctx context.Context, fence ledger.Fence, a *ca.Authority) error {
		if shard < 0 {
			return s.crls.Publish(ctx, fence, a)
		}
		return s.crls.Publish(ctx, fence, a, shard)
	})
}

func (s *Server) withCRLs(ctx context.Context, name string, sign func(context.Context, ledger.Fence, *ca.Authority) error) error {
	authority, err := s.ra.Authority(name)
	if err != nil {
		return err
	}
	fence, err := s.ledger.Acquire(ctx, crlJob, s.config.Server, s.ra.Now(), crlLease)
	if err != nil {
		return fmt.Errorf("taking the lease for CRLs: %w", err)
	}
	return sign(ctx, fence, authority)
}
