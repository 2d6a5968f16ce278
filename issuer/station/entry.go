package station

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"mintmark/issuer/inventory"
)

// State says what comes next for a device. It is on disk before that is begun.
type State string

const (
	Requested State = "requested" // the server is to be asked, or is being asked
	Issued    State = "issued"    // the certificate is to be put into the device
	Verified  State = "verified"  // the device holds it: its line is to be recorded
	// Making marks a device whose key the station has made and keeps in memory only.
	// Found after a crash, that key is lost.
	Making State = "making"
)

// entryVersion is that of the queue's files.
const entryVersion = 1

// maxEntry bounds the file of a device, in bytes.
const maxEntry = 128 << 10

// maxChain bounds the certificates above a device's, and the trust anchors.
const maxChain = 16

// Entry is what the station knows of a device that it has not done with.
type Entry struct {
	Version int       `json:"version"`
	Device  string    `json:"device"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"`
	CSR     []byte    `json:"csr"` // DER; it is what is sent, every time
	// Certificate, Chain (issuing CAs, upwards) and Roots are in DER. In the state
	// Requested there may be a certificate whose chain is still to be fetched.
	Certificate []byte   `json:"certificate,omitempty"`
	Chain       [][]byte `json:"chain,omitempty"`
	Roots       [][]byte `json:"roots,omitempty"`
	// NotBefore is when the server wants to be asked again.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Reason is why the device still waits, for people.
	Reason string `json:"reason,omitempty"`
	// How is how the device has shown that it holds the certificate.
	How   Verification `json:"how,omitempty"`
	Taken Durations    `json:"taken"`
}

// Durations is how long the steps of a device took, in milliseconds. Waiting for a
// server that is away is in none.
type Durations struct {
	Request int64 `json:"request"`
	Enroll  int64 `json:"enroll"`
	Install int64 `json:"install"`
	Verify  int64 `json:"verify"`
}

// parseEntry reads the file of a device, and refuses what the station cannot have written.
func parseEntry(data []byte) (*Entry, error) {
	if len(data) > maxEntry {
		return nil, fmt.Errorf("it is larger than %d bytes", maxEntry)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	e := new(Entry)
	if err := decoder.Decode(e); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands after its end")
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Entry) check() error {
	if e.Version != entryVersion {
		return fmt.Errorf("it has version %d, and this program knows %d", e.Version, entryVersion)
	}
	if err := inventory.CheckDevice(e.Device); err != nil {
		return fmt.Errorf("device %q: %w", e.Device, err)
	}
	csr, err := x509.ParseCertificateRequest(e.CSR)
	if err != nil {
		return fmt.Errorf("parsing its certification request: %w", err)
	}
	if len(e.Chain) > maxChain || len(e.Roots) > maxChain {
		return errors.New("its chain is too long")
	}
	for _, der := range append(e.Chain[:len(e.Chain):len(e.Chain)], e.Roots...) {
		if _, err := x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("parsing its chain: %w", err)
		}
	}
	switch e.State {
	case Requested, Making:
		if len(e.Certificate) == 0 {
			return nil
		}
	case Issued, Verified:
	default:
		return fmt.Errorf("its state %q is none", e.State)
	}
	certificate, err := x509.ParseCertificate(e.Certificate)
	if err != nil {
		return fmt.Errorf("parsing its certificate: %w", err)
	}
	if !bytes.Equal(certificate.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo) {
		return errors.New("its certificate is not for the key of its request")
	}
	return nil
}

// key is the SHA-256 of the device's public key.
func (e *Entry) key() [32]byte {
	csr, err := x509.ParseCertificateRequest(e.CSR)
	if err != nil {
		return [32]byte{} // check has refused it
	}
	return sha256.Sum256(csr.RawSubjectPublicKeyInfo)
}

// leaf is the device's certificate; nil while there is none.
func (e *Entry) leaf() *x509.Certificate {
	c, err := x509.ParseCertificate(e.Certificate)
	if err != nil {
		return nil
	}
	return c
}

// credentials is what goes into the device.
func (e *Entry) credentials() (Credentials, error) {
	c := Credentials{Leaf: e.leaf()}
	if c.Leaf == nil {
		return c, errors.New("there is no certificate yet")
	}
	var err error
	if c.Chain, err = parseAll(e.Chain); err != nil {
		return c, err
	}
	c.Roots, err = parseAll(e.Roots)
	return c, err
}

func parseAll(ders [][]byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func rawOf(list []*x509.Certificate) [][]byte {
	var ders [][]byte
	for _, c := range list {
		ders = append(ders, c.Raw)
	}
	return ders
}
