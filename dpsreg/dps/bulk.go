package dps

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"mintmark/dpsreg/rest"
)

// Bulk does the same with at most MaxBulk enrollments. Those that were refused are in
// the result; the error is for the whole call. With BulkMatch each enrollment must
// have the Etag that it was read with. It counts for as many operations as it has
// enrollments: what the service counts is not documented.
func (c *Client) Bulk(ctx context.Context, mode BulkMode, list []Enrollment) ([]BulkError, error) {
	switch {
	case len(list) == 0:
		return nil, nil
	case len(list) > MaxBulk:
		return nil, fmt.Errorf("a bulk operation takes at most %d enrollments, these are %d", MaxBulk, len(list))
	}
	bodies := make([]map[string]any, len(list))
	for i, e := range list {
		if mode == BulkMatch && e.Etag == "" {
			return nil, fmt.Errorf("enrollment %q: an update of what was read needs its entity tag", e.RegistrationID)
		}
		if mode == BulkDelete {
			bodies[i] = map[string]any{"registrationId": e.RegistrationID, "attestation": e.Attestation}
		} else {
			body, err := e.body()
			if err != nil {
				return nil, err
			}
			bodies[i] = body
		}
		// There is no header for each, so that the tag goes into the body.
		if e.Etag != "" && mode != BulkCreate {
			bodies[i]["etag"] = e.Etag
		}
	}
	var out struct {
		Successful *bool       `json:"isSuccessful"`
		Errors     []BulkError `json:"errors"`
	}
	_, err := c.rest.Do(ctx, rest.Call{
		Method: http.MethodPost, Path: "/enrollments", Operations: len(list), Into: &out,
		Body: map[string]any{"mode": mode, "enrollments": bodies},
	})
	switch {
	case err != nil:
		return nil, err
	case out.Successful == nil:
		return nil, errors.New("the answer to a bulk operation does not say whether it succeeded")
	case !*out.Successful && len(out.Errors) == 0:
		return nil, errors.New("a bulk operation failed, and the service does not say at which enrollment")
	case len(out.Errors) > len(list):
		return nil, errors.New("a bulk operation has more errors than enrollments")
	}
	return out.Errors, nil
}
