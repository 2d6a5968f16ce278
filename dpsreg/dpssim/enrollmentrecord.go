package dpssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"mintmark/dpsreg/dps"
	"mintmark/internal/pattern"
)

// kind tells enrollment groups from individual enrollments, which have nearly the same
// members and the same operations.
type kind int

const (
	kindGroup kind = iota
	kindIndividual
)

// record is an enrollment on the wire.
//
// Source: Azure/azure-rest-api-specs, deviceprovisioningservices data-plane, EnrollmentGroup
// and IndividualEnrollment of 2021-10-01, and credentialPolicyName of 2025-07-01-preview.
type record struct {
	GroupID          string                 `json:"enrollmentGroupId,omitempty"`
	RegistrationID   string                 `json:"registrationId,omitempty"`
	DeviceID         string                 `json:"deviceId,omitempty"`
	Registration     *dps.RegistrationState `json:"registrationState,omitempty"`
	Attestation      attestation            `json:"attestation"`
	Capabilities     *dps.Capabilities      `json:"capabilities,omitempty"`
	Information      json.RawMessage        `json:"optionalDeviceInformation,omitempty"`
	Etag             string                 `json:"etag,omitempty"`
	Status           string                 `json:"provisioningStatus,omitempty"`
	Reprovision      *dps.Reprovision       `json:"reprovisionPolicy,omitempty"`
	Allocation       string                 `json:"allocationPolicy,omitempty"`
	Hub              string                 `json:"iotHubHostName,omitempty"`
	Hubs             []string               `json:"iotHubs,omitempty"`
	Twin             *dps.Twin              `json:"initialTwin,omitempty"`
	CustomAllocation *dps.CustomAllocation  `json:"customAllocationDefinition,omitempty"`
	CredentialPolicy string                 `json:"credentialPolicyName,omitempty"`
	Created          *time.Time             `json:"createdDateTimeUtc,omitempty"`
	Updated          *time.Time             `json:"lastUpdatedDateTimeUtc,omitempty"`
}

// attestation is dps.Attestation with what is no X.509, which is kept and shown, but no
// device can register with it here.
type attestation struct {
	Type      string          `json:"type"`
	X509      *dps.X509       `json:"x509,omitempty"`
	Symmetric json.RawMessage `json:"symmetricKey,omitempty"`
	TPM       json.RawMessage `json:"tpm,omitempty"`
}

// Attestation types.
const (
	attestX509      = "x509"
	attestSymmetric = "symmetricKey"
	attestTPM       = "tpm"
)

// id is the name of the enrollment as it was written.
func (r *record) id(k kind) string {
	if k == kindGroup {
		return r.GroupID
	}
	return r.RegistrationID
}

// enrollmentID is what the reference says of registration and group ids: "The
// registration ID is a case-insensitive string of alphanumeric characters plus the
// special characters: - . _ :. The last character must be alphanumeric or dash", up to
// 128 (concepts-service).
var enrollmentID = pattern.New(`^[A-Za-z0-9\-._:]{0,127}[A-Za-z0-9\-]$`)

// parseRecord reads an enrollment from JSON and checks all that depends on nothing else.
// What Azure does with members that it does not know is unknown; here they are refused,
// so that a misspelt one is seen.
func parseRecord(k kind, data []byte) (*record, error) {
	var r record
	if err := decodeStrict(data, &r); err != nil {
		return nil, err
	}
	// Some clients write null for what is not there.
	for _, raw := range []*json.RawMessage{&r.Information, &r.Attestation.Symmetric, &r.Attestation.TPM} {
		if isNull(*raw) {
			*raw = nil
		}
	}
	if err := r.check(k); err != nil {
		return nil, err
	}
	return &r, nil
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// decodeStrict reads exactly one JSON value without unknown members.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return invalid("the body cannot be read: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return invalid("the body has something after its end")
	}
	return nil
}

func (r *record) check(k kind) error {
	id := r.id(k)
	switch {
	case !enrollmentID.MatchString(id):
		return invalid("id %q: 1 to 128 of letters, digits, - . _ and :, the last one a letter, a digit or -", clip(id, 64))
	case k == kindGroup && (r.RegistrationID != "" || r.DeviceID != "" || r.Information != nil):
		return invalid("a group has no registrationId, deviceId and optionalDeviceInformation")
	case k == kindIndividual && r.GroupID != "":
		return invalid("an individual enrollment has no enrollmentGroupId")
	case r.DeviceID != "" && !deviceID.MatchString(r.DeviceID):
		return invalid("deviceId %q is no id of a device", clip(r.DeviceID, 64))
	}
	switch r.Status {
	case "":
		r.Status = dps.Enabled
	case dps.Enabled, dps.Disabled:
	default:
		return invalid("provisioningStatus %q is neither enabled nor disabled", clip(r.Status, 64))
	}
	if r.Reprovision == nil {
		// The defaults of the specification.
		r.Reprovision = &dps.Reprovision{UpdateHub: true, MigrateData: true}
	}
	if err := r.checkAllocation(); err != nil {
		return err
	}
	return r.Attestation.check(k)
}

// checkAllocation applies the rules of the command line tool of the vendor
// (azure-iot-cli-extension, operations/dps.py): static names one hub, custom a function.
func (r *record) checkAllocation() error {
	if r.Allocation == "" {
		r.Allocation = "hashed"
	}
	if r.Hub != "" && len(r.Hubs) == 0 {
		r.Hubs = []string{r.Hub} // the older form of it
	}
	r.Hub = ""
	switch r.Allocation {
	case "hashed", "geoLatency":
	case "static":
		if len(r.Hubs) != 1 {
			return invalid("the static allocation policy needs exactly one hub")
		}
	case "custom":
		if c := r.CustomAllocation; c == nil || c.WebhookURL == "" || c.APIVersion == "" {
			return invalid("the custom allocation policy needs webhookUrl and apiVersion")
		}
	default:
		return invalid("allocationPolicy %q is not hashed, geoLatency, static or custom", clip(r.Allocation, 64))
	}
	if r.Allocation != "custom" && r.CustomAllocation != nil {
		return invalid("customAllocationDefinition goes with the custom allocation policy only")
	}
	return nil
}

// check says that exactly one form of attestation is there, and that it is one that
// such an enrollment may have.
func (a *attestation) check(k kind) error {
	has := map[string]bool{attestX509: a.X509 != nil, attestSymmetric: a.Symmetric != nil, attestTPM: a.TPM != nil}
	for form, there := range has {
		if there && form != a.Type {
			return invalid("attestation of type %q has %s", clip(a.Type, 64), form)
		}
	}
	switch a.Type {
	case attestSymmetric:
		return nil // the keys may be made by the service
	case attestTPM:
		if k == kindGroup || a.TPM == nil {
			return invalid("TPM attestation is for individual enrollments and has an endorsement key")
		}
		return nil
	case attestX509:
	default:
		return invalid("attestation type %q is not x509, symmetricKey or tpm", clip(a.Type, 64))
	}
	x := a.X509
	if x == nil {
		return invalid("attestation of type x509 has no x509")
	}
	n := 0
	for _, there := range []bool{x.Client != nil, x.Signing != nil, x.References != nil} {
		if there {
			n++
		}
	}
	switch {
	case n != 1:
		return invalid("x509 has exactly one of clientCertificates, signingCertificates and caReferences")
	case k == kindGroup && x.Client != nil:
		return invalid("a group has signingCertificates or caReferences")
	case k == kindIndividual && x.Client == nil:
		return invalid("an individual enrollment has clientCertificates")
	case x.References != nil && x.References.Primary == "":
		return invalid("caReferences has no primary")
	case x.References == nil && slotsOf(x).Primary == nil:
		return invalid("the primary certificate is missing")
	}
	return nil
}

// slotsOf returns the certificates of an attestation, nil for references.
func slotsOf(x *dps.X509) *dps.Slots {
	if x == nil {
		return nil
	}
	if x.Client != nil {
		return x.Client
	}
	return x.Signing
}

// checkHubs says that every hub is linked.
func (r *record) checkHubs(linked []string) error {
	for _, h := range r.Hubs {
		if !slices.ContainsFunc(linked, func(l string) bool { return strings.EqualFold(l, h) }) {
			return invalid("hub %q is not linked to this instance", clip(h, 128))
		}
	}
	return nil
}

// invalid is the refusal of a body. Its number is seen in the wild with device ids only,
// and its texts are ours.
func invalid(format string, args ...any) *denial {
	return &denial{status: http.StatusBadRequest, code: codeInvalid, message: fmt.Sprintf(format, args...)}
}
