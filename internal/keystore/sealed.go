package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"flag"
	"fmt"
	"sync/atomic"
)

// fullRounds is how often PBKDF2 hashes the passphrase of a new file (OWASP Password
// Storage Cheat Sheet, for HMAC-SHA-256).
const fullRounds = 600_000

// fewRounds is set in the processes of tests only.
var fewRounds atomic.Bool

// SpareRounds makes the process write key files and backups with a hundred rounds of
// PBKDF2 from now on. They guard nothing, and every test that makes a CA would spend
// most of its time on them. It panics where the program is not a test.
func SpareRounds() {
	if flag.Lookup("test.run") == nil {
		panic("keystore: key files with few rounds are for tests")
	}
	fewRounds.Store(true)
}

// sealedKey is a private key encrypted with a passphrase: an EncryptedPrivateKeyInfo
// (RFC 5958, Section 3) with PBES2 and PBKDF2 (RFC 8018, Appendix A).
type sealedKey struct {
	Algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters struct {
			KDF struct {
				OID    asn1.ObjectIdentifier
				PBKDF2 struct {
					Salt   []byte
					Rounds int
					PRF    pkix.AlgorithmIdentifier
				}
			}
			Cipher struct {
				OID asn1.ObjectIdentifier
				IV  []byte
			}
		}
	}
	Data []byte
}

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// encryptPKCS8 encrypts a PKCS #8 key, which it leaves as it is: PBES2, PBKDF2 with
// HMAC-SHA-256 and 600,000 rounds, AES-256-CBC.
func encryptPKCS8(der, passphrase []byte) ([]byte, error) {
	var sealed sealedKey
	sealed.Algorithm.OID = oidPBES2
	p := &sealed.Algorithm.Parameters
	p.KDF.OID, p.Cipher.OID = oidPBKDF2, oidAES256CBC
	p.KDF.PBKDF2.PRF = pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256, Parameters: asn1.NullRawValue}
	p.KDF.PBKDF2.Rounds = fullRounds
	if fewRounds.Load() {
		p.KDF.PBKDF2.Rounds = 100
	}
	p.KDF.PBKDF2.Salt, p.Cipher.IV = make([]byte, 16), make([]byte, aes.BlockSize)
	rand.Read(p.KDF.PBKDF2.Salt) // never fails
	rand.Read(p.Cipher.IV)
	key, err := pbkdf2.Key(sha256.New, string(passphrase), p.KDF.PBKDF2.Salt, p.KDF.PBKDF2.Rounds, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key from the passphrase: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(der)%aes.BlockSize // RFC 8018, Section 6.1.1
	sealed.Data = make([]byte, len(der)+padding)
	for i := copy(sealed.Data, der); i < len(sealed.Data); i++ {
		sealed.Data[i] = byte(padding)
	}
	cipher.NewCBCEncrypter(block, p.Cipher.IV).CryptBlocks(sealed.Data, sealed.Data)
	return asn1.Marshal(sealed)
}
