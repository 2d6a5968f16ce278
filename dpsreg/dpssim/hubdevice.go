package dpssim

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"mintmark/internal/pattern"
)

// deviceInput is what a client may write of an identity.
type deviceInput struct {
	ID             string `json:"deviceId"`
	Status         string `json:"status"`
	StatusReason   string `json:"statusReason"`
	Authentication *struct {
		Type         string `json:"type"`
		SymmetricKey *struct {
			Primary   string `json:"primaryKey"`
			Secondary string `json:"secondaryKey"`
		} `json:"symmetricKey"`
		Thumbprint *struct {
			Primary   string `json:"primaryThumbprint"`
			Secondary string `json:"secondaryThumbprint"`
		} `json:"x509Thumbprint"`
	} `json:"authentication"`
	Capabilities struct {
		Edge bool `json:"iotEdge"`
	} `json:"capabilities"`
}

// parseDevice reads the body of a PUT for an id. Members that it does not know are left
// alone, as clients send back what they read.
func parseDevice(body []byte, id string) (*deviceInput, error) {
	in := &deviceInput{}
	if err := decodeOne(body, in); err != nil {
		return nil, err
	}
	if in.Status == "" {
		in.Status = "enabled"
	}
	switch {
	case !deviceID.MatchString(id):
		return nil, errors.New("the id of the device has characters that a hub does not take, or more than 128")
	case in.ID != id:
		return nil, errors.New("deviceId in the body is not the id in the path")
	case in.Status != "enabled" && in.Status != "disabled":
		return nil, errors.New("status is neither enabled nor disabled")
	case utf8.RuneCountInString(in.StatusReason) > 128:
		return nil, errors.New("statusReason has more than 128 characters")
	}
	if a := in.Authentication; a != nil {
		switch a.Type {
		case "sas", "certificateAuthority", "none":
		case "selfSigned", "":
			if a.Thumbprint == nil {
				break
			}
			for _, t := range []string{a.Thumbprint.Primary, a.Thumbprint.Secondary} {
				if t != "" && !isThumbprint(t) {
					return nil, errors.New("a thumbprint is not SHA-1 or SHA-256 in hexadecimal")
				}
			}
		default:
			return nil, errors.New("authentication.type is none of sas, selfSigned, certificateAuthority and none")
		}
	}
	return in, nil
}

func isThumbprint(t string) bool {
	return (len(t) == 40 || len(t) == 64) && strings.Trim(t, "0123456789abcdefABCDEF") == ""
}

// authentication is that of the registry; without one in the request it is of type sas.
// Keys are not kept: nothing here takes them.
func (in *deviceInput) authentication() map[string]any {
	kind, primary, secondary := "sas", "", ""
	if a := in.Authentication; a != nil {
		if a.Type != "" {
			kind = a.Type
		}
		if a.Thumbprint != nil && (a.Type == "" || kind == "selfSigned") {
			primary, secondary = a.Thumbprint.Primary, a.Thumbprint.Secondary
			if primary != "" || secondary != "" {
				kind = "selfSigned"
			}
		}
	}
	return map[string]any{
		"type":           kind,
		"symmetricKey":   map[string]any{"primaryKey": nil, "secondaryKey": nil},
		"x509Thumbprint": map[string]any{"primaryThumbprint": textOrNull(primary), "secondaryThumbprint": textOrNull(secondary)},
	}
}

// never is how the registry writes a time at which nothing has happened yet.
const never = "0001-01-01T00:00:00"

// deviceJSON is a copy of the identity as the registry shows it. Devices of the simulator
// do not connect to hubs, so that nothing is known of their connections.
func deviceJSON(d *hubDevice) map[string]any {
	out := cloneJSON(d.wire)
	out["etag"] = d.etag
	out["connectionStateUpdatedTime"], out["lastActivityTime"] = never, never
	if c, _ := out["capabilities"].(map[string]any); c["iotEdge"] == true {
		out["deviceScope"] = fmt.Sprintf("ms-azure-iot-edge://%v-%v", out["deviceId"], out["generationId"])
	}
	return out
}

// deviceID are the ids that a hub takes, case-sensitive
// (https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry#device-identity-properties).
var deviceID = pattern.New(`^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$`)

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
