package dpsreg

import (
	"encoding/json"
	"fmt"

	"mintmark/dpsreg/dps"
)

// Individual enrollments of ours say so in optionalDeviceInformation, a JSON object
// that DPS keeps and that no device sees. What has no mark there is another's.
const (
	markPinned   = "pinned"   // made for Target.Enrollments
	markBlocked  = "blocked"  // disabled by us, whether it was made for that or was pinned
	markDisabled = "disabled" // another's, which we disabled and nothing else
)

// The members of that object. The device is named where its id is not the registration
// id, so that a comparison finds it in the ledger.
const (
	markKey    = "mintmark"
	deviceKey  = "mintmarkDevice"
	evictedKey = "mintmarkEvicted"
)

// mark is what an enrollment says of us; the zero mark is another's.
type mark struct {
	kind   string
	device string // empty for the registration id
	// evicted is the serial number of the primary certificate that lost its slot while it
	// was in force; see pin. Mostly empty.
	evicted string
}

// owner is the device that an enrollment of ours is there for.
func (m mark) owner(registrationID string) string { return or(m.device, registrationID) }

// markOf reads the mark of an enrollment. What cannot be read, or is none of ours, is no
// mark.
func markOf(e dps.Enrollment) mark {
	var m mark
	var members map[string]json.RawMessage
	if len(e.Information) == 0 || json.Unmarshal(e.Information, &members) != nil {
		return mark{}
	}
	if json.Unmarshal(members[markKey], &m.kind) != nil {
		return mark{}
	}
	switch m.kind {
	case markPinned, markBlocked, markDisabled:
	default:
		return mark{}
	}
	if json.Unmarshal(members[deviceKey], &m.device) != nil || len(m.device) > maxDevice {
		m.device = ""
	}
	if json.Unmarshal(members[evictedKey], &m.evicted) != nil {
		m.evicted = ""
	}
	return m
}

// marked puts a mark beside what else an enrollment says; with the zero mark it takes
// the mark out and leaves the rest as it was. It fails for what is no object.
func marked(information json.RawMessage, m mark) (json.RawMessage, error) {
	members := make(map[string]json.RawMessage)
	if len(information) > 0 {
		if err := json.Unmarshal(information, &members); err != nil {
			return nil, fmt.Errorf("its optionalDeviceInformation is no object: %w", err)
		}
		if members == nil { // null
			members = make(map[string]json.RawMessage)
		}
	}
	delete(members, markKey)
	delete(members, deviceKey)
	delete(members, evictedKey)
	for key, value := range map[string]string{markKey: m.kind, deviceKey: m.device, evictedKey: m.evicted} {
		if value == "" {
			continue
		}
		data, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		members[key] = data
	}
	if len(members) == 0 {
		return nil, nil
	}
	return json.Marshal(members)
}

// mark is what an enrollment of a device is marked with.
func (d standing) mark(kind, registrationID string) mark {
	m := mark{kind: kind}
	if d.device.ID != registrationID {
		m.device = d.device.ID
	}
	return m
}
