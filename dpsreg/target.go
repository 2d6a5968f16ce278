package dpsreg

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// Target is the desired state of one DPS instance.
//
// As JSON it is a part of a Bundle, without what is about this machine or names files
// of secrets, and without what is about single devices.
type Target struct {
	Name           string       `json:"name"`
	SubscriptionID string       `json:"subscription_id"`
	ResourceGroup  string       `json:"resource_group"`
	Service        string       `json:"service"`            // name of the DPS instance
	IDScope        string       `json:"id_scope,omitempty"` // that devices name; for edge-config, empty if unknown
	Identity       Identity     `json:"-"`
	SAS            *SAS         `json:"-"` // for the data plane, instead of Entra; nil for Entra
	Connect        Connect      `json:"-"` // zero for Azure itself
	CAs            []CA         `json:"cas"`
	Groups         []Group      `json:"groups"`
	Enrollments    []Enrollment `json:"-"`
	Hubs           []Hub        `json:"-"`
	// OpsPerMinute is the service's quota of data-plane operations; 1000 if zero.
	OpsPerMinute int `json:"ops_per_minute,omitempty"`
	// Replaced are authorities by which nothing is issued any more, with those that issue
	// in their place: labels that name the former are taken for the latter.
	Replaced map[string]string `json:"-"`
	// Released are authorities that may go although certificates of devices are in force
	// below them: officers have decided so.
	Released []string `json:"-"`
}

// Identity is who mintmark is to Microsoft Entra. With no field set it is what
// azidentity's default chain finds: environment, workload identity, managed
// identity, az login. Files hold secrets, never this struct.
type Identity struct {
	TenantID        string
	ClientID        string
	SecretFile      string // client secret; needs TenantID and ClientID
	CertificateFile string // PEM of certificate and key; needs TenantID and ClientID
}

// SAS is a shared access policy of the DPS instance or of a hub.
type SAS struct {
	Policy  string
	KeyFile string // holds the base64 key
}

// Connect sends every connection to one place, and trusts other roots than those of
// the system: for mintmark sim azure and for proxies. URLs, TLS server names and
// signatures stay those of Azure.
type Connect struct {
	Address string // host:port; empty for the host of each URL
	Trust   string // file of PEM certificates; empty for the system's
}

// CA is an authority whose certificate is uploaded to DPS and verified by proof of
// possession.
type CA struct {
	Authority string `json:"authority"` // name of the root or issuing CA
	// Name is that of the certificate at DPS, 1 to 256 of [A-Za-z0-9-._]; if empty,
	// the authority's name and the first 8 hex digits of its SHA-256. A certificate
	// under a known name is never replaced by another: a new CA gets a new name.
	Name string `json:"name,omitempty"`
	// SelfAttested uploads it as verified, without a proof: for a CA whose key is
	// nowhere near. Never the default.
	SelfAttested bool   `json:"self_attested,omitempty"`
	State        string `json:"state,omitempty"` // active if empty, or StateDeleted
}

// What is wanted of an uploaded CA or of a group.
const (
	stateActive  = "active"
	StateDeleted = "deleted"
)

// Group is an enrollment group: devices under its anchors.
type Group struct {
	ID string `json:"id"`
	// Anchors are one or two authorities, primary and secondary slot. If empty, the
	// root above the issuing CA of Labels, which must then be set: two slots cannot
	// hold two issuing CAs under two roots.
	Anchors []string `json:"anchors"`
	// Reference names the uploaded certificates (caReferences) instead of sending
	// them (signingCertificates). Each anchor must then be among Target.CAs.
	Reference bool   `json:"reference,omitempty"`
	Disabled  bool   `json:"disabled,omitempty"`
	State     string `json:"state,omitempty"` // active if empty, or StateDeleted
	// Labels are EST labels whose devices must end in this group, which is checked:
	// the label's issuing CA must have one of the anchors as its nearest anchor.
	Labels []string `json:"labels,omitempty"`
	// Orders are work orders whose devices must end in this group, which is checked by
	// the label of the order.
	Orders []string `json:"orders,omitempty"`
	Shape
}

// Enrollment says which devices get an individual enrollment each: those whose
// certificate has one of Profiles, of Labels, and of Orders, where these are set.
// The first one that matches counts.
type Enrollment struct {
	Name     string
	Profiles []string
	Labels   []string
	Orders   []string
	// DeviceID is the text of the device's id at the hub, with placeholders
	// (Shape.Tags); the registration id if empty.
	DeviceID string
	Shape
}

// Shape is what group and individual enrollments have in common.
type Shape struct {
	Edge bool `json:"edge,omitempty"` // IoT Edge device
	// Hubs are host names of linked hubs. Empty: all of them, and what is set at DPS
	// is left alone.
	Hubs        []string `json:"hubs,omitempty"`
	Allocation  string   `json:"allocation,omitempty"`  // hashed (if empty), geoLatency, static or custom
	Webhook     string   `json:"webhook,omitempty"`     // URL of the allocation function, with custom
	WebhookAPI  string   `json:"webhook_api,omitempty"` // its apiVersion
	Reprovision string   `json:"reprovision,omitempty"` // migrate (if empty), reset or never
	// Tags and Desired begin the device twin; JSON values. In an individual
	// enrollment, strings may hold ${device}, ${order}, ${product}, ${label},
	// ${profile} and ${field.NAME} of the device list.
	Tags    map[string]any `json:"tags,omitempty"`
	Desired map[string]any `json:"desired,omitempty"`
}

// Hub is an IoT hub whose identities are disabled with their devices.
type Hub struct {
	Host string // NAME.azure-devices.net
	SAS  *SAS   // nil for Entra
}

// The policies of Shape, as configured.
const (
	AllocateHashed  = "hashed"
	AllocateNearest = "geoLatency"
	AllocateStatic  = "static"
	AllocateCustom  = "custom"

	ReprovisionMigrate = "migrate" // another hub if need be, with the twin
	ReprovisionReset   = "reset"   // another hub if need be, with the initial twin
	ReprovisionNever   = "never"   // the hub of the first time
)

func (ca CA) deleted() bool   { return ca.State == StateDeleted }
func (g Group) deleted() bool { return g.State == StateDeleted }

// Deleted reports whether the group is to be gone.
func (g Group) Deleted() bool { return g.deleted() }

// SHA256 is the hash of a certificate as DPS and mintmark write it: lower-case hex.
func SHA256(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// NameAtDPS is the name under which a CA's certificate is uploaded.
func (ca CA) NameAtDPS(c *x509.Certificate) string {
	if ca.Name != "" {
		return ca.Name
	}
	return ca.Authority + "-" + SHA256(c)[:8]
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
