package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"go.step.sm/crypto/kms/awskms"

	"mintmark/internal/awshttp"
	"mintmark/internal/pattern"
)

var (
	// awsAlias is what CreateAlias takes after "alias/"; names of aws/ are Amazon's.
	awsAlias = pattern.New(`^[A-Za-z0-9/_-]{1,249}$`)
	// awsKeyID is a key's id, its ARN, an alias or its ARN, as in the parameter KeyId.
	awsKeyID = pattern.New(`^(arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]{12}:)?((key/)?[A-Za-z0-9-]{1,64}|alias/[A-Za-z0-9/_-]{1,249})$`)
	// awsRegionName becomes a part of a host name, to which requests are sent.
	awsRegionName = pattern.New(`^[a-z0-9-]{1,32}$`)
)

// awsKey is a key in AWS KMS.
type awsKey struct {
	name, id string // of a key to be made; of one that is there
	region   string
}

// awsKeyOf reads awskms:key-id=...;region=..., and name= in place of key-id= for a key to be
// made. The credentials are never the URI's to say, which may come from others: a file of them
// can name a command to be run (credential_process).
func awsKeyOf(u *keyURI, creating bool) (external, error) {
	which, example := "key-id", "awskms:key-id=arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	if creating {
		which, example = "name", "awskms:name=factory-issuing;region=eu-central-1"
	}
	a, err := u.attributes("", which, "region")
	if err != nil {
		return nil, err
	}
	k := &awsKey{name: a["name"], id: a["key-id"], region: a["region"]}
	if creating && (!awsAlias.MatchString(k.name) || strings.HasPrefix(k.name, "aws/")) || !creating && !awsKeyID.MatchString(k.id) {
		return nil, fmt.Errorf("the URI names no key: write %s", example)
	}
	if k.region != "" && !awsRegionName.MatchString(k.region) {
		return nil, fmt.Errorf("%q is no AWS region", short(k.region))
	}
	if parts := strings.Split(k.id, ":"); k.region == "" && len(parts) == 6 {
		k.region = parts[3]
	}
	return k, nil
}

func (k *awsKey) device() (string, int) { return schemeAWS + ":" + k.region + ":" + k.id, cloudPlaces }

func (k *awsKey) algorithms() []string { return algorithms }

var awsKeySpec = map[string]types.KeySpec{
	"P-256":    types.KeySpecEccNistP256,
	"P-384":    types.KeySpecEccNistP384,
	"P-521":    types.KeySpecEccNistP521,
	"RSA-2048": types.KeySpecRsa2048,
	"RSA-3072": types.KeySpecRsa3072,
	"RSA-4096": types.KeySpecRsa4096,
}

// client reads the SDK's own configuration: environment, files, role of the machine.
func (k *awsKey) client(ctx context.Context) (*kms.Client, error) {
	var options []func(*config.LoadOptions) error
	if k.region != "" {
		options = append(options, config.WithRegion(k.region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, never("no AWS region: add region= to the URI, or set AWS_REGION")
	}
	k.region = cfg.Region
	cfg.HTTPClient = awshttp.Wrap(cfg.HTTPClient)
	return kms.NewFromConfig(cfg), nil
}

// create makes a key that signs only, and the alias alias/NAME for it, by which a
// second one of the name is refused. Without the alias the key is given up.
func (k *awsKey) create(ctx context.Context, alg string) (string, error) {
	c, err := k.client(ctx)
	if err != nil {
		return "", err
	}
	alias := "alias/" + k.name
	switch _, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &alias}); {
	case err == nil:
		return "", fmt.Errorf("%w: %s", ErrExists, alias)
	case !errors.As(err, new(*types.NotFoundException)):
		return "", awsError("DescribeKey", err)
	}
	made, err := c.CreateKey(ctx, &kms.CreateKeyInput{
		Description: aws.String("mintmark: " + k.name),
		KeySpec:     awsKeySpec[alg],
		KeyUsage:    types.KeyUsageTypeSignVerify,
	})
	if err != nil {
		return "", awsError("CreateKey", err)
	}
	if made.KeyMetadata == nil || made.KeyMetadata.Arn == nil {
		return "", errors.New("CreateKey: AWS KMS names no key in its answer")
	}
	id := *made.KeyMetadata.Arn
	if _, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id}); err != nil {
		if errors.As(err, new(*types.AlreadyExistsException)) {
			err = fmt.Errorf("%w: %s", ErrExists, alias)
		} else {
			err = awsError("CreateAlias", err)
		}
		// Seven days is the shortest there is.
		if _, e := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)}); e != nil {
			err = fmt.Errorf("%w; the key %s stays in AWS KMS without an alias: %w", err, id, awsError("ScheduleKeyDeletion", e))
		}
		return "", err
	}
	return kmsURI(schemeAWS, map[string]string{"key-id": id, "region": k.region}, nil), nil
}

// open finds the key behind an alias once: an alias may lead to another one tomorrow.
func (k *awsKey) open(ctx context.Context) (crypto.Signer, error) {
	c, err := k.client(ctx)
	if err != nil {
		return nil, err
	}
	found, err := c.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &k.id})
	switch {
	case errors.As(err, new(*types.NotFoundException)):
		return nil, fmt.Errorf("%w: %s in %s", ErrNotFound, k.id, k.region)
	case err != nil:
		return nil, awsError("GetPublicKey", err)
	case found.KeyUsage != types.KeyUsageTypeSignVerify || found.KeyId == nil:
		return nil, never("the key %s is not for signatures: its usage is %q", k.id, found.KeyUsage)
	}
	signer, err := awskms.NewSigner(c, *found.KeyId)
	if err != nil {
		return nil, awsError("GetPublicKey", err)
	}
	return awsSigner{signer}, nil
}

func (k *awsKey) destroy(context.Context, crypto.PublicKey) error {
	return never("a key in AWS KMS is destroyed there, after a waiting period: aws kms schedule-key-deletion --key-id %s", k.id)
}

// awsSigner shortens the errors of the library.
type awsSigner struct{ *awskms.Signer }

func (s awsSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := s.Signer.Sign(random, digest, opts)
	if err != nil {
		return nil, awsError("Sign", err)
	}
	return signature, nil
}

// awsError says what AWS KMS answered, without the numbers of the request.
func awsError(operation string, err error) error {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return fmt.Errorf("%s: AWS KMS answers %s: %s", operation, answer.ErrorCode(), answer.ErrorMessage())
	}
	return fmt.Errorf("%s: %w", operation, err)
}
