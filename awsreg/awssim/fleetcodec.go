package awssim

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// The messages of the device provisioning MQTT API (AWS IoT developer guide,
// fleet-provision-api). CBOR uses the names of JSON.
type (
	fromCSRRequest struct {
		CSR string `json:"certificateSigningRequest"`
	}
	registerRequest struct {
		Token      string            `json:"certificateOwnershipToken"`
		Parameters map[string]string `json:"parameters"`
	}

	createdAnswer struct {
		CertificateID  string `json:"certificateId"`
		CertificatePem string `json:"certificatePem"`
		PrivateKey     string `json:"privateKey,omitempty"`
		Token          string `json:"certificateOwnershipToken"`
	}
	registeredAnswer struct {
		DeviceConfiguration map[string]string `json:"deviceConfiguration"`
		ThingName           string            `json:"thingName,omitempty"`
	}
	rejectedAnswer struct {
		StatusCode   int    `json:"statusCode"`
		ErrorCode    string `json:"errorCode"`
		ErrorMessage string `json:"errorMessage"`
	}
)

// cborIn reads what devices send: small, flat maps.
var cborIn = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 1024,
		TagsMd: cbor.TagsForbidden, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, UTF8: cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constant
	}
	return mode
}()

// decodeFleet reads a request. Members that the API does not have are refused, as
// they are in the control plane; AWS may ignore them.
func decodeFleet(format string, payload []byte, v any) error {
	if len(payload) > maxMessage {
		return fmt.Errorf("the request is larger than 128 KiB")
	}
	if format == "cbor" {
		if err := cborIn.Unmarshal(payload, v); err != nil {
			return fmt.Errorf("parsing the request as CBOR: %w", err)
		}
		return nil
	}
	if err := decodeStrict(payload, v); err != nil {
		return fmt.Errorf("parsing the request as JSON: %w", err)
	}
	return nil
}

// decodeEmpty reads the request of CreateKeysAndCertificate: an empty message, or the
// empty object that AWS's device SDKs send.
func decodeEmpty(format string, payload []byte) error {
	if len(bytes.TrimSpace(payload)) == 0 {
		return nil
	}
	return decodeFleet(format, payload, &struct{}{})
}

func encodeFleet(format string, v any) ([]byte, error) {
	if format == "cbor" {
		return cbor.Marshal(v)
	}
	return json.Marshal(v)
}
