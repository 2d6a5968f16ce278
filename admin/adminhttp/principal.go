package adminhttp

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

func (h *handler) principalRoutes() []route {
	return []route{
		{"GET /v1/principals", access.PrincipalRead, h.listPrincipals},
		{"POST /v1/principals", access.PrincipalChange, h.addPrincipal},
		{"GET /v1/principals/{name}", access.PrincipalRead, h.showPrincipal},
		{"PUT /v1/principals/{name}", access.PrincipalChange, h.changePrincipal},
		{"DELETE /v1/principals/{name}", access.PrincipalChange, h.removePrincipal},
		{"POST /v1/principals/{name}/certificate", access.PrincipalEnroll, h.enrollPrincipal},
	}
}

func (h *handler) listPrincipals(w http.ResponseWriter, r *http.Request) error {
	people, err := h.Ledger.Principals(r.Context())
	if err != nil {
		return err
	}
	list := admin.Principals{Principals: []admin.Principal{}, Unprotected: access.Unprotected(people)}
	for _, p := range people {
		list.Principals = append(list.Principals, wirePrincipal(p))
	}
	return writeJSON(w, http.StatusOK, list)
}

func (h *handler) showPrincipal(w http.ResponseWriter, r *http.Request) error {
	people, err := h.Ledger.Principals(r.Context())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(people, func(p ledger.Principal) bool { return p.Name == r.PathValue("name") })
	if i < 0 {
		return noPrincipal(r.PathValue("name"))
	}
	return writeJSON(w, http.StatusOK, wirePrincipal(people[i]))
}

func (h *handler) addPrincipal(w http.ResponseWriter, r *http.Request) error {
	var in admin.PrincipalSpec
	if err := decode(r, &in); err != nil {
		return err
	}
	turn, err := h.takeTurn(r.Context(), peopleJob)
	if err != nil {
		return err
	}
	defer turn.end(r.Context())
	people, err := h.Ledger.Principals(r.Context())
	if err != nil {
		return err
	}
	next, err := principalOf(in)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(people, func(p ledger.Principal) bool { return strings.EqualFold(p.Name, next.Name) }); i >= 0 {
		why := "exists already: mintmark officer change changes it"
		if !people[i].RemovedAt.IsZero() {
			why = "was removed, and the name is not used again for someone else: choose another"
		}
		return fail(http.StatusConflict, "principal-exists", "principal %q %s", people[i].Name, why)
	}
	next.AddedAt, next.AddedBy = h.RA.Now().UTC(), actor(r)
	return h.putPrincipal(w, r, turn, people, next, "add "+portray(next), in, http.StatusCreated)
}

func (h *handler) changePrincipal(w http.ResponseWriter, r *http.Request) error {
	var in admin.PrincipalSpec
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.Name != r.PathValue("name") {
		return fail(http.StatusBadRequest, "principal-name", "the body names principal %q, the path %q", in.Name, r.PathValue("name"))
	}
	turn, err := h.takeTurn(r.Context(), peopleJob)
	if err != nil {
		return err
	}
	defer turn.end(r.Context())
	people, err := h.Ledger.Principals(r.Context())
	if err != nil {
		return err
	}
	before, ok := access.ByName(people, in.Name)
	if !ok {
		return noPrincipal(in.Name)
	}
	next, err := principalOf(in)
	if err != nil {
		return err
	}
	next.AddedAt, next.AddedBy = before.AddedAt, before.AddedBy
	return h.putPrincipal(w, r, turn, people, next, "change "+portray(before)+" to "+portray(next), in, http.StatusOK)
}

func (h *handler) removePrincipal(w http.ResponseWriter, r *http.Request) error {
	turn, err := h.takeTurn(r.Context(), peopleJob)
	if err != nil {
		return err
	}
	defer turn.end(r.Context())
	people, err := h.Ledger.Principals(r.Context())
	if err != nil {
		return err
	}
	next, ok := access.ByName(people, r.PathValue("name"))
	if !ok {
		return noPrincipal(r.PathValue("name"))
	}
	words := "remove " + portray(next)
	next.RemovedAt = h.RA.Now().UTC()
	return h.putPrincipal(w, r, turn, people, next, words, nil, http.StatusOK)
}

// putPrincipal records a change of people, after a second officer has agreed.
func (h *handler) putPrincipal(w http.ResponseWriter, r *http.Request, turn *turn, people []ledger.Principal, next ledger.Principal, words string, in any, status int) error {
	for _, p := range people {
		switch {
		case p.Name == next.Name || !p.RemovedAt.IsZero() || !next.RemovedAt.IsZero():
		case len(next.Key) > 0 && bytes.Equal(p.Key, next.Key):
			return fail(http.StatusConflict, "principal-key", "principal %q has the same key: every person needs a key of their own", p.Name)
		case next.UnixUser != "" && p.UnixUser == next.UnixUser:
			return fail(http.StatusConflict, "principal-user", "Unix user %q acts as principal %q already", next.UnixUser, p.Name)
		}
	}
	if next.RemovedAt.IsZero() {
		if err := h.reachable(next); err != nil {
			return err
		}
	}
	after := replaced(people, next)
	if len(access.Officers(after)) == 0 {
		return fail(http.StatusConflict, "last-officer", "no security officer would be left, and nobody could ever add one: add another officer first")
	}
	words += consequence(len(access.Signers(people)), len(access.Signers(after)))
	if proceed, err := h.twoPersons(w, r, access.PrincipalChange, words, in); !proceed {
		return err
	}
	if err := turn.still(r.Context()); err != nil {
		return err
	}
	err := h.Ledger.PutPrincipal(r.Context(), next, h.RA.Now())
	if errors.Is(err, ledger.ErrTaken) {
		return fail(http.StatusConflict, "principal-key", "another principal has the same key or Unix user: mintmark officer list shows them")
	}
	if err != nil {
		return err
	}
	h.Logger.Warn("people have changed", "words", words, "actor", actor(r))
	return writeJSON(w, status, wirePrincipal(next))
}

// reachable refuses a principal who could never come in, neither over the socket
// nor with a certificate: an officer like that would count as one whom others
// can ask.
func (h *handler) reachable(p ledger.Principal) error {
	switch {
	case p.UnixUser != "":
		return nil
	case len(p.Key) == 0:
		return fail(http.StatusBadRequest, "principal-access", "principal %q would have neither a key nor a Unix user, and could never come in: give one of them", p.Name)
	}
	profile := h.RA.Profiles[h.OfficerProfile]
	if profile == nil {
		return nil // there are no certificates yet: signing is all that the key does
	}
	key, err := access.ParseKey(p.Key)
	if err == nil {
		err = profile.CheckKey(key)
	}
	var refusal *issuer.Refusal
	if errors.As(err, &refusal) {
		return fail(http.StatusBadRequest, "principal-access", "principal %q could never get a TLS certificate, and has no Unix user: %s", p.Name, refusal.Text)
	}
	return err
}

// replaced is the list with one principal put in.
func replaced(people []ledger.Principal, next ledger.Principal) []ledger.Principal {
	after := slices.Clone(people)
	if i := slices.IndexFunc(after, func(p ledger.Principal) bool { return p.Name == next.Name }); i >= 0 {
		after[i] = next
		return after
	}
	return append(after, next)
}

// consequence says what a change does to the second signature.
func consequence(before, after int) string {
	have := fmt.Sprintf("%d officers have a key", after)
	if after == 1 {
		have = "1 officer has a key"
	}
	switch {
	case before >= 2 && after < 2:
		return fmt.Sprintf("; afterwards %s: NOTHING NEEDS A SECOND SIGNATURE ANY MORE", have)
	case before < 2 && after >= 2:
		return fmt.Sprintf("; afterwards %s, and what needs two persons needs a second signature from then on", have)
	default:
		return "; afterwards " + have
	}
}

// portray says who a principal is, for approvals.
func portray(p ledger.Principal) string {
	roles := "no role"
	if len(p.Roles) > 0 {
		roles = "roles " + strings.Join(p.Roles, ", ")
	}
	key := "no key"
	if len(p.Key) > 0 {
		key = "key SHA-256 " + access.Fingerprint(p.Key)
	}
	user := "no Unix user"
	if p.UnixUser != "" {
		user = fmt.Sprintf("Unix user %q", p.UnixUser)
	}
	return fmt.Sprintf("principal %q (%s; %s; %s)", p.Name, roles, key, user)
}

// principalOf checks who somebody is to be.
func principalOf(in admin.PrincipalSpec) (ledger.Principal, error) {
	none := ledger.Principal{}
	if !access.ValidName(in.Name) {
		return none, fail(http.StatusBadRequest, "principal-name", "%q cannot name a principal: use 1 to 64 letters, digits, dots, hyphens and underscores, a letter or digit first and last", in.Name)
	}
	for i, role := range in.Roles {
		if !access.ValidRole(role) {
			return none, fail(http.StatusBadRequest, "principal-role", "%q is no role: there are operator, officer, auditor and station", role)
		}
		if slices.Contains(in.Roles[:i], role) {
			return none, fail(http.StatusBadRequest, "principal-role", "role %s is given twice", role)
		}
	}
	if len(in.UnixUser) > 64 || strings.ContainsFunc(in.UnixUser, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '/' }) {
		return none, fail(http.StatusBadRequest, "principal-user", "%q is not the name of a Unix user", in.UnixUser)
	}
	key, err := publicKey(in.Key)
	if err != nil {
		return none, err
	}
	return ledger.Principal{Name: in.Name, Roles: slices.Clone(in.Roles), Key: key, UnixUser: in.UnixUser}, nil
}

// publicKey reads a public key in PEM and returns its one DER encoding.
func publicKey(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	bad := func(format string, args ...any) ([]byte, error) {
		return nil, fail(http.StatusBadRequest, "principal-key", format, args...)
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil || block.Type != "PUBLIC KEY" && !strings.Contains(block.Type, "PRIVATE"):
		return bad("the key is not a public key in PEM (BEGIN PUBLIC KEY), as mintmark officer key or openssl pkey -pubout writes it")
	case block.Type != "PUBLIC KEY":
		return bad("the key is a PRIVATE key: it was sent to this server and must not be used any more. Make another, and send its public key")
	case strings.TrimSpace(string(rest)) != "":
		return bad("the key is followed by something else: send one public key")
	}
	key, err := access.ParseKey(block.Bytes)
	if err != nil {
		return bad("%v", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return bad("%v", err)
	}
	return der, nil
}

func (h *handler) enrollPrincipal(w http.ResponseWriter, r *http.Request) error {
	var in admin.PrincipalEnroll
	if err := decode(r, &in); err != nil {
		return err
	}
	if h.OfficerIssuer == "" {
		return fail(http.StatusConflict, "officer-issuer", "no issuing CA for principals is configured: set access.issuer and access.profile in mintmark.yaml (docs/roles.md)")
	}
	der, err := requestDER(in.CSR)
	if err != nil {
		return err
	}
	people, err := h.Ledger.Principals(r.Context())
	if err != nil {
		return err
	}
	principal, ok := access.ByName(people, r.PathValue("name"))
	if !ok {
		return noPrincipal(r.PathValue("name"))
	}
	answer, err := h.RA.EnrollOfficer(r.Context(), principal.Name, h.OfficerIssuer, h.OfficerProfile, der, principal.Key, h.requester(r))
	if err != nil {
		return err
	}
	return h.issued(w, r, answer)
}

func noPrincipal(name string) error {
	return fail(http.StatusNotFound, "principal", "there is no principal %q in force: mintmark officer list shows them", name)
}

func wirePrincipal(p ledger.Principal) admin.Principal {
	out := admin.Principal{
		Name: p.Name, Roles: append([]string{}, p.Roles...), Fingerprint: access.Fingerprint(p.Key), UnixUser: p.UnixUser,
		AddedAt: p.AddedAt.UTC(), AddedBy: p.AddedBy, RemovedAt: utc(p.RemovedAt),
	}
	if len(p.Key) > 0 {
		out.Key = encodePEM("PUBLIC KEY", p.Key)
	}
	return out
}
