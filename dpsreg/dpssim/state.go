package dpssim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
)

// State is everything that the service knows, as canonical JSON without etags and times:
// to compare two runs. Members are in alphabetical order and lists in a fixed one. What
// is random, such as verification codes and generation ids, is left out too, so that two
// runs ended alike if their states are equal, provided that they used the same keys.
func (s *Sim) State() []byte {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(map[string]any{
		"certificates":     dumpCertificates(s.store.certificates),
		"enrollmentGroups": dumpEnrollments(s.store.groups),
		"enrollments":      dumpEnrollments(s.store.enrollments),
		"registrations":    dumpRegistrations(s.store.registered),
		"hubs":             dumpHubs(s.store.hubs),
	})
	if err != nil {
		panic(err) // maps, texts, numbers and what was read from JSON
	}
	return b.Bytes()
}

func dumpCertificates(all map[string]*caCertificate) any {
	out := map[string]any{}
	for _, c := range all {
		sum := sha256.Sum256(c.certificate.Raw)
		out[c.name] = map[string]any{
			"subject": c.certificate.Subject.String(), "sha256": hex.EncodeToString(sum[:]), "verified": c.verified, "codeAsked": c.code != "",
		}
	}
	return out
}

func dumpHubs(all map[string]*hub) any {
	out := map[string]any{}
	for host, h := range all {
		devices := map[string]any{}
		for id, d := range h.devices {
			one := maps.Clone(d.wire)
			for name := range one {
				switch name {
				case "generationId", "statusUpdatedTime", "connectionStateUpdatedTime", "lastActivityTime":
					delete(one, name)
				}
			}
			one["tags"], one["desired"] = d.tags, d.desired
			devices[id] = one
		}
		out[host] = devices
	}
	return out
}
