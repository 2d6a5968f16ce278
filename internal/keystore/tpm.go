package keystore

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mintmark/internal/pattern"

	"go.step.sm/crypto/kms/apiv1"
	"go.step.sm/crypto/kms/tpmkms"
	"go.step.sm/crypto/tpm"
	"go.step.sm/crypto/tpm/storage"
)

// tpmDevice is the TPM behind the kernel's resource manager, unless Config says another.
const tpmDevice = "/dev/tpmrm0"

// tpmName is what a key in a TPM may be called: its name becomes a file's.
var tpmName = pattern.New(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

// tpmKey is a key that only one TPM can use: it is in a file, encrypted by the TPM
// under its storage root key (TPM 2.0 Library, Part 1, Section 23).
type tpmKey struct {
	uri, name string
	path      string // of the TPM: a device, or the socket of an emulator
	directory string // of the files
}

// tpmKey reads tpmkms:name=...;device=...;storage-directory=... The device is the
// configured one, and the directory below that of the store.
func (s *Store) tpmKey(u *keyURI) (*tpmKey, error) {
	a, err := u.attributes("", "name", "device", "storage-directory")
	if err != nil {
		return nil, err
	}
	k := &tpmKey{uri: kmsURI(schemeTPM, a, nil), name: a["name"], path: cmp.Or(s.cfg.TPMDevice, tpmDevice), directory: a["storage-directory"]}
	if !tpmName.MatchString(k.name) {
		return nil, errors.New("the URI names no key: write tpmkms:name=issuing, with letters, digits and - _ . in the name")
	}
	if d := a["device"]; d != "" && d != k.path {
		// An emulator's socket is anybody's to make.
		return nil, fmt.Errorf("the TPM %q is not that of the configuration, which is %s (keys.tpm.device)", short(d), k.path)
	}
	if k.directory == "" {
		k.directory = "tpm"
	}
	switch {
	case !filepath.IsLocal(k.directory):
		return nil, fmt.Errorf("the storage-directory %q leaves the state directory", short(k.directory))
	case s.cfg.Dir == "":
		return nil, fmt.Errorf("the storage-directory %q is relative, and no key directory is configured", short(k.directory))
	}
	k.directory = filepath.Join(s.cfg.Dir, k.directory)
	return k, nil
}

// A TPM does one thing after the other.
func (k *tpmKey) device() (string, int) { return schemeTPM + ":" + k.path, 1 }

// The library makes no RSA keys of more than 2048 bits, and hardware seldom has P-521.
func (k *tpmKey) algorithms() []string { return []string{"P-256", "P-384", "RSA-2048"} }

// file is where the library keeps the key.
func (k *tpmKey) file() string { return filepath.Join(k.directory, "key-"+k.name+".tpmobj") }

// manager returns the library's way to the TPM. It opens nothing yet.
func (k *tpmKey) manager(ctx context.Context) (*tpmkms.TPMKMS, error) {
	if _, err := os.Lstat(k.path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: is there a TPM 2.0, and is it on in the firmware?", k.path)
	}
	// The library takes a device name to heart for making keys only; it would sign
	// with whatever TPM it finds first. A channel of our own leads to this one.
	t, err := tpm.New(
		tpm.WithDeviceName(k.path),
		tpm.WithStore(storage.NewDirstore(k.directory, storage.WithCacheSize(0))),
		tpm.WithCommandChannel(&tpmChannel{path: k.path}),
		tpm.WithDisableDownload(),
	)
	if err != nil {
		return nil, err
	}
	return tpmkms.NewWithTPM(ctx, t)
}

func (k *tpmKey) create(ctx context.Context, alg string) (string, error) {
	if err := os.MkdirAll(k.directory, 0o700); err != nil {
		return "", err
	}
	if _, err := os.Lstat(k.file()); err == nil {
		return "", fmt.Errorf("%w: %s", ErrExists, k.file())
	}
	m, err := k.manager(ctx)
	if err != nil {
		return "", err
	}
	signature, bits := signatureAlgorithm(alg)
	_, err = m.CreateKey(&apiv1.CreateKeyRequest{Name: k.request(), SignatureAlgorithm: signature, Bits: bits})
	if exists := (apiv1.AlreadyExistsError{}); errors.As(err, &exists) {
		return "", fmt.Errorf("%w: %s", ErrExists, k.file())
	}
	if err != nil {
		return "", fmt.Errorf("making a key in the TPM %s: %w", k.path, err)
	}
	// The library leaves the mode to the umask, and the entry in the directory to luck.
	if err := os.Chmod(k.file(), 0o600); err != nil {
		return "", err
	}
	return k.uri, syncDir(k.directory)
}

func (k *tpmKey) open(ctx context.Context) (crypto.Signer, error) {
	// Asked before the library: it says "not found" of a TPM that is away too.
	if _, err := os.Lstat(k.file()); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, k.file())
	}
	if err := k.checkPolicy(); err != nil {
		return nil, err
	}
	m, err := k.manager(ctx)
	if err != nil {
		return nil, err
	}
	signer, err := m.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: k.request()})
	if err != nil {
		return nil, fmt.Errorf("opening the key in the TPM %s, which must be the one that made it and not have been cleared since: %w", k.path, err)
	}
	return signer, nil
}

// destroy removes the file. Without it the TPM has nothing of the key; a copy of the
// file is of use in this TPM, until that is cleared.
func (k *tpmKey) destroy(ctx context.Context, pub crypto.PublicKey) error {
	signer, err := k.open(ctx)
	if err != nil {
		return err
	}
	if err := checkPublic(signer.Public(), pub); err != nil {
		return err
	}
	// The TPM itself keeps nothing of a key that is in a file.
	if err := overwrite(k.file()); err != nil {
		return err
	}
	if err := os.Remove(k.file()); err != nil {
		return err
	}
	return syncDir(k.directory)
}

// request is the key's name for the library, which reads nothing else from it.
func (k *tpmKey) request() string { return schemeTPM + ":name=" + k.name }
