package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// AWSTargets names the configured accounts and regions.
type AWSTargets struct {
	Targets []string `json:"targets"`
}

// Change is one thing that is done, or one that was found as desired.
type Change struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Action  string `json:"action"` // none, create, update, delete or refuse
	Before  string `json:"before,omitempty"`
	After   string `json:"after,omitempty"`
}

// Plan is what one run does to one target, in order.
type Plan struct {
	Target string `json:"target"`
	// Hash is the SHA-256 over exactly what will be done.
	Hash string `json:"hash"`
	// Pending counts the changes to make, Refused those that cannot be made.
	Pending int      `json:"pending"`
	Refused int      `json:"refused"`
	Changes []Change `json:"changes"`
}

// AWSApply asks to carry out a plan.
type AWSApply struct {
	// Hash is that of the plan which was read: if the plan is another by now,
	// nothing is done. Empty takes whatever the plan is.
	Hash string `json:"hash,omitempty"`
}

// AWSProgress is one line of the answer to an AWSApply: a change that was made,
// or as the last line what was done in all, or why it ended. Exactly one field
// is set.
type AWSProgress struct {
	Change *Change `json:"change,omitempty"`
	Done   *Plan   `json:"done,omitempty"`
	Error  *Error  `json:"error,omitempty"`
}

// AWSStatus is what a target looks like now.
type AWSStatus struct {
	Target    string       `json:"target"`
	AccountID string       `json:"account_id"`
	Region    string       `json:"region"`
	CAs       []AWSCA      `json:"cas"`
	Manifest  *AWSManifest `json:"manifest,omitempty"` // absent without JITR
	Plan      Plan         `json:"plan"`
}

// IAMPolicy is what the server's AWS credentials must be allowed.
type IAMPolicy struct {
	Policy json.RawMessage `json:"policy"`
}

// AWSCA is one CA of a target.
type AWSCA struct {
	Issuer        string    `json:"issuer"`
	CertificateID string    `json:"certificate_id"`
	Use           string    `json:"use"`
	NotAfter      time.Time `json:"not_after"`
	Registered    bool      `json:"registered"`
	// The following are AWS's words, empty unless Registered.
	State            string       `json:"state,omitempty"`
	Mode             string       `json:"mode,omitempty"`
	AutoRegistration string       `json:"auto_registration,omitempty"`
	Findings         []AWSFinding `json:"findings"`
}

// AWSFinding is what AWS would say of something, before it is asked.
type AWSFinding struct {
	Severity string `json:"severity"`
	Rule     string `json:"rule"`
	Subject  string `json:"subject"`
	AWS      string `json:"aws,omitempty"`
	Text     string `json:"text"`
}

// AWSManifest is the state of the table that the activating Lambda reads.
type AWSManifest struct {
	Table         string     `json:"table"`
	PushedAt      *time.Time `json:"pushed_at,omitempty"` // absent if it was never complete
	Server        string     `json:"server,omitempty"`
	MaxAgeSeconds int64      `json:"max_age_seconds"`
	Fresh         bool       `json:"fresh"`
}

// AWSTargets lists the names of the targets.
func (c *Client) AWSTargets(ctx context.Context) ([]string, error) {
	list, err := call[AWSTargets](ctx, c, http.MethodGet, "/v1/aws/targets", nil, nil)
	return list.Targets, err
}

// AWSPlan says what AWSApply would do. It changes nothing.
func (c *Client) AWSPlan(ctx context.Context, target string) (Plan, error) {
	return call[Plan](ctx, c, http.MethodGet, awsPath(target)+"/plan", nil, nil)
}

// AWSStatus reads a target. It changes nothing.
func (c *Client) AWSStatus(ctx context.Context, target string) (AWSStatus, error) {
	return call[AWSStatus](ctx, c, http.MethodGet, awsPath(target)+"/status", nil, nil)
}

// AWSIAMPolicy returns the IAM policy that the server's credentials need for a
// target. It makes no call to AWS.
func (c *Client) AWSIAMPolicy(ctx context.Context, target string) (IAMPolicy, error) {
	return call[IAMPolicy](ctx, c, http.MethodGet, awsPath(target)+"/iam-policy", nil, nil)
}

// AWSApply makes the target what it should be and returns what was done.
// Progress is called for each change as it is made, and may be nil.
func (c *Client) AWSApply(ctx context.Context, target string, apply AWSApply, progress func(Change)) (Plan, error) {
	answer, err := c.send(ctx, http.MethodPost, awsPath(target)+"/apply", nil, apply)
	if err != nil {
		return Plan{}, err
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(answer.Body)
	for {
		var line AWSProgress
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return Plan{}, errors.New("the server's answer was cut off: run aws plan to see what is left to do")
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

func awsPath(target string) string { return "/v1/aws/targets/" + url.PathEscape(target) }
