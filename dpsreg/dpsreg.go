// Package dpsreg brings an Azure Device Provisioning Service to the state that the
// configuration describes: which CAs it has verified, which enrollment groups stand
// on them, and which devices have an enrollment of their own.
//
// It is a reconciler. Plan reads and says what Apply would do; Apply does it,
// reading each thing again immediately before it is changed, so that a run that died
// anywhere is finished by the next one and a second run changes nothing. Deliver
// does the same for single devices: DPS knows no revocation and no certificates,
// only devices, so that what a device should have there is computed from all that
// the ledger says of it (Wanted), and told whenever something of it changed.
package dpsreg

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

// Config is what a Registrar is made of.
type Config struct {
	// Authorities lists all CAs of ours, expired ones included. Must be set. It may
	// be called at any time and must not block.
	Authorities func() []Authority
	// LabelIssuer is the issuing CA of each EST label. It may be nil.
	LabelIssuer map[string]string
	// Gateways are the authorities that issue CA certificates to gateways (IoT Edge). No
	// group may stand on one, nor on one above: a gateway could make devices. It may be nil.
	Gateways []string
	// Verification proves possession of an authority's key: it issues a certificate
	// whose common name is the verification code, signed by the authority itself, that
	// lives for minutes and whose key is thrown away. It returns PEM. Must be set for
	// Apply.
	Verification func(ctx context.Context, authority, code string) ([]byte, error)
	// Records is where devices are looked up. Must be set for everything but bundles.
	Records Records
	// Secret reads a file of a secret, with the checks that every secret file has. Must
	// be set.
	Secret func(path string) ([]byte, error)
	// Deadline bounds one Deliver, and the work on one resource. Five minutes if zero.
	Deadline time.Duration
	Now      func() time.Time // time.Now if nil
	Logger   *slog.Logger     // discarded if nil
}

// Records is the part of the ledger that dpsreg reads; see ledger.Ledger.
type Records interface {
	Order(ctx context.Context, id string) (ledger.Order, error)
	Orders(ctx context.Context, query ledger.OrderQuery) ([]ledger.Order, error)
	Device(ctx context.Context, id string) (ledger.Device, error)
	Devices(ctx context.Context, query ledger.DeviceQuery) ([]ledger.Device, error)
	Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error)
	Certificates(ctx context.Context, query ledger.Query) (ledger.Page, error)
}

// Registrar talks to every configured DPS instance. It may be used concurrently; the
// rate limit of an instance holds across all its calls.
type Registrar struct {
	cfg Config

	mu       sync.Mutex
	sessions map[string]*session // by name of the target

	// What Push has instead of a CA: proofs that were brought, and what the bundle says.
	proofs  []Proof
	bundled *Bundle
}

// New checks the configuration and returns a registrar. It makes no call.
func New(cfg Config) (*Registrar, error) {
	switch {
	case cfg.Authorities == nil:
		return nil, errors.New("dpsreg: Config.Authorities is not set")
	case cfg.Secret == nil:
		return nil, errors.New("dpsreg: Config.Secret is not set")
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = 5 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registrar{cfg: cfg, sessions: make(map[string]*session)}, nil
}
