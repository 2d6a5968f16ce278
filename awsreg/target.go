package awsreg

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// The modes of a CA certificate at AWS. A region takes a CA in DEFAULT mode from
// one account only, after a proof of possession; in SNI_ONLY mode from any
// number of accounts, without one.
// https://docs.aws.amazon.com/iot/latest/developerguide/manage-your-CA-certs.html
const (
	ModeDefault = "DEFAULT"
	ModeSNIOnly = "SNI_ONLY"
)

// What a registered CA is used for.
const (
	UseJITR     = "jitr"
	UseJITP     = "jitp"
	UseRegister = "register" // mintmark registers each device certificate itself
	UseNone     = "none"     // registered and active, no registration of devices
)

// ModeNone: the CA is not registered. With UseRegister its certificates are then
// registered without a CA, which makes them SNI_ONLY.
const ModeNone = "NONE"

// What is wanted of a registered CA, from its first day to its last. AWS has two
// settings behind them, the status and the auto-registration.
const (
	StateRegistered = "registered" // INACTIVE, auto-registration off: there, and lets nobody in yet
	StateActive     = "active"
	StateQuiet      = "quiet"    // ACTIVE, auto-registration off: devices that AWS does not know stay out
	StateInactive   = "inactive" // no new devices; those that there are stay, or are swept
	StateDeleted    = "deleted"  // not registered any more
)

// What becomes of the device certificates under a CA that is not active.
const (
	SweepKeep       = "keep"
	SweepDeactivate = "deactivate" // INACTIVE: can be taken back
	SweepRevoke     = "revoke"     // REVOKED: final
)

// Target is the desired state of one account in one region.
type Target struct {
	Name      string
	AccountID string
	Region    string
	Profile   string // of the shared AWS configuration; empty for the default chain
	RoleARN   string // role to assume; empty for none
	Endpoint  string // replaces every AWS endpoint, for the simulator: https, or http to loopback
	CAs       []CA
	JITR      *JITR // where the CAs of UseJITR land; must be set if there is one
	Fleets    []Fleet
	Rotation  *Rotation // nil for none
	Provider  *Provider // nil for none
	Manifest  Manifest
	// StackOwned leaves IoT policies, templates, topic rules, thing types and
	// groups to the stack that `aws render` writes: Apply only compares them.
	StackOwned bool
	// QuotaScale multiplies AWS's default quotas of calls a second where they were
	// raised for the account; 1 if zero.
	QuotaScale float64
}

// Manifest is the table that every Lambda function of mintmark decides from.
type Manifest struct {
	Table string // DynamoDB table; "mintmark-devices" if empty
	// MaxAge is how old the manifest may be for the functions to trust it; 24
	// hours if zero. It goes into the manifest's head.
	MaxAge time.Duration
}

func (m Manifest) table() string { return or(m.Table, defaultTable) }

func (m Manifest) maxAge() time.Duration {
	if m.MaxAge > 0 {
		return m.MaxAge
	}
	return defaultMaxAge
}

// decides reports whether a Lambda function decides from the target's manifest.
func (t Target) decides() bool {
	return t.JITR != nil || len(t.Fleets) > 0 || t.Rotation != nil || t.Provider != nil
}

// CA is one issuing CA as a target has it.
type CA struct {
	// Issuer is the name of the authority; or NAME@ROOT for the certificate of that
	// authority under another root than the one that it goes by. AWS compares
	// certificates, so that both are registrations of their own; certificates of
	// devices and tasks name the authority itself.
	Issuer string
	Mode   string // ModeDefault, ModeSNIOnly, or ModeNone with UseRegister only
	Use    string // UseJITR, UseJITP, UseRegister or UseNone
	JITP   *JITP  // must be set with UseJITP, and only then
	// Register must be set with UseRegister, and only then.
	Register *Register
	State    string // StateActive if empty
	Sweep    string // SweepKeep if empty; anything else needs another state than StateActive
}

func (ca CA) state() string { return or(ca.State, StateActive) }
func (ca CA) sweep() string { return or(ca.Sweep, SweepKeep) }

// swept reports whether the certificates under the CA were taken out of service
// with it.
func (ca CA) swept() bool { return !ca.serves() && ca.sweep() != SweepKeep }

// registered reports whether the CA itself is to be registered, and what its devices
// need is to be there: it lets them in, will do so, or did.
func (ca CA) registered() bool { return ca.Mode != ModeNone && ca.serves() }

// serves reports whether the CA is not out of service.
func (ca CA) serves() bool {
	return ca.state() != StateInactive && ca.state() != StateDeleted
}

// active reports whether certificates under the CA may be registered with AWS: it is
// ACTIVE there.
func (ca CA) active() bool { return ca.state() == StateActive || ca.state() == StateQuiet }

// authority is the name of the authority whose certificate it is.
func (ca CA) authority() string {
	name, _, _ := strings.Cut(ca.Issuer, "@")
	return name
}

// other reports whether it is a certificate that its authority does not go by.
func (ca CA) other() bool { return strings.Contains(ca.Issuer, "@") }

// JITP says what AWS makes of a device under this CA on its first connection.
type JITP struct {
	// RoleARN is the role that AWS assumes to provision; it trusts
	// iot.amazonaws.com and has the policy AWSIoTThingsRegistration.
	RoleARN string
	// Policy is the name of the IoT policy that devices get.
	Policy string
	// PolicyDocument is the policy itself; DevicePolicy if empty.
	PolicyDocument string
	// ThingName is the subject attribute that names the thing: CommonName (if
	// empty) or SerialNumber.
	ThingName string
}

// JITR is what the activating Lambda needs around it.
type JITR struct {
	Function string // ARN of the Lambda function
	Rule     string // prefix of the topic rules' names; "mintmark_jitr" if empty
	Policy   string // name of the IoT policy that devices get; "mintmark-device" if empty
	// PolicyDocument is the policy itself; DevicePolicy if empty.
	PolicyDocument string
}

const (
	defaultRule   = "mintmark_jitr"
	defaultTable  = "mintmark-devices"
	defaultPolicy = "mintmark-device"
	defaultMaxAge = 24 * time.Hour
)

func (j JITR) rule() string   { return or(j.Rule, defaultRule) }
func (j JITR) policy() string { return or(j.Policy, defaultPolicy) }

// ruleName is the name of the topic rule of one CA. The name of a rule takes
// letters, digits and underscores.
func (j JITR) ruleName(certificateID string) string {
	return j.rule() + "_" + certificateID[:16]
}

// checkEndpoint allows plain HTTP to this machine only: requests are signed, not
// encrypted, and their answers are neither.
func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("parsing endpoint: %w", err)
	}
	switch {
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("endpoint %q is not https://host[:port]", u.Redacted())
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("endpoint %q is not https://host[:port]", endpoint)
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("endpoint %q: plain http is for the simulator on this machine only; use https", endpoint)
}

// partition is the first part of the region's ARNs.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
func (t Target) partition() string {
	switch {
	case strings.HasPrefix(t.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(t.Region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// arn names a resource of the target's account and region.
func (t Target) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", t.partition(), service, t.Region, t.AccountID, resource)
}

// CertificateID computes the id that AWS gives a certificate: the SHA-256 of its
// DER encoding. AWS does not document this, so it is verified wherever AWS
// answers with a certificate or an id.
func CertificateID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func (j JITP) thingName() string { return or(j.ThingName, "CommonName") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
