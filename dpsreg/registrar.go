package dpsreg

import (
	"context"
	"errors"
)

// Config is what a Registrar is made of. All of it must be set but LabelIssuer and
// Strangers.
type Config struct {
	// Authorities lists all CAs of ours, expired ones included. It may be called at any
	// time and must not block.
	Authorities func() []Authority
	// LabelIssuer is the issuing CA of each EST label. It may be nil.
	LabelIssuer map[string]string
	// Strangers are the authorities that issue certificates to others than devices, with
	// what they issue, as in "CA certificates of gateways" and "certificates of officers".
	// No group may stand on one, nor on one above: who holds such a certificate would come
	// in as a device. It may be called at any time and must not block; it may be nil.
	Strangers func() map[string]string
	// Verification proves possession of an authority's key: it issues a certificate
	// whose common name is the verification code, signed by the authority itself, that
	// lives for minutes and whose key is thrown away. It returns PEM.
	Verification func(ctx context.Context, authority, code string) ([]byte, error)
	// Carried is Verification with a certificate that lives for days: for proofs that are
	// carried to where the network is.
	Carried func(ctx context.Context, authority, code string) ([]byte, error)
	// Records is where certificates in force and work orders are looked up.
	Records Records
}

// Registrar brings CAs and groups to the state that targets describe. It may be used
// concurrently.
type Registrar struct {
	cfg   Config
	conn  *Connections
	books books   // Config.Records
	below inForce // books, or what a bundle says
	// proofs are those that Push brought.
	proofs []Proof
}

// New checks the configuration and returns a registrar. It makes no call.
func New(c *Connections, cfg Config) (*Registrar, error) {
	switch {
	case cfg.Authorities == nil:
		return nil, errors.New("dpsreg: Config.Authorities is not set")
	case cfg.Verification == nil || cfg.Carried == nil:
		return nil, errors.New("dpsreg: Config.Verification or Config.Carried is not set")
	case cfg.Records == nil:
		return nil, errors.New("dpsreg: Config.Records is not set")
	}
	own := books{cfg.Records, cfg.Authorities, c.cfg.Now}
	return &Registrar{cfg: cfg, conn: c, books: own, below: own}, nil
}
