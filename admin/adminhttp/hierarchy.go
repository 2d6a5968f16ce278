package adminhttp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// maxBundle is how many certificates an import may bring.
const maxBundle = 16

func (h *handler) createAuthority(w http.ResponseWriter, r *http.Request) error {
	var in admin.AuthoritySpec
	if err := decode(r, &in); err != nil {
		return err
	}
	spec, err := h.authoritySpec(in)
	if err != nil {
		return err
	}
	if err := h.vacant(in.Name, false); err != nil {
		return err
	}
	if err := h.rehearse(spec); err != nil {
		return err
	}
	what := fmt.Sprintf("create root CA %q", in.Name)
	if in.Issuer != "" {
		what = fmt.Sprintf("create CA %q under CA %q", in.Name, in.Issuer)
	}
	if proceed, err := h.twoPersons(w, r, access.AuthorityCreate, what+": "+specWords(spec, in), in); !proceed {
		return err
	}
	if _, err := h.RA.CreateAuthority(r.Context(), spec, h.requester(r)); err != nil {
		return administrator(err)
	}
	return h.created(w, r, in.Name)
}

// rehearse prepares the certificate for a throw-away key: what is refused for
// its contents must not leave a key behind, which is in the way of the next try.
func (h *handler) rehearse(spec issuer.AuthoritySpec) error {
	now := h.RA.Now()
	template, err := spec.Template(h.RA.Serial(now), now)
	if err != nil {
		return fail(http.StatusBadRequest, "authority-spec", "%v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a throw-away key: %w", err)
	}
	if spec.Issuer == "" {
		_, err = ca.PrepareRoot(template, key)
		return err
	}
	parent, err := h.RA.Authority(spec.Issuer)
	if err != nil {
		return err
	}
	_, err = parent.Prepare(template, key.Public(), ca.Rules{CA: true})
	return err
}

// rehearseRequest does the same for a request.
func rehearseRequest(spec issuer.AuthoritySpec) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a throw-away key: %w", err)
	}
	_, err = spec.Request(key)
	return err
}

func (h *handler) requestAuthority(w http.ResponseWriter, r *http.Request) error {
	var in admin.AuthoritySpec
	if err := decode(r, &in); err != nil {
		return err
	}
	name := r.PathValue("name")
	if in.Name == "" {
		in.Name = name
	}
	if in.Name != name {
		return fail(http.StatusBadRequest, "authority-name", "the body names authority %q, the path %q", in.Name, name)
	}
	if in.Issuer != "" || in.ValiditySeconds != 0 || in.NotAfter != nil {
		return fail(http.StatusBadRequest, "authority-spec", "issuer and validity are for the CA to decide that certifies the request")
	}
	spec, err := h.authoritySpec(in)
	if err != nil {
		return err
	}
	if len(spec.Subject.ToRDNSequence()) == 0 {
		return fail(http.StatusBadRequest, "authority-spec", "a CA needs a subject")
	}
	if err := h.vacant(name, true); err != nil {
		return err
	}
	if err := rehearseRequest(spec); err != nil {
		return err
	}
	what := fmt.Sprintf("make the key of CA %q and a request for its certificate from elsewhere: ", name)
	if proceed, err := h.twoPersons(w, r, access.AuthorityCreate, what+specWords(spec, in), in); !proceed {
		return err
	}
	der, err := h.RA.RequestAuthority(r.Context(), spec)
	if err != nil {
		return administrator(err)
	}
	return writeJSON(w, http.StatusOK, admin.AuthorityRequest{Name: name, CSR: encodePEM("CERTIFICATE REQUEST", der)})
}

func (h *handler) importAuthority(w http.ResponseWriter, r *http.Request) error {
	var in admin.AuthorityImport
	if err := decode(r, &in); err != nil {
		return err
	}
	certificates, err := parseBundle(in.Certificates)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	if err := h.vacant(name, true); err != nil {
		return err
	}
	if err := checkKeyURI(in.KeyURI); err != nil {
		return err
	}
	// What is wrong with the bundle is known without the key.
	authority, worth, err := h.RA.ExamineImport(r.Context(), name, certificates)
	if err != nil {
		return err
	}
	if proceed, err := h.twoPersons(w, r, access.AuthorityCreate, h.importWords(authority, in.KeyURI), in); !proceed {
		return err
	}
	if _, err := h.RA.ImportAuthority(r.Context(), name, certificates, in.KeyURI); err != nil {
		return administrator(err)
	}
	var warnings []string
	if worth != "" {
		warnings = append(warnings, "the certificate breaks a rule for those that are made here, and some devices may refuse it: "+worth)
	}
	if err := h.RA.RecordAuthority(context.WithoutCancel(r.Context()), name, actor(r)); err != nil {
		h.Logger.Error("recording the certificate of an imported authority", "authority", name, "error", err)
		warnings = append(warnings, "the authority is imported, but its certificate could not be recorded among those of CAs: "+err.Error())
	}
	return h.created(w, r, name, warnings...)
}

// created answers with a new authority, after its first CRL has been signed:
// relying parties refuse what is under a CA without one.
func (h *handler) created(w http.ResponseWriter, r *http.Request, name string, warnings ...string) error {
	ctx := context.WithoutCancel(r.Context())
	err := h.PublishCRL(ctx, name)
	if err != nil && !errors.Is(err, ca.ErrNoSigner) {
		h.Logger.Error("publishing the first CRL of an authority", "issuer", name, "error", err)
		warnings = append(warnings, fmt.Sprintf("the authority is recorded, but its first CRL could not be signed: mintmark ca crl %s --publish tries again", name))
	}
	a, err := h.describeAuthority(r.WithContext(ctx), name)
	if err != nil {
		return err
	}
	a.Warning = strings.Join(warnings, "; ")
	return writeJSON(w, http.StatusCreated, a)
}

// vacant refuses a name that is not allowed or taken. The registration
// authority refuses them too; here it is in words for the caller.
func (h *handler) vacant(name string, waiting bool) error {
	if !validName(name) {
		return fail(http.StatusBadRequest, "authority-name", "%q cannot name an authority: use 1 to 32 lower-case letters, digits and hyphens, no hyphen first or last", name)
	}
	if _, err := h.RA.Authority(name); err == nil {
		return fail(http.StatusConflict, "authority-exists", "authority %q exists already: choose another name", name)
	}
	waits := slices.ContainsFunc(h.RA.Waiting(), func(a ledger.Authority) bool { return a.Name == name })
	if waits && !waiting {
		return fail(http.StatusConflict, "authority-waits", "authority %q waits for its certificate: import it, or choose another name", name)
	}
	return nil
}

func validName(name string) bool {
	if len(name) < 1 || len(name) > 32 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// parseBundle reads PEM that holds certificates and nothing else.
func parseBundle(text string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fail(http.StatusBadRequest, "authority-bundle", "the bundle holds a %s: only certificates belong there, keys are named by a key URI", block.Type)
		}
		if len(list) == maxBundle {
			return nil, fail(http.StatusBadRequest, "authority-bundle", "the bundle holds more than %d certificates", maxBundle)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "authority-bundle", "certificate %d of the bundle cannot be parsed: %v", len(list)+1, err)
		}
		list = append(list, certificate)
	}
	if len(list) == 0 {
		return nil, fail(http.StatusBadRequest, "authority-bundle", "the bundle holds no certificate in PEM")
	}
	return list, nil
}

// administrator lets the caller read what went wrong with an authority: a
// token that is not there or a module that does not load is for the
// administrator to put right, and the errors hold no secrets.
func administrator(err error) error {
	if status, _ := describe(err); status != http.StatusInternalServerError {
		return err
	}
	return shown(err)
}

func (h *handler) requester(r *http.Request) ledger.Requester {
	return ledger.Requester{Kind: "admin", Name: actor(r)}
}
