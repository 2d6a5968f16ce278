package adminhttp

import (
	"context"
	"io"

	"mintmark/awsreg"
	"mintmark/awsreg/render"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// AWS keeps AWS accounts in step. Targets are called by their configured name,
// which is one that Targets lists. All of it may be called concurrently.
type AWS interface {
	AWSResources
	AWSDevices
	AWSComparison
}

// AWSResources brings what is configured to a target.
type AWSResources interface {
	Targets() []string
	// Place is the account and the region of a target.
	Place(target string) (account, region string)
	Plan(ctx context.Context, target string) (reconcile.Plan, error)
	// Apply calls progress for each resource as soon as it is as desired and
	// returns what was done, also when it fails. It does what was agreed to, or
	// fails with reconcile.ErrChanged.
	Apply(ctx context.Context, target string, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error)
	// Status counts the certificates of each CA if asked to.
	Status(ctx context.Context, target string, count bool) (awsreg.Status, error)
	// Doctor makes no call to AWS.
	Doctor(ctx context.Context, target string) ([]awsreg.Finding, error)
	// IAMPolicy is the JSON of what the server's credentials must be allowed.
	IAMPolicy(target string) (string, error)
	// Render makes what an account needs beside it. It makes no call to AWS.
	Render(target string, code render.Code) ([]render.File, error)
}

// AWSDevices is what lets devices in, and tells them where to go.
type AWSDevices interface {
	// ClaimFromAWS has AWS issue a claim certificate for the request, in DER.
	ClaimFromAWS(ctx context.Context, target string, order ledger.Order, csr []byte) (awsreg.Claim, error)
	// Claims also counts the devices that came in under the order.
	Claims(ctx context.Context, target, order string) ([]awsreg.Claim, int, error)
	// Bulk writes one JSON object a line.
	Bulk(ctx context.Context, target string, query ledger.Query, w io.Writer) (awsreg.Bulk, error)
	// Connection returns ErrNotHere for a certificate that the target does not
	// let in.
	Connection(ctx context.Context, target string, device ledger.Device, certificate ledger.Certificate) (Connection, error)
}

// AWSComparison compares what a target has with the ledger.
type AWSComparison interface {
	// Drift is what the last comparison found; ok is false if there was none.
	Drift(target string) (drift awsreg.Drift, ok bool, err error)
	// Reconcile compares now. With adopt it revokes in the ledger what is REVOKED
	// at AWS, up to limit certificates, in the name of the actor. ErrBusy if the
	// target is being compared already.
	Reconcile(ctx context.Context, target string, adopt bool, limit int, actor string) (awsreg.Drift, error)
}

// Outbox says what clouds must be told of a change. The tasks are recorded in the
// transaction of the change; Wake has them delivered without delay.
type Outbox interface {
	ForOrder(id string) []ledger.Task
	ForDevice(id string) []ledger.Task
	ForImport(id string) []ledger.Task
	Wake()
}

// silence is the outbox where nobody is to be told.
type silence struct{}

func (silence) ForOrder(string) []ledger.Task  { return nil }
func (silence) ForDevice(string) []ledger.Task { return nil }
func (silence) ForImport(string) []ledger.Task { return nil }
func (silence) Wake()                          {}

func (h *handler) cloudRoutes() []route {
	const target = "/v1/aws/targets/{name}"
	return []route{
		{"GET /v1/aws/targets", access.CloudRead, h.listAWS},
		{"GET " + target + "/plan", access.CloudRead, h.planAWS},
		{"GET " + target + "/status", access.CloudRead, h.statusAWS},
		{"GET " + target + "/doctor", access.CloudRead, h.doctorAWS},
		{"GET " + target + "/iam-policy", access.CloudRead, h.iamPolicy},
		{"GET " + target + "/files", access.CloudRead, h.renderAWS},
		{"POST " + target + "/apply", access.CloudApply, h.applyAWS},
		{"GET " + target + "/drift", access.CloudRead, h.driftAWS},
		{"POST " + target + "/reconcile", access.CloudApply, h.reconcileAWS},
		{"GET " + target + "/claims", access.CloudRead, h.listClaims},
		// As for another claim certificate of any work order.
		{"POST " + target + "/claims", access.OrderExtend, h.newAWSClaim},
		{"GET " + target + "/bulk", access.CloudRead, h.bulkAWS},
		// A station writes it to the device.
		{"GET " + target + "/devices/{id}/connection", access.DeviceRead, h.connection},
	}
}
