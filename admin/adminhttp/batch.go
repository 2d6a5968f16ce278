package adminhttp

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
	"mintmark/issuer/inventory"
)

// The routes of a batch, which take more than admin.MaxRequest.
const (
	batchCertificates = "POST /v1/batches/{id}/certificates"
	batchManifest     = "POST /v1/batches/{id}/manifest"
)

// batchWorkers is how many items of one call are in the issuance cycle at a time: enough
// to share its group commits, and few enough to leave devices that enroll their place in it.
const batchWorkers = 128

func (h *handler) batchRoutes() []route {
	return []route{
		{"GET /v1/batches/check", access.CertificateIssue, h.checkBatch},
		{batchCertificates, access.CertificateIssue, h.issueBatch},
		{batchManifest, access.CertificateIssue, h.signManifest},
	}
}

// batchID is the identifier in the path: 32 hexadecimal digits.
func batchID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if b, err := hex.DecodeString(id); err != nil || len(b) != 16 || hex.EncodeToString(b) != id {
		return "", fail(http.StatusBadRequest, "batch", "a batch is named by 32 lower-case hexadecimal digits")
	}
	return id, nil
}

// checkBatch says what would refuse every certificate of a batch, before there are keys for
// them. Whether the order is open, and for how many, may be otherwise when they are asked for.
func (h *handler) checkBatch(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	profile, id, kind := q.Get("profile"), q.Get("order"), q.Get("key_type")
	who := caller(r)
	if err := h.mayBatch(who, profile, q.Get("issuer")); err != nil {
		return err
	}
	if kind != "" {
		if !who.Has(access.Operator) {
			return bareKey(who)
		}
		var taken []string
		for _, k := range h.RA.Wants(profile).Keys {
			taken = append(taken, string(k))
		}
		if !slices.Contains(taken, kind) {
			return fail(http.StatusForbidden, "key-type", "profile %s does not allow a key of type %q; it allows %s", profile, kind, strings.Join(taken, ", "))
		}
	}
	if id != "" {
		if inventory.CheckOrder(id) != nil {
			return fromOrder(ledger.ErrNotFound, id)
		}
		order, err := h.Ledger.Order(r.Context(), id)
		if err != nil {
			return fromOrder(err, id)
		}
		if order.Profile != profile {
			return fail(http.StatusForbidden, "order-label", "work order %q is for profile %s, not for %s", id, order.Profile, profile)
		}
	}
	return writeJSON(w, http.StatusOK, struct{}{})
}

// bareKey refuses a key without proof of possession: who sends one vouches for it.
func bareKey(who access.Principal) error {
	return fail(http.StatusForbidden, "station", "%q may ask by certification requests only: a key without one is for operators", who.Name)
}

// issueBatch has certificates of a batch issued, each through the whole issuance cycle: what
// is refused to one is no matter of the others.
func (h *handler) issueBatch(w http.ResponseWriter, r *http.Request) error {
	id, err := batchID(r)
	if err != nil {
		return err
	}
	var in admin.Batch
	if err := decode(r, &in); err != nil {
		return err
	}
	if n := len(in.Items); n < 1 || n > admin.MaxBatchItems {
		return fail(http.StatusBadRequest, "batch", "a call is about %d devices; 1 to %d are allowed", n, admin.MaxBatchItems)
	}
	who := caller(r)
	if err := h.mayBatch(who, in.Profile, in.Issuer); err != nil {
		return err
	}
	for i, item := range in.Items {
		switch {
		case (len(item.CSR) > 0) == (len(item.Key) > 0):
			return fail(http.StatusBadRequest, "batch", "item %d must have either a certification request or a key", i)
		case len(item.CSR) > 0 && item.Name != "":
			return fail(http.StatusBadRequest, "batch", "item %d has a name beside its certification request, which names the device itself", i)
		case len(item.Key) > 0 && !who.Has(access.Operator):
			return bareKey(who)
		}
	}
	requester := h.requester(r)
	answers := h.enrollAll(r.Context(), in.Items, func(item admin.BatchItem) issuer.Request {
		request := issuer.Request{
			Profile: in.Profile, Issuer: in.Issuer, CSR: item.CSR, Requester: requester,
			Authorize: issuer.Trusted, Order: in.Order, Operation: "batch " + id, Again: true,
		}
		if in.Order != "" {
			request.Authorize = issuer.ByOrder
		}
		if len(item.Key) > 0 {
			request.Unproven = &issuer.Unproven{Name: item.Name, Key: item.Key}
		}
		return request
	})
	out := admin.BatchIssued{Results: make([]admin.BatchResult, len(answers)), Chains: [][][]byte{}}
	for i, a := range answers {
		out.Results[i] = h.batchResult(id, i, a, &out)
	}
	return writeJSON(w, http.StatusOK, out)
}

// mayBatch holds profile and CA against what may be issued one by one, for devices.
func (h *handler) mayBatch(who access.Principal, profile, authority string) error {
	if !h.issuable(profile) {
		return issuer.ErrNoProfile
	}
	if h.RA.Profiles[profile].Purpose != ledger.ForDevice {
		return fail(http.StatusForbidden, "batch", "profile %q is for no devices: have such a certificate issued by itself", profile)
	}
	if !who.Can(access.CertificateIssue) {
		return denied(who, access.CertificateIssue)
	}
	if _, err := h.RA.Authority(authority); err != nil {
		return err
	}
	if slices.Contains(h.RA.Related(h.OfficerIssuer), authority) || slices.Contains(h.RA.Related(h.ClaimIssuer), authority) {
		return fail(http.StatusForbidden, "issuer", "CA %q issues the certificates of people or of work orders and nothing else: name the issuing CA of the devices", authority)
	}
	if !who.Has(access.Operator) && !h.labelled(profile, authority) {
		return fail(http.StatusForbidden, "station", "%q may issue what a label issues, and none has profile %q under CA %q", who.Name, profile, authority)
	}
	return nil
}

// enrolled is what became of an item.
type enrolled struct {
	issuer.Answer
	err error
}

// enrollAll answers items in their order.
func (h *handler) enrollAll(ctx context.Context, items []admin.BatchItem, request func(admin.BatchItem) issuer.Request) []enrolled {
	answers := make([]enrolled, len(items))
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(batchWorkers, len(items)) {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return
				}
				answers[i].Answer, answers[i].err = h.enrollOne(ctx, request(items[i]))
			}
		})
	}
	wait.Wait()
	return answers
}

// enrollOne keeps the panic of an item from taking the server along: net/http guards only
// the goroutine of the request.
func (h *handler) enrollOne(ctx context.Context, r issuer.Request) (answer issuer.Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = issuer.Answer{}, fmt.Errorf("panic in the issuance cycle: %v", p)
		}
	}()
	return h.RA.Enroll(ctx, r)
}

// batchResult puts what became of an item on the wire, and its chain among those of the call.
func (h *handler) batchResult(id string, item int, a enrolled, out *admin.BatchIssued) admin.BatchResult {
	if a.err != nil {
		refusal := &admin.BatchRefusal{Rule: admin.Internal, Detail: "internal error: the server's log says which", Retry: true}
		if r, ok := refusalOf(a.err); ok {
			*refusal = admin.BatchRefusal{Rule: r.Rule, Detail: r.Text, Retry: r.Kind == issuer.Unavailable}
		} else {
			h.Logger.Error("issuing a certificate of a batch", "batch", id, "item", item, "error", a.err)
		}
		return admin.BatchResult{Refusal: refusal}
	}
	chain := make([][]byte, len(a.Chain))
	for i, c := range a.Chain {
		chain[i] = c.Raw
	}
	same := func(other [][]byte) bool { return slices.EqualFunc(chain, other, slices.Equal[[]byte]) }
	at := slices.IndexFunc(out.Chains, same)
	if at < 0 {
		at = len(out.Chains)
		out.Chains = append(out.Chains, chain)
	}
	return admin.BatchResult{Certificate: a.Certificate.Raw, Chain: at, Device: a.Device, Prior: a.Prior}
}
