package dps

import (
	"context"
	"errors"
)

var errNotBuilt = errors.New("not built yet")

// Group reads one group; *rest.Error with Status 404 if there is none.
func (c *Client) Group(ctx context.Context, id string) (Group, error) { return Group{}, errNotBuilt }

// PutGroup creates a group (empty Etag: 409 if it is there) or updates exactly the
// version that g.Etag names (412 if it is another), and returns what is there now.
func (c *Client) PutGroup(ctx context.Context, g Group) (Group, error) { return Group{}, errNotBuilt }

// DeleteGroup deletes exactly the version that etag names.
func (c *Client) DeleteGroup(ctx context.Context, id, etag string) error { return errNotBuilt }

// Groups calls yield for every group, page by page, until it returns an error.
func (c *Client) Groups(ctx context.Context, yield func(Group) error) error { return errNotBuilt }

// Enrollment reads one individual enrollment; 404 as in Group.
func (c *Client) Enrollment(ctx context.Context, id string) (Enrollment, error) {
	return Enrollment{}, errNotBuilt
}

// PutEnrollment is as PutGroup.
func (c *Client) PutEnrollment(ctx context.Context, e Enrollment) (Enrollment, error) {
	return Enrollment{}, errNotBuilt
}

// DeleteEnrollment is as DeleteGroup.
func (c *Client) DeleteEnrollment(ctx context.Context, id, etag string) error { return errNotBuilt }

// Enrollments is as Groups.
func (c *Client) Enrollments(ctx context.Context, yield func(Enrollment) error) error {
	return errNotBuilt
}

// Bulk does the same with at most MaxBulk enrollments. Those that were refused are in
// the result; the error is for the whole call.
func (c *Client) Bulk(ctx context.Context, mode BulkMode, list []Enrollment) ([]BulkError, error) {
	return nil, errNotBuilt
}

// Registration reads what became of a device, of a group or not; 404 as in Group.
func (c *Client) Registration(ctx context.Context, id string) (RegistrationState, error) {
	return RegistrationState{}, errNotBuilt
}

// Registrations is as Groups, for the devices of one group.
func (c *Client) Registrations(ctx context.Context, group string, yield func(RegistrationState) error) error {
	return errNotBuilt
}
