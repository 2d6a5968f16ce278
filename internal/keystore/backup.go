package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
	"unicode/utf8"
)

// MinBackupPassphrase is how many characters the passphrase of a backup has at least:
// unlike the key files, a backup lies where nobody watches it.
const MinBackupPassphrase = 12

const (
	backupTitle  = "mintmark key backup v1"
	backupEnd    = "sha256 "
	maxBackup    = 1 << 20
	maxSavedKeys = 500
)

// Backup is the content of a backup of key files: one text file that openssl reads too.
// It is not for concurrent use.
type Backup struct {
	Made time.Time // whole seconds, UTC
	Keys []*SavedKey
}

// SavedKey is one key of a backup. Who can change the backup can change what it says of a
// key, but after Backup.Open SPKI and Algorithm are those of the key itself.
type SavedKey struct {
	File      string   // below the state directory, with slashes: keys/issuing.pem
	SPKI      [32]byte // SHA-256 of the public key, a SubjectPublicKeyInfo
	Algorithm string   // as in P-256, RSA-3072, Ed25519
	Name      string   // what the notes of a key that signs heads are signed as; empty for others

	sealed []byte        // EncryptedPrivateKeyInfo, RFC 5958, Section 3
	signer crypto.Signer // nil until the key is opened
}

// Public is the public key; nil until the backup was opened.
func (k *SavedKey) Public() crypto.PublicKey {
	if k.signer == nil {
		return nil
	}
	return k.signer.Public()
}

// Backup opens every key file of the state directory, and the key that signs heads of the
// issuance log, for WriteFile. It fails if one of them does not open: a backup that lacks a
// key is found out about too late. Key files are never changed once they are written,
// so that a server may go on meanwhile.
func (s *Store) Backup(ctx context.Context, now time.Time) (*Backup, error) {
	names, err := s.keyFiles()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no key file under %s", s.cfg.Dir)
	}
	if len(names) > maxSavedKeys {
		return nil, fmt.Errorf("%d files under %s: a backup holds %d keys at most", len(names), s.cfg.Dir, maxSavedKeys)
	}
	b := &Backup{Made: now.UTC().Truncate(time.Second)}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k, err := s.saved(name)
		if err != nil {
			return nil, err
		}
		b.Keys = append(b.Keys, k)
	}
	return b, nil
}

// WriteFile encrypts the keys with passphrase and writes the file path durably, mode 0400.
// It reads back what it has written, opens it and signs with each key. It fails
// with ErrExists if there is such a file.
func (b *Backup) WriteFile(ctx context.Context, path string, passphrase []byte) error {
	if utf8.RuneCount(passphrase) < MinBackupPassphrase {
		return fmt.Errorf("the passphrase of a backup has at least %d characters", MinBackupPassphrase)
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%w: %s", ErrExists, path) // before the work is done
	}
	for _, k := range b.Keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := k.seal(passphrase); err != nil {
			return fmt.Errorf("%s: %w", k.File, err)
		}
	}
	data := b.encode()
	if len(data) > maxBackup {
		return fmt.Errorf("the backup takes %d bytes: more than %d are not read back", len(data), maxBackup)
	}
	if err := writeNew(path, data); err != nil {
		return err
	}
	written, err := ReadBackup(path)
	if err == nil {
		err = written.Open(ctx, passphrase)
	}
	if err == nil {
		err = os.Chmod(path, 0o400)
	}
	if err != nil {
		// It is this call's own, and of no use.
		return errors.Join(fmt.Errorf("reading back the backup: %w", err), os.Remove(path))
	}
	return nil
}

// Open decrypts every key, holds it against what the file says of it, and signs
// with it. ErrPassphrase if passphrase does not open one.
func (b *Backup) Open(ctx context.Context, passphrase []byte) error {
	for _, k := range b.Keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := k.open(passphrase); err != nil {
			return fmt.Errorf("%s in the backup: %w", k.File, err)
		}
	}
	return nil
}

// seal encrypts the key as createFile does.
func (k *SavedKey) seal(passphrase []byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(der)
	if k.sealed, err = encryptPKCS8(der, passphrase); err != nil {
		return fmt.Errorf("encrypting the key: %w", err)
	}
	return nil
}

func (k *SavedKey) open(passphrase []byte) error {
	der, err := decryptPKCS8(k.sealed, passphrase)
	if err != nil {
		return err
	}
	defer clear(der)
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return ErrPassphrase
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("this is a key that cannot sign")
	}
	found, err := newSavedKey(k.File, k.Name, signer)
	if err != nil {
		return err
	}
	if found.SPKI != k.SPKI || found.Algorithm != k.Algorithm {
		return fmt.Errorf("the backup says that this is the %s key %x, and it is the %s key %x: the backup was changed", k.Algorithm, k.SPKI, found.Algorithm, found.SPKI)
	}
	k.signer = signer
	return nil
}

// encode writes the backup as text: what is said of each key, and the key in PEM
// (RFC 7468, Section 11); last the SHA-256 of all before it, which shows that the file is
// whole. It protects from accidents only.
func (b *Backup) encode() []byte {
	var t bytes.Buffer
	fmt.Fprintf(&t, "%s\nmade %s\nkeys %d\n", backupTitle, b.Made.Format(time.RFC3339), len(b.Keys))
	for _, k := range b.Keys {
		fmt.Fprintf(&t, "\nfile %s\nspki-sha256 %x\nalgorithm %s\n", k.File, k.SPKI, k.Algorithm)
		if k.Name != "" {
			fmt.Fprintf(&t, "name %s\n", k.Name)
		}
		pem.Encode(&t, &pem.Block{Type: sealedType, Bytes: k.sealed}) // to memory: it cannot fail
	}
	t.WriteByte('\n')
	hash := sha256.Sum256(t.Bytes())
	t.WriteString(backupEnd + hex.EncodeToString(hash[:]) + "\n")
	return t.Bytes()
}
