package renewal

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Files are where a device has its certificate and its key, in PEM. One process
// at a time may change them, which Keeper sees to.
//
// With the suffix .new stands beside them what is to take their place:
//
//	KEY.new alone         a key was made, and perhaps asked a certificate for
//	KEY.new and CERT.new  decided: both take their places, the key first
//	CERT.new alone        the key has taken its place, or was kept
//
// so that whatever is there after a crash says what comes next. If certificate
// and key are one file, it is replaced by one rename, and there is no moment at
// which they do not belong together.
type Files struct {
	Certificate string // with the chain after it, if there is one; must be set
	Key         string // may be the same file; must be set unless Signer is
	// Signer is the key if it is not in a file. It cannot be changed then.
	Signer crypto.Signer

	// step is called before each change on disk; for tests of crashes.
	step func(what string) error
}

// maxFile bounds what is read.
const maxFile = 1 << 20

// suffix marks what is to take the place of a file.
const suffix = ".new"

func (f *Files) single() bool { return f.Signer == nil && f.Key == f.Certificate }

// Load reads certificate and key. It fails if they do not belong together.
func (f *Files) Load() (*tls.Certificate, error) {
	if f.Signer == nil {
		return load(f.Certificate, f.Key)
	}
	content, err := read(f.Certificate)
	if err != nil {
		return nil, err
	}
	return withSigner(f.Certificate, content, f.Signer)
}

// load reads a pair from two files, or from one.
func load(certificate, key string) (*tls.Certificate, error) {
	certificatePEM, err := read(certificate)
	if err != nil {
		return nil, err
	}
	keyPEM, err := read(key)
	if err != nil {
		return nil, err
	}
	defer clear(keyPEM)
	if encrypted(keyPEM) {
		return nil, fmt.Errorf("%s is encrypted, and encrypted keys are not read: openssl pkey -in %s -out FILE decrypts it", key, key)
	}
	pair, err := tls.X509KeyPair(certificatePEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certificate, key, err)
	}
	return &pair, nil
}

// encrypted reports whether the first private key in a file is encrypted.
func encrypted(content []byte) bool {
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
		}
	}
}

func withSigner(name string, content []byte, signer crypto.Signer) (*tls.Certificate, error) {
	pair := &tls.Certificate{PrivateKey: signer}
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			pair.Certificate = append(pair.Certificate, block.Bytes)
		}
	}
	if len(pair.Certificate) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", name)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !samePublic(signer, leaf.PublicKey) {
		return nil, fmt.Errorf("%s is not the certificate of the key", name)
	}
	pair.Leaf = leaf
	return pair, nil
}

// Recover completes what a crash has cut off, and reports whether that put a new
// certificate in its place. It asks nobody.
func (f *Files) Recover() (bool, error) {
	fresh := f.Certificate + suffix
	if !exists(fresh) {
		return false, nil
	}
	if f.single() {
		// Written whole, certificate and key in one.
		if _, err := load(fresh, fresh); err != nil {
			return false, leftover(fresh, err)
		}
		return true, f.rename(fresh, f.Certificate)
	}
	if f.Signer == nil && exists(f.Key+suffix) {
		if _, err := load(fresh, f.Key+suffix); err == nil {
			return true, f.place()
		}
	}
	// The key is in its place already, or was kept.
	if _, err := (&Files{Certificate: fresh, Key: f.Key, Signer: f.Signer}).Load(); err != nil {
		return false, leftover(fresh, err)
	}
	return true, f.rename(fresh, f.Certificate)
}

func leftover(name string, err error) error {
	return fmt.Errorf("%s is there and cannot take its place: %w: look what it is, and remove it", name, err)
}

// FreshKey returns the key for the next certificate, which it makes unless there
// is one already: a request that was cut off is repeated with the same key, and
// the server answers it with the same certificate.
func (f *Files) FreshKey(generate func() (crypto.Signer, error)) (crypto.Signer, error) {
	if f.Signer != nil {
		return nil, errors.New("the key is not in a file and cannot be changed here")
	}
	name := f.freshKey()
	if key, err := f.waiting(name); key != nil || err != nil {
		return key, err
	}
	key, err := generate()
	if err != nil {
		return nil, err
	}
	content, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	return key, f.write(name, content, f.Key, 0o600)
}

// freshKey is the file of the key that waits for its certificate.
func (f *Files) freshKey() string {
	if f.single() {
		// CERT.new is for the whole; the key alone waits beside it.
		return f.Key + ".key" + suffix
	}
	return f.Key + suffix
}

// dropKey removes the key that waits.
func (f *Files) dropKey() error { return f.remove(f.freshKey()) }

// waiting returns the key in a file that was made for the next certificate, or
// nil. One that is in force already is what a crash has left, and nothing new.
func (f *Files) waiting(name string) (crypto.Signer, error) {
	if !exists(name) {
		return nil, nil
	}
	content, err := read(name)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	key, err := parseKey(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	current, err := f.Load()
	if err != nil {
		return nil, err
	}
	if samePublic(key, current.Leaf.PublicKey) {
		return nil, nil
	}
	return key, nil
}

func samePublic(key crypto.Signer, other crypto.PublicKey) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(other)
}

// Install puts a certificate with its chain in the place of the old one, and its
// key, unless that is kept, in which case it is nil.
func (f *Files) Install(chain []*x509.Certificate, key crypto.Signer) error {
	var content []byte
	for _, c := range chain {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	fresh := f.Certificate + suffix
	if f.single() {
		if key == nil {
			old, err := f.Load()
			if err != nil {
				return err
			}
			key = old.PrivateKey.(crypto.Signer)
		}
		keyPEM, err := encodeKey(key)
		if err != nil {
			return err
		}
		defer clear(keyPEM)
		content = append(keyPEM, content...)
		defer clear(content)
		if err := f.write(fresh, content, f.Certificate, 0o600); err != nil {
			return err
		}
		if err := f.rename(fresh, f.Certificate); err != nil {
			return err
		}
		return f.dropKey()
	}
	// From here on a crash ends with the new certificate.
	if err := f.write(fresh, content, f.Certificate, 0o644); err != nil {
		return err
	}
	if key == nil {
		return f.rename(fresh, f.Certificate)
	}
	return f.place()
}

// place gives a new pair its place, the key first: what is left then, CERT.new,
// belongs to the key that is there.
func (f *Files) place() error {
	if err := f.rename(f.Key+suffix, f.Key); err != nil {
		return err
	}
	return f.rename(f.Certificate+suffix, f.Certificate)
}
