// Package edge writes the configuration of an Azure IoT Edge device: config.toml for an
// identity in files, by EST or in a PKCS #11 token, and a script that puts certificates
// and keys where IoT Edge reads them.
//
// It exists because a wrong config.toml is not refused: a key in the wrong table is
// ignored, a renewal with a field missing is none, and an EST identity without a default
// URL works until the first restart. What it writes is held against the keys that the
// vendor documents (testdata/keys.txt). Secrets are never in it: passwords, PINs and
// private keys go to the device beside it, and the script puts them in their place.
package edge

import (
	"time"
)

// Identity is where the device's identity certificate comes from.
type Identity string

// The identities that there are.
const (
	// ByFile: certificate and key are files, which somebody else renews.
	ByFile Identity = "file"
	// ByEST: IoT Edge makes the key, and enrolls and renews by EST.
	ByEST Identity = "est"
	// ByPKCS11: the certificate is a file and its key is in a token.
	ByPKCS11 Identity = "pkcs11"
)

// Config is what a device's configuration is made of.
type Config struct {
	// RegistrationID is the commonName of the device's certificate; must be set.
	RegistrationID string
	IDScope        string // of the DPS instance; must be set
	Identity       Identity
	// Individual says that the device has an individual enrollment, which knows
	// certificates one by one: IoT Edge must then not renew its own.
	Individual bool

	Hostname       string // of the device as a gateway; optional
	GlobalEndpoint string // https://global.azure-devices-provisioning.net if empty
	// Reprovisioning is Dynamic (if empty), AlwaysOnStartup or OnErrorOnly.
	Reprovisioning string

	// Chain is the device's certificate with the CAs above it, in PEM: for ByFile and
	// ByPKCS11, empty for ByEST.
	Chain []byte
	// Enroll says how certificates come by EST: for the identity ByEST and for EdgeCA.
	Enroll Enroll
	// EdgeCA is the URL of the EST label for the Edge CA certificate; empty for the one
	// that IoT Edge makes itself.
	EdgeCA string
	Renew  Renew
	Token  Token

	// TrustBundle are root certificates for the modules, in PEM; optional.
	TrustBundle []byte
	// Payload is JSON that the device sends when it registers; optional.
	Payload []byte

	// Now is when the configuration is made, for the validity of certificates; the
	// present if zero.
	Now time.Time
}

// Enroll says how IoT Edge enrolls by EST.
type Enroll struct {
	// URL of the label for device and EST identity, with its path up to the label:
	// https://HOST/.well-known/est/LABEL.
	URL string
	// Trust are the trust anchors of the EST server, in PEM; must be set.
	Trust []byte
	// User is the name of HTTP Basic, whose password the placement script is given. It
	// goes with a certificate or stands alone; then there is no EST identity.
	User string
	// Bootstrap or Certificate is the certificate by which the device authenticates, in
	// PEM. Bootstrap gets an EST identity of its own, which IoT Edge renews, and is used
	// again when that has expired. Certificate is an EST identity that is there already.
	Bootstrap   []byte
	Certificate []byte
}

// Renew says when IoT Edge renews what it got by EST. The zero value is the vendor's
// default: at 80 % of the validity period, again every 4 %, with a new key.
type Renew struct {
	Threshold int // percent of the validity period
	Retry     int // percent of the validity period
	KeepKey   bool
}

// Token is the PKCS #11 token of the device.
type Token struct {
	Library string // path of the module; empty for none
	// Label or Slot names the token.
	Label string
	Slot  *uint64
	// Object is the label of the identity's key, BootstrapObject that of the bootstrap
	// certificate's; without it that key is a file.
	Object          string
	BootstrapObject string
	// NoPIN is for a token that wants none; otherwise the placement script is given it.
	NoPIN bool
}

// byEST reports whether anything comes by EST.
func (c Config) byEST() bool { return c.Identity == ByEST || c.EdgeCA != "" }

// Warnings says what is allowed and will surprise, in sentences. It is for a
// configuration that Files takes.
func (c Config) Warnings() []string {
	var list []string
	if c.Identity == ByEST && c.Individual {
		list = append(list, "the device's certificate is not renewed: an individual enrollment knows certificates one by one, and IoT Edge cannot tell it the next one")
	}
	if c.byEST() && c.Enroll.User != "" && len(c.Enroll.Bootstrap) == 0 && len(c.Enroll.Certificate) == 0 {
		list = append(list, "there is no EST identity: the password alone authenticates each enrollment, and stays on the device")
	}
	if c.Identity == ByPKCS11 || c.Identity == ByFile {
		list = append(list, "IoT Edge does not renew a certificate that is a file: replace it before it expires")
	}
	if c.EdgeCA == "" {
		list = append(list, "the Edge CA is the one that IoT Edge makes itself, which the vendor wants in no production")
	}
	return list
}
