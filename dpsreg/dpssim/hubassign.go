package dpssim

import (
	"encoding/json"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"mintmark/dpsreg/dps"
)

// Substatuses of a registration that is assigned, as the specification names them.
const (
	firstAssignment = "initialAssignment"
	dataMigrated    = "deviceDataMigrated"
	dataReset       = "deviceDataReset"
	sameAssignment  = "reprovisionedToInitialAssignment"
)

// assign picks a hub for a device, makes or renews its identity there, and writes the
// outcome into r. old is what was registered before, nil for nothing. The caller holds mu.
//
// Source: https://learn.microsoft.com/azure/iot-dps/concepts-device-reprovision
func (s *Sim) assign(k kind, e *enrollment, r, old *registration) {
	policy := e.record.Reprovision
	host, err := s.choose(e, r.state.RegistrationID)
	kept := old != nil && s.store.hubs[old.state.AssignedHub] != nil
	if kept && !policy.UpdateHub {
		host, err = old.state.AssignedHub, nil
	}
	if err != nil {
		r.state.Status = "failed"
		r.state.ErrorCode, r.state.ErrorMessage = err.code, err.message
		return
	}
	id := e.record.DeviceID
	if id == "" {
		id = r.state.RegistrationID
	}
	var before *hubDevice
	if kept {
		before = s.store.hubs[old.state.AssignedHub].devices[old.state.DeviceID]
	}
	moved := kept && (host != old.state.AssignedHub || id != old.state.DeviceID)
	device, migrate := s.store.hubs[host].devices[id], false
	switch {
	case old == nil:
		r.state.Substatus = firstAssignment
	case policy.UpdateHub && !policy.MigrateData:
		// "Reprovision and reset to initial config", also where the hub stays the same.
		r.state.Substatus = dataReset
		device = nil
	case moved:
		r.state.Substatus = dataMigrated
		migrate = before != nil
	default:
		r.state.Substatus = sameAssignment
	}
	if moved {
		delete(s.store.hubs[old.state.AssignedHub].devices, old.state.DeviceID)
	}
	if device == nil {
		device = s.newDevice(e.record.Twin)
		if migrate {
			device.continueFrom(before)
		}
	}
	// What Azure does with the status of an identity that was disabled is unknown: it
	// stays. Capabilities are those of the enrollment.
	device.wire["deviceId"] = id
	device.wire["capabilities"] = map[string]any{"iotEdge": e.record.Capabilities != nil && e.record.Capabilities.Edge}
	primary, secondary := e.thumbprints(k, r)
	device.wire["authentication"] = map[string]any{
		"type":           "selfSigned",
		"symmetricKey":   map[string]any{"primaryKey": nil, "secondaryKey": nil},
		"x509Thumbprint": map[string]any{"primaryThumbprint": primary, "secondaryThumbprint": secondary},
	}
	device.etag = s.store.nextEtag()
	s.store.hubs[host].devices[id] = device
	r.state.Status, r.state.AssignedHub, r.state.DeviceID = "assigned", host, id
}

// choose picks one of the hubs of an enrollment, of all linked ones if it names none.
// The policies of Azure weigh and measure; here the choice is always the same for a
// device: hashed by its id, the first one for geoLatency. A custom policy would ask a
// function of the operator's, which the simulator does not call.
func (s *Sim) choose(e *enrollment, registrationID string) (string, *denial) {
	hubs := s.cfg.Hubs
	if len(e.record.Hubs) > 0 {
		hubs = nil
		for _, h := range s.cfg.Hubs {
			if slices.ContainsFunc(e.record.Hubs, func(name string) bool { return strings.EqualFold(name, h) }) {
				hubs = append(hubs, h)
			}
		}
	}
	switch {
	case e.record.Allocation == "custom":
		return "", &denial{status: http.StatusBadRequest, code: codeInvalid, message: "the simulator does not call functions of custom allocation"}
	case len(hubs) == 0:
		return "", &denial{status: http.StatusBadRequest, code: codeInvalid, message: "no hub is linked"}
	case e.record.Allocation == "hashed":
		h := fnv.New32a()
		h.Write([]byte(strings.ToLower(registrationID)))
		return hubs[int(h.Sum32()%uint32(len(hubs)))], nil
	}
	return hubs[0], nil
}

// thumbprints are those that the hub will know the device by. DPS makes an identity of
// type selfSigned, also for groups (MicrosoftDocs/azure-docs#70976). For an
// individual enrollment they are of its two slots, and of the primary one twice if it is
// alone (Azure/iotedge#2951); for a group they are of the device's certificate, in both
// places, which is inferred.
func (e *enrollment) thumbprints(k kind, r *registration) (primary, secondary string) {
	if k == kindGroup {
		return sha256Thumbprint(r.leaf), sha256Thumbprint(r.leaf)
	}
	primary = sha256Thumbprint(e.primary)
	if e.secondary == nil {
		return primary, primary
	}
	return primary, sha256Thumbprint(e.secondary)
}

// newDevice makes an identity with its twin. The caller holds mu.
func (s *Sim) newDevice(twin *dps.Twin) *hubDevice {
	d := &hubDevice{wire: map[string]any{
		"generationId": strconv.FormatInt(s.now().UnixNano(), 10), "status": "enabled", "statusReason": nil,
		"statusUpdatedTime": utc(s.now()), "connectionState": "Disconnected", "cloudToDeviceMessageCount": 0,
	}, tags: map[string]any{}, desired: map[string]any{}}
	if twin != nil {
		d.tags = cloneJSON(twin.Tags)
		if twin.Properties != nil {
			d.desired = cloneJSON(twin.Properties.Desired)
		}
	}
	return d
}

// continueFrom gives a new identity the twin and the status of the one that it replaces.
func (d *hubDevice) continueFrom(old *hubDevice) {
	d.tags, d.desired = cloneJSON(old.tags), cloneJSON(old.desired)
	for _, name := range []string{"status", "statusReason", "statusUpdatedTime"} {
		d.wire[name] = old.wire[name]
	}
}

// cloneJSON copies an object of JSON; an empty one for none.
func cloneJSON(from map[string]any) map[string]any {
	out := map[string]any{}
	if len(from) == 0 {
		return out
	}
	text, err := json.Marshal(from)
	if err != nil {
		panic(err) // it was read from JSON, or has strings and numbers only
	}
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	return out
}
