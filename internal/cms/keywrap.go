package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// wrapIV is the initial value of AES key wrap: RFC 3394, Section 2.2.3.1.
var wrapIV = bytes.Repeat([]byte{0xa6}, 8)

// wrapKey is the AES key wrap of RFC 3394, Section 2.2.1.
func wrapKey(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(key) / 8
	if len(key)%8 != 0 || n < 2 {
		return nil, errors.New("a key of that length cannot be wrapped")
	}
	out := append(bytes.Clone(wrapIV), key...)
	var b [aes.BlockSize]byte
	copy(b[:8], wrapIV)
	for j := range 6 {
		for i := 1; i <= n; i++ {
			copy(b[8:], out[8*i:])
			block.Encrypt(b[:], b[:])
			binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^uint64(n*j+i))
			copy(out[8*i:8*i+8], b[8:])
		}
	}
	copy(out, b[:8])
	clear(b[:])
	return out, nil
}

// unwrapKey undoes wrapKey: RFC 3394, Section 2.2.2. It returns nil if wrapped
// was not made with that key.
func unwrapKey(kek, wrapped []byte) []byte {
	block, err := aes.NewCipher(kek)
	n := len(wrapped)/8 - 1
	if err != nil || len(wrapped)%8 != 0 || n < 2 || n > 8 {
		return nil
	}
	out := bytes.Clone(wrapped)
	var b [aes.BlockSize]byte
	copy(b[:8], out)
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^uint64(n*j+i))
			copy(b[8:], out[8*i:])
			block.Decrypt(b[:], b[:])
			copy(out[8*i:8*i+8], b[8:])
		}
	}
	if subtle.ConstantTimeCompare(b[:8], wrapIV) != 1 {
		clear(out)
		return nil
	}
	return out[8:]
}
