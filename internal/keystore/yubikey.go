//go:build yubikey && cgo

package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"mintmark/internal/pattern"

	"github.com/go-piv/piv-go/v2/piv"
	"go.step.sm/crypto/kms/apiv1"
	"go.step.sm/crypto/kms/yubikey"
)

var (
	yubiSlot   = pattern.New(`^(9[acde]|8[2-9a-f]|9[0-5])$`)
	yubiSerial = pattern.New(`^[0-9]{1,10}$`)
)

// yubiKey is a key in the PIV application of a YubiKey: a person's own.
type yubiKey struct {
	s               *Store
	slot, serial    string
	pin, management string // files
	uri             string
}

// yubiKey reads yubikey:slot-id=9c;serial=...?pin-source=/file, and for a new key
// management-key-source=/file.
func (s *Store) yubiKey(u *keyURI, creating bool) (external, error) {
	known := []string{"slot-id", "serial", "pin-source"}
	if creating {
		known = append(known, "management-key-source")
	}
	a, err := u.attributes("", known...)
	if err != nil {
		return nil, err
	}
	k := &yubiKey{s: s, slot: strings.ToLower(a["slot-id"]), serial: a["serial"], pin: a["pin-source"], management: a["management-key-source"]}
	k.uri = kmsURI(schemeYubiKey, map[string]string{"slot-id": k.slot, "serial": k.serial}, map[string]string{"pin-source": k.pin})
	switch {
	case !yubiSlot.MatchString(k.slot):
		return nil, errors.New("the URI names no slot: write yubikey:slot-id=9c")
	case k.serial != "" && !yubiSerial.MatchString(k.serial):
		return nil, errors.New("the serial number of a YubiKey has digits only")
	case k.pin == "":
		// The library would try the PIN of the factory.
		return nil, errors.New("no PIN for the YubiKey: add ?pin-source= with a file")
	case creating && k.management == "":
		return nil, errors.New("a new key needs the management key of the YubiKey: add management-key-source= with a file")
	}
	return k, nil
}

func (k *yubiKey) device() (string, int) { return schemeYubiKey + ":" + k.serial, 1 }

func (k *yubiKey) algorithms() []string { return []string{"P-256", "P-384", "RSA-2048"} }

func (k *yubiKey) manager(ctx context.Context) (*yubikey.YubiKey, error) {
	options := apiv1.Options{}
	if k.serial != "" {
		options.URI = schemeYubiKey + ":serial=" + k.serial
	}
	pin, err := readSecret(k.pin, 0o077, maxSecret)
	if err != nil {
		return nil, never("reading the PIN: %w", err)
	}
	defer clear(pin)
	options.Pin = string(pin)
	if k.management != "" {
		key, err := readSecret(k.management, 0o077, maxSecret)
		if err != nil {
			return nil, never("reading the management key: %w", err)
		}
		defer clear(key)
		options.ManagementKey = string(key)
	}
	return yubikey.New(ctx, options)
}

// create makes a key in a slot that is empty: the device itself would overwrite.
func (k *yubiKey) create(ctx context.Context, alg string) (string, error) {
	m, err := k.manager(ctx)
	if err != nil {
		return "", err
	}
	defer m.Close()
	switch _, err := m.GetPublicKey(&apiv1.GetPublicKeyRequest{Name: k.request()}); {
	case err == nil:
		return "", fmt.Errorf("%w: in slot %s", ErrExists, k.slot)
	case !errors.As(err, new(apiv1.NotFoundError)):
		return "", fmt.Errorf("looking into slot %s: %w", k.slot, err)
	}
	signature, bits := signatureAlgorithm(alg)
	if _, err := m.CreateKey(&apiv1.CreateKeyRequest{Name: k.request(), SignatureAlgorithm: signature, Bits: bits}); err != nil {
		return "", fmt.Errorf("making a key in slot %s: %w", k.slot, err)
	}
	return k.uri, nil
}

func (k *yubiKey) open(ctx context.Context) (crypto.Signer, error) {
	m, err := k.manager(ctx)
	if err != nil {
		return nil, err
	}
	signer, err := m.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: k.request()})
	if err != nil {
		m.Close()
		if errors.As(err, new(apiv1.NotFoundError)) {
			return nil, fmt.Errorf("%w: slot %s is empty", ErrNotFound, k.slot)
		}
		return nil, err
	}
	k.s.kms.closeLater(m)
	return &yubiSigner{Signer: signer}, nil
}

func (k *yubiKey) destroy(context.Context, crypto.PublicKey) error {
	return never("a key in a YubiKey is destroyed with ykman: ykman piv keys delete %s, or ykman piv reset", k.slot)
}

func (k *yubiKey) request() string { return schemeYubiKey + ":slot-id=" + k.slot }

// yubiSigner tries a PIN that was refused once only: three times lock the YubiKey.
type yubiSigner struct {
	crypto.Signer
	refused atomic.Bool
}

func (s *yubiSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.refused.Load() {
		return nil, fmt.Errorf("%w before and is not asked again, or it would lock: correct the PIN", ErrPIN)
	}
	signature, err := s.Signer.Sign(random, digest, opts)
	if errors.As(err, new(piv.AuthErr)) {
		s.refused.Store(true)
		return nil, fmt.Errorf("%w: %w", ErrPIN, err)
	}
	return signature, err
}
