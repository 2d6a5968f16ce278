// Package batch makes the certificates of many devices at once, before they are shipped:
// from their certification requests, or with keys that it makes. Its work is one folder,
// which holds what was asked, what is done and, in the folder delivery, what the customer
// gets.
//
// It knows no server: certificates come through a Certifier. A batch that was cut off
// anywhere is gone on from by running it again, and then issues nothing twice: what a part is
// about is in the journal, and its keys are on disk, before anything is asked for.
package batch

import (
	"context"
	"crypto/x509"
)

// Item asks for the certificate of one device.
type Item struct {
	Name string // common name; of a CSR what that says
	CSR  []byte // DER; nil if the batch makes the key
	Key  []byte // SubjectPublicKeyInfo in DER, where the batch made the key
}

// Result is what became of an Item.
type Result struct {
	Certificate *x509.Certificate // nil if refused
	Chain       []*x509.Certificate
	Device      string // as the inventory of the CA calls it; empty for none
	Prior       bool
	Rule, Text  string // of a refusal
	Retry       bool   // the same item may succeed later
}

// Certifier issues certificates. Certify answers up to 500 items in their order; a
// repeated item gets the certificate that it has got. Sign returns a detached CMS
// signature (DER) over a manifest all of whose certificates the CA has on record. A
// *FinalError of either would come again; every other error may pass. Both may be called
// concurrently.
type Certifier interface {
	Certify(ctx context.Context, id string, items []Item) ([]Result, error)
	Sign(ctx context.Context, id string, manifest []byte) ([]byte, error)
}

// FinalError is an error of a Certifier that the same call would get again.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }

func (e *FinalError) Unwrap() error { return e.Err }

// MaxItems is how many devices a batch may have, and maxPart how many one part has.
const (
	MaxItems = 100_000
	maxPart  = 500
)
