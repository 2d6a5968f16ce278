package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Change is one thing that is done, or one that was found as desired.
type Change struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	// Action is none, create, update, delete, refuse (it cannot be done) or foreign
	// (another has to do it).
	Action string `json:"action"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Destructive takes something that is in service out of it.
	Destructive bool `json:"destructive,omitempty"`
}

// Plan is what one run does to one target, in order.
type Plan struct {
	Target string `json:"target"`
	// Hash is the SHA-256 over exactly what will be done.
	Hash string `json:"hash"`
	// Pending counts the changes to make, Refused those that cannot be made.
	Pending int `json:"pending"`
	Refused int `json:"refused"`
	// Destructive: something that is in service is taken out of it, which needs
	// two persons.
	Destructive bool     `json:"destructive,omitempty"`
	Changes     []Change `json:"changes"`
}

// Apply asks to carry out a plan.
type Apply struct {
	// Hash is that of the plan which was read: if the plan is another by now,
	// nothing is done. Empty takes whatever the plan is.
	Hash string `json:"hash,omitempty"`
}

// Progress is one line of the answer to an Apply: a change that was made, or as the
// last line what was done in all, or why it ended. Exactly one field is set.
type Progress struct {
	Change *Change `json:"change,omitempty"`
	Done   *Plan   `json:"done,omitempty"`
	Error  *Error  `json:"error,omitempty"`
}

// apply carries out the plan of the target of a cloud that a path names. The command
// shows what is left to do after an answer that was cut off.
func (c *Client) apply(ctx context.Context, path, command string, in Apply, progress func(Change)) (Plan, error) {
	answer, err := c.send(ctx, http.MethodPost, path+"/apply", nil, in)
	if err != nil {
		return Plan{}, err
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(answer.Body)
	for {
		var line Progress
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return Plan{}, fmt.Errorf("the server's answer was cut off: run %s to see what is left to do", command)
		} else if err != nil {
			return Plan{}, fmt.Errorf("reading the server's answer: %w", err)
		}
		switch {
		case line.Done != nil:
			return *line.Done, nil
		case line.Error != nil:
			line.Error.Status = http.StatusBadGateway
			return Plan{}, line.Error
		case line.Change != nil && progress != nil:
			progress(*line.Change)
		}
	}
}
