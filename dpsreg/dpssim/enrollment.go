package dpssim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"mintmark/dpsreg/dps"
)

// of returns the enrollments of a kind, by lower-case id. The caller holds mu.
func (s *store) of(k kind) map[string]*enrollment {
	if k == kindGroup {
		return s.groups
	}
	return s.enrollments
}

// enrollmentEtag returns an etag that was never given out before, with its quotes, as
// the reference of the vendor's SDKs shows them. The caller holds mu.
func (s *store) enrollmentEtag() string {
	s.etag++
	return fmt.Sprintf(`"%08x-0000-0000-0000-%012x"`, s.etag>>48, s.etag&(1<<48-1))
}

// find returns an enrollment; 404 if there is none. The caller holds mu.
func (s *store) find(k kind, id string) (*enrollment, error) {
	e := s.of(k)[strings.ToLower(id)]
	if e == nil {
		return nil, notFound(codeNoEnrollment, "Enrollment not found.")
	}
	return e, nil
}

// write creates an enrollment or replaces one, once all has been checked. ifMatch is as
// in the header. The caller holds mu.
func (s *Sim) write(k kind, r *record, ifMatch string) (*enrollment, error) {
	id := strings.ToLower(r.id(k))
	all := s.store.of(k)
	old := all[id]
	switch {
	case old != nil && ifMatch == "":
		return nil, &denial{status: http.StatusConflict, code: codeConflict, message: "Enrollment already exists."}
	case old != nil:
		if err := matches(ifMatch, old.record.Etag); err != nil {
			return nil, err
		}
	case ifMatch != "" && ifMatch != "*":
		// Nothing has this etag; what Azure answers is unknown.
		return nil, notFound(codeNoEnrollment, "Enrollment not found.")
	case len(all) >= maxRecords:
		return nil, invalid("the simulator holds at most %d enrollments", maxRecords)
	}
	if k == kindGroup && r.Attestation.Type == attestX509 && s.store.x509Groups(id) >= maxGroups {
		return nil, invalid("an instance has at most %d enrollment groups with X.509", maxGroups)
	}
	e := &enrollment{record: *r}
	if err := e.fill(k, r.Attestation.X509, old); err != nil {
		return nil, err
	}
	if err := r.checkHubs(s.cfg.Hubs); err != nil {
		return nil, err
	}
	if err := s.checkReferences(r.Attestation.X509); err != nil {
		return nil, err
	}
	now := s.now().UTC()
	e.record.Etag, e.record.Updated, e.record.Created = s.store.enrollmentEtag(), &now, &now
	e.record.Registration = nil
	if old != nil {
		e.record.Created = old.record.Created
	}
	all[id] = e
	return e, nil
}

// maxGroups is the quota of groups with X.509: "Enrollment groups (X.509 certificates)
// 100" (azure-subscription-service-limits). What Azure answers over it is unknown.
const maxGroups = 100

// x509Groups counts them, but for one. The caller holds mu.
func (s *store) x509Groups(without string) int {
	n := 0
	for id, g := range s.groups {
		if id != without && g.record.Attestation.Type == attestX509 {
			n++
		}
	}
	return n
}

// checkReferences says that CA references name certificates that are there and
// verified. The caller holds mu.
func (s *Sim) checkReferences(x *dps.X509) error {
	if x == nil || x.References == nil {
		return nil
	}
	for _, name := range []string{x.References.Primary, x.References.Secondary} {
		if name == "" {
			continue
		}
		switch c := s.store.certificateNamed(name); {
		case c == nil:
			return invalid("caReferences: there is no certificate %q", clip(name, 256))
		case !c.verified:
			return invalid("caReferences: certificate %q is not verified", clip(name, 256))
		}
	}
	return nil
}

// shown is what a GET answers. An individual enrollment has what became of its device
// in it. The caller holds mu.
func (s *store) shown(k kind, e *enrollment) record {
	out := e.record
	if out.Attestation.Type != attestX509 {
		// Keys are answered by attestationmechanism only.
		out.Attestation = attestation{Type: out.Attestation.Type}
	}
	if k == kindIndividual {
		state := dps.RegistrationState{RegistrationID: out.RegistrationID, Status: "unassigned", Created: out.Created, Updated: out.Updated, Etag: out.Etag}
		if r := s.registered[strings.ToLower(out.RegistrationID)]; r != nil {
			state = r.state
		}
		out.Registration = &state
	}
	return out
}

func (s *Sim) getEnrollment(c *dataCall) (answer, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	e, err := s.store.find(c.kind, c.id)
	if err != nil {
		return answer{}, err
	}
	return ok(s.store.shown(c.kind, e)), nil
}

// putEnrollment creates without If-Match, and overwrites with it.
func (s *Sim) putEnrollment(c *dataCall) (answer, error) {
	r, err := parseRecord(c.kind, c.body)
	if err != nil {
		return answer{}, err
	}
	if !strings.EqualFold(r.id(c.kind), c.id) {
		return answer{}, invalid("the body is about %q and the path about %q", clip(r.id(c.kind), 64), clip(c.id, 64))
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	e, err := s.write(c.kind, r, c.ifMatch)
	if err != nil {
		return answer{}, err
	}
	return ok(s.store.shown(c.kind, e)), nil
}

func (s *Sim) deleteEnrollment(c *dataCall) (answer, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	e, err := s.store.find(c.kind, c.id)
	if err != nil {
		return answer{}, err
	}
	if c.ifMatch != "" {
		if err := matches(c.ifMatch, e.record.Etag); err != nil {
			return answer{}, err
		}
	}
	s.store.remove(c.kind, e)
	return answer{status: http.StatusNoContent}, nil
}

// remove deletes an enrollment. Registrations of a group stay (how-to-unprovision-devices);
// that of an individual enrollment is shown in it and goes with it, which is inferred.
// The caller holds mu.
func (s *store) remove(k kind, e *enrollment) {
	id := strings.ToLower(e.record.id(k))
	delete(s.of(k), id)
	if r := s.registered[id]; k == kindIndividual && r != nil && r.group == "" {
		delete(s.registered, id)
	}
}

// attestationMechanism answers the attestation with its keys, if it has any.
func (s *Sim) attestationMechanism(c *dataCall) (answer, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	e, err := s.store.find(c.kind, c.id)
	if err != nil {
		return answer{}, err
	}
	return ok(e.record.Attestation), nil
}

// dumpEnrollments is what State says of enrollments: without etags and times, which
// differ between two runs that did the same.
func dumpEnrollments(all map[string]*enrollment) any {
	out := map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		r := all[id].record
		r.Etag, r.Created, r.Updated, r.Registration = "", nil, nil, nil
		text, err := json.Marshal(r)
		if err != nil {
			panic(err) // it was read from JSON
		}
		out[id] = json.RawMessage(text)
	}
	return out
}
