package issuer

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"time"

	"mintmark/internal/ledger"
)

// NewSerial makes a serial number: four bytes that rise every four seconds, so
// that the ledger's index stays local, and fourteen random bytes. It is
// positive and 18 octets long (RFC 5280, Section 4.1.2.2, allows 20) until the
// year 2242.
func NewSerial(now time.Time) *big.Int {
	var b [18]byte
	binary.BigEndian.PutUint32(b[:4], uint32(now.Unix()>>2))
	rand.Read(b[4:])
	return new(big.Int).SetBytes(b[:])
}

// SerialOf returns the ledger's form of a certificate's serial number.
func SerialOf(n *big.Int) ledger.Serial {
	return ledger.Serial(hex.EncodeToString(n.Bytes()))
}
