// Package dps is a client for the data plane of the Azure Device Provisioning Service,
// https://NAME.azure-devices-provisioning.net, api-version 2021-10-01: enrollment
// groups, individual enrollments and registration states.
//
// Source of wire formats: Azure/azure-rest-api-specs,
// specification/deviceprovisioningservices/data-plane.
package dps

import (
	"encoding/json"
	"time"

	"mintmark/dpsreg/rest"
)

// APIVersion is what every call names.
const APIVersion = "2021-10-01"

// Client is one DPS instance. Its methods may be called concurrently; errors of the
// service are *rest.Error.
type Client struct{ rest *rest.Client }

// New returns a client; it makes no call.
func New(r *rest.Client) *Client { return &Client{rest: r} }

// Group is an enrollment group.
type Group struct {
	ID               string            `json:"enrollmentGroupId"`
	Attestation      Attestation       `json:"attestation"`
	Capabilities     *Capabilities     `json:"capabilities,omitempty"`
	Etag             string            `json:"etag,omitempty"`
	Status           string            `json:"provisioningStatus,omitempty"` // Enabled or Disabled
	Reprovision      *Reprovision      `json:"reprovisionPolicy,omitempty"`
	Allocation       string            `json:"allocationPolicy,omitempty"`
	Hubs             []string          `json:"iotHubs,omitempty"`
	Twin             *Twin             `json:"initialTwin,omitempty"`
	CustomAllocation *CustomAllocation `json:"customAllocationDefinition,omitempty"`
	Created          *time.Time        `json:"createdDateTimeUtc,omitempty"`
	Updated          *time.Time        `json:"lastUpdatedDateTimeUtc,omitempty"`

	raw json.RawMessage // as it was read by a Client
}

// Enrollment is an individual enrollment.
type Enrollment struct {
	RegistrationID   string             `json:"registrationId"`
	DeviceID         string             `json:"deviceId,omitempty"`
	Registration     *RegistrationState `json:"registrationState,omitempty"`
	Attestation      Attestation        `json:"attestation"`
	Capabilities     *Capabilities      `json:"capabilities,omitempty"`
	Information      json.RawMessage    `json:"optionalDeviceInformation,omitempty"`
	Etag             string             `json:"etag,omitempty"`
	Status           string             `json:"provisioningStatus,omitempty"`
	Reprovision      *Reprovision       `json:"reprovisionPolicy,omitempty"`
	Allocation       string             `json:"allocationPolicy,omitempty"`
	Hubs             []string           `json:"iotHubs,omitempty"`
	Twin             *Twin              `json:"initialTwin,omitempty"`
	CustomAllocation *CustomAllocation  `json:"customAllocationDefinition,omitempty"`
	Created          *time.Time         `json:"createdDateTimeUtc,omitempty"`
	Updated          *time.Time         `json:"lastUpdatedDateTimeUtc,omitempty"`

	raw json.RawMessage // as it was read by a Client
}

// Provisioning statuses.
const (
	Enabled  = "enabled"
	Disabled = "disabled"
)

// Attestation is how a device proves itself: x509, for everything that mintmark makes.
type Attestation struct {
	Type string `json:"type"` // "x509"; others ("symmetricKey", "tpm") are left alone
	X509 *X509  `json:"x509,omitempty"`
}

// X509 has exactly one of its fields: certificates of devices (individual
// enrollments), of CAs, or names of uploaded CAs (groups).
type X509 struct {
	Client     *Slots      `json:"clientCertificates,omitempty"`
	Signing    *Slots      `json:"signingCertificates,omitempty"`
	References *References `json:"caReferences,omitempty"`
}

// Slots are two certificates that are good at the same time.
type Slots struct {
	Primary   *Certificate `json:"primary,omitempty"`
	Secondary *Certificate `json:"secondary,omitempty"`
}

// Certificate goes out with the certificate, and comes back with Info only. One that is
// sent with Info only keeps the slot as it is.
type Certificate struct {
	Certificate string `json:"certificate,omitempty"` // PEM or base64 of DER
	Info        *Info  `json:"info,omitempty"`
}

// Info is what the service says of a certificate.
type Info struct {
	Subject   string    `json:"subjectName"`
	SHA1      string    `json:"sha1Thumbprint"`   // hex
	SHA256    string    `json:"sha256Thumbprint"` // hex
	Issuer    string    `json:"issuerName"`
	NotBefore time.Time `json:"notBeforeUtc"`
	NotAfter  time.Time `json:"notAfterUtc"`
	Serial    string    `json:"serialNumber"`
	Version   int       `json:"version"`
}

// References are names of uploaded CAs.
type References struct {
	Primary   string `json:"primary,omitempty"`
	Secondary string `json:"secondary,omitempty"`
}

// Capabilities of the device that is made.
type Capabilities struct {
	Edge bool `json:"iotEdge"`
}

// Reprovision says what happens when a device registers again.
type Reprovision struct {
	UpdateHub   bool `json:"updateHubAssignment"`
	MigrateData bool `json:"migrateDeviceData"`
}

// Twin begins a device's twin.
type Twin struct {
	Tags       map[string]any  `json:"tags,omitempty"`
	Properties *TwinProperties `json:"properties,omitempty"`
}

// TwinProperties are the desired ones.
type TwinProperties struct {
	Desired map[string]any `json:"desired,omitempty"`
}

// CustomAllocation is the function that picks a hub.
type CustomAllocation struct {
	WebhookURL string `json:"webhookUrl"`
	APIVersion string `json:"apiVersion"`
}

// RegistrationState is what became of a device's registration.
type RegistrationState struct {
	RegistrationID string     `json:"registrationId"`
	Created        *time.Time `json:"createdDateTimeUtc,omitempty"`
	AssignedHub    string     `json:"assignedHub,omitempty"`
	DeviceID       string     `json:"deviceId,omitempty"`
	Status         string     `json:"status"` // unassigned, assigning, assigned, failed, disabled
	Substatus      string     `json:"substatus,omitempty"`
	ErrorCode      int        `json:"errorCode,omitempty"`
	ErrorMessage   string     `json:"errorMessage,omitempty"`
	Updated        *time.Time `json:"lastUpdatedDateTimeUtc,omitempty"`
	Etag           string     `json:"etag,omitempty"`
}

// BulkMode is what a bulk operation does with each enrollment.
type BulkMode string

const (
	BulkCreate BulkMode = "create"
	BulkUpdate BulkMode = "update"
	BulkMatch  BulkMode = "updateIfMatchETag"
	BulkDelete BulkMode = "delete"
)

// MaxBulk is how many enrollments one bulk operation takes.
const MaxBulk = 10

// BulkError is one enrollment of a bulk operation that was refused.
type BulkError struct {
	RegistrationID string `json:"registrationId"`
	Code           int    `json:"errorCode"`
	Status         string `json:"errorStatus"`
}
