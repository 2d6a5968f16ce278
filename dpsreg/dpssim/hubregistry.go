package dpssim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// hubVersions are api-versions of the service API of IoT Hub that clients in use name:
// those of the specification, and that of azure-iothub in npm. All have the same
// operations here.
var hubVersions = []string{
	"2018-06-30", "2019-10-01", "2020-03-13", "2020-05-31-preview", "2020-09-30", "2021-04-12", "2021-11-30",
}

// hubCall is one request to an IoT hub.
type hubCall struct {
	op      string // as Calls has it
	host    string
	id      string
	query   map[string][]string
	body    []byte
	ifMatch string
	run     func(*Sim, *hubCall, *hub) answer
}

// serveHub answers the service API of a linked hub: identities and twins.
//
// Source: https://learn.microsoft.com/rest/api/iothub/service/devices and .../twin.
func (s *Sim) serveHub(w http.ResponseWriter, r *http.Request, host string) {
	if s.authorize(r, host, hubAudience) != nil {
		s.hubRefusal(http.StatusUnauthorized, "IotHubUnauthorizedAccess", "Unauthorized").write(w)
		return
	}
	c, refused := s.routeHub(r)
	if c == nil {
		refused.write(w)
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		s.hubRefusal(http.StatusRequestEntityTooLarge, "RequestTooLarge", err.Error()).write(w)
		return
	}
	c.host, c.body, c.ifMatch, c.query = host, body, r.Header.Get("If-Match"), r.URL.Query()
	s.perform(w, c.op, s.hubError, func() answer {
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
		return c.run(s, c, s.store.hubs[host])
	})
}

func (s *Sim) routeHub(r *http.Request) (*hubCall, answer) {
	if v := r.URL.Query().Get("api-version"); !slices.Contains(hubVersions, v) {
		return nil, s.hubRefusal(http.StatusBadRequest, "InvalidProtocolVersion", fmt.Sprintf("the api-version %q is none of %s", clip(v, 32), strings.Join(hubVersions, ", ")))
	}
	parts, err := splitPath(r.URL.EscapedPath())
	if err == nil && len(parts) <= 2 {
		for _, o := range []struct {
			method, collection string
			one                bool
			op                 string
			run                func(*Sim, *hubCall, *hub) answer
		}{
			{"GET", "devices", false, "hub.listDevices", (*Sim).listDevices},
			{"GET", "devices", true, "hub.getDevice", (*Sim).getDevice},
			{"PUT", "devices", true, "hub.putDevice", (*Sim).putDevice},
			{"DELETE", "devices", true, "hub.deleteDevice", (*Sim).deleteDevice},
			{"GET", "twins", true, "hub.getTwin", (*Sim).getTwin},
			{"PATCH", "twins", true, "hub.patchTwin", (*Sim).patchTwin},
		} {
			if o.method == r.Method && strings.EqualFold(o.collection, parts[0]) && o.one == (len(parts) == 2) {
				c := &hubCall{op: o.op, run: o.run}
				if o.one {
					c.id = parts[1]
				}
				return c, answer{}
			}
		}
	}
	return nil, s.hubRefusal(http.StatusNotFound, "SimulatorNotImplemented", "the simulator has identities and twins of devices only")
}

// hubRefusal is an error of IoT Hub, as
// https://github.com/Azure/azure-iot-sdks/issues/711 shows it.
func (s *Sim) hubRefusal(status int, code, text string) answer {
	return answer{status: status, body: map[string]any{
		"Message": "ErrorCode:" + code + ";" + text,
		"ExceptionMessage": fmt.Sprintf("Tracking ID:%s-G:0-TimeStamp:%s", strings.ReplaceAll(newGUID(), "-", ""),
			s.now().UTC().Format("01/02/2006 15:04:05")),
	}}.with("iothub-errorcode", code)
}

// hubError is hubRefusal for injected faults.
func (s *Sim) hubError(status, _ int, message string) answer {
	name := "ServerError"
	switch {
	case status == http.StatusTooManyRequests:
		name = "ThrottlingException"
	case status < 500:
		name = "InvalidOperation"
	}
	return s.hubRefusal(status, name, message)
}

func (s *Sim) noDevice(id string) answer {
	return s.hubRefusal(http.StatusNotFound, "DeviceNotFound", id)
}

// deviceChanged is the answer where If-Match does not fit; the text is that of
// https://github.com/Azure/azure-iot-sdk-java/issues/292.
func (s *Sim) deviceChanged() answer {
	return s.hubRefusal(http.StatusPreconditionFailed, "PreconditionFailed", "Precondition failed: Invalid ETag")
}

// weakEtag compares If-Match with an etag, quoted or not and weak or not (RFC 9110,
// section 8.8.3.2). The vendor's client in Node quotes the star too.
func weakEtag(ifMatch, etag string) bool {
	ifMatch = strings.Trim(strings.TrimPrefix(ifMatch, "W/"), `"`)
	return ifMatch == "*" || ifMatch == etag
}

// listDevices is GET /devices?top=N, at most 1000.
func (s *Sim) listDevices(c *hubCall, h *hub) answer {
	top := 1000
	if text := first(c.query["top"]); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > top {
			return s.hubRefusal(http.StatusBadRequest, "ArgumentInvalid", "top must be 1 to 1000")
		}
		top = n
	}
	ids := make([]string, 0, len(h.devices))
	for id := range h.devices {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	list := []any{}
	for _, id := range ids[:min(top, len(ids))] {
		list = append(list, deviceJSON(h.devices[id]))
	}
	return ok(list)
}

func (s *Sim) getDevice(c *hubCall, h *hub) answer {
	d := h.devices[c.id]
	if d == nil {
		return s.noDevice(c.id)
	}
	return ok(deviceJSON(d)).with("ETag", `"`+d.etag+`"`)
}

// putDevice creates without If-Match, where an identity that is there is 409, and
// updates with it, an etag or "*". An update replaces the identity; what a hub
// keeps by itself stays.
func (s *Sim) putDevice(c *hubCall, h *hub) answer {
	in, err := parseDevice(c.body, c.id)
	if err != nil {
		return s.hubRefusal(http.StatusBadRequest, "ArgumentInvalid", err.Error())
	}
	d := h.devices[c.id]
	switch {
	case c.ifMatch == "" && d != nil:
		return s.hubRefusal(http.StatusConflict, "DeviceAlreadyExists", "Conflict")
	case c.ifMatch != "" && d == nil:
		return s.noDevice(c.id)
	case d != nil && !weakEtag(c.ifMatch, d.etag):
		return s.deviceChanged()
	case d == nil && len(h.devices) >= maxRecords:
		return s.hubRefusal(http.StatusForbidden, "TooManyDevices", fmt.Sprintf("the simulator holds at most %d identities", maxRecords))
	case d == nil:
		d = s.newDevice(nil)
		d.wire["deviceId"] = c.id
		h.devices[c.id] = d
	}
	if in.Status != d.wire["status"] {
		d.wire["statusUpdatedTime"] = utc(s.now())
	}
	d.wire["status"], d.wire["statusReason"] = in.Status, textOrNull(in.StatusReason)
	d.wire["authentication"] = in.authentication()
	d.wire["capabilities"] = map[string]any{"iotEdge": in.Capabilities.Edge}
	d.etag = s.store.nextEtag()
	s.note("hub.device", "an identity was written", "hub", c.host, "device", c.id, "status", in.Status)
	return ok(deviceJSON(d)).with("ETag", `"`+d.etag+`"`)
}

// deleteDevice needs If-Match, an etag or "*": the page of the operation says that
// it deletes only if the etag fits. What Azure does without one is unknown.
func (s *Sim) deleteDevice(c *hubCall, h *hub) answer {
	d := h.devices[c.id]
	switch {
	case d == nil:
		return s.noDevice(c.id)
	case c.ifMatch == "" || !weakEtag(c.ifMatch, d.etag):
		return s.deviceChanged()
	}
	delete(h.devices, c.id)
	return answer{status: http.StatusNoContent}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
