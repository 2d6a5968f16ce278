package dpsreg

import (
	"crypto/x509"
)

// Target is the desired state of one DPS instance.
type Target struct {
	Name           string
	SubscriptionID string
	ResourceGroup  string
	Service        string // name of the DPS instance
	IDScope        string // that devices name; for edge-config, empty if unknown
	Identity       Identity
	SAS            *SAS    // for the data plane, instead of Entra; nil for Entra
	Connect        Connect // zero for Azure itself
	CAs            []CA
	Groups         []Group
	Enrollments    []Enrollment
	Hubs           []Hub
	// OpsPerMinute is the service's quota of data-plane operations; 1000 if zero.
	OpsPerMinute int
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
	Authority string // name of the root or issuing CA
	// Name is that of the certificate at DPS, 1 to 256 of [A-Za-z0-9-._]; if empty,
	// the authority's name and the first 8 hex digits of its SHA-256. A certificate
	// under a known name is never replaced by another: a new CA gets a new name.
	Name string
	// SelfAttested uploads it as verified, without a proof: for a CA whose key is
	// nowhere near. Never the default.
	SelfAttested bool
	State        string // StateActive if empty, or StateDeleted
}

// What is wanted of an uploaded CA or of a group.
const (
	StateActive  = "active"
	StateDeleted = "deleted"
)

// Group is an enrollment group: devices under its anchors.
type Group struct {
	ID string
	// Anchors are one or two authorities, primary and secondary slot. Roots by
	// default: two slots cannot hold two issuing CAs under two roots.
	Anchors []string
	// Reference names the uploaded certificates (caReferences) instead of sending
	// them (signingCertificates). Each anchor must then be among Target.CAs.
	Reference bool
	Disabled  bool
	State     string // StateActive if empty, or StateDeleted
	// Labels are EST labels whose devices must end in this group, which is checked:
	// the label's issuing CA must have one of the anchors as its nearest anchor.
	Labels []string
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
	Edge        bool     // IoT Edge device
	Hubs        []string // host names of linked hubs; all of them if empty
	Allocation  string   // hashed (if empty), geoLatency, static or custom
	Webhook     string   // URL of the allocation function, with custom
	WebhookAPI  string   // its apiVersion
	Reprovision string   // migrate (if empty), reset or never
	// Tags and Desired begin the device twin; JSON values. In an individual
	// enrollment, strings may hold ${device}, ${order}, ${product}, ${label},
	// ${profile} and ${field.NAME} of the device list.
	Tags    map[string]any
	Desired map[string]any
}

// Hub is an IoT hub whose identities are disabled with their devices.
type Hub struct {
	Host string // NAME.azure-devices.net
	SAS  *SAS   // nil for Entra
}

// Authority is what dpsreg must know of a CA of ours. Chain leads from its issuer
// to the root, which is the last one; empty for a root.
type Authority struct {
	Name        string
	Certificate *x509.Certificate
	Chain       []*x509.Certificate
}
