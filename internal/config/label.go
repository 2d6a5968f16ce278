package config

import "time"

// Label is one EST label: what enrolls there, how it authenticates, what it
// gets.
type Label struct {
	// Name is the path segment; empty for the path without a label.
	Name string `yaml:"name"`
	// Preset fills in what is left out: azure-iot-edge for labels that IoT Edge
	// enrolls at.
	Preset  string `yaml:"preset"`
	Profile string `yaml:"profile"`
	Issuer  string `yaml:"issuer"`
	// Gateway is the profile, of preset azure-edge-ca, of requests for a CA
	// certificate.
	Gateway string `yaml:"gateway"`
	// Authorize is the rule that decides whether an authenticated requester
	// may have the certificate: trusted (any identity that the credentials of
	// this label vouch for), inventory (the device is listed), order (the
	// credential of a work order, within its quota) or webhook (asks a service).
	Authorize string   `yaml:"authorize"`
	Webhook   *Webhook `yaml:"webhook"`

	// Passwords are HTTP Basic credentials that vouch for any device which the
	// profile allows.
	Passwords []Password `yaml:"passwords"`
	// OneTime takes the one-time secrets of devices: mintmark device secret.
	OneTime bool `yaml:"one_time"`
	// Own lists the profiles whose certificates may enroll and re-enroll here.
	Own []string `yaml:"own"`
	// RegistrationAuthorities lists profiles of preset registration-authority.
	RegistrationAuthorities []string `yaml:"registration_authorities"`
	// Maker trusts the certificates of a manufacturer (IDevID).
	Maker *Maker `yaml:"maker"`
	// Both demands a certificate and a password of whoever enrolls.
	Both bool `yaml:"both"`

	Renewal Renewal `yaml:"renewal"`

	// ProofOfPossession is off, optional or required.
	ProofOfPossession string `yaml:"proof_of_possession"`
	// Approval makes a first enrollment wait for mintmark enroll approve.
	Approval bool `yaml:"approval"`
	// Retry is when a waiting device is to ask again.
	Retry time.Duration `yaml:"retry"`
	// SecondKey is refuse, hold or allow: what becomes of another key for an
	// enrolled device that comes by a bootstrap credential. Left out: hold.
	SecondKey string `yaml:"second_key"`
	// ChangeNames honours ChangeSubjectName of clients with a maker's certificate.
	ChangeNames bool `yaml:"change_names"`
	// CACerts is full, both, active, new, old or path.
	CACerts string  `yaml:"cacerts"`
	Keygen  *Keygen `yaml:"keygen"`

	Limits LabelLimits `yaml:"limits"`
}

// Renewal is what holds where a certificate of ours renews.
type Renewal struct {
	// Authorize takes the place of the label's rule.
	Authorize string `yaml:"authorize"`
	// Grace is how long after its end a certificate still renews itself.
	Grace time.Duration `yaml:"grace"`
	// Password demands a password beside the certificate.
	Password bool `yaml:"password"`
	// Approval makes a renewal wait for mintmark enroll approve.
	Approval bool `yaml:"approval"`
	// ChangeNames honours ChangeSubjectName.
	ChangeNames bool `yaml:"change_names"`
}

// Webhook is a service that authorises. Exactly one of KeyFile and Cert
// authenticates us to it.
type Webhook struct {
	URL string `yaml:"url"` // https
	// CA is a PEM file of the service's trust anchors; left out, the system's.
	CA string `yaml:"ca"`
	// KeyFile holds the secret of the HMAC, at least 32 bytes; mode 0400.
	KeyFile string `yaml:"key_file"`
	// Cert and Key are PEM files of our TLS client certificate; the key's mode is
	// 0400.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Password is one HTTP Basic credential. The secret is not stored: only its
// SHA-256, which is enough for a generated secret (mintmark est secret).
type Password struct {
	User   string `yaml:"user"`
	SHA256 string `yaml:"sha256"`
}

// Maker is trust in a maker CA.
type Maker struct {
	// Anchors is a PEM file of the maker's roots.
	Anchors string `yaml:"anchors"`
	// Device is the attribute of the maker's certificates that identifies the
	// device: commonName or serialNumber.
	Device string `yaml:"device"`
	// Subject holds patterns that attributes of the subject must match entirely.
	Subject map[string]string `yaml:"subject"`
	// CRLs are files of the maker's CRLs, DER or PEM, read again when they change.
	// With any, a certificate is refused for as long as its issuer's CRL is missing
	// or out of date.
	CRLs []string `yaml:"crls"`
}

// Keygen offers keys that the server makes.
type Keygen struct {
	// Plain hands out keys that only TLS protects to clients that ask for no
	// encryption.
	Plain bool `yaml:"plain"`
	// SymmetricKeys maps identifiers to files, mode 0400, with 32, 48 or 64
	// hexadecimal digits.
	SymmetricKeys map[string]string `yaml:"symmetric_keys"`
}

// LabelLimits are requests for certificates per minute; 0 for no limit.
type LabelLimits struct {
	Identity *int `yaml:"identity"` // by one device; left out: 60
	Address  *int `yaml:"address"`  // from one address; left out: 6000
	Label    int  `yaml:"label"`    // in all
}

// Limits bounds what strangers can take of the EST listener.
type Limits struct {
	// Connections bounds all connections, ConnectionsPerAddress those of one
	// address, Handshakes the TLS handshakes that are computed at the same time.
	Connections           int `yaml:"connections"`
	ConnectionsPerAddress int `yaml:"connections_per_address"`
	Handshakes            int `yaml:"handshakes"`
	// Stations are networks, as in 10.1.2.0/24, behind whose addresses a whole
	// line stands: no limit per address holds for them.
	Stations []string `yaml:"stations"`
}

// Approval says how long a request waits for a person, and how many may.
type Approval struct {
	TTL  time.Duration `yaml:"ttl"`
	Most int           `yaml:"most"`
}
