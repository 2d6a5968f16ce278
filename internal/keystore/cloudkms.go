//go:build cloudkms

package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"mintmark/internal/pattern"

	"go.step.sm/crypto/kms/apiv1"
	"go.step.sm/crypto/kms/cloudkms"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	googleKeyName = pattern.New(`^projects/[A-Za-z0-9:._-]{1,64}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}$`)
	googleVersion = pattern.New(`^(.+)/cryptoKeyVersions/[0-9]{1,9}$`)
)

// googleKey is a key in Google Cloud KMS.
type googleKey struct {
	resource string
	software bool // hsm=false
	// dial returns a client; that of the library if nil.
	dial      func(context.Context, apiv1.Options) (*cloudkms.CloudKMS, error)
	closeWith func(*cloudkms.CloudKMS)
}

// googleKey reads cloudkms:projects/P/locations/L/keyRings/R/cryptoKeys/K, with
// /cryptoKeyVersions/V for a key that is there. The credentials are the environment's.
func (s *Store) googleKey(u *keyURI, creating bool) (external, error) {
	known := []string{"resource"}
	if creating {
		known = append(known, "hsm")
	}
	a, err := u.attributes("resource", known...)
	if err != nil {
		return nil, err
	}
	k := &googleKey{resource: a["resource"], software: a["hsm"] == "false", closeWith: func(m *cloudkms.CloudKMS) { s.kms.closeLater(m) }}
	name := k.resource
	version := googleVersion.FindStringSubmatch(name)
	if version != nil {
		name = version[1]
	}
	switch {
	case !googleKeyName.MatchString(name):
		return nil, errors.New("the URI names no key: write cloudkms:projects/P/locations/L/keyRings/R/cryptoKeys/K")
	case creating && version != nil:
		return nil, errors.New("a new key has no version yet: leave cryptoKeyVersions out")
	case !creating && version == nil:
		return nil, errors.New("the URI names no version of the key: add /cryptoKeyVersions/1")
	case creating && a["hsm"] != "" && a["hsm"] != "true" && a["hsm"] != "false":
		return nil, errors.New("hsm= is true or false")
	}
	return k, nil
}

func (k *googleKey) device() (string, int) { return schemeGoogle + ":" + k.resource, cloudPlaces }

// algorithms lists what Google has with the hash that goes with it.
func (k *googleKey) algorithms() []string {
	return []string{"P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"}
}

func (k *googleKey) manager(ctx context.Context) (*cloudkms.CloudKMS, error) {
	dial := k.dial
	if dial == nil {
		dial = cloudkms.New
	}
	// Not under ctx, which ends when the key is open.
	m, err := dial(context.WithoutCancel(ctx), apiv1.Options{})
	if err != nil {
		return nil, fmt.Errorf("loading the Google credentials: %w", err)
	}
	return m, nil
}

// create makes a key for signatures, in Google's HSM unless the URI says hsm=false.
// Where there is one of the name, Google would make a new version of it.
func (k *googleKey) create(ctx context.Context, alg string) (string, error) {
	m, err := k.manager(ctx)
	if err != nil {
		return "", err
	}
	defer m.Close()
	switch _, err := m.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: k.resource + "/cryptoKeyVersions/1"}); {
	case err == nil || googleCode(err) == codes.FailedPrecondition: // it may be disabled
		return "", fmt.Errorf("%w: %s", ErrExists, k.resource)
	case googleCode(err) != codes.NotFound:
		return "", googleError("reading the key", err)
	}
	signature, bits := signatureAlgorithm(alg)
	protection := apiv1.HSM
	if k.software {
		protection = apiv1.Software
	}
	made, err := m.CreateKey(&apiv1.CreateKeyRequest{Name: k.resource, SignatureAlgorithm: signature, Bits: bits, ProtectionLevel: protection})
	if err != nil {
		return "", googleError("making the key", err)
	}
	u, err := parseURI(made.Name)
	if err != nil {
		return "", err
	}
	return kmsURI(schemeGoogle, map[string]string{"resource": u.Opaque}, nil), nil
}

func (k *googleKey) open(ctx context.Context) (crypto.Signer, error) {
	m, err := k.manager(ctx)
	if err != nil {
		return nil, err
	}
	signer, err := m.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: k.resource})
	if err != nil {
		m.Close()
		if googleCode(err) == codes.NotFound {
			return nil, fmt.Errorf("%w: %s", ErrNotFound, k.resource)
		}
		return nil, googleError("reading the key", err)
	}
	k.closeWith(m)
	return signer, nil
}

func (k *googleKey) destroy(context.Context, crypto.PublicKey) error {
	return never("a key in Google Cloud KMS is destroyed there, after a waiting period: gcloud kms keys versions destroy")
}

func googleCode(err error) codes.Code {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Code()
	}
	return codes.Unknown
}

func googleError(doing string, err error) error {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return fmt.Errorf("%s: Google Cloud KMS answers %v: %s", doing, s.GRPCStatus().Code(), s.GRPCStatus().Message())
	}
	return fmt.Errorf("%s: %w", doing, err)
}
