package issuer

import (
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// deviceName is what identifies a device unless the profile says otherwise:
// legal as an AWS thing name, an MQTT client id and a DPS registration id.
const deviceName = `[A-Za-z0-9][A-Za-z0-9._:-]{0,62}[A-Za-z0-9]|[A-Za-z0-9]`

// registrationID is deviceName in lower case: the Device Provisioning Service
// compares registration ids without regard to case and refuses upper case in
// places, and IoT Hub tells device ids apart by it.
const registrationID = `[a-z0-9][a-z0-9._:-]{0,62}[a-z0-9]|[a-z0-9]`

var (
	deviceKeys = []string{string(ca.P256), string(ca.P384), string(ca.P521), string(ca.RSA2048), string(ca.RSA3072), string(ca.RSA4096)}
	serverKeys = []string{string(ca.P256), string(ca.P384), string(ca.RSA2048), string(ca.RSA3072), string(ca.RSA4096)}
)

// presetNames lists presets, for texts.
const presetNames = "device, aws-jitp, azure-iot-edge, azure-edge-ca, server, claim, officer, registration-authority"

// presets hold what a ProfileConfig leaves out.
var presets = map[string]struct {
	purpose ledger.Purpose
	config  ProfileConfig
}{
	"device": {ledger.ForDevice, ProfileConfig{
		Keys:     deviceKeys,
		DeviceID: "commonName",
		Subject: map[string]Attribute{
			"commonName":   {Pattern: deviceName},
			"serialNumber": {Pattern: `[A-Za-z0-9._:/-]{1,64}`, Optional: true},
		},
		Validity:         2 * 365 * day,
		ExtendedKeyUsage: []string{"clientAuth"},
	}},
	// aws-jitp has only attributes that are always there, because a JITP
	// template fails on every parameter that the subject lacks (AWS IoT
	// developer guide, jit-provisioning).
	"aws-jitp": {ledger.ForDevice, ProfileConfig{
		Keys:     serverKeys,
		DeviceID: "commonName",
		Subject: map[string]Attribute{
			"commonName": {Pattern: deviceName},
		},
		Validity:         2 * 365 * day,
		ExtendedKeyUsage: []string{"clientAuth"},
	}},
	// azure-iot-edge is for the device and EST identities of IoT Edge, whose
	// requests name nothing but the device: the provisioning service takes the
	// commonName for the registration id.
	"azure-iot-edge": {ledger.ForDevice, ProfileConfig{
		Keys:     serverKeys,
		DeviceID: "commonName",
		Subject: map[string]Attribute{
			"commonName": {Pattern: registrationID},
		},
		Validity:         2 * 365 * day,
		ExtendedKeyUsage: []string{"clientAuth"},
	}},
	// azure-edge-ca is for the CA certificate with which an IoT Edge gateway
	// certifies its own modules. RSA-2048 is what iotedge asks with.
	"azure-edge-ca": {ledger.ForGateway, ProfileConfig{
		Keys:     serverKeys,
		DeviceID: "commonName",
		Subject: map[string]Attribute{
			"commonName": {Pattern: `aziot-edge CA (?P<device>` + registrationID + `)`},
		},
		Validity: 365 * day,
	}},
	"server": {ledger.ForServer, ProfileConfig{
		Keys: serverKeys,
		Subject: map[string]Attribute{
			"commonName": {Pattern: `[A-Za-z0-9*][A-Za-z0-9.*:_-]{0,63}`, Optional: true},
		},
		SAN:              SANConfig{DNS: `(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*`, IP: `[0-9a-f.:]+`},
		Validity:         90 * day,
		ExtendedKeyUsage: []string{"serverAuth"},
	}},
	// claim and officer are named by the server: what may stand in their
	// commonName is decided where orders and principals are made.
	"claim": {ledger.ForClaim, ProfileConfig{
		Keys:             deviceKeys,
		Subject:          map[string]Attribute{"commonName": {Pattern: `.+`}},
		Validity:         maxValidity, // the order's window ends before
		ExtendedKeyUsage: []string{"clientAuth"},
	}},
	"officer": {ledger.ForOfficer, ProfileConfig{
		Keys:             deviceKeys,
		Subject:          map[string]Attribute{"commonName": {Pattern: `.+`}},
		Validity:         365 * day,
		ExtendedKeyUsage: []string{"clientAuth"},
	}},
	// registration-authority has id-kp-cmcRA beside what is set here.
	"registration-authority": {ledger.ForRA, ProfileConfig{
		Keys:             deviceKeys,
		Subject:          map[string]Attribute{"commonName": {Pattern: `[A-Za-z0-9][A-Za-z0-9 ._:-]{0,63}`}},
		Validity:         365 * day,
		ExtendedKeyUsage: []string{"clientAuth"},
	}},
}

// beyond returns the first field that is set although it is not the operator's
// to decide for this purpose, or nothing.
func (c ProfileConfig) beyond(purpose ledger.Purpose) string {
	for _, f := range []struct {
		field   string
		set     bool
		gateway bool // decided for gateways, too
	}{
		{"device_id", c.DeviceID != "", false},
		{"subject", c.Subject != nil, false},
		{"san", c.SAN != (SANConfig{}), true},
		{"extended_key_usage", c.ExtendedKeyUsage != nil, true},
		{"key_encryption", c.KeyEncryption, true},
		{"validity_jitter", c.ValidityJitter != "", false},
		{"repeat", c.Repeat != nil, false},
		{"outlive_issuer", c.OutliveIssuer, true},
		{"no_expiry", c.NoExpiry, true},
	} {
		if f.set && (named(purpose) || f.gateway && purpose == ledger.ForGateway) {
			return f.field
		}
	}
	return ""
}

// defaultRepeat is the repeat window where none is set. Where there is no
// device to tell requests apart by, the same key under another name is another
// request.
func defaultRepeat(purpose ledger.Purpose) time.Duration {
	if hasDevice(purpose) {
		return time.Hour
	}
	return 0
}

// hasDevice reports whether certificates of a purpose belong to a device.
func hasDevice(purpose ledger.Purpose) bool {
	return purpose == ledger.ForDevice || purpose == ledger.ForGateway
}
