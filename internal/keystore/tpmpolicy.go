package keystore

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/google/go-tpm/legacy/tpm2"
)

// tpmPolicy is what the attributes of a key must be (TPM 2.0 Library, Part 2, Section
// 8.3): made in this TPM, bound to it, and good for signatures only. A restricted key
// signs what the TPM itself made, and so no certificates.
var tpmPolicy = []struct {
	name string
	flag tpm2.KeyProp
	want bool
}{
	{"fixedTPM", tpm2.FlagFixedTPM, true},
	{"fixedParent", tpm2.FlagFixedParent, true},
	{"sensitiveDataOrigin", tpm2.FlagSensitiveDataOrigin, true},
	{"sign", tpm2.FlagSign, true},
	{"decrypt", tpm2.FlagDecrypt, false},
	{"restricted", tpm2.FlagRestricted, false},
}

// checkPolicy refuses a key whose attributes are not those of a CA key. The TPM loads
// no key whose public area in the file is not the one that it was made with.
func (k *tpmKey) checkPolicy() error {
	f, err := os.Open(k.file())
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxKeyFile {
		return never("%s is not a key file", k.file())
	}
	attributes, err := tpmAttributes(data)
	if err != nil {
		return never("%s: %w", k.file(), err)
	}
	for _, p := range tpmPolicy {
		if (attributes&p.flag != 0) != p.want {
			return never("%w: %s is %v", ErrPolicy, p.name, !p.want)
		}
	}
	return nil
}

// tpmAttributes returns the attributes in a key file of go.step.sm/crypto/tpm/storage.
func tpmAttributes(file []byte) (tpm2.KeyProp, error) {
	var stored struct{ Data []byte }
	if err := json.Unmarshal(file, &stored); err != nil {
		return 0, fmt.Errorf("not a key file: %w", err)
	}
	var key struct{ Public []byte }
	if err := json.Unmarshal(stored.Data, &key); err != nil {
		return 0, fmt.Errorf("not a key file: %w", err)
	}
	public, err := tpm2.DecodePublic(key.Public)
	if err != nil {
		return 0, fmt.Errorf("decoding the public area: %w", err)
	}
	return public.Attributes, nil
}
