package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// AWSTargets names the configured accounts and regions.
type AWSTargets struct {
	Targets []string `json:"targets"`
	// Places are the same, with where they are.
	Places []AWSPlace `json:"places"`
}

// AWSPlace is where a target is, and the fleets that work orders can be for.
type AWSPlace struct {
	Target    string `json:"target"`
	AccountID string `json:"account_id"`
	Region    string `json:"region"`
	// Labels are those of work orders for the target's fleets.
	Labels []string `json:"labels"`
}

// AWSStatus is what a target looks like now.
type AWSStatus struct {
	Target    string `json:"target"`
	AccountID string `json:"account_id"`
	Region    string `json:"region"`
	// Endpoint is where devices connect; the simulator's has a port.
	Endpoint string  `json:"endpoint"`
	CAs      []AWSCA `json:"cas"`
	// Unconfigured are CAs of ours at AWS that the target does not have.
	Unconfigured []AWSUnconfigured `json:"unconfigured"`
	Manifest     *AWSManifest      `json:"manifest,omitempty"` // absent if no function decides
	// Resources are everything else: tables, types, groups, policies, templates,
	// topic rules, certificate provider.
	Resources []AWSResource `json:"resources"`
	Plan      Plan          `json:"plan"`
}

// AWSResource is one thing that a target consists of.
type AWSResource struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	There bool   `json:"there"`
	// Differs says what is not as it should be; empty if it is.
	Differs string `json:"differs,omitempty"`
}

// AWSUnconfigured is a CA that is registered and not configured.
type AWSUnconfigured struct {
	CertificateID    string `json:"certificate_id"`
	Subject          string `json:"subject"`
	Issuer           string `json:"issuer,omitempty"`
	State            string `json:"state"`
	Mode             string `json:"mode"`
	AutoRegistration string `json:"auto_registration"`
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
	State            string `json:"state,omitempty"`
	Mode             string `json:"mode,omitempty"`
	AutoRegistration string `json:"auto_registration,omitempty"`
	// Certificates count those under it by AWS's word for their status; absent
	// unless they were asked for.
	Certificates map[string]int `json:"certificates,omitempty"`
	// Wanted is the state in the configuration: active, inactive or deleted.
	Wanted   string       `json:"wanted"`
	Findings []AWSFinding `json:"findings"`
}

// AWSFinding is what AWS would say of something, before it is asked.
type AWSFinding struct {
	Severity string `json:"severity"`
	Rule     string `json:"rule"`
	Subject  string `json:"subject"`
	AWS      string `json:"aws,omitempty"`
	Text     string `json:"text"`
}

// AWSFindings are what AWS would say of a target.
type AWSFindings struct {
	Findings []AWSFinding `json:"findings"`
}

// AWSManifest is the state of the table that the Lambda functions decide from.
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

// AWSPlaces lists the targets and where they are.
func (c *Client) AWSPlaces(ctx context.Context) ([]AWSPlace, error) {
	list, err := call[AWSTargets](ctx, c, http.MethodGet, "/v1/aws/targets", nil, nil)
	return list.Places, err
}

// AWSPlan says what AWSApply would do. It changes nothing.
func (c *Client) AWSPlan(ctx context.Context, target string) (Plan, error) {
	return call[Plan](ctx, c, http.MethodGet, awsPath(target)+"/plan", nil, nil)
}

// AWSStatus reads a target. It changes nothing. To count the certificates of each
// CA takes AWS a call for every 250 of them.
func (c *Client) AWSStatus(ctx context.Context, target string, count bool) (AWSStatus, error) {
	query := make(url.Values)
	if count {
		query.Set("count", "true")
	}
	return call[AWSStatus](ctx, c, http.MethodGet, awsPath(target)+"/status", query, nil)
}

// AWSDoctor says what AWS would refuse of a target. It makes no call to AWS.
func (c *Client) AWSDoctor(ctx context.Context, target string) ([]AWSFinding, error) {
	list, err := call[AWSFindings](ctx, c, http.MethodGet, awsPath(target)+"/doctor", nil, nil)
	return list.Findings, err
}

// AWSIAMPolicy returns the IAM policy that the server's credentials need for a
// target. It makes no call to AWS.
func (c *Client) AWSIAMPolicy(ctx context.Context, target string) (IAMPolicy, error) {
	return call[IAMPolicy](ctx, c, http.MethodGet, awsPath(target)+"/iam-policy", nil, nil)
}

// AWSApply makes the target what it should be and returns what was done.
// Progress is called for each change as it is made, and may be nil. A plan that
// takes something out of service needs two persons: *Proposed.
func (c *Client) AWSApply(ctx context.Context, target string, apply Apply, progress func(Change)) (Plan, error) {
	return c.apply(ctx, awsPath(target), "aws plan", apply, progress)
}

func awsPath(target string) string { return "/v1/aws/targets/" + url.PathEscape(target) }
