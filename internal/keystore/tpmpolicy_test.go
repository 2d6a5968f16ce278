package keystore

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/legacy/tpm2"
)

// tpmFile returns a key file with these attributes, and no key.
func tpmFile(t testing.TB, attributes tpm2.KeyProp) []byte {
	t.Helper()
	public, err := tpm2.Public{
		Type: tpm2.AlgECC, NameAlg: tpm2.AlgSHA256, Attributes: attributes,
		ECCParameters: &tpm2.ECCParams{
			Sign: &tpm2.SigScheme{Alg: tpm2.AlgECDSA, Hash: tpm2.AlgSHA256}, CurveID: tpm2.CurveNISTP256,
			Point: tpm2.ECPoint{XRaw: make([]byte, 32), YRaw: make([]byte, 32)},
		},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	key, err := json.Marshal(map[string]any{"Public": public, "KeyBlob": []byte{1}, "KeyEncoding": 2, "TPMVersion": 2})
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]any{"name": "x", "type": "KEY", "data": key})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

const tpmGood = tpm2.FlagFixedTPM | tpm2.FlagFixedParent | tpm2.FlagSensitiveDataOrigin | tpm2.FlagUserWithAuth | tpm2.FlagSign

// A key that could leave the TPM, or do more than sign, is refused, and no TPM is asked.
func TestTPMPolicy(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, TPMDevice: filepath.Join(dir, "none")})
	file := filepath.Join(dir, "tpm", "key-x.tpmobj")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"good", tpmFile(t, tpmGood), "on in the firmware"}, // what comes next
		{"to be duplicated", tpmFile(t, tpmGood&^tpm2.FlagFixedTPM), "fixedTPM is false"},
		{"to be moved", tpmFile(t, tpmGood&^tpm2.FlagFixedParent), "fixedParent is false"},
		{"imported", tpmFile(t, tpmGood&^tpm2.FlagSensitiveDataOrigin), "sensitiveDataOrigin is false"},
		{"not for signatures", tpmFile(t, tpmGood&^tpm2.FlagSign), "sign is false"},
		{"for decryption", tpmFile(t, tpmGood|tpm2.FlagDecrypt), "decrypt is true"},
		{"restricted", tpmFile(t, tpmGood|tpm2.FlagRestricted), "restricted is true"},
		{"empty", nil, "not a key file"},
		{"text", []byte("hello"), "not a key file"},
		{"no key", []byte(`{"data":"e30="}`), "decoding the public area"},
		{"long", make([]byte, maxKeyFile+1), "not a key file"},
	} {
		if err := os.WriteFile(file, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Signer(background, "tpmkms:name=x", nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrPolicy) != strings.Contains(tt.want, " is ") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzTPMFile(f *testing.F) {
	f.Add(tpmFile(f, tpmGood))
	f.Add([]byte(`{"data":"e30="}`))
	f.Add([]byte(`{"data":"eyJQdWJsaWMiOiJBQ009In0="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if attributes, err := tpmAttributes(data); err != nil && attributes != 0 {
			t.Errorf("%v with %v", attributes, err)
		}
	})
}
