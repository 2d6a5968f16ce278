package dpssim

import (
	"errors"
	"net/http"
)

// getTwin is the twin of a device.
//
// Source: https://learn.microsoft.com/rest/api/iothub/service/twin/get-twin.
func (s *Sim) getTwin(c *hubCall, h *hub) answer {
	d := h.devices[c.id]
	if d == nil {
		return s.noDevice(c.id)
	}
	return ok(s.twinJSON(d)).with("ETag", `"`+d.etag+`"`)
}

// twinInput is what a client may change of a twin.
type twinInput struct {
	Tags       map[string]any `json:"tags"`
	Properties *struct {
		Desired map[string]any `json:"desired"`
	} `json:"properties"`
}

func parseTwin(body []byte) (*twinInput, error) {
	in := &twinInput{}
	if err := decodeOne(body, in); err != nil {
		return nil, err
	}
	if depth(in.Tags) > maxTwinDepth || in.Properties != nil && depth(in.Properties.Desired) > maxTwinDepth {
		return nil, errors.New("the depth of the twin is more than 10")
	}
	return in, nil
}

// maxTwinDepth is "the maximum depth of the object" of the reference of Twin.
const maxTwinDepth = 10

func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, child := range v {
			deepest = max(deepest, depth(child)+1)
		}
	case []any:
		for _, child := range v {
			deepest = max(deepest, depth(child)+1)
		}
	}
	return deepest
}

// patchTwin merges tags and desired properties: null removes
// (https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins#back-end-operations).
func (s *Sim) patchTwin(c *hubCall, h *hub) answer {
	in, err := parseTwin(c.body)
	if err != nil {
		return s.hubRefusal(http.StatusBadRequest, "ArgumentInvalid", err.Error())
	}
	d := h.devices[c.id]
	switch {
	case d == nil:
		return s.noDevice(c.id)
	case c.ifMatch != "" && !weakEtag(c.ifMatch, d.etag):
		return s.deviceChanged()
	}
	d.tags = merge(d.tags, in.Tags)
	if in.Properties != nil {
		d.desired = merge(d.desired, in.Properties.Desired)
	}
	d.etag = s.store.nextEtag()
	return ok(s.twinJSON(d)).with("ETag", `"`+d.etag+`"`)
}

// merge puts a patch into an object (RFC 7396). Neither argument is changed.
func merge(into, patch map[string]any) map[string]any {
	out := map[string]any{}
	for name, value := range into {
		out[name] = value
	}
	for name, value := range patch {
		if value == nil {
			delete(out, name)
			continue
		}
		if child, ok := value.(map[string]any); ok {
			old, _ := out[name].(map[string]any)
			value = merge(old, child)
		}
		out[name] = value
	}
	return out
}

// twinJSON is the twin as the hub shows it. The metadata of single properties, and versions
// that count changes, are left out.
func (s *Sim) twinJSON(d *hubDevice) map[string]any {
	wire := deviceJSON(d)
	auth, _ := wire["authentication"].(map[string]any)
	desired := cloneJSON(d.desired)
	desired["$version"] = 1
	desired["$metadata"] = map[string]any{"$lastUpdated": never}
	return map[string]any{
		"deviceId": wire["deviceId"], "etag": d.etag, "deviceEtag": d.etag, "version": 1,
		"status": wire["status"], "statusReason": wire["statusReason"], "statusUpdateTime": wire["statusUpdatedTime"],
		"connectionState": wire["connectionState"], "lastActivityTime": wire["lastActivityTime"],
		"cloudToDeviceMessageCount": wire["cloudToDeviceMessageCount"], "capabilities": wire["capabilities"],
		"authenticationType": auth["type"], "x509Thumbprint": auth["x509Thumbprint"], "modelId": "",
		"tags": cloneJSON(d.tags),
		"properties": map[string]any{
			"desired":  desired,
			"reported": map[string]any{"$version": 1, "$metadata": map[string]any{"$lastUpdated": never}},
		},
	}
}
