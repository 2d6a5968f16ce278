package station

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
)

// Adapter speaks to the device that is at the station. Its methods are called by one
// goroutine, and take no longer than their context. Each may be repeated, also after a
// crash of the station, and then ends in the same way.
type Adapter interface {
	// Identify returns the identifier of the device that is there: ErrNoDevice if none
	// is, io.EOF if none will come.
	Identify(ctx context.Context) (string, error)
	// Request returns the device's certification request in DER. The device makes a key
	// if it has none, and never another one in its place.
	Request(ctx context.Context, device string) ([]byte, error)
	// Install puts a certificate and its chain into the device, and returns when they
	// are safe there. It fails if that is another device by now.
	Install(ctx context.Context, device string, c Credentials) error
	// Verify has the device show what it holds: ErrNoCertificate if it holds none.
	Verify(ctx context.Context, device string, c Challenge) (Proof, error)
	// Finished says that the station has done with the device for this time.
	Finished(device string, o Outcome) error
	// Scans reports whether each answer of Identify is a device that was put there anew;
	// otherwise one that stays is answered again and again.
	Scans() bool
	Close() error
}

var (
	// ErrNoDevice: there is none at the moment.
	ErrNoDevice = errors.New("there is no device")
	// ErrNoCertificate: the device holds none.
	ErrNoCertificate = errors.New("the device holds no certificate")
)

// Credentials are what is put into a device.
type Credentials struct {
	Leaf  *x509.Certificate
	Chain []*x509.Certificate // issuing CAs, upwards, without the root
	Roots []*x509.Certificate // trust anchors; none if the device is not to get them
	Key   crypto.Signer       // nil unless the station has made it
}

// Verification is how a device has shown that it holds its certificate.
type Verification string

const (
	// ByProof: its fingerprint, and a signature with its key over a nonce.
	ByProof Verification = "proof"
	// ByFingerprint: the SHA-256 of the certificate, read back.
	ByFingerprint Verification = "fingerprint"
	// ByNothing: the device has only said that it took it.
	ByNothing Verification = "none"
)

// proofContext begins what a device signs, so that the signature is good for nothing
// else: no protocol that is in use signs a text that begins so.
const proofContext = "mintmark station proof 1\x00"

// Challenge is what a device is to sign.
type Challenge struct {
	Nonce [32]byte
	Leaf  *x509.Certificate // that the station has installed
}

// Message is what is signed, by a device that holds the certificate with the SHA-256:
// the context, the nonce, that sum. It is hashed with SHA-256 whatever the key.
func (c Challenge) Message(certificate [32]byte) []byte {
	message := append([]byte(proofContext), c.Nonce[:]...)
	return append(message, certificate[:]...)
}

// Proof is what a device shows. What it cannot show is empty.
type Proof struct {
	Fingerprint [32]byte // SHA-256 of the certificate that it holds
	Signature   []byte   // ECDSA in DER, or RSA PKCS #1 v1.5
}

// Outcome is what became of a device that was at the station.
type Outcome string

const (
	Done   Outcome = "done"   // it holds its certificate, which is recorded now
	Again  Outcome = "again"  // the same, and it was recorded before
	Waits  Outcome = "waits"  // its request is in the queue, and it may go
	Failed Outcome = "failed" // the record says why
)
