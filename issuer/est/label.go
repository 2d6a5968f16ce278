package est

import (
	"crypto/x509"
	"regexp"
	"time"

	"mintmark/issuer"
)

// Label is one path segment that names a way to enroll (RFC 7030, Section
// 3.2.2): which profile, which issuing CA and who is admitted.
type Label struct {
	// Name is the path segment; empty for the paths without one. Otherwise it
	// matches [a-z0-9-]{1,32} and is not the name of an EST operation.
	Name    string
	Profile string // name of the profile; must be set
	Issuer  string // name of the issuing CA; must be set

	// Gateway is the profile of requests for a CA certificate, for IoT Edge; empty
	// refuses them.
	Gateway string

	// Authorize is the rule that decides whether an authenticated requester may
	// have the certificate; must be set. With issuer.ByOrder the credentials of
	// simpleenroll are those of work orders (secret or claim certificate) and Own,
	// and there must be no others.
	Authorize issuer.Rule
	// Webhook is asked when Authorize, or that of Renewal, is issuer.ByWebhook.
	Webhook issuer.Webhook

	// Passwords are the HTTP Basic credentials for simpleenroll. A user may
	// have several, so that a secret can be changed without an interruption.
	Passwords []Password
	// OneTime takes the one-time secrets of devices: the user is the device. It
	// enrolls that device only.
	OneTime bool

	// Own lists the profiles whose certificates may enroll and re-enroll here.
	// A simpleenroll by a certificate of ours is a renewal too: that is how
	// Azure IoT Edge renews.
	Own []string

	// RAs lists the profiles whose certificates act here as registration
	// authority (RFC 7030, Section 3.7): they enroll any device that the profile
	// and Authorize allow, and renew in its place. Such a certificate has the
	// extended key usage id-kp-cmcRA and the purpose ledger.ForRA.
	RAs []string

	// Maker trusts a maker's certificates (IEEE 802.1AR IDevID), which may
	// enroll here, but never renew; nil for none.
	Maker *Maker

	// Both demands of whoever enrolls a certificate and a password: one that
	// would do alone is not enough, and if both name a device it is the same.
	Both bool

	// Renewal is what holds for certificates of ours under the label's own
	// profile, at simplereenroll and simpleenroll.
	Renewal Renewal

	// ProofOfPossession links requests to the TLS connection (RFC 7030, Section
	// 3.5).
	ProofOfPossession Proof

	// Approval makes a first enrollment wait for a person. Retry is the
	// Retry-After of the 202; a minute if zero.
	Approval bool
	Retry    time.Duration

	// SecondKey says what becomes of another key for an enrolled device.
	SecondKey issuer.SecondKey

	// ChangeNames honours ChangeSubjectName for whoever enrolls by a certificate
	// that is not ours (RFC 7030, Section 4.2.1).
	ChangeNames bool

	// CACerts says what cacerts holds.
	CACerts CACerts

	// Keygen offers serverkeygen; nil does not.
	Keygen *Keygen

	Limits Limits

	// Disabled says why this label issues nothing at the moment, for the log;
	// empty if it does. The label then answers 503 and still serves cacerts.
	// May be nil.
	Disabled func() string
}

// Renewal is what holds for a renewal or re-key by a certificate of ours.
type Renewal struct {
	// Authorize takes the place of the label's rule; empty keeps it.
	Authorize issuer.Rule
	// Grace is how long after its end a certificate still renews itself, and
	// nothing else; zero for not at all.
	Grace time.Duration
	// Password demands a password beside the certificate.
	Password bool
	// Approval makes a renewal wait for a person.
	Approval bool
	// ChangeNames honours ChangeSubjectName (RFC 7030, Section 4.2.2). The device
	// stays the same.
	ChangeNames bool
}

// Maker is trust in the CA of a device maker: implicit trust anchors of RFC
// 7030, Section 3.3.2, which never vouch for a certificate of ours.
type Maker struct {
	Roots *x509.CertPool
	// Device is the subject attribute that identifies the device: commonName or
	// serialNumber.
	Device string
	// Subject holds patterns for attributes of the subject, by the names of
	// makerAttributes; each must match all of the only value there is.
	Subject map[string]*regexp.Regexp
	// Revoked checks the path of a maker's certificate, end entity first and root
	// last, against the maker's CRLs; nil for a maker without. It returns an error
	// that wraps ErrRevokedByMaker for a revoked one; with any other the
	// certificate's standing is unknown, and it is refused for the time being.
	Revoked func(path []*x509.Certificate, now time.Time) error
}

// Proof is a policy of proof-of-possession linking.
type Proof string

const (
	// ProofOff passes over challengePassword.
	ProofOff Proof = "off"
	// ProofOptional verifies it where it is. The zero value does, too.
	ProofOptional Proof = "optional"
	// ProofRequired refuses a request without it.
	ProofRequired Proof = "required"
)

// Keygen says how serverkeygen answers (RFC 7030, Section 4.4).
type Keygen struct {
	// Plain hands out a key that only TLS protects to a client that asks for no
	// encryption. Without it such a client is refused.
	Plain bool
	// SymmetricKeys are keys that server and devices share, by identifier, for
	// clients that ask with a DecryptKeyIdentifier: 16, 24 or 32 bytes.
	SymmetricKeys map[string][]byte
}

// Limits bounds requests, per minute; zero for no limit. What is beyond gets
// 429 and Retry-After. As many as a minute takes may come at once.
type Limits struct {
	Identity int // for certificates, by one device that has authenticated itself
	Address  int // of every kind, from one address (IPv6: one /64) that is no station's
	Label    int // for certificates, in all, by whoever has authenticated itself
}

// Password is one HTTP Basic credential.
type Password struct {
	User string // may be empty (RFC 7030, Section 3.2.3)
	// SHA256 of the secret. A plain hash is enough because secrets are
	// generated, with at least 128 bits of entropy: no dictionary holds them.
	SHA256 [32]byte
}
