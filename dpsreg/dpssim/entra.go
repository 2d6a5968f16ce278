package dpssim

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// serveEntra answers what MSAL asks of login.microsoftonline.com for an application that
// asks for itself: instance discovery, OpenID configuration, and tokens by client
// credentials, a secret or a certificate (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (s *Sim) serveEntra(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", func(w http.ResponseWriter, r *http.Request) {
		s.perform(w, "entra.instance", s.entraError, s.instanceDiscovery)
	})
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		s.perform(w, "entra.openid", s.entraError, func() answer { return s.openIDConfiguration(r.PathValue("tenant")) })
	})
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r)
		s.perform(w, "entra.token", s.entraError, func() answer {
			if err != nil {
				return s.refuseToken(http.StatusRequestEntityTooLarge, "invalid_request", 900144, err.Error())
			}
			return s.token(r.PathValue("tenant"), r.Header.Get("Content-Type"), body).with("Cache-Control", "no-store")
		})
	})
	mux.ServeHTTP(w, r)
}

// instanceDiscovery says that the host is one of Entra's own.
func (s *Sim) instanceDiscovery() answer {
	return ok(map[string]any{
		"tenant_discovery_endpoint": "https://" + loginHost + "/" + s.cfg.TenantID + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []any{map[string]any{
			"preferred_network": loginHost, "preferred_cache": loginHost, "aliases": []string{loginHost},
		}},
	})
}

func (s *Sim) openIDConfiguration(tenant string) answer {
	if !strings.EqualFold(tenant, s.cfg.TenantID) {
		return s.noTenant(tenant)
	}
	base := "https://" + loginHost + "/" + s.cfg.TenantID
	return ok(map[string]any{
		"issuer":                                base + "/v2.0",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
		"tenant_region_scope":                   "EU",
	})
}

// tokenRequest is a request for a token by client credentials.
type tokenRequest struct {
	clientID, secret, audience string
	assertion                  *assertion // nil with a secret
}

// parseToken reads a token request. The refusal is what Entra answers
// (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
func parseToken(contentType string, body []byte) (tokenRequest, *tokenRefusal) {
	if kind, _, _ := strings.Cut(contentType, ";"); strings.TrimSpace(strings.ToLower(kind)) != "application/x-www-form-urlencoded" {
		return tokenRequest{}, &tokenRefusal{400, "invalid_request", 900144, "The request body must be application/x-www-form-urlencoded."}
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return tokenRequest{}, &tokenRefusal{400, "invalid_request", 900144, "The request body cannot be parsed."}
	}
	for name, values := range form {
		if len(values) != 1 {
			return tokenRequest{}, &tokenRefusal{400, "invalid_request", 90055, fmt.Sprintf("The request has the parameter '%s' more than once.", clip(name, 64))}
		}
	}
	for _, name := range []string{"grant_type", "client_id", "scope"} {
		if form.Get(name) == "" {
			return tokenRequest{}, &tokenRefusal{400, "invalid_request", 900144, fmt.Sprintf("The request body must contain the following parameter: '%s'.", name)}
		}
	}
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		return tokenRequest{}, &tokenRefusal{400, "unsupported_grant_type", 70003, fmt.Sprintf("The app requested an unsupported grant type '%s'.", clip(grant, 64))}
	}
	t := tokenRequest{clientID: form.Get("client_id"), secret: form.Get("client_secret")}
	switch text := form.Get("client_assertion"); {
	case (text == "") == (t.secret == ""):
		return tokenRequest{}, &tokenRefusal{401, "invalid_client", 7000216, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."}
	case text == "":
	case form.Get("client_assertion_type") != assertionType:
		return tokenRequest{}, &tokenRefusal{400, "invalid_request", 90014, "The required field 'client_assertion_type' is missing, or not jwt-bearer."}
	default:
		if t.assertion, err = parseAssertion(text); err != nil {
			return tokenRequest{}, &tokenRefusal{401, "invalid_client", 50027, err.Error()}
		}
	}
	// MSAL adds scopes of OpenID that mean nothing for an application of its own.
	for scope := range strings.FieldsSeq(form.Get("scope")) {
		switch scope {
		case "openid", "offline_access", "profile":
			continue
		}
		audience, found := strings.CutSuffix(scope, "/.default")
		if !found || t.audience != "" {
			return tokenRequest{}, &tokenRefusal{400, "invalid_scope", 1002012, fmt.Sprintf("The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", clip(scope, 256))}
		}
		t.audience = strings.TrimRight(audience, "/")
	}
	if t.audience == "" {
		return tokenRequest{}, &tokenRefusal{400, "invalid_scope", 70011, "The provided request must include a 'scope' input parameter."}
	}
	return t, nil
}

type tokenRefusal struct {
	status int
	name   string
	code   int
	text   string
}

func (s *Sim) token(tenant, contentType string, body []byte) answer {
	t, refusal := parseToken(contentType, body)
	if refusal != nil {
		return s.refuseToken(refusal.status, refusal.name, refusal.code, refusal.text)
	}
	audience := audienceOf(t.audience)
	switch {
	case !strings.EqualFold(tenant, s.cfg.TenantID):
		return s.noTenant(tenant)
	case !strings.EqualFold(t.clientID, s.cfg.ClientID):
		return s.refuseToken(http.StatusBadRequest, "unauthorized_client", 700016, fmt.Sprintf(
			"Application with identifier '%s' was not found in the directory '%s'.", clip(t.clientID, 64), s.cfg.TenantID))
	case t.assertion != nil:
		endpoint := "https://" + loginHost + "/" + s.cfg.TenantID + "/oauth2/v2.0/token"
		if code, err := t.assertion.verify(s.cfg.ClientCertificate, s.cfg.ClientID, endpoint, s.now()); err != nil {
			return s.refuseToken(http.StatusUnauthorized, "invalid_client", code, err.Error())
		}
	case subtle.ConstantTimeCompare([]byte(t.secret), []byte(s.cfg.ClientSecret)) != 1:
		return s.refuseToken(http.StatusUnauthorized, "invalid_client", 7000215, fmt.Sprintf("Invalid client secret provided. "+
			"Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", s.cfg.ClientID))
	}
	if audience == "" {
		return s.refuseToken(http.StatusBadRequest, "invalid_resource", 500011, fmt.Sprintf(
			"The resource principal named %s was not found in the tenant named %s.", clip(t.audience, 256), s.cfg.TenantID))
	}
	token, err := s.tokens.issue(audience)
	if err != nil {
		return s.refuseToken(http.StatusServiceUnavailable, "temporarily_unavailable", 90033, err.Error())
	}
	seconds := int(tokenLife.Seconds())
	return ok(map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token})
}

// audienceOf finds the service that a resource identifier means; "" for none. The resource
// manager has two: the newer one and that of the Go SDK's public cloud.
func audienceOf(resource string) string {
	switch strings.ToLower(resource) {
	case managementAudience, "https://management.core.windows.net":
		return managementAudience
	case dpsAudience:
		return dpsAudience
	case hubAudience:
		return hubAudience
	}
	return ""
}

func (s *Sim) noTenant(tenant string) answer {
	return s.refuseToken(http.StatusBadRequest, "invalid_request", 90002, fmt.Sprintf(
		"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", clip(tenant, 64)))
}

// refuseToken is an error of the token endpoint.
func (s *Sim) refuseToken(status int, name string, code int, text string) answer {
	trace, correlation, at := newGUID(), newGUID(), s.now().UTC().Format("2006-01-02 15:04:05Z")
	return answer{status: status, body: map[string]any{
		"error": name, "error_codes": []int{code}, "timestamp": at, "trace_id": trace, "correlation_id": correlation,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", code, text, trace, correlation, at),
		"error_uri":         fmt.Sprintf("https://%s/error?code=%d", loginHost, code),
	}}
}

// entraError is refuseToken for injected faults.
func (s *Sim) entraError(status, code int, message string) answer {
	name := "temporarily_unavailable"
	if status < 500 {
		name = "invalid_request"
	}
	return s.refuseToken(status, name, code, message)
}
