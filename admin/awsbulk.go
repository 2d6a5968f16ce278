package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// AWSBulkLine is one line of the answer to AWSBulk: one thing to register, or as
// the last line what goes with them, or why it ended. Exactly one field is set.
type AWSBulkLine struct {
	Thing json.RawMessage `json:"thing,omitempty"`
	Done  *AWSBulk        `json:"done,omitempty"`
	Error *Error          `json:"error,omitempty"`
}

// AWSBulk goes with the input of a bulk registration.
type AWSBulk struct {
	// Template is the provisioning template of the task.
	Template json.RawMessage `json:"template"`
	Things   int             `json:"things"`
}

// AWSBulk writes the input of StartThingRegistrationTask, one JSON object a line:
// the valid device certificates under the CAs of a target that are used for
// registration, of one work order if it is not empty. It changes nothing. What
// was written is worth something only without an error.
func (c *Client) AWSBulk(ctx context.Context, target, order string, w io.Writer) (AWSBulk, error) {
	query := make(url.Values)
	if order != "" {
		query.Set("order", order)
	}
	return c.awsBulk(ctx, target, query, w)
}

// AWSBulkTemplate returns the template that goes with a target's bulk registrations under a
// CA. The target must have that with use register, and in another mode than NONE.
func (c *Client) AWSBulkTemplate(ctx context.Context, target, issuer string) (json.RawMessage, error) {
	bulk, err := c.awsBulk(ctx, target, url.Values{"template": {"only"}, "issuer": {issuer}}, io.Discard)
	return bulk.Template, err
}

func (c *Client) awsBulk(ctx context.Context, target string, query url.Values, w io.Writer) (AWSBulk, error) {
	answer, err := c.send(ctx, http.MethodGet, awsPath(target)+"/bulk", query, nil)
	if err != nil {
		return AWSBulk{}, err
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(answer.Body)
	for {
		var line AWSBulkLine
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return AWSBulk{}, errors.New("the server's answer was cut off: ask again")
		} else if err != nil {
			return AWSBulk{}, fmt.Errorf("reading the server's answer: %w", err)
		}
		switch {
		case line.Done != nil:
			return *line.Done, nil
		case line.Error != nil:
			line.Error.Status = http.StatusBadGateway
			return AWSBulk{}, line.Error
		case line.Thing != nil:
			if _, err := w.Write(append(bytes.TrimSpace(line.Thing), '\n')); err != nil {
				return AWSBulk{}, err
			}
		}
	}
}
