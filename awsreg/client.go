package awsreg

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"mintmark/internal/awshttp"
)

// iotAPI is the part of *iot.Client that is used. No call is retried inside it.
type iotAPI interface {
	caAPI
	policyAPI
	ruleAPI
	certificateAPI
	thingAPI
	templateAPI
	thingTypeAPI
	thingGroupAPI
	providerAPI
	endpointAPI
	sweepAPI
}

type caAPI interface {
	GetRegistrationCode(context.Context, *iot.GetRegistrationCodeInput, ...func(*iot.Options)) (*iot.GetRegistrationCodeOutput, error)
	RegisterCACertificate(context.Context, *iot.RegisterCACertificateInput, ...func(*iot.Options)) (*iot.RegisterCACertificateOutput, error)
	DescribeCACertificate(context.Context, *iot.DescribeCACertificateInput, ...func(*iot.Options)) (*iot.DescribeCACertificateOutput, error)
	UpdateCACertificate(context.Context, *iot.UpdateCACertificateInput, ...func(*iot.Options)) (*iot.UpdateCACertificateOutput, error)
	DeleteCACertificate(context.Context, *iot.DeleteCACertificateInput, ...func(*iot.Options)) (*iot.DeleteCACertificateOutput, error)
	ListCACertificates(context.Context, *iot.ListCACertificatesInput, ...func(*iot.Options)) (*iot.ListCACertificatesOutput, error)
	ListTagsForResource(context.Context, *iot.ListTagsForResourceInput, ...func(*iot.Options)) (*iot.ListTagsForResourceOutput, error)
}

type policyAPI interface {
	GetPolicy(context.Context, *iot.GetPolicyInput, ...func(*iot.Options)) (*iot.GetPolicyOutput, error)
	CreatePolicy(context.Context, *iot.CreatePolicyInput, ...func(*iot.Options)) (*iot.CreatePolicyOutput, error)
	CreatePolicyVersion(context.Context, *iot.CreatePolicyVersionInput, ...func(*iot.Options)) (*iot.CreatePolicyVersionOutput, error)
	ListPolicyVersions(context.Context, *iot.ListPolicyVersionsInput, ...func(*iot.Options)) (*iot.ListPolicyVersionsOutput, error)
	DeletePolicyVersion(context.Context, *iot.DeletePolicyVersionInput, ...func(*iot.Options)) (*iot.DeletePolicyVersionOutput, error)
}

type ruleAPI interface {
	GetTopicRule(context.Context, *iot.GetTopicRuleInput, ...func(*iot.Options)) (*iot.GetTopicRuleOutput, error)
	ListTopicRules(context.Context, *iot.ListTopicRulesInput, ...func(*iot.Options)) (*iot.ListTopicRulesOutput, error)
	CreateTopicRule(context.Context, *iot.CreateTopicRuleInput, ...func(*iot.Options)) (*iot.CreateTopicRuleOutput, error)
	ReplaceTopicRule(context.Context, *iot.ReplaceTopicRuleInput, ...func(*iot.Options)) (*iot.ReplaceTopicRuleOutput, error)
	DeleteTopicRule(context.Context, *iot.DeleteTopicRuleInput, ...func(*iot.Options)) (*iot.DeleteTopicRuleOutput, error)
}

type templateAPI interface {
	DescribeProvisioningTemplate(context.Context, *iot.DescribeProvisioningTemplateInput, ...func(*iot.Options)) (*iot.DescribeProvisioningTemplateOutput, error)
	CreateProvisioningTemplate(context.Context, *iot.CreateProvisioningTemplateInput, ...func(*iot.Options)) (*iot.CreateProvisioningTemplateOutput, error)
	UpdateProvisioningTemplate(context.Context, *iot.UpdateProvisioningTemplateInput, ...func(*iot.Options)) (*iot.UpdateProvisioningTemplateOutput, error)
	ListProvisioningTemplateVersions(context.Context, *iot.ListProvisioningTemplateVersionsInput, ...func(*iot.Options)) (*iot.ListProvisioningTemplateVersionsOutput, error)
	CreateProvisioningTemplateVersion(context.Context, *iot.CreateProvisioningTemplateVersionInput, ...func(*iot.Options)) (*iot.CreateProvisioningTemplateVersionOutput, error)
	DeleteProvisioningTemplateVersion(context.Context, *iot.DeleteProvisioningTemplateVersionInput, ...func(*iot.Options)) (*iot.DeleteProvisioningTemplateVersionOutput, error)
}

type thingTypeAPI interface {
	DescribeThingType(context.Context, *iot.DescribeThingTypeInput, ...func(*iot.Options)) (*iot.DescribeThingTypeOutput, error)
	CreateThingType(context.Context, *iot.CreateThingTypeInput, ...func(*iot.Options)) (*iot.CreateThingTypeOutput, error)
}

type thingGroupAPI interface {
	DescribeThingGroup(context.Context, *iot.DescribeThingGroupInput, ...func(*iot.Options)) (*iot.DescribeThingGroupOutput, error)
	CreateThingGroup(context.Context, *iot.CreateThingGroupInput, ...func(*iot.Options)) (*iot.CreateThingGroupOutput, error)
}

type providerAPI interface {
	DescribeCertificateProvider(context.Context, *iot.DescribeCertificateProviderInput, ...func(*iot.Options)) (*iot.DescribeCertificateProviderOutput, error)
	ListCertificateProviders(context.Context, *iot.ListCertificateProvidersInput, ...func(*iot.Options)) (*iot.ListCertificateProvidersOutput, error)
	CreateCertificateProvider(context.Context, *iot.CreateCertificateProviderInput, ...func(*iot.Options)) (*iot.CreateCertificateProviderOutput, error)
	UpdateCertificateProvider(context.Context, *iot.UpdateCertificateProviderInput, ...func(*iot.Options)) (*iot.UpdateCertificateProviderOutput, error)
}

type endpointAPI interface {
	DescribeEndpoint(context.Context, *iot.DescribeEndpointInput, ...func(*iot.Options)) (*iot.DescribeEndpointOutput, error)
}

// sweepAPI is what takes the certificates under a CA out of service.
type sweepAPI interface {
	ListCertificatesByCA(context.Context, *iot.ListCertificatesByCAInput, ...func(*iot.Options)) (*iot.ListCertificatesByCAOutput, error)
	UpdateCertificate(context.Context, *iot.UpdateCertificateInput, ...func(*iot.Options)) (*iot.UpdateCertificateOutput, error)
}

type certificateAPI interface {
	DescribeCertificate(context.Context, *iot.DescribeCertificateInput, ...func(*iot.Options)) (*iot.DescribeCertificateOutput, error)
	UpdateCertificate(context.Context, *iot.UpdateCertificateInput, ...func(*iot.Options)) (*iot.UpdateCertificateOutput, error)
	RegisterCertificate(context.Context, *iot.RegisterCertificateInput, ...func(*iot.Options)) (*iot.RegisterCertificateOutput, error)
	RegisterCertificateWithoutCA(context.Context, *iot.RegisterCertificateWithoutCAInput, ...func(*iot.Options)) (*iot.RegisterCertificateWithoutCAOutput, error)
	CreateCertificateFromCsr(context.Context, *iot.CreateCertificateFromCsrInput, ...func(*iot.Options)) (*iot.CreateCertificateFromCsrOutput, error)
	ListCertificates(context.Context, *iot.ListCertificatesInput, ...func(*iot.Options)) (*iot.ListCertificatesOutput, error)
	ListCertificatesByCA(context.Context, *iot.ListCertificatesByCAInput, ...func(*iot.Options)) (*iot.ListCertificatesByCAOutput, error)
	ListAttachedPolicies(context.Context, *iot.ListAttachedPoliciesInput, ...func(*iot.Options)) (*iot.ListAttachedPoliciesOutput, error)
	ListTargetsForPolicy(context.Context, *iot.ListTargetsForPolicyInput, ...func(*iot.Options)) (*iot.ListTargetsForPolicyOutput, error)
	AttachPolicy(context.Context, *iot.AttachPolicyInput, ...func(*iot.Options)) (*iot.AttachPolicyOutput, error)
}

// thingAPI is about the things that certificates are attached to.
type thingAPI interface {
	CreateThing(context.Context, *iot.CreateThingInput, ...func(*iot.Options)) (*iot.CreateThingOutput, error)
	DescribeThing(context.Context, *iot.DescribeThingInput, ...func(*iot.Options)) (*iot.DescribeThingOutput, error)
	ListThingPrincipals(context.Context, *iot.ListThingPrincipalsInput, ...func(*iot.Options)) (*iot.ListThingPrincipalsOutput, error)
	AttachThingPrincipal(context.Context, *iot.AttachThingPrincipalInput, ...func(*iot.Options)) (*iot.AttachThingPrincipalOutput, error)
	AddThingToThingGroup(context.Context, *iot.AddThingToThingGroupInput, ...func(*iot.Options)) (*iot.AddThingToThingGroupOutput, error)
}

// dynamoAPI is the part of *dynamodb.Client that is used.
type dynamoAPI interface {
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// stsAPI says who we are.
type stsAPI interface {
	GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
}

// sessionKey is everything that the clients of a target depend on.
type sessionKey struct{ name, account, region, profile, role, endpoint string }

// session is the clients of one target.
type session struct {
	target Target
	iot    iotAPI
	dynamo dynamoAPI
	sts    stsAPI
	// credentials are asked for before the first call, so that their absence is
	// told from a call that failed on the way.
	credentials aws.CredentialsProvider
	account     *account
}

// account is whose the credentials of a session are.
type account struct {
	mu       sync.Mutex
	verified bool // they are known to be the target's account's
}

// as is the session of a target that may want something else than it did when the clients
// were made.
func (s *session) as(t Target) *session {
	of := *s
	of.target = t
	return &of
}

// session returns the clients of a target, after making sure that their
// credentials belong to its account; again says to ask even if it was asked
// before, as a change to the account deserves.
func (r *Registrar) session(ctx context.Context, t Target, again bool) (*session, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	key := sessionKey{t.Name, t.AccountID, t.Region, t.Profile, t.RoleARN, t.Endpoint}
	r.mu.Lock()
	s := r.sessions[key]
	r.mu.Unlock()
	if s == nil {
		fresh, err := r.connect(ctx, t)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		if s = r.sessions[key]; s == nil {
			s = fresh
			r.sessions[key] = s
		}
		r.mu.Unlock()
	}
	s = s.as(t)
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	if s.account.verified && !again {
		return s, nil
	}
	s.account.verified = false
	if _, err := s.credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("AWS target %q: no usable AWS credentials: %w", t.Name, err)
	}
	if err := retry(ctx, func() error { return s.checkAccount(ctx) }); err != nil {
		return nil, fmt.Errorf("AWS target %q: %w", t.Name, err)
	}
	s.account.verified = true
	return s, nil
}

// connect makes the clients. It reads the shared AWS configuration, and makes no
// call.
func (r *Registrar) connect(ctx context.Context, t Target) (*session, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(t.Region),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
			r.cfg.Logger.Debug("AWS SDK: "+fmt.Sprintf(format, args...), "target", t.Name)
		})),
	}
	if t.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(t.Profile))
	}
	if r.cfg.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(r.cfg.Credentials))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("AWS target %q: loading the AWS configuration: %w", t.Name, err)
	}
	if r.cfg.HTTPClient != nil {
		// Not as an option of the above, which refuses one that it cannot give the
		// trust anchors of AWS_CA_BUNDLE.
		cfg.HTTPClient = r.cfg.HTTPClient
	}
	cfg.HTTPClient = awshttp.Wrap(cfg.HTTPClient)
	if t.Endpoint != "" {
		cfg.BaseEndpoint = aws.String(t.Endpoint)
	}
	if t.RoleARN != "" {
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), t.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "mintmark"
		})
		cfg.Credentials = aws.NewCredentialsCache(role)
	}
	calls := newLimits(t.QuotaScale) // one for all calls of the session
	return &session{
		target: t,
		iot: iot.NewFromConfig(cfg, func(o *iot.Options) {
			o.APIOptions = append(o.APIOptions, limit(calls))
		}),
		dynamo: dynamodb.NewFromConfig(cfg),
		sts:    sts.NewFromConfig(cfg),

		credentials: cfg.Credentials,
		account:     new(account),
	}, nil
}

// checkAccount refuses credentials of another account than the target's.
func (s *session) checkAccount(ctx context.Context) error {
	out, err := s.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return explain("asking AWS who we are", err)
	}
	if got := aws.ToString(out.Account); got != s.target.AccountID {
		return fmt.Errorf("the credentials belong to account %s (%s), the target is account %s: nothing was changed; set the profile or role of the right account",
			got, aws.ToString(out.Arn), s.target.AccountID)
	}
	return nil
}
