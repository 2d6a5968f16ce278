package dps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"mintmark/dpsreg/rest"
)

// Group reads one group; *rest.Error with Status 404 if there is none.
func (c *Client) Group(ctx context.Context, id string) (Group, error) {
	raw, err := c.get(ctx, "enrollmentGroups", id)
	if err != nil {
		return Group{}, err
	}
	return parseGroup(raw, id)
}

// PutGroup creates a group (empty Etag: 409 if it is there) or updates exactly the
// version that g.Etag names (412 if it is another), and returns what is there now. An
// update keeps what g was read with and this package does not know.
func (c *Client) PutGroup(ctx context.Context, g Group) (Group, error) {
	body, err := g.body()
	if err != nil {
		return Group{}, err
	}
	raw, err := c.put(ctx, "enrollmentGroups", g.ID, g.Etag, body)
	if err != nil {
		return Group{}, err
	}
	return parseGroup(raw, g.ID)
}

// DeleteGroup deletes exactly the version that etag names.
func (c *Client) DeleteGroup(ctx context.Context, id, etag string) error {
	return c.delete(ctx, "enrollmentGroups", id, etag)
}

// Groups calls yield for every group, page by page, until it returns an error.
func (c *Client) Groups(ctx context.Context, yield func(Group) error) error {
	return c.query(ctx, "SELECT * FROM enrollmentGroups", func(raw json.RawMessage) error {
		g, err := parseGroup(raw, "")
		if err != nil {
			return err
		}
		return yield(g)
	}, "enrollmentGroups", "query")
}

// Enrollment reads one individual enrollment; 404 as in Group.
func (c *Client) Enrollment(ctx context.Context, id string) (Enrollment, error) {
	raw, err := c.get(ctx, "enrollments", id)
	if err != nil {
		return Enrollment{}, err
	}
	return parseEnrollment(raw, id)
}

// PutEnrollment is as PutGroup.
func (c *Client) PutEnrollment(ctx context.Context, e Enrollment) (Enrollment, error) {
	body, err := e.body()
	if err != nil {
		return Enrollment{}, err
	}
	raw, err := c.put(ctx, "enrollments", e.RegistrationID, e.Etag, body)
	if err != nil {
		return Enrollment{}, err
	}
	return parseEnrollment(raw, e.RegistrationID)
}

// DeleteEnrollment is as DeleteGroup.
func (c *Client) DeleteEnrollment(ctx context.Context, id, etag string) error {
	return c.delete(ctx, "enrollments", id, etag)
}

// Enrollments is as Groups.
func (c *Client) Enrollments(ctx context.Context, yield func(Enrollment) error) error {
	return c.query(ctx, "SELECT * FROM enrollments", func(raw json.RawMessage) error {
		e, err := parseEnrollment(raw, "")
		if err != nil {
			return err
		}
		return yield(e)
	}, "enrollments", "query")
}

// Registration reads what became of a device, of a group or not; 404 as in Group.
func (c *Client) Registration(ctx context.Context, id string) (RegistrationState, error) {
	raw, err := c.get(ctx, "registrations", id)
	if err != nil {
		return RegistrationState{}, err
	}
	return parseRegistration(raw, id)
}

// Registrations is as Groups, for the devices of one group.
func (c *Client) Registrations(ctx context.Context, group string, yield func(RegistrationState) error) error {
	return c.query(ctx, "", func(raw json.RawMessage) error {
		s, err := parseRegistration(raw, "")
		if err != nil {
			return err
		}
		return yield(s)
	}, "registrations", group, "query")
}

func (c *Client) get(ctx context.Context, kind, id string) (json.RawMessage, error) {
	path, err := rest.Join(kind, id)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	_, err = c.rest.Do(ctx, rest.Call{Method: http.MethodGet, Path: path, Into: &raw, Read: true})
	return raw, err
}

func (c *Client) put(ctx context.Context, kind, id, etag string, body any) (json.RawMessage, error) {
	path, err := rest.Join(kind, id)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	_, err = c.rest.Do(ctx, rest.Call{Method: http.MethodPut, Path: path, IfMatch: etag, Body: body, Into: &raw})
	return raw, err
}

// delete never deletes what it has not been told the version of.
func (c *Client) delete(ctx context.Context, kind, id, etag string) error {
	path, err := rest.Join(kind, id)
	switch {
	case err != nil:
		return err
	case etag == "":
		return errors.New("deleting needs the entity tag of what was read")
	}
	if _, err = c.rest.Do(ctx, rest.Call{Method: http.MethodDelete, Path: path, IfMatch: etag}); err != nil {
		return fmt.Errorf("deleting %s: %w", path, err)
	}
	return nil
}
