package adminhttp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer/inventory"
)

// Label is what the API must know of an EST label, or of a fleet at AWS.
type Label struct {
	Profile string
	Issuer  string
	// Target is the AWS target of a fleet's label, and empty for an EST label.
	// Orders of a fleet have claim certificates only, and Profile is FleetProfile.
	Target string
	// Orders is true for a label that takes the credentials of work orders.
	Orders bool
	// RegistrationAuthorities are the profiles whose certificates enroll any
	// device at the label.
	RegistrationAuthorities []string
	// OldPath: the label gives out the old path only while a root is replaced, and its
	// devices are shown as pinned to it.
	OldPath bool
}

func (h *handler) orderRoutes() []route {
	return []route{
		{"GET /v1/orders", access.OrderRead, h.listOrders},
		{"POST /v1/orders", access.OrderCreate, h.createOrder},
		{"GET /v1/orders/{id}", access.OrderRead, h.showOrder},
		{"PATCH /v1/orders/{id}", access.OrderExtend, h.extendOrder},
		{"PUT /v1/orders/{id}/quantity", access.OrderRaise, h.setOrderQuantity},
		{"POST /v1/orders/{id}/secret", access.OrderExtend, h.newOrderSecret},
		{"POST /v1/orders/{id}/claim", access.OrderExtend, h.newOrderClaim},
		{"POST /v1/orders/{id}/close", access.OrderClose, h.closeOrder},
		{"POST /v1/orders/{id}/kill", access.OrderKill, h.killOrder},
	}
}

func (h *handler) listOrders(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "state", "product", "station", "after", "limit")
	q := ledger.OrderQuery{
		State:   ledger.OrderState(p.oneOf("state", admin.OrderOpen, admin.OrderClosed, admin.OrderKilled)),
		Product: p.text("product"), Station: p.text("station"), After: p.text("after"), Limit: p.limit(),
	}
	if p.err != nil {
		return p.err
	}
	orders, err := h.Ledger.Orders(r.Context(), q)
	if err != nil {
		return err
	}
	out := admin.Orders{Orders: make([]admin.Order, 0, len(orders))}
	for _, o := range orders {
		out.Orders = append(out.Orders, wireOrder(o))
	}
	if len(orders) == q.Limit {
		out.Next = orders[q.Limit-1].ID
	}
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) showOrder(w http.ResponseWriter, r *http.Request) error {
	order, err := h.order(r)
	if err != nil {
		return err
	}
	usage, err := h.Ledger.OrderUsage(r.Context(), order.ID)
	if err != nil {
		return err
	}
	claims, err := h.claims(r.Context(), order.ID, "")
	if err != nil {
		return err
	}
	out := wireOrder(order)
	out.Report = &admin.OrderReport{Issued: usage.Issued, Open: usage.Open, Left: usage.Left, Refused: usage.Refused, Last: utc(usage.Last)}
	if out.Report.Refused == nil {
		out.Report.Refused = map[string]int{}
	}
	for _, c := range claims {
		out.Claims = append(out.Claims, wireCertificate(c))
	}
	return writeJSON(w, http.StatusOK, out)
}

// createOrder makes an order with a secret or a claim certificate.
func (h *handler) createOrder(w http.ResponseWriter, r *http.Request) error {
	var in admin.OrderSpec
	if err := decode(r, &in); err != nil {
		return err
	}
	order, err := h.newOrder(in, actor(r))
	if err != nil {
		return err
	}
	var csr []byte
	var secret string
	if in.ClaimCSR != "" {
		if csr, err = h.claimRequest(in.ClaimCSR); err != nil {
			return err
		}
	} else if h.Labels[order.Label].Target == "" {
		secret, order.Secret = newSecret()
	}
	if err := h.Ledger.CreateOrder(r.Context(), order, h.Outbox.ForOrder(order.ID)...); err != nil {
		return fromOrder(err, order.ID)
	}
	h.Outbox.Wake()
	h.Logger.Info("work order created", "order", order.ID, "quantity", order.Quantity, "label", order.Label, "not_after", order.NotAfter, "actor", actor(r))
	out := admin.OrderCredential{Order: wireOrder(order), Secret: secret}
	if csr != nil {
		if err := h.claim(r, order, csr, &out); err != nil {
			_, told := describe(err)
			h.Logger.Error("issuing the claim certificate of a new work order", "order", order.ID, "error", err)
			out.Warning = fmt.Sprintf("the order is made, but has no credential yet: %s: %s; ask for another claim certificate or for a secret", told.Rule, told.Text)
		}
	}
	return writeJSON(w, http.StatusCreated, out)
}

// newOrder checks a specification against what is configured.
func (h *handler) newOrder(in admin.OrderSpec, by string) (ledger.Order, error) {
	bad := func(rule, format string, args ...any) (ledger.Order, error) {
		return ledger.Order{}, fail(http.StatusBadRequest, rule, format, args...)
	}
	spec := inventory.OrderSpec{
		ID: in.ID, Product: in.Product, Profile: in.Profile, Label: in.Label, Station: in.Station, Quantity: in.Quantity,
		Listed: in.Listed, NotAfter: in.NotAfter, CreatedBy: by,
	}
	label, known := h.Labels[in.Label]
	switch {
	case in.Label == "":
	case !known || !label.Orders:
		return bad("label", "label %q takes no work orders: %s", in.Label, h.orderLabels())
	case in.Profile == "":
		spec.Profile = label.Profile
	case in.Profile != label.Profile:
		return bad("profile", "label %q issues under profile %q, not %q", in.Label, label.Profile, in.Profile)
	}
	if label.Target != "" && len(in.Networks) > 0 {
		return bad("order-spec", "networks: AWS does not say from which address a device comes, so that this would bound nothing: leave it out")
	}
	for _, r := range in.Ranges {
		spec.Ranges = append(spec.Ranges, ledger.Range{First: r.First, Last: r.Last})
	}
	for _, text := range in.Networks {
		network, err := inventory.ParseNetwork(text)
		if err != nil {
			return bad("order-spec", "networks: %v", err)
		}
		spec.Networks = append(spec.Networks, network)
	}
	if in.NotBefore != nil {
		spec.NotBefore = *in.NotBefore
	}
	order, err := inventory.NewOrder(spec, h.RA.Now())
	if err != nil {
		return bad("order-spec", "%v", err)
	}
	return order, nil
}

// orderLabels says which labels take work orders.
func (h *handler) orderLabels() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(h.Labels)) {
		if h.Labels[name].Orders {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "no label of mintmark.yaml has authorize: order, and no AWS target has fleets"
	}
	return "those that do are " + strings.Join(names, ", ")
}

// newSecret makes the password of an order, of 128 random bits and more, and
// what is recorded of it.
func newSecret() (string, [32]byte) {
	secret := rand.Text()
	return secret, sha256.Sum256([]byte(secret))
}

// claimRequest reads the request for a claim certificate, if one could be
// issued at all.
func (h *handler) claimRequest(text string) ([]byte, error) {
	if h.ClaimIssuer == "" || h.ClaimProfile == "" {
		return nil, fail(http.StatusConflict, "claim", "no issuing CA is configured for claim certificates: set orders.issuer and orders.profile in mintmark.yaml, or use a secret")
	}
	claims := h.RA.Related(h.ClaimIssuer)
	for name, l := range h.Labels {
		if slices.Contains(claims, l.Issuer) || slices.Contains(claims, h.RA.Serving(l.Issuer, "", "")) {
			return nil, fail(http.StatusConflict, "claim", "the issuing CA of claim certificates, %q, issues to devices at the label %q: whoever holds a claim certificate could pass for one", h.ClaimIssuer, name)
		}
	}
	return requestDER(text)
}

// claim issues a claim certificate of an order.
func (h *handler) claim(r *http.Request, order ledger.Order, csr []byte, out *admin.OrderCredential) error {
	// The order is there: its claim is issued even if nobody waits any more.
	ctx := context.WithoutCancel(r.Context())
	answer, err := h.RA.EnrollClaim(ctx, order, h.ClaimIssuer, h.ClaimProfile, csr, h.requester(r))
	if err != nil {
		return err
	}
	record, err := h.Ledger.Certificate(ctx, answer.Serial)
	if err != nil {
		return err
	}
	certificate := wireCertificate(record)
	certificate.PEM = encodePEM("CERTIFICATE", answer.Certificate.Raw)
	out.Certificate = &certificate
	for _, c := range answer.Chain {
		out.Chain += encodePEM("CERTIFICATE", c.Raw)
	}
	return nil
}

func (h *handler) newOrderClaim(w http.ResponseWriter, r *http.Request) error {
	var in admin.ClaimRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	order, err := h.order(r)
	if err != nil {
		return err
	}
	csr, err := h.claimRequest(in.CSR)
	if err != nil {
		return err
	}
	out := admin.OrderCredential{Order: wireOrder(order)}
	if err := h.claim(r, order, csr, &out); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, out)
}

func (h *handler) newOrderSecret(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	order, err := h.order(r)
	if err != nil {
		return err
	}
	if h.Labels[order.Label].Target != "" || strings.HasPrefix(order.Label, "aws:") {
		return fail(http.StatusConflict, "order-credential", "work order %q is for a fleet at AWS, which takes claim certificates and no secrets: mintmark aws claim create makes them", order.ID)
	}
	secret, sum := newSecret()
	order, err = h.changeOrder(r, ledger.OrderChange{Secret: &sum})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, admin.OrderCredential{Order: wireOrder(order), Secret: secret})
}

// extendOrder moves the end of an order, in either direction.
func (h *handler) extendOrder(w http.ResponseWriter, r *http.Request) error {
	var in admin.OrderWindow
	if err := decode(r, &in); err != nil {
		return err
	}
	order, err := h.order(r)
	if err != nil {
		return err
	}
	if err := inventory.CheckWindow(order.NotBefore, in.NotAfter, h.RA.Now()); err != nil {
		return fail(http.StatusBadRequest, "order-spec", "not_after: %v", err)
	}
	return h.answerChange(w, r, ledger.OrderChange{NotAfter: &in.NotAfter})
}

// setOrderQuantity asks for a second officer to raise a quantity; lowering one
// needs nobody else.
func (h *handler) setOrderQuantity(w http.ResponseWriter, r *http.Request) error {
	var in admin.OrderQuantity
	if err := decode(r, &in); err != nil {
		return err
	}
	order, err := h.order(r)
	if err != nil {
		return err
	}
	turn, err := h.takeTurn(r.Context(), quantityJob+order.ID)
	if err != nil {
		return err
	}
	defer turn.end(r.Context())
	if order, err = h.order(r); err != nil {
		return err
	}
	for _, err := range []error{inventory.CheckQuantity(in.Quantity), inventory.CheckCapacity(order.Ranges, in.Quantity)} {
		if err != nil {
			return fail(http.StatusBadRequest, "order-spec", "quantity: %v", err)
		}
	}
	if order.State != ledger.OrderOpen {
		return fromOrder(&ledger.OrderError{Order: order.ID, Why: string(order.State)}, order.ID)
	}
	if in.Quantity > order.Quantity {
		words := fmt.Sprintf("raise the quantity of work order %q from %d to %d certificates", order.ID, order.Quantity, in.Quantity)
		if proceed, err := h.twoPersons(w, r, access.OrderRaise, words, in); !proceed {
			return err
		}
	}
	if err := turn.still(r.Context()); err != nil {
		return err
	}
	return h.answerChange(w, r, ledger.OrderChange{Quantity: &in.Quantity})
}

func (h *handler) closeOrder(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	state := ledger.OrderClosed
	return h.answerChange(w, r, ledger.OrderChange{State: &state})
}

// killOrder also revokes the claim certificates of the order. Killing again
// does what the first time left undone.
func (h *handler) killOrder(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	order, err := h.order(r)
	if err != nil {
		return err
	}
	if order.State != ledger.OrderKilled {
		state := ledger.OrderKilled
		if order, err = h.changeOrder(r, ledger.OrderChange{State: &state}); err != nil {
			return err
		}
	}
	// The order is dead: its caller's hanging up changes nothing.
	ctx := context.WithoutCancel(r.Context())
	out := admin.Killed{Order: wireOrder(order), Revoked: []string{}}
	revoked, err := h.revokeClaims(ctx, order.ID, actor(r))
	for _, s := range revoked {
		out.Revoked = append(out.Revoked, string(s))
	}
	if err != nil {
		h.Logger.Error("revoking the claim certificates of a killed work order", "order", order.ID, "error", err)
		out.Warning = "the order is killed, so that its claim certificates are refused here, but not all of them could be revoked: kill it again"
	} else {
		out.Warning = h.publishFor(ctx, revoked)
	}
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) revokeClaims(ctx context.Context, order, actor string) ([]ledger.Serial, error) {
	claims, err := h.claims(ctx, order, ledger.Valid)
	if err != nil {
		return nil, err
	}
	var revoked []ledger.Serial
	for _, c := range claims {
		serials, err := h.RA.Revoke(ctx, ledger.Selector{Serial: c.Serial}, ledger.PrivilegeWithdrawn, actor)
		if err != nil {
			return revoked, err
		}
		revoked = append(revoked, serials...)
	}
	return revoked, nil
}

// claims lists the claim certificates of an order, at most a page of them: it
// takes a person to make each.
func (h *handler) claims(ctx context.Context, order string, state ledger.State) ([]ledger.Certificate, error) {
	page, err := h.Ledger.Certificates(ctx, ledger.Query{Order: order, Purpose: ledger.ForClaim, State: state, Limit: admin.MaxPage})
	return page.Certificates, err
}

// order is the work order that the path names.
func (h *handler) order(r *http.Request) (ledger.Order, error) {
	id := r.PathValue("id")
	if inventory.CheckOrder(id) != nil {
		return ledger.Order{}, fromOrder(ledger.ErrNotFound, id)
	}
	order, err := h.Ledger.Order(r.Context(), id)
	if err != nil {
		return order, fromOrder(err, id)
	}
	return order, nil
}

// changeOrder changes the order that the path names.
func (h *handler) changeOrder(r *http.Request, change ledger.OrderChange) (ledger.Order, error) {
	id := r.PathValue("id")
	if inventory.CheckOrder(id) != nil {
		return ledger.Order{}, fromOrder(ledger.ErrNotFound, id)
	}
	order, err := h.Ledger.ChangeOrder(r.Context(), id, change, actor(r), h.RA.Now(), h.Outbox.ForOrder(id)...)
	if err != nil {
		return order, fromOrder(err, id)
	}
	h.Outbox.Wake()
	h.Logger.Info("work order changed", "order", id, "state", order.State, "quantity", order.Quantity,
		"not_after", order.NotAfter, "new_secret", change.Secret != nil, "actor", actor(r))
	return order, nil
}

func (h *handler) answerChange(w http.ResponseWriter, r *http.Request, change ledger.OrderChange) error {
	order, err := h.changeOrder(r, change)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wireOrder(order))
}

// orderTexts say what a change of an order ran into, by ledger.OrderError.Why.
var orderTexts = map[string]string{
	"closed":    "work order %q is closed and stays so: make another one",
	"killed":    "work order %q was killed and stays so: make another one",
	"exhausted": "work order %q has more certificates, issued or being issued, than that: its quantity cannot be less",
}

// fromOrder words what the ledger says of a work order.
func fromOrder(err error, id string) error {
	var order *ledger.OrderError
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return fail(http.StatusNotFound, "not-found", "there is no work order %q: mintmark order list shows them", id)
	case errors.Is(err, ledger.ErrTaken):
		return fail(http.StatusConflict, "order-exists", "there is a work order %q already, and identifiers are not used again", id)
	case errors.As(err, &order) && orderTexts[order.Why] != "":
		return &failure{status: http.StatusConflict, rule: "order-" + order.Why, text: fmt.Sprintf(orderTexts[order.Why], id), err: err}
	}
	return err
}

func wireOrder(o ledger.Order) admin.Order {
	out := admin.Order{
		ID: o.ID, State: string(o.State), Product: o.Product, Profile: o.Profile, Label: o.Label, Station: o.Station,
		Quantity: o.Quantity, Taken: o.Taken, Listed: o.Listed, Networks: texts(o.Networks),
		NotBefore: o.NotBefore.UTC(), NotAfter: o.NotAfter.UTC(), Secret: o.Secret != [32]byte{},
		CreatedAt: o.CreatedAt.UTC(), CreatedBy: o.CreatedBy, ChangedAt: utc(o.ChangedAt), ChangedBy: o.ChangedBy,
	}
	for _, r := range o.Ranges {
		out.Ranges = append(out.Ranges, admin.Range{First: r.First, Last: r.Last})
	}
	return out
}

func texts(networks []netip.Prefix) []string {
	var list []string
	for _, p := range networks {
		list = append(list, p.String())
	}
	return list
}
