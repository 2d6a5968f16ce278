package dpssim

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"mintmark/dpsreg/dps"
)

// bulkRequest is BulkEnrollmentOperation and BulkEnrollmentGroupOperation.
type bulkRequest struct {
	Mode        string            `json:"mode"`
	Enrollments []json.RawMessage `json:"enrollments,omitempty"`
	Groups      []json.RawMessage `json:"enrollmentGroups,omitempty"`
}

// bulkResult is BulkEnrollmentOperationResult.
type bulkResult struct {
	Successful bool        `json:"isSuccessful"`
	Errors     []bulkError `json:"errors"`
}

// bulkError is one of a bulk operation that was refused.
type bulkError struct {
	GroupID        string `json:"enrollmentGroupId,omitempty"`
	RegistrationID string `json:"registrationId,omitempty"`
	Code           int    `json:"errorCode"`
	Status         string `json:"errorStatus"`
}

// parseBulk reads the body of a bulk operation. Modes are compared without regard to
// case: the specification has updateIfMatchETag and the client in Node updateIfMatchEtag.
func parseBulk(k kind, data []byte) (dps.BulkMode, []json.RawMessage, error) {
	var r bulkRequest
	if err := decodeStrict(data, &r); err != nil {
		return "", nil, err
	}
	list, other := r.Enrollments, r.Groups
	if k == kindGroup {
		list, other = other, list
	}
	switch {
	case other != nil:
		return "", nil, invalid("the list is of the other kind of enrollments")
	case len(list) == 0:
		return "", nil, invalid("a bulk operation has at least one enrollment")
	case len(list) > dps.MaxBulk:
		return "", nil, invalid("a bulk operation has at most %d enrollments", dps.MaxBulk)
	}
	for _, m := range []dps.BulkMode{dps.BulkCreate, dps.BulkUpdate, dps.BulkMatch, dps.BulkDelete} {
		if strings.EqualFold(string(m), r.Mode) {
			return m, list, nil
		}
	}
	return "", nil, invalid("mode %q is not create, update, updateIfMatchETag or delete", clip(r.Mode, 64))
}

// bulk does the same with up to ten enrollments, each by itself: those that are refused
// are listed in the answer, whose status is 200. It counts as many operations as
// it has enrollments; how Azure counts is unknown.
func (s *Sim) bulk(c *dataCall) (answer, error) {
	mode, list, err := parseBulk(c.kind, c.body)
	if err != nil {
		return answer{}, err
	}
	if !s.rates.operations(len(list)) {
		return s.tooMany(s.dpsError, codeTooMany), nil
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	out := bulkResult{Successful: true, Errors: []bulkError{}}
	for _, one := range list {
		id, err := s.bulkOne(c.kind, mode, one)
		if err == nil {
			continue
		}
		var d *denial
		if !errors.As(err, &d) {
			return answer{}, err
		}
		refused := bulkError{RegistrationID: id, Code: d.code, Status: d.message}
		if c.kind == kindGroup {
			refused.GroupID, refused.RegistrationID = id, ""
		}
		out.Successful = false
		out.Errors = append(out.Errors, refused)
	}
	return ok(out), nil
}

// bulkOne does one enrollment of a bulk operation and returns its id. The caller holds mu.
func (s *Sim) bulkOne(k kind, mode dps.BulkMode, data []byte) (string, error) {
	var named struct {
		GroupID        string `json:"enrollmentGroupId"`
		RegistrationID string `json:"registrationId"`
		Etag           string `json:"etag"`
	}
	if err := json.Unmarshal(data, &named); err != nil {
		return "", invalid("an enrollment cannot be read: %v", err)
	}
	id := named.RegistrationID
	if k == kindGroup {
		id = named.GroupID
	}
	if mode == dps.BulkDelete {
		// Whether Azure heeds an etag here is unknown: it is not heeded.
		e, err := s.store.find(k, id)
		if err != nil {
			return id, err
		}
		s.store.remove(k, e)
		return id, nil
	}
	r, err := parseRecord(k, data)
	if err != nil {
		return id, err
	}
	ifMatch := ""
	if mode != dps.BulkCreate {
		if _, err := s.store.find(k, id); err != nil {
			return id, err
		}
		ifMatch = "*"
	}
	if mode == dps.BulkMatch {
		if ifMatch = named.Etag; ifMatch == "" || ifMatch == "*" {
			return id, &denial{status: http.StatusBadRequest, code: codeInvalid, message: "ETag is invalid"}
		}
	}
	_, err = s.write(k, r, ifMatch)
	return id, err
}
