package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors of RFC 3394, Section 4.
func TestKeyWrap(t *testing.T) {
	const keys = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
	const data = "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F"
	for _, c := range []struct {
		kek, data int
		want      string
	}{
		{16, 16, "1FA68B0A8112B447 AEF34BD8FB5A7B82 9D3E862371D2CFE5"},
		{24, 16, "96778B25AE6CA435 F92B5B97C050AED2 468AB8A17AD84E5D"},
		{32, 16, "64E8C3F9CE0F5BA2 63E9777905818A2A 93C8191E7D6E8AE7"},
		{24, 24, "031D33264E15D332 68F24EC260743EDC E1C6C7DDEE725A93 6BA814915C6762D2"},
		{32, 24, "A8F9BC1612C68B3F F6E6F4FBE30E71E4 769C8B80A32CB895 8CD5D17D6B254DA1"},
		{32, 32, "28C9F404C4B810F4 CBCCB35CFB87F826 3F5786E2D80ED326 CBC7F0E71A99F43B FB988B9B7A02DD21"},
	} {
		kek, key, want := unhex(t, keys)[:c.kek], unhex(t, data)[:c.data], unhex(t, c.want)
		got, err := wrapKey(kek, key)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d/%d: %x, %v", c.kek, c.data, got, err)
		}
		if back := unwrapKey(kek, want); !bytes.Equal(back, key) {
			t.Errorf("%d/%d: %x", c.kek, c.data, back)
		}
		for i := range want {
			damaged := bytes.Clone(want)
			damaged[i] ^= 1
			if unwrapKey(kek, damaged) != nil {
				t.Errorf("%d/%d: damaged at %d and unwrapped", c.kek, c.data, i)
			}
		}
	}
	for _, n := range []int{0, 8, 9, 15, 17, 80, 800} {
		if unwrapKey(make([]byte, 16), make([]byte, n)) != nil {
			t.Errorf("%d bytes unwrapped", n)
		}
		if n < 16 || n%8 != 0 {
			if _, err := wrapKey(make([]byte, 16), make([]byte, n)); err == nil {
				t.Errorf("%d bytes wrapped", n)
			}
		}
	}
}

func TestEncryptRefuses(t *testing.T) {
	rsaKey, p256, c := pkitest.Key(t, "RSA-2048").Public(), pkitest.Key(t, "P-256").Public(), newCertificate(t, "recipient")
	p521, p224 := pkitest.Key(t, "P-521").Public(), func() any {
		key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return &key.PublicKey
	}()
	edwards, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id := []byte("id")
	for name, r := range map[string]Recipient{
		"nothing":                 {},
		"no name":                 {Key: rsaKey, KeyEncryption: RSAOAEP, Content: AES128CBC},
		"AES key by certificate":  {Key: kek(16), Certificate: c, KeyEncryption: AES128Wrap, Content: AES128CBC},
		"no cipher":               {Key: rsaKey, Certificate: c, KeyEncryption: RSAOAEP},
		"a wrap as cipher":        {Key: rsaKey, Certificate: c, KeyEncryption: RSAOAEP, Content: AES128Wrap},
		"RSA with ECDH":           {Key: rsaKey, Certificate: c, KeyEncryption: ECDHSHA256, KeyWrap: AES128Wrap, Content: AES128CBC},
		"curve with OAEP":         {Key: p256, Certificate: c, KeyEncryption: RSAOAEP, KeyWrap: AES128Wrap, Content: AES128CBC},
		"curve without wrap":      {Key: p256, Certificate: c, KeyEncryption: ECDHSHA256, Content: AES128CBC},
		"curve with a cipher":     {Key: p256, Certificate: c, KeyEncryption: ECDHSHA256, KeyWrap: AES128CBC, Content: AES128CBC},
		"P-521":                   {Key: p521, Certificate: c, KeyEncryption: ECDHSHA256, KeyWrap: AES256Wrap, Content: AES256CBC},
		"P-224":                   {Key: p224, Certificate: c, KeyEncryption: ECDHSHA256, KeyWrap: AES256Wrap, Content: AES256CBC},
		"Ed25519":                 {Key: edwards, Certificate: c, KeyEncryption: ECDHSHA256, KeyWrap: AES256Wrap, Content: AES256CBC},
		"AES key of other length": {Key: kek(16), Identifier: id, KeyEncryption: AES256Wrap, Content: AES128CBC},
		"AES key of 15 bytes":     {Key: kek(15), Identifier: id, KeyEncryption: AES128Wrap, Content: AES128CBC},
		"AES key without wrap":    {Key: kek(16), Identifier: id, KeyEncryption: AES128CBC, Content: AES128CBC},
	} {
		if der, err := Encrypt(Data, []byte("content"), r); err == nil || der != nil {
			t.Errorf("%s: encrypted", name)
		}
	}
}

const decryptContent = "sixteen and more bytes of content"

// Whatever is wrong with a message that can be parsed, the error is the same.
func TestDecryptTellsNothing(t *testing.T) {
	parties := newParties(t, "RSA-2048", "P-256", "P-384")
	want := "decrypting message: " + ErrDecrypt.Error()
	check := func(name string, der []byte, key any) {
		t.Helper()
		contentType, content, err := Decrypt(der, key)
		// In the place of a key of PKCS #1 v1.5 that is wrong stands a random one, and
		// one in 256 of those finds good padding.
		if strings.HasPrefix(name, "v15") && err == nil && string(content) != decryptContent {
			return
		}
		if err == nil || err.Error() != want || !errors.Is(err, ErrDecrypt) || contentType != nil || content != nil {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
	p521, err := ecdh.P521().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range variants(parties) {
		content := []byte(decryptContent)
		der, err := Encrypt(Data, content, v.recipient)
		if err != nil {
			t.Fatal(err)
		}
		if contentType, got, err := Decrypt(der, v.key); err != nil || !bytes.Equal(got, content) || !contentType.Equal(Data) {
			t.Fatalf("%s: %q, %v", v.name, got, err)
		}
		for name, key := range map[string]any{
			"no key": nil, "text": "key", "AES": kek(20), "an AES key of 16": bytes.Repeat([]byte{1}, 16), "an AES key of 24": bytes.Repeat([]byte{1}, 24),
			"an AES key of 32": bytes.Repeat([]byte{1}, 32), "another P-256": pkitest.SecondKey(t, "P-256"), "P-521": p521, "RSA-3072": pkitest.Key(t, "RSA-3072"),
		} {
			check(v.name+" with "+name, der, key)
		}
		m, err := parseEnveloped(der)
		if err != nil {
			t.Fatal(err)
		}
		// The padding at the end, and the encrypted key.
		last := bytes.Index(der, m.encrypted) + len(m.encrypted) - 1
		padding := bytes.Clone(der)
		padding[last-16] ^= 0xff
		check(v.name+", padding", padding, v.key)
		// The encrypted key stands before the OID of the content type.
		oid, err := asn1.Marshal(Data)
		if err != nil {
			t.Fatal(err)
		}
		damaged := bytes.Clone(der)
		damaged[bytes.Index(der, oid)-4] ^= 1
		check(v.name+", key", damaged, v.key)
	}
}

func TestDefinite(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 300)
	for name, c := range map[string]struct{ ber, der []byte }{
		"DER":                  {tlv(0x30, tlv(2, []byte{1})), tlv(0x30, tlv(2, []byte{1}))},
		"indefinite":           {[]byte{0x30, 0x80, 2, 1, 1, 0, 0}, []byte{0x30, 3, 2, 1, 1}},
		"nested":               {[]byte{0x30, 0x80, 0xa0, 0x80, 2, 1, 1, 0, 0, 0, 0}, []byte{0x30, 5, 0xa0, 3, 2, 1, 1}},
		"long form":            {[]byte{0x30, 0x83, 0, 0, 3, 2, 1, 1}, []byte{0x30, 3, 2, 1, 1}},
		"length grows":         {append(append([]byte{0x30, 0x80, 4, 0x82, 1, 44}, long...), 0, 0), tlv(0x30, tlv(4, long))},
		"zeroes in a string":   {[]byte{0x30, 0x80, 4, 2, 0, 0, 0, 0}, []byte{0x30, 4, 4, 2, 0, 0}},
		"primitive left as is": {[]byte{4, 2, 0x30, 0x80}, []byte{4, 2, 0x30, 0x80}},
	} {
		if got, err := definite(c.ber); err != nil || !bytes.Equal(got, c.der) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	for name, ber := range map[string][]byte{
		"nothing": nil, "a tag": {0x30}, "no end": {0x30, 0x80, 2, 1, 1}, "half an end": {0x30, 0x80, 0}, "primitive indefinite": {4, 0x80, 0, 0},
		"too long": {0x30, 5, 2, 1, 1}, "trailing": {5, 0, 0}, "high tag": {0x3f, 0x1f, 0}, "an end alone": {0, 0}, "length of 4 bytes": {4, 0x84, 0, 0, 0, 1, 1},
		"deep": append(bytes.Repeat([]byte{0x30, 0x80}, 100), make([]byte, 200)...), "child too long": {0x30, 3, 4, 2, 1},
	} {
		if got, err := definite(ber); err == nil || got != nil {
			t.Errorf("%s: %x", name, got)
		}
	}
}

// What is DER stays as it is; and what comes out is read without a change.
func FuzzDefinite(f *testing.F) {
	for _, seed := range [][]byte{{0x30, 0x80, 0, 0}, {0x30, 0x80, 4, 1, 0, 0, 0}, {0x24, 0x80, 4, 1, 1, 4, 1, 2, 0, 0}, {0x30, 0x81, 2, 5, 0}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ber []byte) {
		der, err := definite(ber)
		if err != nil {
			return
		}
		if again, err := definite(der); err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x\n%x\n%v", der, again, err)
		}
	})
}

// Any bytes, with each kind of key: a content or one of two errors.
func FuzzDecrypt(f *testing.F) {
	parties := newParties(f, "RSA-2048", "P-256", "P-384")
	keys := []any{parties["RSA-2048"].key, parties["P-256"].key, parties["P-384"].key, kek(16), kek(24), kek(32)}
	for _, v := range variants(parties) {
		der, err := Encrypt(SignedData, []byte("content"), v.recipient)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Add([]byte{0x30, 0x80, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3, 0xa0, 0x80, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, ber []byte) {
		m, parsed := parseEnveloped(ber)
		if parsed == nil && len(m.recipients) > maxRecipients {
			t.Fatalf("%d recipients", len(m.recipients))
		}
		for _, key := range keys {
			contentType, content, err := Decrypt(ber, key)
			if (parsed == nil) != (err == nil || errors.Is(err, ErrDecrypt)) || err != nil && (content != nil || contentType != nil) {
				t.Fatalf("%v %q %v, after %v", contentType, content, err, parsed)
			}
		}
	})
}

// All of the padding counts, not its last byte alone.
func TestPadding(t *testing.T) {
	key, iv := kek(16), make([]byte, aes.BlockSize)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	for want, plain := range map[int]string{
		16: "sixteen of texts" + strings.Repeat("\x10", 16), 15: "fifteen of text\x01", 14: "fourteen, text\x02\x02", 0: strings.Repeat("\x10", 16),
		-1: "fourteen, text\x01\x02", -2: "sixteen of texts", -3: "fifteen of text\x00", -4: "fifteen of text\x11", -5: "\x0f" + strings.Repeat("\x10", 15), -6: "thirteen more\x03\x02\x03",
	} {
		encrypted := []byte(plain)
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(encrypted, encrypted)
		content, ok := decryptCBC(key, iv, encrypted)
		if ok != (want >= 0) || ok && string(content) != plain[:want] {
			t.Errorf("%q: %q, %v", plain, content, ok)
		}
	}
}
