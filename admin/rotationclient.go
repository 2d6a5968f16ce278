package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Rotations lists all.
func (c *Client) Rotations(ctx context.Context) ([]Rotation, error) {
	list, err := call[Rotations](ctx, c, http.MethodGet, "/v1/rotations", nil, nil)
	return list.Rotations, err
}

// PlanRotation examines a rotation and records its plan. Nothing else is changed.
func (c *Client) PlanRotation(ctx context.Context, spec RotationSpec) (RotationStatus, error) {
	return call[RotationStatus](ctx, c, http.MethodPost, "/v1/rotations", nil, spec)
}

// Rotation measures the next gate of a rotation. It asks the clouds, and changes nothing.
func (c *Client) Rotation(ctx context.Context, id string) (RotationStatus, error) {
	return call[RotationStatus](ctx, c, http.MethodGet, rotationPath(id), nil, nil)
}

// RotationJournal lists entries after a number, the oldest first.
func (c *Client) RotationJournal(ctx context.Context, id string, after int64) (RotationJournal, error) {
	query := url.Values{"limit": {strconv.Itoa(MaxPage)}}
	if after > 0 {
		query.Set("after", strconv.FormatInt(after, 10))
	}
	return call[RotationJournal](ctx, c, http.MethodGet, rotationPath(id)+"/journal", query, nil)
}

// SignRotation gives the caller's signature for a gate.
func (c *Client) SignRotation(ctx context.Context, id string, sign RotationSign) (RotationStatus, error) {
	return call[RotationStatus](ctx, c, http.MethodPost, rotationPath(id)+"/sign", nil, sign)
}

// BringRotation gives certificates that a ceremony has made; where two officers have a
// key it is proposed, and the error is a *Proposed.
func (c *Client) BringRotation(ctx context.Context, id string, certificates []byte) (RotationBrought, error) {
	return call[RotationBrought](ctx, c, http.MethodPost, rotationPath(id)+"/bring", nil, RotationBring{Certificates: string(certificates)})
}

// PauseRotation stops a rotation where it is.
func (c *Client) PauseRotation(ctx context.Context, id, reason string) (Rotation, error) {
	return call[Rotation](ctx, c, http.MethodPost, rotationPath(id)+"/pause", nil, RotationReason{Reason: reason})
}

// ResumeRotation lets a paused rotation go on.
func (c *Client) ResumeRotation(ctx context.Context, id string) (Rotation, error) {
	return call[Rotation](ctx, c, http.MethodPost, rotationPath(id)+"/resume", nil, struct{}{})
}

// RunRotation moves a rotation as far as its gates allow, and tells progress of each line
// of its journal; to stops it in that state.
func (c *Client) RunRotation(ctx context.Context, id, to string, progress func(RotationEntry)) (RotationDone, error) {
	return c.moveRotation(ctx, id, "/run", RotationRun{To: to}, progress)
}

// RollBackRotation takes back what a rotation has done.
func (c *Client) RollBackRotation(ctx context.Context, id, reason string, progress func(RotationEntry)) (RotationDone, error) {
	return c.moveRotation(ctx, id, "/rollback", RotationReason{Reason: reason}, progress)
}

func (c *Client) moveRotation(ctx context.Context, id, verb string, in any, progress func(RotationEntry)) (RotationDone, error) {
	answer, err := c.send(ctx, http.MethodPost, rotationPath(id)+verb, nil, in)
	if err != nil {
		return RotationDone{}, err
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer))
	for {
		var line RotationProgress
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return RotationDone{}, fmt.Errorf("the server's answer was cut off: mintmark rotate status %s shows how far it is, and the same command goes on from there", id)
		} else if err != nil {
			return RotationDone{}, fmt.Errorf("reading the server's answer: %w", err)
		}
		switch {
		case line.Done != nil:
			// Whoever hangs up before the end of an answer leaves an error in the server's log.
			_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
			return *line.Done, nil
		case line.Error != nil:
			line.Error.Status = http.StatusConflict
			if line.Error.Rule == "failed" {
				line.Error.Status = http.StatusInternalServerError
			}
			return RotationDone{}, line.Error
		case line.Entry != nil && progress != nil:
			progress(*line.Entry)
		}
	}
}

func rotationPath(id string) string { return "/v1/rotations/" + url.PathEscape(id) }
