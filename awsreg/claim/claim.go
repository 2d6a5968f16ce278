// Package claim is the device's side of AWS IoT fleet provisioning by claim: with a
// claim certificate, or with the certificate that it has, a device asks over MQTT for
// its next certificate and is registered by a provisioning template.
//
// The key is made by whoever calls Provision and never leaves it: only
// CreateCertificateFromCsr is used, never CreateKeysAndCertificate, which makes the
// key in the cloud. The package imports nothing else of mintmark, so that it can run
// on a device or on a factory station.
//
// https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
package claim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"mintmark/internal/pattern"
)

// Bounds of what is sent (API reference, CreateCertificateFromCsr and RegisterThing)
// and defaults of the waiting.
const (
	maxCSR        = 4096 // characters of PEM
	maxParameters = 100
	maxName       = 2048 // characters of a parameter's name
	maxValue      = 4096 // characters of its value

	defaultAnswer   = 20 * time.Second
	defaultBackoff  = time.Second
	defaultAttempts = 6
	maxBackoff      = 30 * time.Second
	maxAttempts     = 100
)

var (
	templateName = pattern.New(`^[0-9A-Za-z_-]{1,36}$`)
	thingName    = pattern.New(`^[a-zA-Z0-9:_-]{1,128}$`)
	hexID        = pattern.New(`^[0-9a-f]{64}$`)
)

// Config says where and as whom to provision, and what for.
type Config struct {
	// Endpoint is the host and port of the data endpoint. With port 443 the
	// connection asks for the ALPN name x-amzn-mqtt-ca, with every other for none.
	Endpoint string
	// ServerName is the name that is sent as SNI and that the server's certificate
	// must have; the endpoint's host if empty.
	ServerName string
	// Roots are the trust anchors of the server's certificate, Amazon Root CA 1 and 3
	// for a Data-ATS endpoint; the system's if nil.
	Roots *x509.CertPool
	// Certificate is the claim certificate, or for a rotation the device's own, with
	// its chain and key. Must be set.
	Certificate tls.Certificate
	// ClientID is the MQTT client id, 1 to 128 characters. The policy of the
	// certificate may name it.
	ClientID string
	// Template is the name of the provisioning template.
	Template string
	// CSR is the certification request, in DER, for the key that stays where it is.
	CSR []byte
	// Parameters are given to the template and its hook.
	Parameters map[string]string

	// Attempts bounds how often a connection that fails, or a request that AWS cannot
	// take at the moment, is tried; 6 if zero, at most 100. Backoff is the pause after
	// the first of them, doubled with each up to 30 s, with a random part so that a
	// fleet does not return as one; 1 s if zero.
	Attempts int
	Backoff  time.Duration
	// Answer is how long to wait for each answer; 20 s if zero.
	Answer time.Duration

	// Failed is called with each attempt that failed and is made again after the
	// pause; nil for nobody.
	Failed func(err error, pause time.Duration)
	// Logger receives one line for each step and each attempt that failed; nothing
	// secret. Discarded if nil.
	Logger *slog.Logger
	// Dial opens the TCP connection; a net.Dialer if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Result is what the device got.
type Result struct {
	CertificateID string
	// Certificate holds the public key of the CSR; it was compared. PEM is the text
	// that AWS sent, with further certificates after it if there were any.
	Certificate *x509.Certificate
	PEM         []byte
	// ThingName is empty if the template makes no thing.
	ThingName string
	// DeviceConfiguration comes from the template. Values that are no strings are the
	// JSON text of the value.
	DeviceConfiguration map[string]string
}

// ErrAnswerLost means that RegisterThing was sent, the connection broke before its
// answer, and AWS no longer takes the ownership token: most likely it has registered
// the device. The Result then holds the certificate. Connecting with it tells.
var ErrAnswerLost = errors.New("the answer of RegisterThing was lost; the device may be registered with the certificate")

// Provision gets a certificate for the CSR and has the device registered with it. It
// returns a *Rejection if AWS refuses, and ErrAnswerLost, wrapped, together with the
// certificate if it is not known whether AWS has registered the device. It ends with
// ctx at the latest and leaves no connection behind. It may be called concurrently,
// with a client id of its own for each call.
func Provision(ctx context.Context, cfg Config) (Result, error) {
	cfg, csr, err := cfg.check()
	if err != nil {
		return Result{}, fmt.Errorf("configuring fleet provisioning: %w", err)
	}
	d := &device{cfg: cfg, csr: csr}
	defer d.close()
	created, err := d.create(ctx)
	if err != nil {
		return Result{}, err
	}
	result := Result{CertificateID: created.id, Certificate: created.leaf, PEM: created.pem}
	cfg.Logger.Info("certificate issued", "certificate", created.id, "template", cfg.Template)
	registered, err := d.register(ctx, created.token)
	if errors.Is(err, ErrAnswerLost) {
		return result, err
	}
	if err != nil {
		return Result{}, err
	}
	result.ThingName, result.DeviceConfiguration = registered.thing, registered.config
	cfg.Logger.Info("device registered", "certificate", created.id, "thing", registered.thing)
	return result, nil
}

// check fills in defaults and refuses what AWS would refuse.
func (cfg Config) check() (Config, *x509.CertificateRequest, error) {
	host, _, err := net.SplitHostPort(cfg.Endpoint)
	if err != nil {
		return cfg, nil, fmt.Errorf("endpoint: %w", err)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	switch {
	case len(cfg.Certificate.Certificate) == 0 || cfg.Certificate.PrivateKey == nil:
		return cfg, nil, errors.New("there is no claim certificate with its key")
	case cfg.ClientID == "" || len(cfg.ClientID) > 128:
		return cfg, nil, errors.New("the client id must have 1 to 128 characters")
	case !templateName.MatchString(cfg.Template):
		return cfg, nil, fmt.Errorf("template %q: want 1 to 36 letters, digits, underscores or hyphens", cfg.Template)
	case len(cfg.Parameters) > maxParameters:
		return cfg, nil, fmt.Errorf("there are %d parameters, at most %d", len(cfg.Parameters), maxParameters)
	case cfg.Attempts < 0 || cfg.Attempts > maxAttempts || cfg.Backoff < 0 || cfg.Answer < 0:
		return cfg, nil, fmt.Errorf("attempts, backoff and answer must not be negative, and attempts at most %d", maxAttempts)
	}
	for k, v := range cfg.Parameters {
		if k == "" || len(k) > maxName || len(v) > maxValue {
			return cfg, nil, fmt.Errorf("parameter %.64q: names have 1 to %d characters, values at most %d", k, maxName, maxValue)
		}
	}
	csr, err := x509.ParseCertificateRequest(cfg.CSR)
	if err != nil {
		return cfg, nil, fmt.Errorf("parsing the certification request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return cfg, nil, fmt.Errorf("checking the certification request: %w", err)
	}
	if n := len(requestPEM(cfg.CSR)); n > maxCSR {
		return cfg, nil, fmt.Errorf("the certification request has %d characters in PEM, AWS takes at most %d", n, maxCSR)
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = defaultAttempts
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = defaultBackoff
	}
	if cfg.Answer == 0 {
		cfg.Answer = defaultAnswer
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	return cfg, csr, nil
}

func requestPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}
