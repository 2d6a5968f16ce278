package batch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// planVersion is that of the format of plan.json and of all that lies beside it.
const planVersion = 1

// The forms of what a device gets.
const (
	PEM    = "pem"    // certificate and chain, and the key in PKCS #8
	DER    = "der"    // the same, binary, a file each
	PKCS12 = "p12"    // key, certificate and chain under a password of its own
	NDJSON = "ndjson" // a line of JSON for each device
)

// How the files of a part are put together.
const (
	Zip    = "zip"
	Folder = "dir"
)

// KeyTypes are those that a batch makes.
var KeyTypes = []string{"P-256", "P-384", "RSA-2048", "RSA-3072"}

// Plan is what was asked, in plan.json. The first run fixes it.
type Plan struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // 32 hexadecimal digits
	Created time.Time `json:"created"`
	Profile string    `json:"profile"`
	Issuer  string    `json:"issuer"`
	Order   string    `json:"order,omitempty"`
	// Items is how many devices there are, and Input the SHA-256 of the file with them.
	Items int    `json:"devices"`
	Input string `json:"input_sha256"`
	// KeyType is of the keys that the batch makes; empty if it has certification requests.
	KeyType string `json:"key_type,omitempty"`
	Format  string `json:"format"`
	Pack    string `json:"pack,omitempty"` // Zip or Folder; none for NDJSON
	// Recipient is the customer's certificate in DER, for which the files are encrypted.
	Recipient []byte `json:"recipient,omitempty"`
	// Unencrypted lets keys lie in the files as they are.
	Unencrypted bool `json:"unencrypted_keys,omitempty"`
	// NoChain leaves the certificates of the CAs out of what a device gets.
	NoChain bool `json:"no_chain,omitempty"`
	// Root is the trust anchor in DER, which goes with the batch.
	Root []byte `json:"root"`
	// Lists are the files for clouds beside the parts, each as its name and, after an equals
	// sign, what whoever writes it wants to know again.
	Lists []string `json:"lists,omitempty"`
}

// check refuses a plan that cannot be carried out.
func (p Plan) check() error {
	switch {
	case p.Profile == "" || p.Issuer == "":
		return errors.New("a batch needs a profile and an issuing CA")
	case p.KeyType != "" && !slices.Contains(KeyTypes, p.KeyType):
		return fmt.Errorf("key type %q is none of %s", p.KeyType, strings.Join(KeyTypes, ", "))
	case !slices.Contains([]string{PEM, DER, PKCS12, NDJSON}, p.Format):
		return fmt.Errorf("format %q is none of pem, der, p12, ndjson", p.Format)
	case p.Format == NDJSON && p.Pack != "":
		return errors.New("format ndjson makes one file for a part, which is packed into nothing")
	case p.Format != NDJSON && p.Pack != Zip && p.Pack != Folder:
		return fmt.Errorf("pack %q is neither zip nor dir", p.Pack)
	case p.Format == PKCS12 && p.KeyType == "":
		return errors.New("PKCS #12 is for certificates with their keys, which stay in the devices where there are certification requests: choose pem, der or ndjson")
	case p.KeyType != "" && len(p.Recipient) == 0 && !p.Unencrypted:
		return errors.New("the keys of the devices would lie there in the clear: name the customer's certificate to encrypt for, or say that unencrypted keys are meant")
	case len(p.Recipient) > 0 && p.Unencrypted:
		return errors.New("keys are either encrypted for the customer or not")
	case len(p.Recipient) > 0 && p.Pack == Folder:
		return errors.New("a folder of files is not encrypted: choose zip")
	}
	if _, err := x509.ParseCertificate(p.Root); err != nil {
		return fmt.Errorf("the trust anchor: %w", err)
	}
	if len(p.Recipient) > 0 {
		if _, err := recipientOf(p.Recipient); err != nil {
			return err
		}
	}
	return nil
}

// same reports whether another run asks for the same.
func (p Plan) same(other Plan) bool {
	p.ID, p.Created = other.ID, other.Created
	mine, err := json.Marshal(p)
	theirs, err2 := json.Marshal(other)
	return err == nil && err2 == nil && string(mine) == string(theirs)
}

// CheckRecipient refuses a certificate that cannot be encrypted for, or should not be.
func CheckRecipient(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("it expired on %s", c.NotAfter.Format(time.DateOnly))
	case now.Before(c.NotBefore):
		return fmt.Errorf("it is valid from %s", c.NotBefore.Format(time.DateOnly))
	}
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Errorf("its RSA key has %d bits; 2048 are needed", key.N.BitLen())
		}
		// RFC 5280, Section 4.2.1.3.
		if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageKeyEncipherment == 0 {
			return errors.New("its key usage lacks keyEncipherment: ask for a certificate to encrypt for")
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return errors.New("its key is neither RSA nor on P-256 or P-384")
		}
		if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageKeyAgreement == 0 {
			return errors.New("its key usage lacks keyAgreement: ask for a certificate to encrypt for")
		}
	default:
		return errors.New("its key is neither RSA nor on P-256 or P-384")
	}
	return nil
}
